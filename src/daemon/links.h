/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Tells when something happens to network interfaces or their addresses, by rtnetlink.
 */
#ifndef XB_DAEMON_LINKS_H
#define XB_DAEMON_LINKS_H

#include "core/error.h"

#include <stdbool.h>

/**
 * A descriptor that is readable after links or bridge entries changed in the namespace
 * `netns` (name or path; NULL: this one). The calling thread visits it.
 *
 * Returns the descriptor, or -errno.
 */
int xb_links_open(const char *netns, struct xb_error *err);

/** What may have changed. */
enum {
	XB_LINKS_CHANGED = 1,   /* links, or addresses that interfaces listen to */
	XB_LINKS_FORWARDED = 2, /* what a bridge has behind its ports */
};

/** Reads away what has been told. Returns XB_LINKS_… of what may have changed. What exactly is
 * asked of the kernel, not read here: a message may be lost, the state can't. */
unsigned xb_links_drain(int fd);

#endif
