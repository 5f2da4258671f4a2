/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/port.h"

#include "core/capture.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

const char *xb_drop_name(unsigned reason)
{
	static const char *const names[] = {
#define DROP_NAME(NAME, name, side, text) [XB_DROP_##NAME] = #name,
		XB_DROP_REASONS(DROP_NAME)
#undef DROP_NAME
	};

	return reason < XB_DROP_COUNT ? names[reason] : "?";
}

int xb_port_init(struct xb_port *port, const struct xb_port_ops *ops, const char *name,
		 unsigned queues_max)
{
	size_t name_bytes = strlen(name) + 1;
	struct xb_port_queue *queues;

	if (name_bytes == 1 || name_bytes > sizeof(port->name) || !queues_max)
		return -EINVAL;
	queues = aligned_alloc(64, queues_max * sizeof(*queues));
	if (!queues)
		return -ENOMEM;
	memset(queues, 0, queues_max * sizeof(*queues));
	for (unsigned q = 0; q < queues_max; q++) {
		queues[q].wake_fd = -1;
		queues[q].early_fd = -1;
		pthread_mutex_init(&queues[q].tx_lock, NULL);
	}
	*port = (struct xb_port){.ops = ops, .queues = queues};
	port->queues_max = (uint16_t)queues_max;
	memcpy(port->name, name, name_bytes);
	return 0;
}

void xb_port_fini(struct xb_port *port)
{
	for (unsigned q = 0; q < port->queues_max; q++)
		pthread_mutex_destroy(&port->queues[q].tx_lock);
	free(port->queues);
	port->queues = NULL;
	port->queues_max = 0;
	port->n_queues = 0;
}

void xb_port_sent(struct xb_port *port, unsigned q, struct xb_cache *cache, struct xb_frame *pkt)
{
	struct xb_port_queue *queue = &port->queues[q];
	struct xb_capture_event sent = {port->id, (uint16_t)q, XB_CAPTURE_OUT, XB_DROP_COUNT};

	xb_capture(cache, &sent, pkt);
	xb_count(&queue->tx_packets, 1);
	xb_count(&queue->tx_bytes, pkt->bytes);
	if (pkt->offload.csum != XB_CSUM_COMPLETE)
		xb_count(&queue->tx_csum_left, 1);
	if (pkt->offload.gso != XB_GSO_NONE)
		xb_count(&queue->tx_gso_packets, 1);
	xb_frame_give(pkt, XB_OWNER_TX, XB_OWNER_WORKER);
	xb_packet_free(cache, pkt);
}

void xb_port_unsent(struct xb_port *port, unsigned q, struct xb_cache *cache, struct xb_frame *pkt,
		    enum xb_drop reason)
{
	xb_frame_give(pkt, XB_OWNER_TX, XB_OWNER_WORKER);
	xb_port_drop(port, q, cache, pkt, reason);
}

/* Which way a packet went that is dropped for that reason. */
static enum xb_capture_way way_of(enum xb_drop reason)
{
#define rx XB_CAPTURE_IN
#define tx XB_CAPTURE_OUT
	static const enum xb_capture_way ways[] = {
#define WAY(NAME, name, side, text) [XB_DROP_##NAME] = side,
		XB_DROP_REASONS(WAY)
#undef WAY
	};
#undef rx
#undef tx

	return ways[reason];
}

void xb_port_refuse(struct xb_port *port, unsigned q, const struct xb_cache *cache,
		    const struct xb_frame *pkt, uint32_t bytes, enum xb_drop reason)
{
	struct xb_capture_event refused = {port->id, (uint16_t)q, XB_CAPTURE_IN, reason};
	struct xb_port_queue *queue = &port->queues[q];

	if (cache->captures)
		xb_capture_write(cache, &refused, pkt, bytes);
	xb_count(&queue->rx_packets, 1);
	xb_count(&queue->rx_bytes, bytes);
	xb_count(&queue->drops[reason], 1);
}

void xb_port_drop(struct xb_port *port, unsigned q, struct xb_cache *cache, struct xb_frame *pkt,
		  enum xb_drop reason)
{
	struct xb_capture_event dropped = {port->id, (uint16_t)q, way_of(reason), reason};

	xb_capture(cache, &dropped, pkt);
	xb_count(&port->queues[q].drops[reason], 1);
	xb_packet_free(cache, pkt);
}
