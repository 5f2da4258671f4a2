/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The way out: packets wait in an outbox for each port, are brought into the shape that the port
 * takes (joined, cut, checksums finished, laid out in one frame), and are handed over.
 *
 * A sender belongs to one worker; other workers may send on the same queues, so each queue is used
 * under its tx_lock, taken once a batch.
 */
#ifndef XB_CORE_SEND_H
#define XB_CORE_SEND_H

#include "core/snapshot.h"

/** Packets on their way to one port. */
struct xb_outbox {
	unsigned n;
	struct xb_frame *pkts[XB_BATCH];
};

/** A queue on which packets wait for completion. */
struct xb_pending {
	struct xb_port *port;
	unsigned q;
};

struct xb_sender {
	struct xb_cache *cache;
	unsigned worker; /* its index */
	unsigned n_pending;
	struct xb_pending pending[XB_PORTS_MAX]; /* other workers' queues that it sent on */
	xb_counter segments_added, frames_joined;
	struct xb_outbox out[XB_PORTS_MAX]; /* by port id */
};

/** Readies a sender, all zeroes before, that takes frames from `cache` and gives them back there.
 */
void xb_sender_init(struct xb_sender *sender, struct xb_cache *cache, unsigned worker);

/** Sends all that lies in the outbox for `port`, and empties it. What came in on queue `rx_queue`
 *  of its port leaves on xb_snapshot_tx_queue. */
void xb_sender_flush(struct xb_sender *sender, const struct xb_snapshot *snapshot,
		     struct xb_port *port, unsigned rx_queue);

/** Puts a packet into the outbox for `port`, and flushes that where it is full. */
static inline void xb_sender_put(struct xb_sender *sender, const struct xb_snapshot *snapshot,
				 struct xb_port *port, unsigned rx_queue, struct xb_frame *pkt)
{
	struct xb_outbox *out = &sender->out[port->id];

	out->pkts[out->n++] = pkt;
	if (out->n == XB_BATCH)
		xb_sender_flush(sender, snapshot, port, rx_queue);
}

/** Kicks a queue. Returns the packets still posted there. */
unsigned xb_sender_kick(struct xb_sender *sender, struct xb_port *port, unsigned q);

/** Kicks the queues of other workers that hold packets of ours. Returns how many still do. */
unsigned xb_sender_kick_pending(struct xb_sender *sender);

/** Forgets those queues: their ports may be gone. */
void xb_sender_forget(struct xb_sender *sender);

#endif
