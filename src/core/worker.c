/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/worker.h"

#include "core/calls.h"
#include "core/clock.h"
#include "core/l4.h"
#include "core/pace.h"
#include "core/round.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

XB_CALL(worker, clock_gettime);
XB_CALL(worker, poll);
XB_CALL(worker, ppoll);
XB_CALL(worker, read);
XB_CALL(worker, sched_yield);
XB_CALL(worker, write);
XB_CALL(control, clock_nanosleep);
XB_CALL(control, futex);
XB_CALL(control, write);

#define NS_PER_MS 1000000u

/* The control thread's, and two of each queue there can be: for a packet, and for one on its way.
 */
#define WAKE_FDS_MAX (1u + 2u * XB_PORTS_MAX * XB_QUEUES_MAX)

/* ---- snapshots ---- */

void xb_snapshot_add(struct xb_snapshot *snapshot, struct xb_port *port)
{
	snapshot->port_list[snapshot->n_ports++] = port;
	snapshot->ports[port->id] = port;
	snapshot->queues[port->id] = port->n_queues;
}

static uint64_t own_key(const struct xb_port *port, const uint8_t mac[6])
{
	return (uint64_t)xb_get_be16(mac) << 48 | (uint64_t)xb_get_be32(mac + 2) << 16 | port->id;
}

/* The place of the first own MAC that is not below `key`. */
static unsigned own_place(const struct xb_snapshot *snapshot, uint64_t key)
{
	unsigned first = 0, behind = snapshot->n_own;

	while (first < behind) {
		unsigned middle = (first + behind) / 2;

		if (snapshot->own[middle] < key)
			first = middle + 1;
		else
			behind = middle;
	}
	return first;
}

void xb_snapshot_add_own(struct xb_snapshot *snapshot, const struct xb_port *port,
			 const uint8_t mac[6])
{
	uint64_t key = own_key(port, mac);
	unsigned place = own_place(snapshot, key);

	if (snapshot->n_own == XB_OWN_MACS_MAX)
		return;
	memmove(&snapshot->own[place + 1], &snapshot->own[place],
		(snapshot->n_own - place) * sizeof(snapshot->own[0]));
	snapshot->own[place] = key;
	snapshot->n_own++;
}

bool xb_snapshot_has_own(const struct xb_snapshot *snapshot, const struct xb_port *port,
			 const uint8_t mac[6])
{
	uint64_t key = own_key(port, mac);
	unsigned place = own_place(snapshot, key);

	return place < snapshot->n_own && snapshot->own[place] == key;
}

unsigned xb_snapshot_tx_queue(const struct xb_snapshot *snapshot, const struct xb_port *port,
			      unsigned worker, unsigned rx_queue)
{
	unsigned n = snapshot->n_workers;
	unsigned queues = snapshot->queues[port->id];
	unsigned own = queues / n + (worker < queues % n);

	if (!own)
		return worker % queues;
	return worker + n * (rx_queue / n % own);
}

static void wake(struct xb_worker *worker)
{
	uint64_t one = 1;
	ssize_t written;

	if (atomic_load(&worker->asleep))
		atomic_store(&worker->called_ns, xb_clock_ns(CLOCK_MONOTONIC));
	written = write(worker->wake_fd, &one, sizeof(one));

	(void)written; /* EAGAIN: it is going to wake up anyway */
}

void xb_workers_wake(struct xb_workers *workers)
{
	for (unsigned w = 0; w < workers->n; w++)
		wake(&workers->worker[w]);
}

/* One that sleeps is woken: its poll(2) would hold on to descriptors that are to be closed. The
 * sequentially consistent accesses pair with those in sleep_until_woken() and adopt(). */
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

static void beat(struct xb_worker *worker, const struct xb_snapshot *snapshot)
{
	if (worker->beat_ns && worker->now_ns - worker->beat_ns < worker->set->beat_ns / 2)
		return;
	worker->beat_ns = worker->now_ns;
	xb_for_each_own_queue(worker, snapshot, port, q)
	{
		if (port->ops->beat)
			port->ops->beat(port, q, worker->now_ns);
	}
}

/* ---- sleep ---- */

static bool arm_all(struct xb_worker *worker, const struct xb_snapshot *snapshot)
{
	xb_for_each_own_queue(worker, snapshot, port, q)
	{
		if (!port->ops->arm(port, q))
			return false;
	}
	return true;
}

static void disarm_all(struct xb_worker *worker, const struct xb_snapshot *snapshot)
{
	xb_for_each_own_queue(worker, snapshot, port, q) port->ops->disarm(port, q);
}

/* The control thread has woken us: notes how long that took. The price rises quickly and falls
 * slowly, since a CPU that was not idle is a cheap one to wake on. */
static void learn_wake(struct xb_worker *worker)
{
	uint64_t called_ns = atomic_exchange(&worker->called_ns, 0);
	uint64_t known_ns = atomic_load_explicit(&worker->wake_ns, memory_order_relaxed);
	uint64_t took_ns;

	if (!called_ns)
		return;
	took_ns = xb_clock_ns(CLOCK_MONOTONIC) - called_ns;
	if (took_ns > XB_WAKE_NS_MAX)
		took_ns = XB_WAKE_NS_MAX;
	known_ns = took_ns > known_ns ? known_ns + (took_ns - known_ns) / 2
				      : known_ns - (known_ns - took_ns) / 16;
	atomic_store_explicit(&worker->wake_ns, known_ns, memory_order_relaxed);
}

/* What wakes a sleeper. */
struct alarms {
	nfds_t n;
	struct pollfd fds[WAKE_FDS_MAX]; /* the control thread's comes first */
};

