/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory. A port says in its caps what it takes. What it doesn't take is done here, in this order:
 * neighbours of a TCP stream are joined where the port cuts again (fewer packets cross a ring);
 * segments are cut where it doesn't; checksums are finished or left; a chain longer than it takes
 * is laid out in one frame. Whatever fails then is a drop on the port that should have sent it.
 *
 * All of this runs under the queue's lock, taken once a batch: its counters have one writer at a time.
 */
#include "core/send.h"

#include "core/checksum.h"
#include "core/coalesce.h"
#include "core/segment.h"

#include <errno.h>

/* A port's queue, as one worker sends to it now. */
struct lane {
	struct xb_worker *worker;
	struct xb_port *port;
	unsigned q;
};

static void drop(const struct lane *lane, struct xb_frame *pkt, enum xb_drop reason)
{
	xb_port_drop(lane->port, lane->q, &lane->worker->cache, pkt, reason);
}

/* Hands packets over; a full ring is kicked and tried once more, what is left then is dropped. */
static void transmit(const struct lane *lane, struct xb_frame **pkts, unsigned n)
{
	const struct xb_port_ops *ops = lane->port->ops;
	struct xb_cache *cache = &lane->worker->cache;
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

/* Lays a chain out in one frame. */
static struct xb_frame *linearise(const struct lane *lane, struct xb_frame *pkt)
{
	struct xb_frame *flat;

	if (pkt->bytes > XB_FRAME_ROOM) {
		drop(lane, pkt, XB_DROP_TX_TOO_LONG);
		return NULL;
	}
	flat = xb_packet_copy(&lane->worker->cache, pkt);
	if (!flat) {
		drop(lane, pkt, XB_DROP_TX_NO_FRAME);
		return NULL;
	}
	xb_packet_free(&lane->worker->cache, pkt);
	return flat;
}

/* Brings a packet that need not be cut into shape; NULL where it had to be dropped. */
static struct xb_frame *shape(const struct lane *lane, struct xb_frame *pkt)
{
	const struct xb_port_caps *caps = &lane->port->caps;

	if (pkt->offload.gso == XB_GSO_NONE && pkt->bytes > caps->bytes_max) {
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
	return pkt->count > caps->frames_max ? linearise(lane, pkt) : pkt;
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
	int n;

	if (pkt->offload.hdr_bytes + pkt->offload.gso_size > caps->bytes_max) {
		drop(lane, pkt, XB_DROP_TX_TOO_LONG);
		return;
	}
	n = xb_segment(&lane->worker->cache, pkt, caps->takes, pieces, XB_SEGMENTS_MAX);
	if (n < 0) {
		drop(lane, pkt, cut_failure(n));
		return;
	}
	xb_count(&lane->worker->segments_added, (uint64_t)n - 1);
	for (int done = 0; done < n; done += XB_BATCH)
		transmit(lane, pieces + done,
			 n - done < (int)XB_BATCH ? (unsigned)(n - done) : XB_BATCH);
}

static void send_all(const struct lane *lane, struct xb_frame **pkts, unsigned n)
{
	const struct xb_port_caps *caps = &lane->port->caps;
	struct xb_frame *ready[XB_BATCH];
	unsigned n_ready = 0;
	unsigned left = xb_coalesce(&lane->worker->cache, pkts, n, caps->takes, caps->frames_max);

	xb_count(&lane->worker->frames_joined, n - left);
	for (unsigned i = 0; i < left; i++) {
		struct xb_frame *pkt = pkts[i];
		uint32_t needs = gso_bit(pkt);

		if ((caps->takes & needs) != needs) {
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
static void remember(struct xb_worker *worker, struct xb_port *port, unsigned q)
{
	for (unsigned i = 0; i < worker->n_pending; i++)
		if (worker->pending[i].port == port)
			return;
	worker->pending[worker->n_pending++] = (struct xb_pending){port, q};
}

void xb_outbox_flush(struct xb_worker *worker, const struct xb_snapshot *snapshot,
		     struct xb_port *port, unsigned rx_queue)
{
	struct xb_outbox *out = &worker->out[port->id];
	struct lane lane = {worker, port, xb_snapshot_tx_queue(snapshot, port, worker->index, rx_queue)};
	struct xb_port_queue *queue = &port->queues[lane.q];
	unsigned n = out->n;

	out->n = 0;
	if (!n)
		return;
	pthread_mutex_lock(&queue->tx_lock);
	if (atomic_load_explicit(&port->up, memory_order_relaxed))
		send_all(&lane, out->pkts, n);
	else
		for (unsigned i = 0; i < n; i++)
			drop(&lane, out->pkts[i], XB_DROP_PORT_DOWN);
	if (port->ops->kick(port, lane.q, &worker->cache) &&
	    lane.q % snapshot->n_workers != worker->index)
		remember(worker, port, lane.q);
	pthread_mutex_unlock(&queue->tx_lock);
}
