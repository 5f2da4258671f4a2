/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A frame of the control thread's own, sent out of an interface beside all rings.
 */
#ifndef XB_NETDEV_PROBE_H
#define XB_NETDEV_PROBE_H

#include <stdint.h>

/** Sends a frame out of an interface, without waiting for room in its queue. Returns 0 or -errno.
 *  Needs CAP_NET_RAW. */
int xb_probe_send(uint32_t ifindex, const uint8_t *frame, unsigned bytes);

#endif
