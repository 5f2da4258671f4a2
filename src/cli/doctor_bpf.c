/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * BPF and AF_XDP: whether programs can be loaded, pinned, extended, and sockets opened.
 *
 * Programs are loaded to see whether the kernel takes them. None is attached to anything but to a
 * program of our own, and all are gone when their descriptors are closed.
 */
#include "cli/doctor_checks.h"
#include "core/cleanup.h"

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/bpf.h>
#include <linux/capability.h>
#include <linux/magic.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/vfs.h>

#define BPFFS "/sys/fs/bpf"
#define BTF   "/sys/kernel/btf/vmlinux"

/* The kernel's own ENOTSUPP, which no header of userspace has. */
#define KERNEL_ENOTSUPP 524

static bool may_load(void)
{
	return xb_doctor_capable(CAP_BPF) && xb_doctor_capable(CAP_NET_ADMIN);
}

/* ---- loading at all ---- */

static int silent(enum libbpf_print_level level, const char *fmt, va_list args)
{
	(void)level;
	(void)fmt;
	(void)args;
	return 0;
}

/* Returns a descriptor or -errno. */
static int load_xdp(void)
{
	const struct bpf_insn pass[] = {
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = XDP_PASS},
		{.code = BPF_JMP | BPF_EXIT},
	};

	return bpf_prog_load(BPF_PROG_TYPE_XDP, "xb_doctor", "Dual BSD/GPL", pass,
			     sizeof(pass) / sizeof(pass[0]), NULL);
}

static void check_jit(struct xb_checkup *checkup)
{
	long jit;

	if (xb_doctor_number("/proc/sys/net/core/bpf_jit_enable", &jit) < 0 || jit)
		return;
	xb_found(checkup, XB_FINDING_WARN,
		 "BPF programs are interpreted: XDP is several times slower");
	xb_remedy(checkup, "sysctl -w net.core.bpf_jit_enable=1");
}

static void check_unprivileged(struct xb_checkup *checkup)
{
	long value;

	if (xb_doctor_number("/proc/sys/kernel/unprivileged_bpf_disabled", &value) < 0 || value)
		return;
	xb_found(checkup, XB_FINDING_NOTE,
		 "any user may load BPF programs; xbridge doesn't need it");
	xb_remedy(checkup, "sysctl -w kernel.unprivileged_bpf_disabled=2");
}

void xb_check_bpf(struct xb_checkup *checkup)
{
	xb_auto_fd int fd = -1;

	libbpf_set_print(silent);
	fd = load_xdp();
	if (fd >= 0) {
		xb_found(checkup, XB_FINDING_OK, "XDP programs can be loaded");
	} else if (!may_load()) {
		xb_found(checkup, XB_FINDING_NOTE,
			 "not tried to load an XDP program: CAP_BPF and CAP_NET_ADMIN are needed");
		xb_remedy(checkup, "sudo xbridge doctor");
	} else {
		xb_found(checkup, XB_FINDING_FAIL, "the kernel refuses an XDP program: %s",
			 strerror(-fd));
		xb_remedy(checkup, "%s",
			  fd == -ENOSYS || fd == -EINVAL
				  ? "a kernel with CONFIG_BPF_SYSCALL has it"
				  : "a container's seccomp profile or the kernel's lockdown "
				    "(/sys/kernel/security/lockdown) forbids it: allow bpf()");
	}
	check_jit(checkup);
	check_unprivileged(checkup);
}

