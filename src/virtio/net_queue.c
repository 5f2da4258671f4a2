/* SPDX-License-Identifier: BSD-2-Clause */
#include "virtio/net_queue.h"

#include "virtio/net_hdr.h"

#include <assert.h>

#include <errno.h>
#include <string.h>

/* Where a posted frame receives: the header lies right in front of the packet's usual place. */
#define RX_HEAD (XB_FRAME_HEADROOM - XB_NET_HEADER_BYTES)

/* A batch ends after so many bytes: what is still in the ring can wait, so that the device is given
 * fresh buffers, and answers are looked after, while a train of 64 KB packets goes through. */
#define BATCH_BYTES (256u << 10)

static struct xb_virtio_net *net_of(struct xb_port *port)
{
	return (struct xb_virtio_net *)port;
}

static bool is_broken(const struct xb_virtio_net_queue *queue)
{
	return atomic_load_explicit(&queue->broken, memory_order_relaxed);
}

/* The device broke the rules: nothing moves here until a reset. */
static void give_up(struct xb_port *port, unsigned q)
{
	struct xb_virtio_net_queue *queue = &net_of(port)->queues[q];

	atomic_store_explicit(&queue->broken, true, memory_order_relaxed);
	atomic_fetch_add_explicit(&queue->violations, 1, memory_order_relaxed);
}

/* ---- receiving ---- */

void xb_net_queue_fill(struct xb_virtio_net_queue *queue, struct xb_cache *cache)
{
	while (xb_vring_outstanding(&queue->rx) < queue->rx_frames &&
	       xb_vring_has_room(&queue->rx, 1)) {
		struct xb_frame *frame = xb_frame_alloc(cache);
		struct xb_vring_buf buf;

		if (!frame)
			break;
		buf.addr = frame->base + RX_HEAD;
		buf.len = XB_FRAME_BYTES - RX_HEAD;
		xb_frame_give(frame, XB_OWNER_WORKER, XB_OWNER_RX);
		xb_vring_add(&queue->rx, &buf, 1, true, frame);
	}
	xb_vring_publish(&queue->rx);
}

/* Takes the next used buffer as a packet of one frame, data from RX_HEAD on. */
static int take_buffer(struct xb_virtio_net_queue *queue, struct xb_frame **ret_frame)
{
	struct xb_frame *frame;
	void *cookie;
	uint32_t len;
	int ret = xb_vring_take(&queue->rx, &cookie, &len);

	if (ret <= 0)
		return ret;
	frame = cookie;
	xb_frame_give(frame, XB_OWNER_RX, XB_OWNER_WORKER);
	xb_packet_init(frame, RX_HEAD, len);
	*ret_frame = frame;
	return 1;
}

/* Chains the buffers that the header says belong to the packet. They were used together with the
 * first (virtio 1.2, 5.1.6.4), so that one missing breaks the rules. */
static int take_rest(struct xb_virtio_net_queue *queue, struct xb_frame *first, unsigned buffers)
{
	struct xb_frame *last = first;

	if (!buffers || buffers > XB_PACKET_FRAMES_MAX)
		return -EPROTO;
	for (unsigned i = 1; i < buffers; i++) {
		struct xb_frame *frame;

		if (take_buffer(queue, &frame) <= 0)
			return -EPROTO;
		xb_packet_append(first, last, frame);
		last = frame;
	}
	return 0;
}

static void refuse(struct xb_virtio_net *net, unsigned q, struct xb_cache *cache,
		   struct xb_frame *pkt, enum xb_drop reason)
{
	xb_port_refuse(&net->port, q, cache, pkt, pkt->bytes, reason);
	xb_packet_free(cache, pkt);
}

/* Takes the next packet. Returns 1 with a packet or NULL (dropped and counted), 0 where none waits,
 * -EPROTO where the device broke the ring's rules. */
static int take_packet(struct xb_virtio_net *net, unsigned q, struct xb_cache *cache,
		       struct xb_frame **ret_pkt)
{
	struct xb_virtio_net_queue *queue = &net->queues[q];
	struct virtio_net_hdr_v1 hdr;
	struct xb_frame *pkt;
	int ret = take_buffer(queue, &pkt);

	*ret_pkt = NULL;
	if (ret <= 0)
		return ret;
	if (pkt->len < sizeof(hdr)) {
		refuse(net, q, cache, pkt, XB_DROP_BAD_HEADER);
		return 1;
	}
	memcpy(&hdr, xb_frame_data(pkt), sizeof(hdr));
	if (xb_has(net->features, VIRTIO_NET_F_MRG_RXBUF) &&
	    take_rest(queue, pkt, hdr.num_buffers) < 0) {
		refuse(net, q, cache, pkt, XB_DROP_BAD_RING);
		return -EPROTO;
	}
	pkt->head = XB_FRAME_HEADROOM;
	pkt->len = (uint16_t)(pkt->len - sizeof(hdr));
	pkt->bytes -= (uint32_t)sizeof(hdr);
	if (pkt->bytes > XB_PACKET_BYTES_MAX)
		refuse(net, q, cache, pkt, XB_DROP_TOO_LONG);
	else if (xb_net_hdr_read(&hdr, pkt) < 0)
		refuse(net, q, cache, pkt, XB_DROP_BAD_HEADER);
	else
		*ret_pkt = pkt;
	return 1;
}

