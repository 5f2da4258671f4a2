/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The ports' own addresses in the forwarding table, where they neither age nor move.
 */
#ifndef XB_DAEMON_OWN_H
#define XB_DAEMON_OWN_H

struct xb_instance;

/** Enters them as they are now. What does not fit is tried again at the next call. */
void xb_own_enter(struct xb_instance *instance);

#endif