void xb_check_bpffs(struct xb_checkup *checkup)
{
	struct statfs fs;

	if (statfs(BPFFS, &fs) == 0 && (unsigned long)fs.f_type == BPF_FS_MAGIC) {
		if (access(BPFFS, R_OK | X_OK) == 0) {
			xb_found(checkup, XB_FINDING_OK, "mounted at " BPFFS);
			return;
		}
		xb_found(checkup, XB_FINDING_NOTE, "mounted at " BPFFS ", but not to be read here");
		xb_remedy(checkup, "sudo xbridge doctor");
		return;
	}
	if (xb_doctor_capable(CAP_SYS_ADMIN))
		xb_found(checkup, XB_FINDING_NOTE,
			 "not mounted at " BPFFS ": `run` mounts it, `ip netns exec` hides it");
	else
		xb_found(checkup, XB_FINDING_WARN,
			 "not mounted at " BPFFS ": programs and maps can't be pinned");
	xb_remedy(checkup, "mount -t bpf bpf " BPFFS);
}

void xb_check_btf(struct xb_checkup *checkup)
{
	if (access(BTF, R_OK) == 0) {
		xb_found(checkup, XB_FINDING_OK, "the kernel has type information (" BTF ")");
		return;
	}
	xb_found(checkup, XB_FINDING_NOTE,
		 "no " BTF ": xbridge doesn't need it, tools that look into the kernel do");
	xb_remedy(checkup, "a kernel with CONFIG_DEBUG_INFO_BTF has it");
}

/* ---- extension programs ---- */

/* Type ids in the BTF of our two programs: main and slot, both int (struct xdp_md *). */
struct types {
	int btf_fd;
	int main_id;
	int slot_id;
};

/* Makes and loads the types. Returns 0 or -errno. */
static int make_types(struct types *ret_types)
{
	struct btf *btf = btf__new_empty();
	struct types types;
	const void *raw;
	__u32 raw_bytes;
	int number, context, pointer, prototype;

	if (!btf)
		return -ENOMEM;
	number = btf__add_int(btf, "int", sizeof(int), BTF_INT_SIGNED);
	context = btf__add_struct(btf, "xdp_md", sizeof(struct xdp_md));
	pointer = btf__add_ptr(btf, context);
	prototype = btf__add_func_proto(btf, number);
	btf__add_func_param(btf, "ctx", pointer);
	types.main_id = btf__add_func(btf, "xb_main", BTF_FUNC_GLOBAL, prototype);
	types.slot_id = btf__add_func(btf, "xb_slot", BTF_FUNC_GLOBAL, prototype);
	raw = btf__raw_data(btf, &raw_bytes);
	types.btf_fd = raw && types.slot_id > 0 ? bpf_btf_load(raw, raw_bytes, NULL) : -ENOMEM;
	btf__free(btf);
	if (types.btf_fd < 0)
		return types.btf_fd;
	*ret_types = types;
	return 0;
}

/* A program with a function that can be replaced, as libxdp's dispatcher has them. */
static int load_target(const struct types *types)
{
	const struct bpf_insn code[] = {
		{.code = BPF_JMP | BPF_CALL, .src_reg = BPF_PSEUDO_CALL, .imm = 1},
		{.code = BPF_JMP | BPF_EXIT},
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = XDP_PASS},
		{.code = BPF_JMP | BPF_EXIT},
	};
	const struct bpf_func_info functions[] = {
		{.insn_off = 0, .type_id = (__u32)types->main_id},
		{.insn_off = 2, .type_id = (__u32)types->slot_id},
	};
	LIBBPF_OPTS(bpf_prog_load_opts, opts, .prog_btf_fd = (__u32)types->btf_fd,
		    .func_info = functions, .func_info_rec_size = sizeof(functions[0]),
		    .func_info_cnt = 2);

	return bpf_prog_load(BPF_PROG_TYPE_XDP, "xb_doctor", "Dual BSD/GPL", code,
			     sizeof(code) / sizeof(code[0]), &opts);
}

