/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the kernel's interface follows: an uplink's MTU and address, the uplinks' carriers, and the
 * network namespace that it lies in, or is to lie in.
 */
#ifndef XB_DAEMON_KERNEL_FOLLOW_H
#define XB_DAEMON_KERNEL_FOLLOW_H

#include "daemon/door_kernel.h"

/** What the interface gets where nobody names anything else: the first uplink's address and, as far
 * as one frame holds it, MTU; or an address of its own. */
struct xb_kernel_lent xb_kernel_lent(const struct xb_kernel_door *door);

/** Lets the interface have the carrier that the uplinks have. */
void xb_kernel_follow_carrier(struct xb_kernel_door *door);

/** Lets it have the first uplink's MTU, and address with `mac uplink`, unless somebody has given it
 * another. */
void xb_kernel_follow_uplink(struct xb_kernel_door *door);

/** Notices that somebody has moved it to another network namespace. */
void xb_kernel_follow_tap(struct xb_kernel_door *door);

/** Whether --netns leads to another namespace now, where it is to be made again. */
bool xb_kernel_has_moved_home(struct xb_kernel_door *door);

#endif
