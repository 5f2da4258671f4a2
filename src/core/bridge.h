/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The sorting room: a batch comes in on one queue, each packet gets its verdict and goes into the
 * outbox of the port that the verdict names.
 */
#ifndef XB_CORE_BRIDGE_H
#define XB_CORE_BRIDGE_H

#include "core/worker.h"

/** Sorts packets that `port` received on queue `rx_queue` into the worker's outboxes, and counts
 * them. All of them are in the worker's hands before, in outboxes or freed (and counted) after; an
 * outbox that fills up is flushed. */
void xb_bridge_batch(struct xb_worker *worker, const struct xb_snapshot *snapshot,
		     struct xb_port *port, unsigned rx_queue, struct xb_frame **pkts, unsigned n);

#endif
