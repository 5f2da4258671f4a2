/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory. A TAP is known to the kernel by its name in a network namespace; a queue of it is a file
 * that was opened on /dev/net/tun in that namespace and attached with TUNSETIFF. The namespace
 * counts at the moment of the open only, so the thread visits it for that, and for the socket which
 * the SIOC… requests need, and for nothing else. The interface may be moved to another one later:
 * it is asked where it lies before something is opened there (tap_where.c).
 *
 * Whether an interface is there, of which kind, and held by whom is asked of rtnetlink before
 * it is touched: TUNSETIFF would gladly join a multi-queue TAP that another program uses, and take
 * away a part of its flows. One that is not there is made with IFF_TUN_EXCL, so that two programs
 * can't both believe that they made it.
 *
 * Queues keep their numbers: the kernel fills the gap of a detached queue with the last one, hence
 * queues are detached from the highest down and attached from the lowest up.
 *
 * Descriptors that were handed in are treated with requests that need no privilege. One that is
 * not in use is detached (TUNSETQUEUE) and kept, since nobody could open it again.
 */
#include "vhost/tap.h"

#include "core/cleanup.h"
#include "vhost/tap_admin.h"
#include "vhost/tap_link.h"
#include "vhost/tap_parts.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/filter.h>
#include <linux/if_tun.h>
#include <linux/kcmp.h>
#include <linux/major.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define TUN_PATH  "/dev/net/tun"
#define TUN_MINOR 200 /* of MISC_MAJOR (Documentation/admin-guide/devices.txt) */

#define QUEUE_FLAGS (IFF_TAP | IFF_NO_PI | IFF_VNET_HDR)

/* ---- checks and errors ---- */

static int check_name(const char *name, struct xb_error *err)
{
	int ret;

	if (!name || !name[0])
		return xb_refuse(err, -EINVAL, "the TAP's name is empty");
	if (strlen(name) >= IFNAMSIZ) {
		ret = xb_refuse(err, -EINVAL, "the TAP's name '%.40s' is too long", name);
		xb_hint(err, "an interface's name has at most %d characters", IFNAMSIZ - 1);
		return ret;
	}
	if (strpbrk(name, "/:% \t\n\r\v\f") || !strcmp(name, ".") || !strcmp(name, "..")) {
		ret = xb_refuse(err, -EINVAL, "'%s' can't be the name of a TAP", name);
		xb_hint(err, "a name can't contain blanks, '/', ':' or '%%'");
		return ret;
	}
	return 0;
}

static int check_options(const struct xb_tap_options *options, struct xb_error *err)
{
	if (!options->queues || options->queues > XB_TAP_QUEUES_MAX)
		return xb_refuse(err, -EINVAL, "%u queues: a TAP has 1 to %u", options->queues,
				 XB_TAP_QUEUES_MAX);
	if (!options->fds)
		return check_name(options->ifname, err);
	if (!options->n_fds || options->n_fds > XB_TAP_QUEUES_MAX)
		return xb_refuse(err, -EINVAL, "%u TAP queues were handed in: 1 to %u are possible",
				 options->n_fds, XB_TAP_QUEUES_MAX);
	if (options->queues > options->n_fds) {
		int ret = xb_refuse(err, -EINVAL,
				    "%u queues were asked for, but %u TAP descriptors handed in",
				    options->queues, options->n_fds);

		xb_hint(err, "each queue needs a descriptor of its own");
		return ret;
	}
	if (options->mac || options->mtu)
		return xb_refuse(
			err, -EINVAL,
			"the MAC address and MTU of a TAP that was handed in can't be set");
	return 0;
}

static int fail_open(struct xb_error *err, int code)
{
	xb_fail(err, code, "open " TUN_PATH);
	if (code == -ENOENT || code == -ENODEV || code == -ENXIO)
		xb_hint(err, "`modprobe tun`; in a container also pass the device in "
			     "(--device " TUN_PATH ")");
	else if (code == -EACCES || code == -EPERM)
		xb_hint(err, "it needs access to " TUN_PATH ", or a TAP queue handed in with "
			     "--tap-fd");
	return code;
}

