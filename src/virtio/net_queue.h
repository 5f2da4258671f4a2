/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The virtio-net driver's data path: what net.c puts behind the port.
 */
#ifndef XB_VIRTIO_NET_QUEUE_H
#define XB_VIRTIO_NET_QUEUE_H

#include "virtio/net.h"

extern const struct xb_port_ops xb_virtio_net_ops;

/** Posts free frames until the receive queue has rx_frames, or frames are short. Doesn't notify. */
void xb_net_queue_fill(struct xb_virtio_net_queue *queue, struct xb_cache *cache);

/** After a reset: takes each frame back from both rings. What was received and not taken yet counts
 * as rx_missed, what was not sent as tx_reset. */
void xb_net_queue_reclaim(struct xb_virtio_net *net, unsigned q, struct xb_cache *cache);

#endif
