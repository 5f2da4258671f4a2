/* SPDX-License-Identifier: BSD-2-Clause */
#include "daemon/filter.h"

#include "core/calls.h"
#include "core/cleanup.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <ucontext.h>

/* What the C library does by itself for all: memory, locks, the end, signals (ours for a refused
 * call), what was interrupted. */
XB_CALL(deputy, exit);
XB_CALL(deputy, rt_sigreturn);
XB_CALL(deputy, write);
XB_CALL(reader, exit);
XB_CALL(reader, rt_sigreturn);
XB_CALL(reader, write);
XB_CALL(worker, exit);
XB_CALL(worker, futex);
XB_CALL(worker, madvise);
XB_CALL(worker, munmap);
XB_CALL(worker, restart_syscall);
XB_CALL(worker, rt_sigprocmask);
XB_CALL(worker, rt_sigreturn);
XB_CALL(worker, write);

/* What libraries do for the control thread and the doorman. A file of ours that makes a call names
 * it, too. */
#define BOTH(name)              \
	XB_CALL(control, name); \
	XB_CALL(doorman, name)

/* the C library: memory, locks, signals, who we are, the end */
BOTH(brk);
BOTH(clock_gettime);
BOTH(clock_nanosleep);
BOTH(exit);
BOTH(exit_group);
BOTH(futex);
BOTH(getegid);
BOTH(geteuid);
BOTH(getgid);
BOTH(getpid);
BOTH(getrandom);
BOTH(gettid);
BOTH(getuid);
BOTH(madvise);
BOTH(mmap);
BOTH(mprotect);
BOTH(mremap);
BOTH(munmap);
BOTH(nanosleep);
BOTH(restart_syscall);
BOTH(rt_sigaction);
BOTH(rt_sigprocmask);
BOTH(rt_sigreturn);
BOTH(sched_yield);
BOTH(tgkill);

/* files: pins, /proc, /sys, what was handed over */
BOTH(access);
BOTH(close);
BOTH(dup);
BOTH(faccessat);
BOTH(faccessat2);
BOTH(fcntl);
BOTH(fstat);
BOTH(fstatfs);
BOTH(getdents64);
BOTH(getcwd);
BOTH(lseek);
BOTH(lstat);
BOTH(mkdir);
BOTH(mkdirat);
BOTH(newfstatat);
BOTH(open);
BOTH(openat);
BOTH(poll);
BOTH(ppoll);
BOTH(pread64);
BOTH(read);
BOTH(readlink);
BOTH(readlinkat);
BOTH(rename);
BOTH(renameat);
BOTH(renameat2);
BOTH(rmdir);
BOTH(stat);
BOTH(statfs);
BOTH(statx);
BOTH(unlink);
BOTH(unlinkat);
BOTH(write);
BOTH(writev);

/* netlink and ioctls: libbpf, libxdp, libnl, if_nametoindex(3) */
BOTH(bind);
BOTH(bpf);
BOTH(connect);
BOTH(getsockname);
BOTH(getsockopt);
BOTH(ioctl);
BOTH(recvfrom);
BOTH(recvmsg);
BOTH(sendmsg);
BOTH(sendto);
BOTH(setsockopt);
BOTH(socket);

/* what libbpf asks about this host */
BOTH(getrlimit);
BOTH(prlimit64);
BOTH(sched_getaffinity);
BOTH(sysinfo); /* qsort(3), too */
BOTH(uname);

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED true
#else
#define SANITIZED false
#endif

/* What a sanitizer's runtime does in any thread: to map memory, to report, and at the end to look
 * for leaks from a process of its own. */
static const char *const sanitizers_calls[] = {
	"mmap",
	"munmap",
	"mremap",
	"mprotect",
	"madvise",
	"brk",
	"openat",
	"open",
	"close",
	"read",
	"write",
	"pread64",
	"readlink",
	"readlinkat",
	"fstat",
	"newfstatat",
	"stat",
	"lstat",
	"getdents64",
	"getpid",
	"gettid",
	"gettimeofday",
	"getppid",
	"getrlimit",
	"prlimit64",
	"sigaltstack",
	"rt_sigaction",
	"tgkill",
	"clone",
	"clone3",
	"wait4",
	"ptrace",
	"prctl",
	"nanosleep",
	"clock_nanosleep",
	"sched_yield",
	"sched_getaffinity",
	"sysinfo",
	"uname",
	"exit_group",
	"futex",
	"kill",
	"arch_prctl",
	"set_robust_list",
	"rseq",
	"clock_gettime",
	"pipe",
	"pipe2",
	"dup",
	"dup2",
	"process_vm_readv",
	"getcwd",
	"lseek",
	"rt_sigtimedwait",
	"socketpair",
	"unlink",
	"statx",
	"getdents",
	"exit",
	"tkill",
	"rt_sigprocmask",
	"rt_sigreturn",
	"process_vm_writev",
	"personality",
};

#define NAMES_MAX 512 /* numbers of system calls */

static const char *const kinds[XB_FILTER_KINDS] = {"worker", "control", "doorman", "reader",
						   "deputy"};
static struct sock_fprog programs[XB_FILTER_KINDS];
static const char *names[NAMES_MAX];          /* by number; NULL: none */
static _Thread_local const char *confined_as; /* NULL: it is not */

/* Made by the linker. */
extern const char *const __start_xb_calls[], *const __stop_xb_calls[];

/* ---- which ---- */

