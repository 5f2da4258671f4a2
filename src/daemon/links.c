/* SPDX-License-Identifier: BSD-2-Clause */
#include "daemon/links.h"

#include "core/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

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
	xb_auto_fd int home = -1;
	xb_auto_fd int there = -1;
	char path[4096];
	int fd;

	if (!netns) {
		fd = open_here();
		return fd < 0 ? xb_fail(err, fd, "listen to rtnetlink") : fd;
	}
	snprintf(path, sizeof(path), "%s%s", strchr(netns, '/') ? "" : "/run/netns/", netns);
	home = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	there = open(path, O_RDONLY | O_CLOEXEC);
	if (home < 0 || there < 0 || setns(there, CLONE_NEWNET) < 0)
		return xb_fail(err, -errno, "enter network namespace %s", path);
	fd = open_here();
	if (setns(home, CLONE_NEWNET) < 0)
		fd = -errno;
	return fd < 0 ? xb_fail(err, fd, "listen to rtnetlink in %s", path) : fd;
}

void xb_links_drain(int fd)
{
	char message[8192];

	/* ENOBUFS says that messages were lost: there is something to look at, all the same. */
	while (recv(fd, message, sizeof(message), MSG_DONTWAIT) > 0 || errno == ENOBUFS)
		errno = 0;
}
