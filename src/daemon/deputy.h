/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The process xb-deputy, which keeps CAP_NET_ADMIN where the control thread has no other use for it
 * than its TAP: without an uplink.
 *
 * It makes the requests of vhost/tap_admin.h, on descriptors that come with them: attaching a
 * queue, and setting MTU and flags of the one interface whose name it was made with.
 */
#ifndef XB_DAEMON_DEPUTY_H
#define XB_DAEMON_DEPUTY_H

#include "core/error.h"

#include <sys/types.h>

struct xb_deputy {
	pid_t pid; /* 0: there is none */
	int fd;
};

/** Makes the deputy for the TAP `ifname`, before privileges are given up. */
int xb_deputy_start(struct xb_deputy *deputy, const char *ifname, struct xb_error *err);

/** From now on it makes the requests. */
void xb_deputy_take_office(struct xb_deputy *deputy);

/** Ends it. */
void xb_deputy_stop(struct xb_deputy *deputy);

/** It has ended, and was waited for. */
void xb_deputy_reaped(struct xb_deputy *deputy, pid_t pid);

#endif
