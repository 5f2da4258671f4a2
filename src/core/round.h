/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One round of a worker: each queue that it owns is read once, and what came in is sorted and sent.
 */
#ifndef XB_CORE_ROUND_H
#define XB_CORE_ROUND_H

#include "core/worker.h"

/** A pass over the queues that a worker owns. */
#define xb_for_each_own_queue(worker, snapshot, port, q)                                     \
	for (unsigned i_ = 0; i_ < (snapshot)->n_ports; i_++)                                \
		for (struct xb_port *port = (snapshot)->port_list[i_]; port; port = NULL)    \
			for (unsigned q = (worker)->index; q < (snapshot)->queues[port->id]; \
			     q += (snapshot)->n_workers)

struct xb_round {
	unsigned packets; /* taken in */
	unsigned pending; /* posted for sending and not completed */
};

/** Does one round among the ports of `snapshot`, which this worker has adopted. */
struct xb_round xb_worker_round(struct xb_worker *worker, const struct xb_snapshot *snapshot);

#endif