static bool is_listed(const char *const *list, unsigned n, const char *name)
{
	for (unsigned i = 0; i < n; i++)
		if (!strcmp(list[i], name))
			return true;
	return false;
}

unsigned xb_filter_calls(enum xb_filter_kind kind, const char *ret_names[XB_FILTER_CALLS_MAX])
{
	size_t len = strlen(kinds[kind]);
	unsigned n = 0;

	for (const char *const *call = __start_xb_calls; call != __stop_xb_calls; call++) {
		const char *name = *call + len + 1;

		if (strncmp(*call, kinds[kind], len) != 0 || (*call)[len] != ' ' ||
		    n == XB_FILTER_CALLS_MAX || is_listed(ret_names, n, name))
			continue;
		ret_names[n++] = name;
	}
	return n;
}

/* ---- making them ---- */

static int allow(scmp_filter_ctx ctx, const char *name)
{
	int number = seccomp_syscall_resolve_name(name);

	if (number < 0) /* another architecture's, or a newer kernel's */
		return 0;
	return seccomp_rule_add(ctx, SCMP_ACT_ALLOW, number, 0);
}

static int allow_all(scmp_filter_ctx ctx, enum xb_filter_kind kind)
{
	const char *list[XB_FILTER_CALLS_MAX];
	unsigned n = xb_filter_calls(kind, list);
	int ret = 0;

	for (unsigned i = 0; !ret && i < n; i++)
		ret = allow(ctx, list[i]);
	for (size_t i = 0; !ret && SANITIZED && i < sizeof(sanitizers_calls) / sizeof(char *); i++)
		if (!is_listed(list, n, sanitizers_calls[i]))
			ret = allow(ctx, sanitizers_calls[i]);
	return ret;
}

/* Keeps the program, so that using it takes one system call and no memory. */
static int export(scmp_filter_ctx ctx, struct sock_fprog *ret_program)
{
	xb_auto_fd int fd = memfd_create("xbridge-filter", MFD_CLOEXEC);
	struct sock_filter *code;
	struct stat st;
	int ret;

	if (fd < 0)
		return -errno;
	ret = seccomp_export_bpf(ctx, fd);
	if (ret < 0)
		return ret;
	if (fstat(fd, &st) < 0)
		return -errno;
	code = malloc((size_t)st.st_size);
	if (!code)
		return -ENOMEM;
	if (pread(fd, code, (size_t)st.st_size, 0) != st.st_size) {
		free(code);
		return -EIO;
	}
	*ret_program = (struct sock_fprog){
		.len = (unsigned short)((size_t)st.st_size / sizeof(*code)), .filter = code};
	return 0;
}

static int make(enum xb_filter_kind kind)
{
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_TRAP);
	int ret;

	if (!ctx)
		return -ENOMEM;
	ret = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2); /* a binary tree */
	if (!ret)
		ret = allow_all(ctx, kind);
	if (!ret)
		ret = export(ctx, &programs[kind]);
	seccomp_release(ctx);
	return ret;
}

/* ---- what was refused ---- */

/* In the thread that made the call, wherever that was: nothing here takes memory or a lock. */
static void on_refused(int signum, siginfo_t *info, void *context)
{
	static _Atomic bool told[NAMES_MAX];
	ucontext_t *ucontext = context;
	int number = info->si_syscall;
	bool known = number >= 0 && number < NAMES_MAX;
	char text[256] = "xbridge: error: a system call was refused by the filter: ";
	ssize_t written;

	(void)signum;
	/* where a system call returns what came of it; another architecture needs its own line */
#ifdef __aarch64__
	ucontext->uc_mcontext.regs[0] = (unsigned long long)-ENOSYS;
#else
	ucontext->uc_mcontext.gregs[REG_RAX] = -ENOSYS;
#endif
	if (known && atomic_exchange(&told[number], true))
		return;
	strcat(text, known && names[number] ? names[number] : "of an unknown number");
	strcat(text, " in a ");
	strcat(text, confined_as ? confined_as : "thread");
	strcat(text, ": it fails with ENOSYS; please report that\n");
	written = write(STDERR_FILENO, text, strlen(text));
	(void)written;
}

static void name_calls(void)
{
	for (int number = 0; number < NAMES_MAX; number++)
		names[number] = seccomp_syscall_resolve_num_arch(SCMP_ARCH_NATIVE, number);
}

int xb_filter_init(struct xb_error *err)
{
	struct sigaction action = {.sa_sigaction = on_refused, .sa_flags = SA_SIGINFO | SA_NODEFER};

	if (programs[0].filter)
		return 0;
	name_calls();
	if (sigaction(SIGSYS, &action, NULL) < 0)
		return xb_fail(err, -errno, "listen for refused system calls");
	for (enum xb_filter_kind kind = 0; kind < XB_FILTER_KINDS; kind++) {
		int ret = make(kind);

		if (ret < 0)
			return xb_fail(err, ret, "make the seccomp filter of the %s", kinds[kind]);
	}
	return 0;
}

enum xb_filter_kind xb_filter_kind_of(const char *name)
{
	enum xb_filter_kind kind = 0;

	while (kind < XB_FILTER_KINDS && strcmp(kinds[kind], name) != 0)
		kind++;
	return kind;
}

int xb_filter_use(enum xb_filter_kind kind)
{
	if (confined_as)
		return 0;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &programs[kind]) < 0)
		return -errno;
	confined_as = kinds[kind];
	return 0;
}
