/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/worker.h"

#include "core/calls.h"
#include "core/clock.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

XB_CALL(worker, clock_gettime);
XB_CALL(worker, write);
XB_CALL(control, clock_nanosleep);
XB_CALL(control, futex);

/* ---- snapshots ---- */

void xb_workers_wake(struct xb_workers *workers)
{
	for (unsigned w = 0; w < workers->n; w++)
		xb_idle_wake(&workers->worker[w].idle);
}

/* A worker that sleeps is woken, since its poll(2) holds on to descriptors that are to be closed.
 * The sequentially consistent accesses pair with those in adopt(). */
uint64_t xb_workers_offer(struct xb_workers *workers, struct xb_snapshot *snapshot)
{
	uint64_t generation;

	if (snapshot)
		snapshot->n_workers = workers->n;
	atomic_store(&workers->published, snapshot);
	generation = atomic_fetch_add(&workers->generation, 1) + 1;
	xb_workers_wake(workers);
	return generation;
}

bool xb_workers_reached(const struct xb_workers *workers, uint64_t generation)
{
	for (unsigned w = 0; w < workers->n; w++)
		if (atomic_load(&workers->worker[w].seen) < generation)
			return false;
	return true;
}

void xb_workers_publish(struct xb_workers *workers, struct xb_snapshot *snapshot)
{
	static const struct timespec pause = {.tv_nsec = 20000};
	uint64_t generation = xb_workers_offer(workers, snapshot);

	while (!xb_workers_reached(workers, generation))
		nanosleep(&pause, NULL);
}

/* Adopts the newest snapshot, and forgets what was remembered about the one before. */
static const struct xb_snapshot *adopt(struct xb_worker *worker, const struct xb_snapshot *old)
{
	/* Read first: the snapshot that is read after it is of this generation or a later one. */
	uint64_t generation = atomic_load(&worker->set->generation);
	const struct xb_snapshot *snapshot;

	if (generation == atomic_load(&worker->seen))
		return old;
	snapshot = atomic_load(&worker->set->published);
	xb_sorter_adopt(&worker->sorter, snapshot);
	worker->beat_ns = 0;
	atomic_store(&worker->seen, generation);
	return snapshot;
}

/* ---- the thread ---- */

static void beat(struct xb_worker *worker, const struct xb_snapshot *snapshot)
{
	uint64_t now_ns = worker->sorter.now_ns;

	if (worker->beat_ns && now_ns - worker->beat_ns < worker->set->beat_ns / 2)
		return;
	worker->beat_ns = now_ns;
	xb_for_each_queue_of(worker->index, snapshot, port, q)
	{
		if (port->ops->beat)
			port->ops->beat(port, q, now_ns);
	}
}

/* Nothing came in. Returns the snapshot to go on with. */
static const struct xb_snapshot *rest(struct xb_worker *worker, const struct xb_snapshot *snapshot,
				      unsigned pending)
{
	const struct xb_rest left = {
		.snapshot = snapshot,
		.worker = worker->index,
		.pending = pending,
		.beat_ns = worker->beat_ns,
		.beats_ns = worker->set->beat_ns,
	};

	if (!xb_idle_rest(&worker->idle, &left))
		return snapshot;
	snapshot = adopt(worker, snapshot);
	if (snapshot)
		xb_idle_disarm(snapshot, worker->index);
	return snapshot;
}

static void *worker_main(void *arg)
{
	struct xb_worker *worker = arg;
	struct xb_workers *set = worker->set;
	const struct xb_snapshot *snapshot = NULL;

	if (set->on_start)
		set->on_start(set->arg, worker->index);
	while (!atomic_load_explicit(&set->stop, memory_order_relaxed)) {
		struct xb_round round = {0};

		snapshot = adopt(worker, snapshot);
		worker->sorter.now_ns = xb_clock_ns(CLOCK_MONOTONIC_COARSE);
		if (snapshot) {
			beat(worker, snapshot);
			round = xb_sorter_round(&worker->sorter, snapshot);
		}
		if (round.packets)
			xb_idle_met(&worker->idle, round.packets);
		else
			snapshot = rest(worker, snapshot, round.pending);
	}
	xb_sorter_fini(&worker->sorter);
	return NULL;
}

/* ---- start and stop ---- */

static int start_one(struct xb_workers *workers, unsigned index)
{
	struct xb_worker *worker = &workers->worker[index];
	char name[16];
	int ret;

	worker->set = workers;
	worker->index = index;
	xb_sorter_init(&worker->sorter, workers->arena, index);
	ret = xb_idle_init(&worker->idle);
	if (ret < 0)
		return ret;
	ret = pthread_create(&worker->thread, NULL, worker_main, worker);
	if (ret) {
		xb_idle_fini(&worker->idle);
		return -ret;
	}
	snprintf(name, sizeof(name), "xb-worker-%u", index % 1000);
	pthread_setname_np(worker->thread, name);
	return 0;
}

int xb_workers_start(struct xb_workers *workers, struct xb_arena *arena,
		     const struct xb_workers_options *options, struct xb_error *err)
{
	*workers = (struct xb_workers){
		.arena = arena,
		.beat_ns = options->beat_ns,
		.on_start = options->on_start,
		.arg = options->arg,
	};
	workers->worker = aligned_alloc(64, (options->n * sizeof(struct xb_worker) + 63) / 64 * 64);
	if (!workers->worker)
		return xb_fail(err, -ENOMEM, "allocate %u workers", options->n);
	memset(workers->worker, 0, options->n * sizeof(struct xb_worker));
	while (workers->n < options->n) {
		unsigned index = workers->n;
		int ret = start_one(workers, index);

		if (ret < 0) {
			xb_workers_stop(workers);
			return xb_fail(err, ret, "start worker %u", index);
		}
		workers->n++;
	}
	return 0;
}

struct xb_sorter_counts xb_workers_counts(const struct xb_workers *workers)
{
	struct xb_sorter_counts all = {0};

	for (unsigned w = 0; w < workers->n; w++) {
		struct xb_sorter_counts counts = xb_sorter_counts(&workers->worker[w].sorter);

		all.copies += counts.copies;
		all.segments_added += counts.segments_added;
		all.frames_joined += counts.frames_joined;
	}
	return all;
}

void xb_workers_end(struct xb_workers *workers)
{
	atomic_store(&workers->stop, true);
	xb_workers_wake(workers);
}

bool xb_workers_have_ended(struct xb_workers *workers)
{
	bool all = true;

	for (unsigned w = 0; w < workers->n; w++) {
		struct xb_worker *worker = &workers->worker[w];

		worker->joined = worker->joined || !pthread_tryjoin_np(worker->thread, NULL);
		all = all && worker->joined;
	}
	return all;
}

void xb_workers_stop(struct xb_workers *workers)
{
	xb_workers_end(workers);
	for (unsigned w = 0; w < workers->n; w++) {
		if (!workers->worker[w].joined)
			pthread_join(workers->worker[w].thread, NULL);
		xb_idle_fini(&workers->worker[w].idle);
	}
	free(workers->worker);
	workers->worker = NULL;
	workers->n = 0;
}