static int load_extension(const struct types *types, int target_fd)
{
	const struct bpf_insn code[] = {
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = XDP_DROP},
		{.code = BPF_JMP | BPF_EXIT},
	};
	const struct bpf_func_info function = {.insn_off = 0, .type_id = (__u32)types->slot_id};
	LIBBPF_OPTS(bpf_prog_load_opts, opts, .prog_btf_fd = (__u32)types->btf_fd,
		    .func_info = &function, .func_info_rec_size = sizeof(function),
		    .func_info_cnt = 1, .attach_prog_fd = (__u32)target_fd,
		    .attach_btf_id = (__u32)types->slot_id);

	return bpf_prog_load(BPF_PROG_TYPE_EXT, "xb_doctor", "Dual BSD/GPL", code,
			     sizeof(code) / sizeof(code[0]), &opts);
}

/* Replaces the function of a program of ours by another one. Returns 0, or -errno with what was
 * refused in `ret_step`. */
static int try_extension(const char **ret_step)
{
	struct types types;
	xb_auto_fd int btf_fd = -1;
	xb_auto_fd int target_fd = -1;
	xb_auto_fd int extension_fd = -1;
	xb_auto_fd int link_fd = -1;
	int ret = make_types(&types);

	*ret_step = "loading types";
	if (ret < 0)
		return ret;
	btf_fd = types.btf_fd;
	*ret_step = "loading a program with types";
	target_fd = load_target(&types);
	if (target_fd < 0)
		return target_fd;
	*ret_step = "loading";
	extension_fd = load_extension(&types, target_fd);
	if (extension_fd < 0)
		return extension_fd;
	*ret_step = "attaching";
	link_fd = bpf_raw_tracepoint_open(NULL, extension_fd);
	return link_fd < 0 ? link_fd : 0;
}

void xb_check_extensions(struct xb_checkup *checkup)
{
	const char *step;
	int ret;

	if (!may_load() || !xb_doctor_capable(CAP_PERFMON)) {
		xb_found(checkup, XB_FINDING_NOTE,
			 "not tried whether XDP programs can share an interface: CAP_BPF, "
			 "CAP_NET_ADMIN and CAP_PERFMON are needed");
		xb_remedy(checkup, "sudo xbridge doctor");
		return;
	}
	libbpf_set_print(silent);
	ret = try_extension(&step);
	checkup->extensions = ret == 0;
	if (!ret) {
		xb_found(checkup, XB_FINDING_OK,
			 "extension programs work: XDP programs can share an interface by libxdp");
		return;
	}
	xb_found(checkup, XB_FINDING_NOTE,
		 "the kernel refuses extension programs (%s: %s): one XDP program an interface, no "
		 "libxdp dispatcher",
		 step, ret == -KERNEL_ENOTSUPP ? "not supported" : strerror(-ret));
	xb_remedy(checkup, "only where XDP programs are to share an interface: %s",
		  ret == -EPERM ? "a kernel whose policy allows them (lockdown, security modules)"
				: "a kernel with CONFIG_BPF_JIT and "
				  "CONFIG_DYNAMIC_FTRACE_WITH_DIRECT_CALLS");
}

/* ---- AF_XDP ---- */

void xb_check_af_xdp(struct xb_checkup *checkup)
{
	xb_auto_fd int fd = socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0);

	if (fd >= 0) {
		xb_found(checkup, XB_FINDING_OK, "AF_XDP sockets can be opened");
	} else if (errno == EPERM && !xb_doctor_capable(CAP_NET_RAW)) {
		xb_found(checkup, XB_FINDING_NOTE,
			 "not tried to open an AF_XDP socket: CAP_NET_RAW "
			 "is needed");
		xb_remedy(checkup, "sudo xbridge doctor");
	} else if (errno == EAFNOSUPPORT) {
		xb_found(checkup, XB_FINDING_FAIL, "the kernel has no AF_XDP sockets");
		xb_remedy(checkup, "a kernel with CONFIG_XDP_SOCKETS has them");
	} else {
		xb_found(checkup, XB_FINDING_FAIL, "an AF_XDP socket is refused: %s",
			 strerror(errno));
		xb_remedy(checkup, "allow AF_XDP in the container's seccomp profile or the "
				   "service's RestrictAddressFamilies=");
	}
}
