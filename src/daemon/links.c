/* SPDX-License-Identifier: BSD-2-Clause */
#include "daemon/links.h"

#include "core/cleanup.h"
#include "vhost/tap_link.h"

#include <errno.h>
#include <linux/neighbour.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <stdalign.h>
#include <sys/socket.h>
#include <unistd.h>

static int open_here(void)
{
	struct sockaddr_nl addr = {
		.nl_family = AF_NETLINK,
		.nl_groups = RTMGRP_LINK | RTMGRP_NEIGH,
	};
	xb_auto_fd int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK,
				   NETLINK_ROUTE);

	if (fd < 0 || bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
		return -errno;
	return XB_TAKE_FD(fd);
}

int xb_links_open(const char *netns, struct xb_error *err)
{
	xb_auto_fd int there = -1;
	int home = -1;
	int ret = netns ? xb_netns_open(netns, &there, err) : 0;
	int fd, left;

	if (!ret)
		ret = xb_netns_enter(there, &home, err);
	if (ret < 0)
		return ret;
	fd = open_here();
	left = xb_netns_leave(home, err);
	if (left < 0) {
		if (fd >= 0)
			close(fd);
		return left;
	}
	return fd < 0 ? xb_fail(err, fd, "listen to rtnetlink%s%s", netns ? " in " : "",
				netns ? netns : "")
		      : fd;
}

/* Neighbours of other families come and go all the time, and are none of our business. */
static unsigned kind_of(const struct nlmsghdr *msg)
{
	const struct ndmsg *neigh = NLMSG_DATA(msg);

	if (msg->nlmsg_type != RTM_NEWNEIGH && msg->nlmsg_type != RTM_DELNEIGH)
		return XB_LINKS_CHANGED;
	if (msg->nlmsg_len < NLMSG_LENGTH(sizeof(*neigh)))
		return 0;
	if (neigh->ndm_flags & NTF_SELF)
		return XB_LINKS_CHANGED;
	return neigh->ndm_family == AF_BRIDGE ? XB_LINKS_FORWARDED : 0;
}

unsigned xb_links_drain(int fd)
{
	alignas(struct nlmsghdr) char buf[16384];
	unsigned changed = 0;

	for (;;) {
		ssize_t got = recv(fd, buf, sizeof(buf), MSG_DONTWAIT);
		unsigned left = got > 0 ? (unsigned)got : 0;

		/* ENOBUFS says that messages were lost: there is something to look at, all the
		 * same. */
		if (got < 0 && errno == ENOBUFS) {
			changed = XB_LINKS_CHANGED;
			continue;
		}
		if (got <= 0)
			return changed;
		for (struct nlmsghdr *msg = (struct nlmsghdr *)buf; NLMSG_OK(msg, left);
		     msg = NLMSG_NEXT(msg, left))
			changed |= kind_of(msg);
	}
}
