/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory. A port says in its caps what it takes. What it doesn't take is done here, in this order.
 * Neighbours of a TCP stream are joined if the port cuts them again, so that fewer packets cross a
 * ring; otherwise segments are cut. Checksums are finished, or left to a port that finishes them. A
 * chain that is longer than the port takes is laid out in fewer frames. A packet for which one of
 * these fails is dropped, and counted on the port that should have sent it.
 *
 * All of this runs under the queue's tx_lock, taken once a batch, so that the queue's counters have
 * one writer at a time.
 */
#include "core/send.h"

#include "core/checksum.h"
#include "core/coalesce.h"
#include "core/segment.h"

#include <errno.h>

/* A port's queue, as one sender uses it now. */
struct lane {
	struct xb_sender *sender;
	struct xb_port *port;
	unsigned q;
};

static void drop(const struct lane *lane, struct xb_frame *pkt, enum xb_drop reason)
{
	xb_port_drop(lane->port, lane->q, lane->sender->cache, pkt, reason);
}

/* Hands packets over. A full ring is kicked and tried once more; what is left then is dropped. */
static void transmit(const struct lane *lane, struct xb_frame **pkts, unsigned n)
{
	const struct xb_port_ops *ops = lane->port->ops;
	struct xb_cache *cache = lane->sender->cache;
	unsigned sent;

	if (!n)
		return;
	sent = ops->tx_batch(lane->port, lane->q, cache, pkts, n);
	if (sent < n) {
		ops->kick(lane->port, lane->q, cache);
		sent += ops->tx_batch(lane->port, lane->q, cache, pkts + sent, n - sent);
	}
	for (; sent < n; sent++)
		drop(lane, pkts[sent], XB_DROP_TX_FULL);
}

static uint32_t gso_bit(const struct xb_frame *pkt)
{
	switch (pkt->offload.gso) {
	case XB_GSO_TCP4:
		return XB_TAKES_TSO4 | (pkt->offload.ecn ? XB_TAKES_ECN : 0u);
	case XB_GSO_TCP6:
		return XB_TAKES_TSO6 | (pkt->offload.ecn ? XB_TAKES_ECN : 0u);
	case XB_GSO_UDP_L4:
		return XB_TAKES_USO;
	default:
		return 0;
	}
}

/* Bytes of the longest frame on the wire that a packet becomes. */
static uint32_t wire_bytes(const struct xb_frame *pkt)
{
	if (pkt->offload.gso == XB_GSO_NONE)
		return pkt->bytes;
	return (uint32_t)pkt->offload.hdr_bytes + pkt->offload.gso_size;
}

/* Whether a packet fits in as many frames as the port takes, laid out anew if need be. */
static bool fits(const struct xb_port_caps *caps, const struct xb_frame *pkt)
{
	uint32_t rest = pkt->bytes > XB_FRAME_ROOM ? pkt->bytes - XB_FRAME_ROOM : 0;

	return pkt->count <= caps->frames_max ||
	       1 + (rest + XB_FRAME_BYTES - 1) / XB_FRAME_BYTES <= caps->frames_max;
}

/* Copies a chain that is longer than the port takes into as few frames as hold it; NULL where it
 * had to be dropped. */
static struct xb_frame *fit(const struct lane *lane, struct xb_frame *pkt)
{
	const struct xb_port_caps *caps = &lane->port->caps;
	struct xb_frame *flat;

	if (pkt->count <= caps->frames_max)
		return pkt;
	if (!fits(caps, pkt)) {
		drop(lane, pkt, XB_DROP_TX_TOO_LONG);
		return NULL;
	}
	flat = xb_packet_copy(lane->sender->cache, pkt);
	if (!flat) {
		drop(lane, pkt, XB_DROP_TX_NO_FRAME);
		return NULL;
	}
	xb_packet_free(lane->sender->cache, pkt);
	return flat;
}

/* Brings a packet that need not be cut into shape; NULL where it had to be dropped. */
static struct xb_frame *shape(const struct lane *lane, struct xb_frame *pkt)
{
	const struct xb_port_caps *caps = &lane->port->caps;

	if (wire_bytes(pkt) > caps->bytes_max) {
		drop(lane, pkt, XB_DROP_TX_TOO_LONG);
		return NULL;
	}
	if (pkt->offload.csum == XB_CSUM_TRUSTED && caps->takes & XB_TAKES_CSUM)
		xb_csum_make_partial(pkt);
	if (pkt->offload.csum != XB_CSUM_COMPLETE && !(caps->takes & XB_TAKES_CSUM) &&
	    xb_csum_finish(pkt) < 0) {
		drop(lane, pkt, XB_DROP_TX_BAD);
		return NULL;
	}
	return fit(lane, pkt);
}

static enum xb_drop cut_failure(int code)
{
	return code == -ENOBUFS ? XB_DROP_TX_NO_FRAME : XB_DROP_TX_BAD;
}

