/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The doors to this host's kernel: TAP and vhost-net.
 *
 * What a TAP can do shows on one only: a child process makes it with the very code that `run` uses,
 * in a network namespace of its own (and where it is not root, in a user namespace), which ends
 * with the child.
 */
#include "cli/doctor_checks.h"
#include "core/cleanup.h"
#include "core/offload.h"
#include "vhost/kernel.h"
#include "vhost/tap.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/if_tun.h>
#include <linux/vhost.h>
#include <linux/virtio_config.h>
#include <linux/virtio_net.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define TUN_PATH       "/dev/net/tun"
#define ZERO_COPY_PATH "/sys/module/vhost_net/parameters/experimental_zcopytx"
#define REGIONS_PATH   "/sys/module/vhost/parameters/max_mem_regions"

/* ---- TAP ---- */

/* What the child tells: plain data through a pipe. */
struct trial {
	int namespace_code; /* why there was no namespace to try it in, -errno; else 0 */
	int tap_code;       /* why there was no TAP */
	int steer_code;     /* why no steering program */
	uint32_t takes;     /* XB_TAKES_… it does both ways */
	struct xb_error err;
};

static int enter_own_namespace(void)
{
	int flags = xb_doctor_capable(CAP_SYS_ADMIN) ? CLONE_NEWNET : CLONE_NEWUSER | CLONE_NEWNET;

	return unshare(flags) < 0 ? -errno : 0;
}

static void try_tap(struct trial *trial)
{
	const struct xb_tap_options options = {.ifname = "xbdoctor", .queues = 2};
	struct xb_tap tap = {0};

	trial->namespace_code = enter_own_namespace();
	if (trial->namespace_code)
		return;
	trial->tap_code = xb_tap_init(&tap, &options, &trial->err);
	if (trial->tap_code)
		return;
	trial->takes = tap.takes;
	trial->steer_code = xb_tap_steer_to(&tap, 1);
	xb_tap_fini(&tap);
}

/* Returns 0, or -errno where no child could be had. */
static int try_tap_in_child(struct trial *ret_trial)
{
	struct trial trial = {0};
	ssize_t got;
	pid_t pid;
	int fds[2];

	if (pipe2(fds, O_CLOEXEC) < 0)
		return -errno;
	pid = fork();
	if (pid == 0) {
		try_tap(&trial);
		got = write(fds[1], &trial, sizeof(trial));
		_exit(got == (ssize_t)sizeof(trial) ? 0 : 1);
	}
	close(fds[1]);
	if (pid < 0) {
		close(fds[0]);
		return -EAGAIN;
	}
	got = read(fds[0], &trial, sizeof(trial));
	close(fds[0]);
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	if (got != (ssize_t)sizeof(trial))
		return -EIO;
	*ret_trial = trial;
	return 0;
}

static void say_steering(struct xb_checkup *checkup, const struct trial *trial)
{
	if (!trial->steer_code)
		return;
	if (trial->steer_code == -EPERM && !xb_doctor_capable(CAP_BPF)) {
		xb_found(checkup, XB_FINDING_NOTE,
			 "not tried to steer flows off a TAP queue: CAP_BPF is needed");
		xb_remedy(checkup, "sudo xbridge doctor");
		return;
	}
	xb_found(
		checkup, XB_FINDING_NOTE,
		"flows can't be steered off a TAP queue (%s): fewer queues lose what the last ones "
		"hold",
		strerror(-trial->steer_code));
	xb_remedy(checkup, "xbridge run --queues N with a number that stays");
}

static void say_trial(struct xb_checkup *checkup, const struct trial *trial)
{
	uint32_t usual = XB_TAKES_CSUM | XB_TAKES_TSO4 | XB_TAKES_TSO6;

	if (trial->namespace_code) {
		xb_found(checkup, XB_FINDING_NOTE,
			 "several queues and virtio-net headers; offloads not tried: no namespace "
			 "to make a TAP in (%s)",
			 strerror(-trial->namespace_code));
		xb_remedy(checkup, "sudo xbridge doctor");
	} else if (trial->tap_code) {
		char text[sizeof(struct xb_error)];

		xb_found(checkup, XB_FINDING_FAIL, "no TAP can be made: %.300s",
			 xb_error_text(&trial->err, text, sizeof(text)));
		xb_remedy(checkup, "give it to xbridge ready made: --tap-fd");
	} else if ((trial->takes & usual) != usual) {
		xb_found(checkup, XB_FINDING_NOTE,
			 "TAPs work, without all of checksum and TCP "
			 "segmentation offload");
		xb_remedy(checkup, "a kernel of 6.1 or later has them");
	} else if (trial->takes & XB_TAKES_USO) {
		xb_found(checkup, XB_FINDING_OK,
			 "TAPs: several queues, checksum, TCP and UDP segmentation offload");
	} else {
		xb_found(checkup, XB_FINDING_OK,
			 "TAPs: several queues, checksum and TCP segmentation offload (UDP "
			 "segmentation came with 6.2)");
	}
	if (!trial->namespace_code && !trial->tap_code)
		say_steering(checkup, trial);
}

