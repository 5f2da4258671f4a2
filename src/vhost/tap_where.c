/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * In which network namespace a TAP lies, and a socket there for requests by name.
 *
 * Theory. An interface can be moved at any time (`ip link set tap0 netns NAME`), and its queues go
 * on working: they belong to the device. What goes by name does not: where it was, there is no
 * interface of that name any more, or another one. So the device is asked (TUNGETDEVNETNS), and the
 * namespace's inode is compared with that of the socket's. Where the kernel won't say, the name is
 * believed if the interface there has the TAP's MAC address.
 */
#include "core/cleanup.h"
#include "vhost/tap.h"
#include "vhost/tap_parts.h"

#include <fcntl.h>
#include <linux/if_tun.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

void xb_tap_note_netns(struct xb_tap *tap, int netns_fd)
{
	tap->netns = xb_netns_id(netns_fd);
}

/* The namespace in which the TAP lies, as it says itself; -1: it does not. */
static int ask_netns(const struct xb_tap *tap)
{
	return tap->macvtap ? -1 : ioctl(tap->fds[0], TUNGETDEVNETNS);
}

bool xb_tap_is_reached(const struct xb_tap *tap)
{
	xb_auto_fd int there = ask_netns(tap);
	struct xb_netns_id id;

	if (tap->ctl_fd < 0)
		return false;
	if (there < 0)
		return true; /* it was, when it was opened */
	id = xb_netns_id(there);
	return !id.ino || xb_netns_id_same(&id, &tap->netns);
}

/* Is the interface of that name which `ctl_fd` sees the TAP itself? Only MAC addresses tell where
 * the kernel won't say the TAP's namespace. */
static bool is_seen(const struct xb_tap *tap, int ctl_fd)
{
	struct ifreq seen = {0}, req;
	uint8_t mac[6];

	if (xb_tap_request(tap, &req) < 0)
		return false;
	memcpy(seen.ifr_name, req.ifr_name, IFNAMSIZ);
	return ioctl(ctl_fd, SIOCGIFHWADDR, &seen) == 0 && xb_tap_get_mac(tap, mac) == 0 &&
	       memcmp(mac, seen.ifr_hwaddr.sa_data, sizeof(mac)) == 0;
}

/* A socket in the namespace `netns_fd` (-1: ours); -1 where we can't get there, or where the TAP is
 * not seen. */
static int open_ctl(const struct xb_tap *tap, int netns_fd)
{
	xb_auto_fd int ctl_fd = -1;
	int home = -1;

	if (xb_netns_enter(netns_fd, &home, NULL) < 0)
		return -1;
	ctl_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (xb_netns_leave(home, NULL) < 0 || ctl_fd < 0 || !is_seen(tap, ctl_fd))
		return -1;
	return XB_TAKE_FD(ctl_fd);
}

/* Takes the namespace `*fd` over; -1 stands for our own, which need not be entered. */
static void adopt(struct xb_tap *tap, int *fd)
{
	struct xb_netns_id ours = xb_netns_id(-1), theirs = xb_netns_id(*fd);

	xb_cleanup_close(&tap->netns_fd);
	tap->netns_fd = xb_netns_id_same(&ours, &theirs) ? -1 : XB_TAKE_FD(*fd);
	tap->netns = theirs;
	tap->ctl_fd = open_ctl(tap, tap->netns_fd);
}

void xb_tap_reach(struct xb_tap *tap)
{
	xb_auto_fd int there = tap->netns_fd >= 0 ? dup(tap->netns_fd) : ask_netns(tap);

	adopt(tap, &there);
}

int xb_tap_follow(struct xb_tap *tap)
{
	xb_auto_fd int there = ask_netns(tap);
	struct xb_netns_id id = xb_netns_id(there);

	if (there < 0 || !id.ino)
		return 0;
	if (xb_netns_id_same(&id, &tap->netns)) {
		if (tap->ctl_fd < 0) /* descriptors may have been short */
			tap->ctl_fd = open_ctl(tap, tap->netns_fd);
		return 0;
	}
	xb_cleanup_close(&tap->ctl_fd);
	adopt(tap, &there);
	return 1;
}