static unsigned rx_batch(struct xb_port *port, unsigned q, struct xb_cache *cache,
			 struct xb_frame **pkts, unsigned max)
{
	struct xb_virtio_net *net = net_of(port);
	struct xb_virtio_net_queue *queue = &net->queues[q];
	uint32_t bytes = 0;
	unsigned n = 0;
	int ret = 0;

	if (is_broken(queue))
		return 0;
	for (unsigned budget = max; budget && bytes < BATCH_BYTES; budget--) {
		ret = take_packet(net, q, cache, &pkts[n]);
		if (ret <= 0)
			break;
		if (pkts[n])
			bytes += pkts[n++]->bytes;
	}
	if (ret < 0) {
		give_up(port, q);
		return n;
	}
	/* Also where nothing came in: a ring that ran dry for want of frames would stay so. */
	xb_net_queue_fill(queue, cache);
	if (xb_vring_must_notify(&queue->rx)) {
		xb_count(&queue->rx_notifies, 1);
		net->transport->ops->notify(net->transport, XB_VQ_RX(q));
	}
	return n;
}

/* ---- sending ---- */

static void reap(struct xb_port *port, unsigned q, struct xb_cache *cache)
{
	struct xb_virtio_net_queue *queue = &net_of(port)->queues[q];
	void *cookie;
	uint32_t len;
	int ret;

	while ((ret = xb_vring_take(&queue->tx, &cookie, &len)) > 0)
		xb_port_sent(port, q, cache, cookie);
	if (ret < 0)
		give_up(port, q);
}

/* Posts one packet: its header right in front of its first byte, then each frame where it lies. */
static bool post(struct xb_virtio_net_queue *queue, struct xb_frame *pkt)
{
	struct xb_vring_buf bufs[XB_VRING_CHAIN_MAX];
	struct virtio_net_hdr_v1 hdr;
	unsigned n = 0;

	if (!xb_vring_has_room(&queue->tx, pkt->count))
		return false;
	assert(pkt->head >= sizeof(hdr));
	xb_net_hdr_write(pkt, &hdr);
	memcpy(xb_frame_data(pkt) - sizeof(hdr), &hdr, sizeof(hdr));
	for (const struct xb_frame *frame = pkt; frame; frame = frame->next)
		bufs[n++] = (struct xb_vring_buf){.addr = xb_frame_data(frame), .len = frame->len};
	bufs[0].addr = xb_frame_data(pkt) - sizeof(hdr);
	bufs[0].len += (uint32_t)sizeof(hdr);
	xb_frame_give(pkt, XB_OWNER_WORKER, XB_OWNER_TX);
	xb_vring_add(&queue->tx, bufs, n, false, pkt);
	return true;
}

static unsigned tx_batch(struct xb_port *port, unsigned q, struct xb_cache *cache,
			 struct xb_frame **pkts, unsigned n)
{
	struct xb_virtio_net_queue *queue = &net_of(port)->queues[q];
	unsigned sent;

	if (is_broken(queue))
		return 0;
	reap(port, q, cache);
	if (is_broken(queue))
		return 0;
	for (sent = 0; sent < n; sent++)
		if (!post(queue, pkts[sent]))
			break;
	xb_vring_publish(&queue->tx);
	return sent;
}

static unsigned kick(struct xb_port *port, unsigned q, struct xb_cache *cache)
{
	struct xb_virtio_net *net = net_of(port);
	struct xb_virtio_net_queue *queue = &net->queues[q];

	if (is_broken(queue))
		return 0;
	if (xb_vring_must_notify(&queue->tx)) {
		xb_count(&queue->tx_notifies, 1);
		net->transport->ops->notify(net->transport, XB_VQ_TX(q));
	}
	reap(port, q, cache);
	return xb_vring_outstanding(&queue->tx);
}

/* ---- sleeping ---- */

static bool arm(struct xb_port *port, unsigned q)
{
	struct xb_virtio_net *net = net_of(port);
	struct xb_virtio_net_queue *queue = &net->queues[q];

	/* What ended the last sleep. Now that there is time, and not while a packet waits; from a
	 * broken queue too. */
	net->transport->ops->clear_calls(net->transport, XB_VQ_RX(q));
	return is_broken(queue) || xb_vring_arm(&queue->rx);
}

static void disarm(struct xb_port *port, unsigned q)
{
	struct xb_virtio_net_queue *queue = &net_of(port)->queues[q];

	if (!is_broken(queue))
		xb_vring_disarm(&queue->rx);
}

const struct xb_port_ops xb_virtio_net_ops = {
	.rx_batch = rx_batch,
	.tx_batch = tx_batch,
	.kick = kick,
	.arm = arm,
	.disarm = disarm,
};

/* ---- after a reset ---- */

void xb_net_queue_reclaim(struct xb_virtio_net *net, unsigned q, struct xb_cache *cache)
{
	struct xb_virtio_net_queue *queue = &net->queues[q];
	struct xb_frame *frame;

	while (take_packet(net, q, cache, &frame) > 0) {
		if (!frame) /* refused, and counted as that */
			continue;
		xb_count(&net->port.queues[q].rx_missed, 1);
		xb_packet_free(cache, frame);
	}
	while ((frame = xb_vring_reclaim(&queue->rx))) {
		xb_frame_give(frame, XB_OWNER_RX, XB_OWNER_WORKER);
		frame->next = NULL;
		xb_packet_free(cache, frame);
	}
	reap(&net->port, q, cache);
	while ((frame = xb_vring_reclaim(&queue->tx)))
		xb_port_unsent(&net->port, q, cache, frame, XB_DROP_TX_RESET);
}
