/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Requests about a TAP that need CAP_NET_ADMIN: to attach a queue, or to change its interface. This
 * process makes them itself, until somebody is named who makes them for it.
 */
#ifndef XB_VHOST_TAP_ADMIN_H
#define XB_VHOST_TAP_ADMIN_H

#include <net/if.h>

/** Makes a request on `fd`, as ioctl(2) does. 0 or -errno. */
struct xb_tap_admin {
	int (*request)(void *arg, int fd, unsigned long cmd, struct ifreq *req);
	void *arg;
};

/** Names who makes requests from now on. Control thread. */
void xb_tap_admin_set(const struct xb_tap_admin *admin);

/** Makes one, or has it made. 0 or -errno. Control thread. */
int xb_tap_admin_request(int fd, unsigned long cmd, struct ifreq *req);

#endif