static int fail_attach(struct xb_error *err, int code, const char *name)
{
	xb_fail(err, code, "attach to the TAP %s (TUNSETIFF)", name);
	if (code == -EPERM)
		xb_hint(err, "it needs CAP_NET_ADMIN, or a TAP queue handed in with --tap-fd");
	else if (code == -EBUSY)
		xb_hint(err, "another program holds it: stop that, or choose another name");
	else if (code == -E2BIG)
		xb_hint(err, "a TAP has at most %u queues", XB_TAP_QUEUES_MAX);
	return code;
}

/* What an existing interface is good for. */
static int check_found(const struct xb_tap_link *link, const char *name, unsigned queues,
		       struct xb_error *err)
{
	int ret;

	if (!link->tap) {
		ret = xb_refuse(err, -EINVAL, "the interface %s exists and is not a TAP", name);
		xb_hint(err, "choose another name; a macvtap can be handed in with --tap-fd");
		return ret;
	}
	if (link->multi_queue && link->held)
		return fail_attach(err, -EBUSY, name);
	if (!link->multi_queue && queues > 1) {
		ret = xb_refuse(err, -EINVAL, "the TAP %s exists and has a single queue", name);
		xb_hint(err,
			"use one queue, or delete it, or make it with `ip tuntap add %s mode "
			"tap multi_queue`",
			name);
		return ret;
	}
	return 0;
}

/* ---- queues ---- */

/* Sets a number, and reads it back: what the kernel has taken is what counts. A macvtap can't be
 * asked for its send buffer. */
static int set_number(int fd, unsigned long set, unsigned long get, int value, const char *name,
		      struct xb_error *err)
{
	int got = value;

	if (ioctl(fd, set, &got) < 0)
		return xb_fail(err, -errno, "TUNSET%s on the TAP", name);
	if (ioctl(fd, get, &got) < 0 && errno != EINVAL && errno != ENOTTY)
		return xb_fail(err, -errno, "TUNGET%s on the TAP", name);
	if (got != value)
		return xb_refuse(err, -EPROTO, "the TAP has taken TUNSET%s with %d, and has %d",
				 name, value, got);
	return 0;
}

/* Header, byte order and send buffer: of the device for a TAP, of each queue for a macvtap. */
static int set_up_queue(int fd, struct xb_error *err)
{
	int flags = fcntl(fd, F_GETFL);
	int little = 1;
	int ret;

	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ||
	    fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
		return xb_fail(err, -errno, "make the TAP queue non-blocking");
	ret = set_number(fd, TUNSETVNETHDRSZ, TUNGETVNETHDRSZ, XB_TAP_HDR_BYTES, "VNETHDRSZ", err);
	if (ret < 0)
		return ret;
	if (ioctl(fd, TUNSETVNETLE, &little) < 0)
		return xb_fail(err, -errno, "TUNSETVNETLE on the TAP");
	return set_number(fd, TUNSETSNDBUF, TUNGETSNDBUF, INT_MAX, "SNDBUF", err);
}

