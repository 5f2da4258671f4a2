/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What TAPs need of network namespaces and links: a visit to a namespace, and a look at an
 * interface before it is touched.
 */
#ifndef XB_VHOST_TAP_LINK_H
#define XB_VHOST_TAP_LINK_H

#include "core/error.h"

#include <stdbool.h>
#include <sys/types.h>

/** A network namespace, told from all others for as long as somebody holds it. */
struct xb_netns_id {
	dev_t dev;
	ino_t ino; /* 0: not known */
};

/** What the kernel says of an interface (RTM_GETLINK). */
struct xb_tap_link {
	bool exists;
	bool tap;         /* a TAP of the tun driver */
	bool multi_queue; /* (TAP only) */
	bool persist;     /* (TAP only) */
	unsigned held;    /* (TAP with multi_queue only) queues that somebody has open */
};

/** Looks an interface up by name in the thread's namespace. One that is not there is no error.
 * Needs no capability. Returns 0 or what the netlink socket says. */
int xb_tap_link_find(const char *ifname, struct xb_tap_link *ret_link);

/** Opens a namespace by its name in /run/netns or by path (with a '/'). On success `*ret_fd` is the
 *  caller's to close. Returns 0 or, with `err` filled, -errno. */
int xb_netns_open(const char *netns, int *ret_fd, struct xb_error *err);

/** The id of a namespace by its descriptor; -1: the calling thread's own. */
struct xb_netns_id xb_netns_id(int netns_fd);

/** The id of the namespace to which a name or path leads now; all 0 where it leads to none, or
 * where we are not told (-EACCES: of a process that may do more than we). Returns 0 or -errno. */
int xb_netns_id_of(const char *netns, struct xb_netns_id *ret_id);

static inline bool xb_netns_id_same(const struct xb_netns_id *a, const struct xb_netns_id *b)
{
	return a->dev == b->dev && a->ino == b->ino;
}

/**
 * Moves the calling thread into the namespace `netns_fd`, until xb_netns_leave brings it back.
 * -1: stays where it is, and xb_netns_leave does nothing. Capability: CAP_SYS_ADMIN.
 *
 * @ret_home: to be passed to xb_netns_leave.
 *
 * Returns 0 or, with `err` filled and the thread where it was, -errno.
 */
int xb_netns_enter(int netns_fd, int *ret_home, struct xb_error *err);

/** Returns 0, or -errno where the thread is still in the other namespace: it must not go on. */
int xb_netns_leave(int home, struct xb_error *err);

#endif
