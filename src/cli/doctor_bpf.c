/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * BPF and AF_XDP: whether programs can be loaded, pinned, extended, and sockets opened.
 *
 * Programs are loaded to see whether the kernel takes them. None is attached to anything but to a
 * program of our own, and all are gone when their descriptors are closed.
 */
#include "cli/doctor_checks.h"
#include "core/cleanup.h"
#include "gate/bpffs.h"
#include "gate/extension.h"
#include "gate/gate.h"
#include "netdev/netdev.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/bpf.h>
#include <linux/capability.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/statvfs.h>

/* What keeps pins where others see them. */
#define START_ELSEWHERE "nsenter --net=/run/netns/NAME xbridge run …, or --bpffs PATH"

#define BTF "/sys/kernel/btf/vmlinux"

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
	if (!xb_gate_interprets())
		return;
	xb_found(checkup, XB_FINDING_FAIL,
		 "BPF programs are interpreted (net.core.bpf_jit_enable is 0), and xbridge's needs "
		 "the JIT");
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
	const char *path = xb_bpffs();
	struct statvfs fs;

	if (xb_is_bpffs(path) && access(path, R_OK | X_OK) < 0) {
		xb_found(checkup, XB_FINDING_NOTE, "mounted at %s, but not to be read here", path);
		xb_remedy(checkup, "sudo xbridge doctor");
	} else if (xb_is_bpffs(path) && statvfs(path, &fs) == 0 && fs.f_flag & ST_RDONLY) {
		xb_found(checkup, XB_FINDING_FAIL,
			 "mounted read-only at %s: programs and maps can't be pinned", path);
		xb_remedy(checkup, "mount -o remount,rw %s; in a service, ReadWritePaths=%s", path,
			  path);
	} else if (xb_is_bpffs(path) && xb_bpffs_is_private()) {
		xb_found(
			checkup, XB_FINDING_WARN,
			"that at %s is this mount namespace's own, as under `ip netns exec`: rules that "
			"drop end with the last process here, and bpftool elsewhere sees nothing",
			path);
		xb_remedy(checkup, START_ELSEWHERE);
	} else if (xb_is_bpffs(path)) {
		xb_found(checkup, XB_FINDING_OK, "mounted at %s", path);
	} else if (xb_bpffs_would_be_private()) {
		xb_found(
			checkup, XB_FINDING_WARN,
			"not mounted at %s in this mount namespace, as under `ip netns exec`: one that "
			"`run` mounts is its own, rules that drop end with the last process here, and "
			"bpftool elsewhere sees nothing",
			path);
		xb_remedy(checkup, START_ELSEWHERE);
	} else {
		if (xb_doctor_capable(CAP_SYS_ADMIN))
			xb_found(checkup, XB_FINDING_NOTE, "not mounted at %s: `run` mounts it",
				 path);
		else
			xb_found(checkup, XB_FINDING_WARN,
				 "not mounted at %s: programs and maps can't be pinned", path);
		xb_remedy(checkup, "mount -t bpf bpf %s", path);
	}
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

void xb_check_extensions(struct xb_checkup *checkup)
{
	struct xb_extensions extensions;

	if (!may_load() || !xb_doctor_capable(CAP_SYS_ADMIN)) {
		xb_found(checkup, XB_FINDING_NOTE,
			 "not tried whether XDP programs can share an interface: CAP_BPF, "
			 "CAP_NET_ADMIN and CAP_SYS_ADMIN are needed");
		xb_remedy(checkup, "sudo xbridge doctor");
		return;
	}
	libbpf_set_print(silent);
	xb_extensions_try(&extensions);
	checkup->extensions = extensions.code == 0;
	if (!extensions.code) {
		xb_found(checkup, XB_FINDING_OK,
			 "extension programs work: XDP programs can share an interface by libxdp");
		return;
	}
	xb_found(checkup, XB_FINDING_NOTE,
		 "the kernel refuses extension programs (%s: %s): one XDP program an interface, no "
		 "libxdp dispatcher",
		 extensions.step,
		 extensions.code == -KERNEL_ENOTSUPP ? "not supported"
						     : strerror(-extensions.code));
	xb_remedy(checkup, "only where XDP programs are to share an interface: %s",
		  extensions.code == -EPERM
			  ? "a kernel whose policy allows them (lockdown, security modules)"
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
	} else if (errno == EAFNOSUPPORT && !xb_netdev_has_protocol("XDP")) {
		xb_found(checkup, XB_FINDING_FAIL, "the kernel has no AF_XDP sockets");
		xb_remedy(checkup, "a kernel with CONFIG_XDP_SOCKETS has them");
	} else {
		xb_found(checkup, XB_FINDING_FAIL, "an AF_XDP socket is refused: %s",
			 strerror(errno));
		xb_remedy(checkup, "allow AF_XDP in the container's seccomp profile or the "
				   "service's RestrictAddressFamilies=");
	}
}

void xb_check_af_packet(struct xb_checkup *checkup)
{
	xb_auto_fd int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);

	if (fd >= 0) {
		xb_found(checkup, XB_FINDING_OK, "packet sockets can be opened");
	} else if (errno == EPERM && !xb_doctor_capable(CAP_NET_RAW)) {
		xb_found(checkup, XB_FINDING_NOTE,
			 "not tried to open a packet socket: CAP_NET_RAW is needed");
		xb_remedy(checkup, "sudo xbridge doctor");
	} else {
		xb_found(checkup, XB_FINDING_FAIL, "a packet socket is refused: %s",
			 strerror(errno));
		xb_remedy(checkup, "allow AF_PACKET in the container's seccomp profile or the "
				   "service's RestrictAddressFamilies=");
	}
}
