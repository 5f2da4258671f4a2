/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the kernel's interface follows: an uplink's MTU and address, the uplinks' carriers, and the
 * network namespace that it lies in, or is to lie in.
 */
#ifndef XB_DAEMON_KERNEL_FOLLOW_H
#define XB_DAEMON_KERNEL_FOLLOW_H

#include "daemon/door_kernel.h"

/** The MTU that the interface gets where nobody names one: the first uplink's, as far as one frame
 * holds it; 0 without an uplink. */
unsigned xb_kernel_lent_mtu(const struct xb_kernel_door *door);

/** The first uplink's address; NULL: there is none. */
const uint8_t *xb_kernel_lent_mac(const struct xb_kernel_door *door);

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
