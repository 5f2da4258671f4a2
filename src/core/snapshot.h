/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A snapshot: what the control thread publishes to the workers, so that they read it without a
 * lock. The control thread fills it, publishes it (core/worker.h), and changes it no more until no
 * worker holds it.
 *
 * Queue q of each port in it belongs to worker q mod n_workers.
 */
#ifndef XB_CORE_SNAPSHOT_H
#define XB_CORE_SNAPSHOT_H

#include "core/capture.h"
#include "core/fdb.h"
#include "core/loops.h"
#include "core/port.h"
#include "core/rules.h"

struct xb_snapshot {
	uint16_t verdict;   /* the default verdict */
	unsigned n_workers; /* filled by xb_workers_offer */
	unsigned n_ports;   /* entries of port_list */
	struct xb_port *port_list[XB_PORTS_MAX];
	struct xb_port *ports[XB_PORTS_MAX]; /* by id; NULL: no such port */
	uint16_t queues[XB_PORTS_MAX];       /* by id: queues that are in use */
	struct xb_fdb *fdb;
	struct xb_loops *loops;     /* NULL: not looked for */
	uint64_t cut[XB_PORTS_MAX]; /* by id: ports, as a mask of ids, to which it does not flood */
	struct xb_rules rules;
	struct xb_captures captures;
	unsigned n_own;
	uint64_t own[XB_OWN_MACS_MAX]; /* own MACs of uplinks, sorted; see xb_snapshot_add_own */
};

/** A pass over the queues that belong to worker `worker`. */
#define xb_for_each_queue_of(worker, snapshot, port, q)                                   \
	for (unsigned i_ = 0; i_ < (snapshot)->n_ports; i_++)                             \
		for (struct xb_port *port = (snapshot)->port_list[i_]; port; port = NULL) \
			for (unsigned q = (worker); q < (snapshot)->queues[port->id];     \
			     q += (snapshot)->n_workers)

/** Adds a port, with the queues that it has started, to a snapshot under construction. A port that
 *  has started none is down: what is for it is dropped (port_down), and none of its ops is called.
 */
void xb_snapshot_add(struct xb_snapshot *snapshot, struct xb_port *port);

/** Adds an own MAC of an uplink: its interface's, or that of a device stacked on it. Beyond
 *  XB_OWN_MACS_MAX it is left out. */
void xb_snapshot_add_own(struct xb_snapshot *snapshot, const struct xb_port *port,
			 const uint8_t mac[6]);

/** Whether `mac` is an own MAC of that uplink. */
bool xb_snapshot_has_own(const struct xb_snapshot *snapshot, const struct xb_port *port,
			 const uint8_t mac[6]);

/** The queue of `port` on which worker `worker` sends what came in on its source's queue
 *  `rx_queue`: one of the worker's own if it has any there, so that no other worker sends on it.
 *  The port has started queues. */
unsigned xb_snapshot_tx_queue(const struct xb_snapshot *snapshot, const struct xb_port *port,
			      unsigned worker, unsigned rx_queue);

#endif
