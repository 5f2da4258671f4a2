/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Workers: the threads that move packets. Each drives a sorter of its own (core/sorter.h) round by
 * round, among the ports of the snapshot that the control thread has published.
 *
 * clang-format off
 *
 *      control thread                       worker
 *      ──────────────                       ──────
 *      fills a snapshot                     loop: adopts the newest snapshot (quiet)
 *      xb_workers_offer() ─── pointer ───►        rx_batch on each queue that it owns   in
 *      xb_workers_reached(): each worker          xb_bridge_judge, xb_bridge_route      decided
 *        has adopted it                           xb_sender_flush: tx_batch             out
 *      acts on what is not published              nothing came: polls on, then sleeps
 *
 * clang-format on
 *
 * Before the control thread touches a queue (reset, resize, removal) it publishes a snapshot
 * without it; when the workers have reached that, none holds a reference to the one before. A
 * worker without packets may poll on, or sleep (core/idle.h); one that sleeps holds no snapshot.
 */
#ifndef XB_CORE_WORKER_H
#define XB_CORE_WORKER_H

#include "core/error.h"
#include "core/idle.h"
#include "core/snapshot.h"
#include "core/sorter.h"

struct xb_worker {
	struct xb_workers *set;
	unsigned index;
	pthread_t thread;
	bool joined;
	_Atomic uint64_t seen; /* generation of the snapshot that it works with */
	uint64_t beat_ns;      /* when its queues' hearts beat last; 0: not in this snapshot */
	struct xb_idle idle;
	struct xb_sorter sorter;
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

/** What the sorters of all workers have counted. Any thread, until they are stopped. */
struct xb_sorter_counts xb_workers_counts(const struct xb_workers *workers);

/** Tells all workers to end, and doesn't wait for that. */
void xb_workers_end(struct xb_workers *workers);
/** Whether all have. */
bool xb_workers_have_ended(struct xb_workers *workers);

/** Stops and joins all workers, and gives their frames back. */
void xb_workers_stop(struct xb_workers *workers);

#endif
