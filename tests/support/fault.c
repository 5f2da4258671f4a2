/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A library to be preloaded (LD_PRELOAD) into a program under test: the Nth call of one function
 * fails, once, with a given errno and without having done anything. All else goes on to the C
 * library, which is counted.
 *
 * The test and the program share a file, named by XB_FAULT, that holds a struct board: the test
 * arms it whenever it wants to, and reads what was called and what failed. The program's children
 * share it too. After the start nothing here makes a system call, so that a program may forbid
 * itself what it likes.
 *
 * All functions here take no more than six arguments, each an integer or a pointer: so one
 * prototype does for all of them (x86-64: all are in registers). What liburing does with
 * io_uring it does in place, not by a function of the C library, and isn't seen here.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef __x86_64__
#error "the calling convention of x86-64 is relied upon"
#endif

#define NAME_BYTES  24u
#define PLACE_BYTES 128u

/* What a failed call returns. */
enum failure {
	MINUS_ONE, /* and errno */
	NOTHING,   /* NULL, and errno */
	NUMBER,    /* the errno itself */
	AFTER,     /* -1 and errno, but it is done: close(2) closes whatever it returns */
};

/* clang-format off */
#define CALLS(X)                                                                          \
	X(accept4, MINUS_ONE) X(access, MINUS_ONE) X(aligned_alloc, NOTHING)              \
	X(bind, MINUS_ONE) X(calloc, NOTHING) X(close, AFTER) X(close_range, MINUS_ONE)   \
	X(connect, MINUS_ONE) X(dup, MINUS_ONE) X(dup2, MINUS_ONE) X(dup3, MINUS_ONE)     \
	X(epoll_create1, MINUS_ONE) X(epoll_ctl, MINUS_ONE) X(epoll_wait, MINUS_ONE)      \
	X(eventfd, MINUS_ONE) X(fclose, AFTER) X(fcntl, MINUS_ONE) X(fcntl64, MINUS_ONE)  \
	X(fflush, MINUS_ONE) X(fgets, NOTHING) X(flock, MINUS_ONE) X(fmemopen, NOTHING)   \
	X(fopen, NOTHING) X(fopen64, NOTHING) X(fork, MINUS_ONE) X(fstat, MINUS_ONE)      \
	X(ftruncate, MINUS_ONE) X(getdelim, MINUS_ONE) X(getrandom, MINUS_ONE)            \
	X(getrlimit, MINUS_ONE) X(getsockname, MINUS_ONE) X(getsockopt, MINUS_ONE)        \
	X(if_indextoname, NOTHING) X(if_nametoindex, NOTHING) X(ioctl, MINUS_ONE)         \
	X(listen, MINUS_ONE) X(malloc, NOTHING) X(memfd_create, MINUS_ONE)                \
	X(mkdir, MINUS_ONE) X(mmap, MINUS_ONE) X(mmap64, MINUS_ONE) X(mount, MINUS_ONE)   \
	X(nanosleep, MINUS_ONE) X(open, MINUS_ONE) X(open64, MINUS_ONE)                   \
	X(open_memstream, NOTHING) X(opendir, NOTHING) X(pipe2, MINUS_ONE)                \
	X(poll, MINUS_ONE) X(prctl, MINUS_ONE) X(pthread_create, NUMBER)                  \
	X(pwritev2, MINUS_ONE) X(read, MINUS_ONE) X(readdir, NOTHING)                     \
	X(readdir64, NOTHING) X(readv, MINUS_ONE) X(realloc, NOTHING) X(recv, MINUS_ONE)  \
	X(recvfrom, MINUS_ONE) X(recvmmsg, MINUS_ONE) X(recvmsg, MINUS_ONE)               \
	X(rename, MINUS_ONE) X(rmdir, MINUS_ONE) X(sched_getaffinity, MINUS_ONE)          \
	X(sched_setaffinity, MINUS_ONE) X(send, MINUS_ONE) X(sendmmsg, MINUS_ONE)         \
	X(sendmsg, MINUS_ONE) X(sendto, MINUS_ONE) X(setns, MINUS_ONE)                    \
	X(setrlimit, MINUS_ONE) X(setsockopt, MINUS_ONE) X(signalfd, MINUS_ONE)           \
	X(socket, MINUS_ONE) X(socketpair, MINUS_ONE) X(stat, MINUS_ONE)                  \
	X(stat64, MINUS_ONE) X(statfs, MINUS_ONE) X(statfs64, MINUS_ONE)                  \
	X(syscall, MINUS_ONE) X(timerfd_create, MINUS_ONE) X(timerfd_settime, MINUS_ONE)  \
	X(uname, MINUS_ONE) X(unlink, MINUS_ONE) X(unshare, MINUS_ONE)                    \
	X(waitpid, MINUS_ONE) X(write, MINUS_ONE) X(writev, MINUS_ONE)
