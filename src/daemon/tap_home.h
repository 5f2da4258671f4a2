/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The network namespace that --netns names, while xbridge runs.
 *
 * Theory. A namespace lives for as long as somebody holds it, and the TAP's descriptors do. When
 * its name is deleted the TAP therefore stays where nobody looks for it, also after another
 * namespace got the name. So the name is looked at once a second: where it leads to another
 * namespace than the one in which the TAP was made, the TAP is made there again. A namespace that
 * was given as a process's (/proc/PID/ns/net) is as good as gone when that process ends, whoever
 * gets its number.
 */
#ifndef XB_DAEMON_TAP_HOME_H
#define XB_DAEMON_TAP_HOME_H

#include "vhost/tap_link.h"

struct xb_tap_home {
	struct xb_netns_id made_in; /* the TAP, when it was opened */
	int pid_fd;  /* of the process of /proc/PID/ns/net; -1: none, or it has ended */
	bool ended;  /* that process */
	bool missed; /* it was said that the namespace is gone */
};

enum xb_home_state {
	XB_HOME_SAME,
	XB_HOME_GONE,    /* the name leads nowhere, or to where we must not go */
	XB_HOME_ANOTHER, /* it leads to another namespace */
};

/** Notes where a TAP was made that was opened in `netns` (a name or path). */
void xb_tap_home_note(struct xb_tap_home *home, const char *netns, const struct xb_netns_id *where);
void xb_tap_home_fini(struct xb_tap_home *home);

/** Looks where `netns` leads now. */
enum xb_home_state xb_tap_home_look(struct xb_tap_home *home, const char *netns);

#endif
