/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The way out: what an outbox holds is brought into the shape that its port takes (joined, cut,
 * checksums finished, laid out in one frame) and handed over.
 */
#ifndef XB_CORE_SEND_H
#define XB_CORE_SEND_H

#include "core/worker.h"

/** Sends all that lies in the worker's outbox for `port`, and empties it. What came in on queue
 *  `rx_queue` of its port leaves by xb_snapshot_tx_queue. */
void xb_outbox_flush(struct xb_worker *worker, const struct xb_snapshot *snapshot,
		     struct xb_port *port, unsigned rx_queue);

#endif