/* Returns whether there is a device to try things on. */
static bool open_tun(struct xb_checkup *checkup)
{
	xb_auto_fd int fd = open(TUN_PATH, O_RDWR | O_CLOEXEC);
	unsigned features = 0;
	int code = errno;

	if (fd >= 0) {
		unsigned needed = IFF_TAP | IFF_VNET_HDR | IFF_MULTI_QUEUE | IFF_NO_PI;

		if (ioctl(fd, TUNGETFEATURES, &features) == 0 && (features & needed) == needed)
			return true;
		xb_found(checkup, XB_FINDING_FAIL,
			 TUN_PATH " has no TAPs with several queues and virtio-net headers");
		xb_remedy(checkup, "boot a kernel of 6.1 or later");
	} else if (code == EACCES || code == EPERM) {
		xb_found(checkup, XB_FINDING_WARN, TUN_PATH " can't be opened here: %s",
			 strerror(code));
		xb_remedy(checkup, "sudo xbridge …, or hand a TAP in with --tap-fd");
	} else {
		xb_found(checkup, XB_FINDING_FAIL, "no " TUN_PATH ": %s", strerror(code));
		xb_remedy(checkup, "modprobe tun; for a container: --device " TUN_PATH);
	}
	return false;
}

void xb_check_tap(struct xb_checkup *checkup)
{
	struct trial trial;
	int ret;

	if (!open_tun(checkup))
		return;
	ret = try_tap_in_child(&trial);
	if (ret < 0) {
		trial = (struct trial){.namespace_code = ret};
		say_trial(checkup, &trial);
		return;
	}
	say_trial(checkup, &trial);
}

/* ---- vhost-net ---- */

static void say_no_vhost(struct xb_checkup *checkup, int code)
{
	if (code == ENOENT || code == ENODEV || code == ENXIO) {
		xb_found(checkup, XB_FINDING_NOTE,
			 "no " XB_VHOST_NET_PATH ": xbridge uses the TAP itself, with more system "
			 "calls and a copy");
		xb_remedy(checkup,
			  "modprobe vhost_net; for a container: --device " XB_VHOST_NET_PATH);
		return;
	}
	xb_found(checkup, XB_FINDING_NOTE,
		 XB_VHOST_NET_PATH " can't be opened here (%s): xbridge would use the TAP itself",
		 strerror(code));
	xb_remedy(checkup, "sudo xbridge …, setfacl -m u:USER:rw " XB_VHOST_NET_PATH
			   ", or hand it in with --vhost-fd");
}

static void say_parameters(struct xb_checkup *checkup)
{
	long value;

	if (xb_doctor_number(REGIONS_PATH, &value) == 0 && value < 2) {
		xb_found(checkup, XB_FINDING_WARN, "vhost takes %ld memory region", value);
		xb_remedy(checkup,
			  "modprobe -r vhost_net vhost; modprobe vhost max_mem_regions=64");
	}
	if (xb_doctor_number(ZERO_COPY_PATH, &value) == 0 && value) {
		xb_found(checkup, XB_FINDING_NOTE,
			 "vhost-net sends without a copy (experimental_zcopytx): frames come back "
			 "only when their last reader has let go of them");
		xb_remedy(checkup,
			  "modprobe -r vhost_net; modprobe vhost_net experimental_zcopytx=0");
	}
}

void xb_check_vhost_net(struct xb_checkup *checkup)
{
	xb_auto_fd int fd = open(XB_VHOST_NET_PATH, O_RDWR | O_CLOEXEC);
	uint64_t features;
	long regions = 64; /* the module's default, where it doesn't tell */

	if (fd < 0) {
		say_no_vhost(checkup, errno);
		return;
	}
	if (ioctl(fd, VHOST_GET_FEATURES, &features) < 0) {
		xb_found(checkup, XB_FINDING_WARN, XB_VHOST_NET_PATH " is no vhost-net: %s",
			 strerror(errno));
		xb_remedy(checkup, "xbridge run --tap");
		return;
	}
	if (!(features >> VIRTIO_F_VERSION_1 & 1)) {
		xb_found(checkup, XB_FINDING_WARN,
			 "vhost-net without VIRTIO_F_VERSION_1 (features %#llx) is of no use",
			 (unsigned long long)features);
		xb_remedy(checkup, "xbridge run --tap");
		return;
	}
	xb_doctor_number(REGIONS_PATH, &regions);
	xb_found(checkup, XB_FINDING_OK, "vhost-net: features %#llx%s, %ld memory regions",
		 (unsigned long long)features,
		 features >> VIRTIO_NET_F_MRG_RXBUF & 1 ? ", receive buffers merge" : "", regions);
	say_parameters(checkup);
}
