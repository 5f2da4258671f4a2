/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Whether what XDP redirects from an uplink arrives (xsk/delivery.h), in words.
 */
#ifndef XB_DAEMON_UPLINK_DELIVERY_H
#define XB_DAEMON_UPLINK_DELIVERY_H

#include "daemon/door.h"
#include "xsk/uplink.h"

/** Frames that XDP redirects from some queues don't arrive. Returns whether that is so. */
bool xb_uplink_delivery_trouble(const struct xb_uplink *uplink, struct xb_trouble *ret_trouble);

/** Looks whether they do, and says when that begins or ends: twice a second. */
void xb_uplink_delivery_watch(struct xb_uplink *uplink, uint64_t now_ns);

#endif