/* Opens a queue file in the namespace and, in passing, whatever `visit` wants to be done there. */
static int open_file(int netns_fd, int (*visit)(void *arg, struct xb_error *err), void *arg,
		     int *ret_fd, struct xb_error *err)
{
	xb_auto_fd int fd = -1;
	int home, ret, left;

	ret = xb_netns_enter(netns_fd, &home, err);
	if (ret < 0)
		return ret;
	fd = open(TUN_PATH, O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		ret = fail_open(err, -errno);
	else if (visit)
		ret = visit(arg, err);
	left = xb_netns_leave(home, err);
	if (ret < 0 || left < 0)
		return ret < 0 ? ret : left;
	*ret_fd = XB_TAKE_FD(fd);
	return 0;
}

static int attach(int fd, const char *name, unsigned flags, struct xb_error *err)
{
	struct ifreq req = {.ifr_flags = (short)flags};
	int ret;

	memcpy(req.ifr_name, name, strlen(name) + 1);
	ret = xb_tap_admin_request(fd, TUNSETIFF, &req);
	if (ret < 0)
		return fail_attach(err, ret, name);
	return set_up_queue(fd, err);
}

/* What a look into the TAP's namespace brings: what is known of the link, and a socket that stays
 * there. */
struct look {
	const char *name;
	struct xb_tap_link link;
	int ctl_fd;
};

static int find_link(void *arg, struct xb_error *err)
{
	struct look *look = arg;
	int ret = xb_tap_link_find(look->name, &look->link);

	return ret < 0 ? xb_fail(err, ret, "ask netlink for the interface %s", look->name) : 0;
}

/* A file for one more queue. Name and namespace may have changed, and TUNSETIFF would make an
 * interface of that name where there is none. */
static int open_where_it_lies(struct xb_tap *tap, struct ifreq *ret_req, int *ret_fd,
			      struct xb_error *err)
{
	struct look look = {.name = ret_req->ifr_name};
	xb_auto_fd int fd = -1;
	int ret;

	xb_tap_follow(tap);
	ret = xb_tap_request(tap, ret_req);
	if (ret < 0)
		return xb_fail(err, ret, "open another queue of the TAP %s", tap->name);
	ret = open_file(tap->netns_fd, find_link, &look, &fd, err);
	if (ret == -EPERM && tap->netns_fd >= 0) {
		xb_fail(err, ret, "open another queue of %s in the network namespace where it lies",
			tap->name);
		xb_hint(err, "an xbridge that was started with --netns keeps CAP_SYS_ADMIN, and "
			     "may go there; others may not");
	}
	if (ret < 0)
		return ret;
	if (!look.link.tap)
		return xb_fail(err, -ENODEV, "open another queue of the TAP %s: it is not there",
			       ret_req->ifr_name);
	*ret_fd = XB_TAKE_FD(fd);
	return 0;
}

static int attach_next(struct xb_tap *tap, struct xb_error *err)
{
	xb_auto_fd int fd = -1;
	struct ifreq req = {0};
	int ret;

	if (tap->handed_in) {
		req.ifr_flags = IFF_ATTACH_QUEUE;
		if (ioctl(tap->fds[tap->n_queues], TUNSETQUEUE, &req) < 0)
			return xb_fail(err, -errno, "attach queue %u of the TAP %s (TUNSETQUEUE)",
				       tap->n_queues, tap->name);
		tap->n_queues++;
		return 0;
	}
	ret = open_where_it_lies(tap, &req, &fd, err);
	if (ret < 0)
		return ret;
	ret = attach(fd, req.ifr_name, QUEUE_FLAGS | IFF_MULTI_QUEUE, err);
	if (ret < 0)
		return ret;
	tap->fds[tap->n_queues++] = XB_TAKE_FD(fd);
	return 0;
}

/* Detached by request and not by closing alone: somebody else, such as vhost-net, may hold the
 * file. */
static void detach_last(struct xb_tap *tap)
{
	struct ifreq req = {.ifr_flags = IFF_DETACH_QUEUE};
	int *fd = &tap->fds[--tap->n_queues];
	int detached = ioctl(*fd, TUNSETQUEUE, &req);

	(void)detached; /* fails where the interface is gone */
	if (tap->handed_in)
		return;
	close(*fd);
	*fd = -1;
}

int xb_tap_set_queues(struct xb_tap *tap, unsigned n, struct xb_error *err)
{
	unsigned before = tap->n_queues;

	if (!n || n > tap->queues_max) {
		int ret = xb_refuse(err, -EINVAL,
				    "%u queues are not possible on the TAP %s, which has 1 to %u",
				    n, tap->name, tap->queues_max);

		if (tap->handed_in)
			xb_hint(err, "hand in a descriptor for each queue");
		else if (!tap->multi_queue)
			xb_hint(err, "it was made without multi_queue");
		return ret;
	}
	while (tap->n_queues < n) {
		int ret = attach_next(tap, err);

		if (ret < 0) {
			while (tap->n_queues > before)
				detach_last(tap);
			return ret;
		}
	}
	while (tap->n_queues > n)
		detach_last(tap);
	return 0;
}

/* ---- by name ---- */

static int look_around(void *arg, struct xb_error *err)
{
	struct look *look = arg;
	int ret = find_link(look, err);

	if (ret < 0)
		return ret;
	look->ctl_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (look->ctl_fd < 0)
		return xb_fail(err, -errno, "open a socket in the TAP's network namespace");
	return 0;
}

static int init_by_name(struct xb_tap *tap, const struct xb_tap_options *options,
			struct xb_error *err)
{
	struct look look = {.name = options->ifname, .ctl_fd = -1};
	unsigned flags = QUEUE_FLAGS;
	int ret;

	ret = open_file(tap->netns_fd, look_around, &look, &tap->fds[0], err);
	tap->ctl_fd = look.ctl_fd;
	xb_tap_note_netns(tap, tap->netns_fd);
	if (ret < 0)
		return ret;
	tap->n_queues = 1; /* from here on xb_tap_fini closes it */
	if (look.link.exists)
		ret = check_found(&look.link, options->ifname, options->queues, err);
	if (ret < 0)
		return ret;

	tap->made = !look.link.exists;
	tap->multi_queue = tap->made || look.link.multi_queue;
	tap->queues_max = tap->multi_queue ? XB_TAP_QUEUES_MAX : 1;
	flags |= tap->multi_queue ? IFF_MULTI_QUEUE : 0u;
	flags |= tap->made ? IFF_TUN_EXCL : 0u;
	ret = attach(tap->fds[0], options->ifname, flags, err);
	if (ret < 0)
		return ret;
	memcpy(tap->name, options->ifname, strlen(options->ifname) + 1);
	ret = xb_tap_set_queues(tap, options->queues, err);
	if (ret < 0)
		return ret;
	return xb_tap_set_up_as(tap, options, err);
}

/* ---- by descriptor ---- */

/* Is IFF_NO_PI set? TUNGETIFF alone doesn't tell: it shows IFF_NOFILTER in the same bit, for as
 * long as no filter is attached. So a filter that lets all pass is attached for a moment. */
static bool has_no_pi(int fd, const struct ifreq *got)
{
	struct sock_filter pass = BPF_STMT(BPF_RET | BPF_K, UINT32_MAX);
	struct sock_fprog prog = {1, &pass}, theirs = {0};
	struct ifreq req = {0};
	int ret;

	if (!(got->ifr_flags & IFF_NO_PI))
		return false;
	if (ioctl(fd, TUNGETFILTER, &theirs) < 0 || theirs.len)
		return true; /* a macvtap, which never has it otherwise; or a filter is there */
	if (ioctl(fd, TUNATTACHFILTER, &prog) < 0)
		return true;
	ret = ioctl(fd, TUNGETIFF, &req);
	ioctl(fd, TUNDETACHFILTER, &prog);
	return ret < 0 || req.ifr_flags & IFF_NO_PI;
}

/* Checks one descriptor; all of them are queues of the interface that the first one names. */
static int check_handed(struct xb_tap *tap, int fd, struct xb_error *err)
{
	struct ifreq req = {0};
	int mode = fcntl(fd, F_GETFL);
	int ret;

	if (mode < 0 || ioctl(fd, TUNGETIFF, &req) < 0) {
		ret = xb_fail(err, -errno, "use descriptor %d as a TAP queue", fd);
		if (ret == -EBADFD)
			xb_hint(err, "it is open, but not attached to an interface (TUNSETIFF)");
		else
			xb_hint(err,
				"it has to be an open, inherited descriptor of a TAP or macvtap");
		return ret;
	}
	if ((mode & O_ACCMODE) != O_RDWR)
		return xb_refuse(err, -EINVAL, "descriptor %d is not open for reading and writing",
				 fd);
	if (!(req.ifr_flags & IFF_TAP))
		return xb_refuse(err, -EINVAL, "descriptor %d (%s) is a TUN, not a TAP", fd,
				 req.ifr_name);
	if (!(req.ifr_flags & IFF_VNET_HDR) || !has_no_pi(fd, &req)) {
		ret = xb_refuse(err, -EINVAL, "descriptor %d (%s) lacks %s", fd, req.ifr_name,
				req.ifr_flags & IFF_VNET_HDR ? "IFF_NO_PI" : "IFF_VNET_HDR");
		xb_hint(err,
			"the program that opens it has to set IFF_TAP | IFF_NO_PI | IFF_VNET_HDR (TUNSETIFF)");
		return ret;
	}
	if (!tap->name[0])
		memcpy(tap->name, req.ifr_name, IFNAMSIZ);
	else if (strncmp(tap->name, req.ifr_name, IFNAMSIZ) != 0)
		return xb_refuse(err, -EINVAL, "descriptor %d is a queue of %s, not of %s", fd,
				 req.ifr_name, tap->name);
	return set_up_queue(fd, err);
}

/* Copies of one descriptor are one queue. Where the kernel has no kcmp(2), only numbers tell. */
static bool is_same_file(int a, int b)
{
	return a == b || syscall(SYS_kcmp, getpid(), getpid(), KCMP_FILE, a, b) == 0;
}

static int init_by_fds(struct xb_tap *tap, const struct xb_tap_options *options,
		       struct xb_error *err)
{
	struct stat st;

	for (unsigned q = 0; q < options->n_fds; q++) {
		int ret = check_handed(tap, options->fds[q], err);

		if (ret < 0)
			return ret;
		for (unsigned other = 0; other < q; other++)
			if (is_same_file(options->fds[other], options->fds[q]))
				return xb_refuse(err, -EINVAL,
						 "a queue was handed in twice, as descriptors %d "
						 "and %d",
						 options->fds[other], options->fds[q]);
	}
	tap->handed_in = true;
	tap->multi_queue = options->n_fds > 1;
	tap->queues_max = options->n_fds;
	memcpy(tap->fds, options->fds, options->n_fds * sizeof(int));
	tap->macvtap = fstat(tap->fds[0], &st) == 0 && st.st_rdev != makedev(MISC_MAJOR, TUN_MINOR);
	xb_tap_reach(tap);
	tap->n_queues = options->n_fds;
	return xb_tap_set_queues(tap, options->queues, err);
}

/* ---- life ---- */

static void close_all(struct xb_tap *tap)
{
	xb_tap_give_back(tap);
	for (unsigned q = tap->handed_in ? tap->queues_max : tap->n_queues; q; q--)
		close(tap->fds[q - 1]);
	if (tap->ctl_fd >= 0)
		close(tap->ctl_fd);
	if (tap->netns_fd >= 0)
		close(tap->netns_fd);
	*tap = (struct xb_tap){.ctl_fd = -1, .netns_fd = -1};
}

static int finish_init(struct xb_tap *tap, const struct xb_tap_options *options,
		       struct xb_error *err)
{
	int ret = options->netns ? xb_netns_open(options->netns, &tap->netns_fd, err) : 0;

	if (ret < 0)
		return ret;
	ret = options->fds ? init_by_fds(tap, options, err) : init_by_name(tap, options, err);
	if (ret < 0)
		return ret;
	ret = xb_tap_learn_offload(tap);
	if (ret < 0)
		return xb_fail(err, ret, "TUNSETOFFLOAD on the TAP %s", tap->name);
	return 0;
}

int xb_tap_init(struct xb_tap *tap, const struct xb_tap_options *options, struct xb_error *err)
{
	struct xb_tap made = {.ctl_fd = -1, .netns_fd = -1};
	int ret = check_options(options, err);

	if (ret < 0)
		return ret;
	memset(made.fds, -1, sizeof(made.fds));
	ret = finish_init(&made, options, err);
	if (ret < 0) {
		if (options->fds)
			made.queues_max = made.n_queues = 0; /* they stay the caller's */
		close_all(&made);
		return ret;
	}
	*tap = made;
	return 0;
}

void xb_tap_fini(struct xb_tap *tap)
{
	if (tap->queues_max)
		close_all(tap);
}
