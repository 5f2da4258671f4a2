/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Workers: the threads that move packets, and the snapshot that tells them among which ports.
 *
 * clang-format off
 *
 *      control thread                       worker
 *      ──────────────                       ──────
 *      fills a snapshot                     loop: adopts the newest snapshot (quiet)
 *      xb_workers_offer() ─── pointer ───►        rx_batch on each queue that it owns   in
 *      xb_workers_reached(): each worker          xb_bridge_batch                       decided
 *        has adopted it                           xb_outbox_flush: tx_batch             out
 *      acts on what is not published              nothing came: polls on, then sleeps
 *
 * clang-format on
 *
 * A snapshot is immutable. Queue q of each port in it belongs to worker q mod N. Before the control
 * thread touches a queue (reset, resize, removal) it publishes a snapshot without it; when the
 * workers have reached that, none holds a reference to the one before.
 *
 * A worker with work polls. One without goes on polling for as long as some wake-ups take here, if
 * lately that was often enough to meet the next packet; else, and in a dense stream, it sleeps
 * soon. After a rest it gets up as soon as a port tells that a packet is on its way.
 */
#ifndef XB_CORE_WORKER_H
#define XB_CORE_WORKER_H

#include "core/capture.h"
#include "core/error.h"
#include "core/fdb.h"
#include "core/loops.h"
#include "core/port.h"
#include "core/rules.h"

/** What the workers see. Made by the control thread, immutable once published. */
struct xb_snapshot {
	uint16_t verdict;   /* the default verdict */
	unsigned n_workers; /* filled by xb_workers_offer */
	unsigned n_ports;   /* entries of port_list */
	struct xb_port *port_list[XB_PORTS_MAX];
	struct xb_port *ports[XB_PORTS_MAX]; /* by id; NULL: no such port */
	uint16_t queues[XB_PORTS_MAX];       /* by id: queues that are in use */
	struct xb_fdb *fdb;
	struct xb_loops *loops;     /* NULL: nobody looks for any */
	uint64_t cut[XB_PORTS_MAX]; /* by id: ports, as a mask of ids, to which it does not flood */
	struct xb_rules rules;
	struct xb_captures captures;
	unsigned n_own;
	uint64_t own[XB_OWN_MACS_MAX]; /* own MACs of uplinks, sorted; see xb_snapshot_add_own */
};

/** Adds a port, with the queues that it has started, to a snapshot under construction. Where it has
 *  started none it is down: what is for it is a drop (port_down), and none of its ops is called. */
void xb_snapshot_add(struct xb_snapshot *snapshot, struct xb_port *port);

/** Adds an own MAC of an uplink: its interface's, or that of a device stacked on it. One too many
 * is left out. */
void xb_snapshot_add_own(struct xb_snapshot *snapshot, const struct xb_port *port,
			 const uint8_t mac[6]);

/** Whether `mac` is an own MAC of that uplink. */
bool xb_snapshot_has_own(const struct xb_snapshot *snapshot, const struct xb_port *port,
			 const uint8_t mac[6]);

/** The queue of `port` on which worker `worker` sends what came in on its source's queue
 * `rx_queue`: one of the worker's own where it has any, so that nobody else sends there. The port
 * has started queues. */
unsigned xb_snapshot_tx_queue(const struct xb_snapshot *snapshot, const struct xb_port *port,
			      unsigned worker, unsigned rx_queue);

/** Packets on their way to one queue of one port. */
struct xb_outbox {
	unsigned n;
	struct xb_frame *pkts[XB_BATCH];
};

/** A queue on which packets wait for completion. */
struct xb_pending {
	struct xb_port *port;
	unsigned q;
};

struct xb_worker {
	struct xb_workers *set;
	unsigned index;
	pthread_t thread;
	bool joined;
	int wake_fd; /* eventfd of the worker's own */
	_Atomic bool asleep;
	_Atomic uint64_t called_ns; /* when the control thread woke it, asleep, last; 0: known */
	_Atomic uint64_t wake_ns;   /* how long it takes to be woken, smoothed */
	_Atomic uint64_t seen;      /* generation of the snapshot that it works with */
	struct xb_cache cache;
	uint64_t now_ns;            /* coarse monotonic clock, read once a round */
	uint64_t beat_ns;           /* when its queues' hearts beat last; 0: not in this snapshot */
	struct xb_fdb_key last_key; /* the sender seen last, known to be fine */
	uint16_t last_port;
	uint32_t last_seen_s;
	struct xb_outbox out[XB_PORTS_MAX]; /* by port id */
	unsigned n_pending;
	struct xb_pending pending[XB_PORTS_MAX]; /* queues of others that it sent to */
	/* accounting, written by this worker alone */
	xb_counter copies, segments_added, frames_joined;
	xb_counter sleeps;
	struct xb_rules_cache rules_cache;
};

struct xb_workers {
	struct xb_arena *arena;
	unsigned n;
	struct xb_worker *worker; /* n */
	uint64_t beat_ns;         /* longest time between two beats of a queue */
	_Atomic(const struct xb_snapshot *) published;
	_Atomic uint64_t generation; /* counts publications: an address may come again */
	_Atomic bool stop;
	void (*on_start)(void *arg,
			 unsigned worker); /* in the new thread, before its first packet */
	void *arg;
};

/** What workers are started with. */
struct xb_workers_options {
	unsigned n;
	uint64_t beat_ns;
	/** Called in each worker's thread before it touches a packet: to pin it, to drop
	 * privileges. */
	void (*on_start)(void *arg, unsigned worker);
	void *arg;
};

/** Starts the workers; they sleep until a snapshot is published. Returns 0 or -errno. */
int xb_workers_start(struct xb_workers *workers, struct xb_arena *arena,
		     const struct xb_workers_options *options, struct xb_error *err);

/** Publishes `snapshot` (NULL: none) and returns its generation. The one before it stays as it is
 * until the workers have reached that. Never waits. */
uint64_t xb_workers_offer(struct xb_workers *workers, struct xb_snapshot *snapshot);
/** The quiet point: whether each worker has adopted the snapshot of that generation or a later one.
 *  Then none holds one that was published before it: those are the caller's to free or to fill
 *  anew. */
bool xb_workers_reached(const struct xb_workers *workers, uint64_t generation);

/** Publishes `snapshot` and waits for the quiet point. */
void xb_workers_publish(struct xb_workers *workers, struct xb_snapshot *snapshot);

/** Wakes the workers, so that those that sleep see how long that takes: to be called once a second
 *  or so. Control thread. */
void xb_workers_wake(struct xb_workers *workers);

/** Tells all workers to end, and doesn't wait for that. */
void xb_workers_end(struct xb_workers *workers);
/** Whether all have. */
bool xb_workers_have_ended(struct xb_workers *workers);

/** Stops and joins all workers, and gives their frames back. */
void xb_workers_stop(struct xb_workers *workers);

#endif
