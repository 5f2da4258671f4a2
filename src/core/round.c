/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/round.h"

#include "core/bridge.h"
#include "core/send.h"

static unsigned kick(struct xb_worker *worker, struct xb_port *port, unsigned q)
{
	struct xb_port_queue *queue = &port->queues[q];
	unsigned pending;

	pthread_mutex_lock(&queue->tx_lock);
	pending = port->ops->kick(port, q, &worker->cache);
	pthread_mutex_unlock(&queue->tx_lock);
	return pending;
}

/* Looks after the queues of others that hold packets of ours. */
static unsigned kick_pending(struct xb_worker *worker)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < worker->n_pending; i++)
		if (kick(worker, worker->pending[i].port, worker->pending[i].q))
			worker->pending[kept++] = worker->pending[i];
	worker->n_pending = kept;
	return kept;
}

struct xb_round xb_worker_round(struct xb_worker *worker, const struct xb_snapshot *snapshot)
{
	struct xb_frame *pkts[XB_BATCH];
	struct xb_round round = {0};

	xb_for_each_own_queue(worker, snapshot, port, q)
	{
		unsigned n = port->ops->rx_batch(port, q, &worker->cache, pkts, XB_BATCH);

		if (n) {
			xb_bridge_batch(worker, snapshot, port, q, pkts, n);
			for (unsigned i = 0; i < snapshot->n_ports; i++)
				xb_outbox_flush(worker, snapshot, snapshot->port_list[i], q);
			round.packets += n;
		}
		round.pending += kick(worker, port, q);
	}
	round.pending += kick_pending(worker);
	return round;
}