/* Cuts a packet and sends the pieces. */
static void cut(const struct lane *lane, struct xb_frame *pkt)
{
	struct xb_frame *pieces[XB_SEGMENTS_MAX];
	const struct xb_port_caps *caps = &lane->port->caps;
	unsigned n_ready = 0;
	int n;

	if (wire_bytes(pkt) > caps->bytes_max) {
		drop(lane, pkt, XB_DROP_TX_TOO_LONG);
		return;
	}
	n = xb_segment(lane->sender->cache, pkt, caps->takes, pieces, XB_SEGMENTS_MAX);
	if (n < 0) {
		drop(lane, pkt, cut_failure(n));
		return;
	}
	xb_count(&lane->sender->segments_added, (uint64_t)n - 1);
	for (int i = 0; i < n; i++) {
		struct xb_frame *piece = fit(lane, pieces[i]);

		if (piece)
			pieces[n_ready++] = piece;
	}
	for (unsigned done = 0; done < n_ready; done += XB_BATCH)
		transmit(lane, pieces + done,
			 n_ready - done < XB_BATCH ? n_ready - done : XB_BATCH);
}

/* Whether a packet of many segments has to be cut here: because the port doesn't cut, or can't take
 * it in so many frames. */
static bool must_cut(const struct xb_port_caps *caps, const struct xb_frame *pkt)
{
	uint32_t needs = gso_bit(pkt);

	return needs && ((caps->takes & needs) != needs || !fits(caps, pkt));
}

static void send_all(const struct lane *lane, struct xb_frame **pkts, unsigned n)
{
	const struct xb_port_caps *caps = &lane->port->caps;
	struct xb_frame *ready[XB_BATCH];
	unsigned n_ready = 0;
	unsigned left = xb_coalesce(lane->sender->cache, pkts, n, caps->takes, caps->frames_max);

	xb_count(&lane->sender->frames_joined, n - left);
	for (unsigned i = 0; i < left; i++) {
		struct xb_frame *pkt = pkts[i];

		if (must_cut(caps, pkt)) {
			transmit(lane, ready, n_ready); /* keeps the order */
			n_ready = 0;
			cut(lane, pkt);
			continue;
		}
		pkt = shape(lane, pkt);
		if (pkt)
			ready[n_ready++] = pkt;
	}
	transmit(lane, ready, n_ready);
}

/* Remembers a queue that belongs to another worker, which may be asleep: we see to its completions
 * ourselves. */
static void remember(struct xb_sender *sender, struct xb_port *port, unsigned q)
{
	for (unsigned i = 0; i < sender->n_pending; i++)
		if (sender->pending[i].port == port)
			return;
	sender->pending[sender->n_pending++] = (struct xb_pending){port, q};
}

void xb_sender_init(struct xb_sender *sender, struct xb_cache *cache, unsigned worker)
{
	sender->cache = cache;
	sender->worker = worker;
}

void xb_sender_flush(struct xb_sender *sender, const struct xb_snapshot *snapshot,
		     struct xb_port *port, unsigned rx_queue)
{
	struct xb_outbox *out = &sender->out[port->id];
	bool started = snapshot->queues[port->id];
	struct lane lane = {sender, port, 0};
	struct xb_port_queue *queue;
	unsigned n = out->n;

	out->n = 0;
	if (!n)
		return;
	if (started)
		lane.q = xb_snapshot_tx_queue(snapshot, port, sender->worker, rx_queue);
	queue = &port->queues[lane.q];
	pthread_mutex_lock(&queue->tx_lock);
	if (started && atomic_load_explicit(&port->up, memory_order_relaxed))
		send_all(&lane, out->pkts, n);
	else
		for (unsigned i = 0; i < n; i++)
			drop(&lane, out->pkts[i], XB_DROP_PORT_DOWN);
	if (started && port->ops->kick(port, lane.q, sender->cache) &&
	    lane.q % snapshot->n_workers != sender->worker)
		remember(sender, port, lane.q);
	pthread_mutex_unlock(&queue->tx_lock);
}

unsigned xb_sender_kick(struct xb_sender *sender, struct xb_port *port, unsigned q)
{
	struct xb_port_queue *queue = &port->queues[q];
	unsigned posted;

	pthread_mutex_lock(&queue->tx_lock);
	posted = port->ops->kick(port, q, sender->cache);
	pthread_mutex_unlock(&queue->tx_lock);
	return posted;
}

unsigned xb_sender_kick_pending(struct xb_sender *sender)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < sender->n_pending; i++)
		if (xb_sender_kick(sender, sender->pending[i].port, sender->pending[i].q))
			sender->pending[kept++] = sender->pending[i];
	sender->n_pending = kept;
	return kept;
}

void xb_sender_forget(struct xb_sender *sender)
{
	sender->n_pending = 0;
}