static void alarms_add(struct alarms *alarms, int fd)
{
	if (fd >= 0)
		alarms->fds[alarms->n++] = (struct pollfd){.fd = fd, .events = POLLIN};
}

/* Sleeps, holding no reference to the snapshot, until an armed queue or the control thread wakes us
 * or the time is over; where `early`, also until a packet is on its way. Returns whether one is. */
static bool sleep_until_woken(struct xb_worker *worker, const struct xb_snapshot *snapshot,
			      bool early, int timeout_ms)
{
	struct alarms alarms;
	nfds_t n_sure;
	bool foretold = false;
	uint64_t count;

	alarms.n = 0;
	alarms_add(&alarms, worker->wake_fd);
	if (snapshot)
		xb_for_each_own_queue(worker, snapshot, port, q)
			alarms_add(&alarms, port->queues[q].wake_fd);
	n_sure = alarms.n;
	if (snapshot && early)
		xb_for_each_own_queue(worker, snapshot, port, q)
			alarms_add(&alarms, port->queues[q].early_fd);
	atomic_store(&worker->asleep, true);
	if (atomic_load(&worker->set->generation) == atomic_load(&worker->seen) &&
	    !atomic_load(&worker->set->stop) && poll(alarms.fds, alarms.n, timeout_ms) > 0) {
		if (alarms.fds[0].revents) {
			ssize_t got;

			learn_wake(worker);
			got = read(worker->wake_fd, &count, sizeof(count));
			(void)got;
		}
		for (nfds_t i = n_sure; i < alarms.n; i++)
			foretold |= alarms.fds[i].revents != 0;
	}
	atomic_store(&worker->asleep, false);
	atomic_store(&worker->called_ns, 0); /* a call that came too late tells nothing */
	xb_count(&worker->sleeps, 1);
	return foretold;
}

/* Adopts the newest snapshot. What is remembered about the one before goes. */
static const struct xb_snapshot *adopt(struct xb_worker *worker, const struct xb_snapshot *old)
{
	/* Read first: the snapshot read behind it is of this generation or a later one. */
	uint64_t generation = atomic_load(&worker->set->generation);
	const struct xb_snapshot *snapshot;

	if (generation == atomic_load(&worker->seen))
		return old;
	snapshot = atomic_load(&worker->set->published);
	worker->n_pending = 0;
	worker->last_key = (struct xb_fdb_key){0};
	worker->beat_ns = 0;
	worker->cache.captures = snapshot && snapshot->captures.n ? &snapshot->captures : NULL;
	atomic_store(&worker->seen, generation);
	return snapshot;
}

static uint64_t wake_ns(const struct xb_worker *worker)
{
	return atomic_load_explicit(&worker->wake_ns, memory_order_relaxed);
}

/* How long nobody misses a beat, with an eighth of that time kept for waking up. */
static int until_beat_ms(const struct xb_worker *worker, uint64_t now_ns)
{
	uint64_t within_ns = worker->set->beat_ns - worker->set->beat_ns / 8;
	uint64_t due_ns = worker->beat_ns ? worker->beat_ns + within_ns : now_ns + within_ns;

	return now_ns < due_ns ? (int)((due_ns - now_ns) / NS_PER_MS) : 0;
}

/* Nothing came in: poll on for a while, then sleep. Returns the snapshot to go on with. */
static const struct xb_snapshot *rest(struct xb_worker *worker, const struct xb_snapshot *snapshot,
				      struct xb_pace *pace, unsigned pending)
{
	uint64_t now_ns = xb_clock_ns(CLOCK_MONOTONIC);
	enum xb_pace_next next = xb_pace_idle(pace, now_ns, wake_ns(worker));
	int ms;

	if (next != XB_PACE_SLEEP) {
		if (next == XB_PACE_YIELD)
			sched_yield();
		return snapshot;
	}
	if (!snapshot || arm_all(worker, snapshot)) {
		ms = xb_pace_sleep_ms(pace, pending, until_beat_ms(worker, now_ns));
		if (sleep_until_woken(worker, snapshot, xb_pace_heeds(pace, now_ns), ms))
			xb_pace_foretell(pace, xb_clock_ns(CLOCK_MONOTONIC));
		snapshot = adopt(worker, snapshot);
	}
	if (snapshot)
		disarm_all(worker, snapshot);
	return snapshot;
}

static void *worker_main(void *arg)
{
	struct xb_worker *worker = arg;
	struct xb_workers *set = worker->set;
	const struct xb_snapshot *snapshot = NULL;
	struct xb_pace pace;

	xb_pace_init(&pace);
	if (set->on_start)
		set->on_start(set->arg, worker->index);
	while (!atomic_load_explicit(&set->stop, memory_order_relaxed)) {
		struct xb_round round = {0};

		snapshot = adopt(worker, snapshot);
		worker->now_ns = xb_clock_ns(CLOCK_MONOTONIC_COARSE);
		if (snapshot) {
			beat(worker, snapshot);
			round = xb_worker_round(worker, snapshot);
		}
		xb_pace_count(&pace, round.packets);
		if (!round.packets)
			snapshot = rest(worker, snapshot, &pace, round.pending);
		else if (xb_pace_in_gap(&pace))
			xb_pace_end_gap(&pace, xb_clock_ns(CLOCK_MONOTONIC), wake_ns(worker));
	}
	xb_cache_fini(&worker->cache);
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
	xb_cache_init(&worker->cache, workers->arena);
	worker->cache.thread = worker->index;
	worker->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (worker->wake_fd < 0)
		return -errno;
	ret = pthread_create(&worker->thread, NULL, worker_main, worker);
	if (ret) {
		close(worker->wake_fd);
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
		close(workers->worker[w].wake_fd);
	}
	free(workers->worker);
	workers->worker = NULL;
	workers->n = 0;
}
