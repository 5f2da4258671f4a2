/* SPDX-License-Identifier: BSD-2-Clause */
#include "vhost/tap_admin.h"

#include "core/calls.h"

#include <errno.h>
#include <sys/ioctl.h>

XB_CALL(control, ioctl);

static int request_here(void *arg, int fd, unsigned long cmd, struct ifreq *req)
{
	(void)arg;
	return ioctl(fd, cmd, req) < 0 ? -errno : 0;
}

static struct xb_tap_admin who = {.request = request_here};

void xb_tap_admin_set(const struct xb_tap_admin *admin)
{
	who = *admin;
}

int xb_tap_admin_request(int fd, unsigned long cmd, struct ifreq *req)
{
	return who.request(who.arg, fd, cmd, req);
}
