/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The sorting room: a batch comes in on one queue, each packet gets its verdict and goes into the
 * outbox of the port that the verdict names.
 */
#ifndef XB_CORE_BRIDGE_H
#define XB_CORE_BRIDGE_H

#include "core/worker.h"
#include "xbridge/classify.h"

/** Sorts packets that `port` received on queue `rx_queue` into the worker's outboxes, and counts
 * them. All of them are in the worker's hands before, in outboxes or freed (and counted) after; an
 * outbox that fills up is flushed. */
void xb_bridge_batch(struct xb_worker *worker, const struct xb_snapshot *snapshot,
		     struct xb_port *port, unsigned rx_queue, struct xb_frame **pkts, unsigned n);

/** Where a packet that is not dropped by verdict goes. */
struct xb_route {
	enum {
		XB_ROUTE_DROP,
		XB_ROUTE_PORT,
		XB_ROUTE_FLOOD, /* to every port but the one that it came from */
	} kind;
	struct xb_port *to;  /* XB_ROUTE_PORT */
	enum xb_drop reason; /* XB_ROUTE_DROP */
};

/** What becomes of a frame, up to the port that it leaves by. */
struct xb_explanation {
	/** What rules, own MACs and the default verdict say; of an uplink's frame in the XDP
	 * program. A limit is not asked. */
	struct xb_decision decision;
	bool copied;             /* a group frame of a shared uplink: `decision` is pass, and */
	struct xb_decision copy; /* this is said of the copy that xbridge gets */
	bool routed;             /* xbridge sends it somewhere, or has a reason not to: */
	struct xb_route route;
};

/**
 * Says what would become of a frame that came in by `port`. Changes nothing: no counter, no limit,
 * no cache, no address is learned.
 *
 * @data:     the frame's first bytes, XB_PARSE_BYTES or all there are; ETH_HLEN at least.
 * @snapshot: one that is published.
 */
void xb_bridge_explain(const struct xb_snapshot *snapshot, const struct xb_port *port,
		       const uint8_t *data, uint32_t bytes, struct xb_explanation *ret);

#endif
