/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The addresses of an uplink's stack, whose frames the gate lets pass.
 *
 * A dedicated uplink lends its own address to a port that has taken it (`mac uplink`, `ip link set
 * tap0 address …`): frames to it come to that port then. A shared one does not, since what its
 * stack has stays with it.
 */
#ifndef XB_DAEMON_UPLINK_MACS_H
#define XB_DAEMON_UPLINK_MACS_H

#include "daemon/door_uplink.h"

/** Reads anew which addresses are those of the uplink's stack, and publishes them where they have
 * changed; they stay due where that is not possible just now. */
void xb_uplink_macs_refresh(struct xb_uplink_door *door);

/** Looks whether addresses have changed without an event: then they are due. */
void xb_uplink_macs_look(struct xb_uplink_door *door);

/** Lends the uplink's address to a port that has it, or takes it back. */
void xb_uplink_macs_lend(struct xb_uplink_door *door);

#endif
