/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The uplinks of an instance as a whole: at its start, and at its end.
 */
#ifndef XB_DAEMON_UPLINK_DOORS_H
#define XB_DAEMON_UPLINK_DOORS_H

#include "daemon/door_uplink.h"

/** Has the programs of all that are open put on, those of lower devices first
 * (xb_uplink_door_attach). */
void xb_uplink_doors_attach(struct xb_instance *instance);
bool xb_uplink_doors_are_attached(const struct xb_instance *instance);

/** Binds the sockets of all (xb_uplink_door_bind). */
void xb_uplink_doors_bind(struct xb_instance *instance);

/** At the end: has all programs taken off, those of lower devices last (xb_uplink_door_end). */
void xb_uplink_doors_end(struct xb_instance *instance);

/** No worker is left: closes the sockets. */
void xb_uplink_doors_stop(struct xb_instance *instance);

/** There is no more time for taking programs off: says so. */
void xb_uplink_doors_give_up(struct xb_instance *instance);

void xb_uplink_doors_free(struct xb_instance *instance);

#endif
