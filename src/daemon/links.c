/* SPDX-License-Identifier: BSD-2-Clause */
#include "daemon/links.h"

#include "core/cleanup.h"
#include "vhost/tap_link.h"

#include <errno.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>
#include <unistd.h>

static int open_here(void)
{
	struct sockaddr_nl addr = {
		.nl_family = AF_NETLINK,
		.nl_groups = RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR | RTMGRP_NEIGH,
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

void xb_links_drain(int fd)
{
	char message[8192];

	/* ENOBUFS says that messages were lost: there is something to look at, all the same. */
	while (recv(fd, message, sizeof(message), MSG_DONTWAIT) > 0 || errno == ENOBUFS)
		errno = 0;
}