/* clang-format on */

#define INDEX(name, failure) CALL_##name,
enum { CALLS(INDEX) CALLS_N };

/* tests/e2e/fault.py knows it, too. */
struct board {
	_Atomic uint32_t n;      /* names; set last, when all is there */
	_Atomic uint32_t armed;  /* which of them is to fail, from 1 on; 0: none */
	_Atomic int32_t left;    /* … at which call from now on */
	_Atomic int32_t error;   /* … with this errno */
	_Atomic uint32_t fired;  /* how often that has happened */
	uint32_t unused;         /* keeps what follows aligned */
	char place[PLACE_BYTES]; /* who called: FILE+OFFSET */
	struct {
		char name[NAME_BYTES];
		_Atomic uint64_t calls;
	} call[CALLS_N];
};

typedef long generic(long, long, long, long, long, long, long);

static struct board unused; /* until there is a shared one, or without */
static struct board *board = &unused;
static generic *real[CALLS_N];

static generic *find(unsigned i, const char *name)
{
	if (!real[i])
		real[i] = (generic *)dlsym(RTLD_NEXT, name);
	return real[i];
}

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

/* Whether this call is the one. The C library's own memory doesn't fail, nor libseccomp's, but the
 * next call's does: in Debian 12 both read what they have not got (the former in its name service).
 */
static int falls(unsigned i, const void *caller)
{
	Dl_info info = {0};
	const char *file = "";

	atomic_fetch_add_explicit(&board->call[i].calls, 1, memory_order_relaxed);
	if (atomic_load(&board->armed) != i + 1 || atomic_fetch_sub(&board->left, 1) != 1)
		return 0;
	if (dladdr(caller, &info) && info.dli_fname)
		file = base_name(info.dli_fname);
	if ((i == CALL_malloc || i == CALL_calloc || i == CALL_realloc) &&
	    (!strncmp(file, "libc.so", 7) || !strncmp(file, "libseccomp.so", 13))) {
		atomic_store(&board->left, 1);
		return 0;
	}
	snprintf(board->place, sizeof(board->place), "%s+0x%lx", file,
		 (unsigned long)((const char *)caller - (const char *)info.dli_fbase));
	atomic_fetch_add(&board->fired, 1);
	return 1;
}

static long fail(enum failure failure)
{
	errno = atomic_load(&board->error);
	return failure == NOTHING ? 0 : failure == NUMBER ? errno : -1;
}

#define WRAPPER(name, failure)                                                                    \
	long fault_##name(long a, long b, long c, long d, long e, long f, long g) __asm__(#name); \
	__attribute__((visibility("default"))) long fault_##name(long a, long b, long c, long d,  \
								 long e, long f, long g)          \
	{                                                                                         \
		if (falls(CALL_##name, __builtin_return_address(0))) {                            \
			if (failure == AFTER)                                                     \
				find(CALL_##name, #name)(a, b, c, d, e, f, g);                    \
			return fail(failure);                                                     \
		}                                                                                 \
		return find(CALL_##name, #name)(a, b, c, d, e, f, g);                             \
	}

CALLS(WRAPPER)

__attribute__((constructor)) static void start(void)
{
	static const char *const names[] = {
#define NAME(name, failure) #name,
		CALLS(NAME)};
	const char *path = getenv("XB_FAULT");
	int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
	void *shared;

	if (fd < 0)
		return;
	shared = mmap(NULL, sizeof(*board), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (shared == MAP_FAILED)
		return;
	for (unsigned i = 0; i < CALLS_N; i++) {
		find(i, names[i]);
		snprintf(((struct board *)shared)->call[i].name, NAME_BYTES, "%s", names[i]);
	}
	board = shared;
	atomic_store(&board->n, CALLS_N);
}
