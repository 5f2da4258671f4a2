/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/idle.h"

#include "core/calls.h"
#include "core/clock.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <unistd.h>

XB_CALL(worker, poll);
XB_CALL(worker, ppoll);
XB_CALL(worker, read);
XB_CALL(worker, sched_yield);
XB_CALL(control, write);

#define NS_PER_MS 1000000u

/* The control thread's, and two for each queue that there can be: for a packet, and for one on its
 * way. */
#define WAKE_FDS_MAX (1u + 2u * XB_PORTS_MAX * XB_QUEUES_MAX)

int xb_idle_init(struct xb_idle *idle)
{
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	if (fd < 0)
		return -errno;
	*idle = (struct xb_idle){.wake_fd = fd};
	xb_pace_init(&idle->pace);
	return 0;
}

void xb_idle_fini(struct xb_idle *idle)
{
	close(idle->wake_fd);
}

void xb_idle_wake(struct xb_idle *idle)
{
	uint64_t one = 1;
	ssize_t written;

	if (atomic_load(&idle->asleep))
		atomic_store(&idle->called_ns, xb_clock_ns(CLOCK_MONOTONIC));
	written = write(idle->wake_fd, &one, sizeof(one));

	(void)written; /* EAGAIN: it is going to wake up anyway */
}

static uint64_t wake_ns(const struct xb_idle *idle)
{
	return atomic_load_explicit(&idle->wake_ns, memory_order_relaxed);
}

void xb_idle_met(struct xb_idle *idle, unsigned packets)
{
	xb_pace_count(&idle->pace, packets);
	if (xb_pace_in_gap(&idle->pace))
		xb_pace_end_gap(&idle->pace, xb_clock_ns(CLOCK_MONOTONIC), wake_ns(idle));
}

/* ---- sleep ---- */

static bool arm(const struct xb_rest *rest)
{
	xb_for_each_queue_of(rest->worker, rest->snapshot, port, q)
	{
		if (!port->ops->arm(port, q))
			return false;
	}
	return true;
}

void xb_idle_disarm(const struct xb_snapshot *snapshot, unsigned worker)
{
	xb_for_each_queue_of(worker, snapshot, port, q) port->ops->disarm(port, q);
}

/* The control thread has woken us: notes how long that took. The price rises quickly and falls
 * slowly, since a CPU that was not idle is a cheap one to wake on. */
static void learn_wake(struct xb_idle *idle)
{
	uint64_t called_ns = atomic_exchange(&idle->called_ns, 0);
	uint64_t known_ns = wake_ns(idle);
	uint64_t took_ns;

	if (!called_ns)
		return;
	took_ns = xb_clock_ns(CLOCK_MONOTONIC) - called_ns;
	if (took_ns > XB_WAKE_NS_MAX)
		took_ns = XB_WAKE_NS_MAX;
	known_ns = took_ns > known_ns ? known_ns + (took_ns - known_ns) / 2
				      : known_ns - (known_ns - took_ns) / 16;
	atomic_store_explicit(&idle->wake_ns, known_ns, memory_order_relaxed);
}

/* What wakes a sleeper. */
struct alarms {
	nfds_t n;
	nfds_t n_sure;                   /* those after tell only that a packet is on its way */
	struct pollfd fds[WAKE_FDS_MAX]; /* the control thread's comes first */
};

static void alarms_add(struct alarms *alarms, int fd)
{
	if (fd >= 0)
		alarms->fds[alarms->n++] = (struct pollfd){.fd = fd, .events = POLLIN};
}

static void alarms_set(struct alarms *alarms, int wake_fd, const struct xb_rest *rest, bool early)
{
	alarms->n = 0;
	alarms_add(alarms, wake_fd);
	if (rest->snapshot)
		xb_for_each_queue_of(rest->worker, rest->snapshot, port, q)
			alarms_add(alarms, port->queues[q].wake_fd);
	alarms->n_sure = alarms->n;
	if (rest->snapshot && early)
		xb_for_each_queue_of(rest->worker, rest->snapshot, port, q)
			alarms_add(alarms, port->queues[q].early_fd);
}

/* Sleeps until one of the alarms rings or the time is over. Returns whether a packet is on its way.
 *
 * A call by the control thread that comes before poll(2) is not lost: the eventfd stays readable.
 */
static bool sleep_until_woken(struct xb_idle *idle, struct alarms *alarms, int timeout_ms)
{
	bool foretold = false;
	uint64_t count;

	atomic_store(&idle->asleep, true);
	if (poll(alarms->fds, alarms->n, timeout_ms) > 0) {
		if (alarms->fds[0].revents) {
			ssize_t got;

			learn_wake(idle);
			got = read(idle->wake_fd, &count, sizeof(count));
			(void)got;
		}
		for (nfds_t i = alarms->n_sure; i < alarms->n; i++)
			foretold |= alarms->fds[i].revents != 0;
	}
	atomic_store(&idle->asleep, false);
	atomic_store(&idle->called_ns, 0); /* a call that came too late tells nothing */
	xb_count(&idle->sleeps, 1);
	return foretold;
}

/* How long no beat is missed, with an eighth of that time kept for waking up. */
static int until_beat_ms(const struct xb_rest *rest, uint64_t now_ns)
{
	uint64_t within_ns = rest->beats_ns - rest->beats_ns / 8;
	uint64_t due_ns = rest->beat_ns ? rest->beat_ns + within_ns : now_ns + within_ns;

	return now_ns < due_ns ? (int)((due_ns - now_ns) / NS_PER_MS) : 0;
}

static void sleep_armed(struct xb_idle *idle, const struct xb_rest *rest, uint64_t now_ns)
{
	struct alarms alarms;
	int ms = xb_pace_sleep_ms(&idle->pace, rest->pending, until_beat_ms(rest, now_ns));

	alarms_set(&alarms, idle->wake_fd, rest, xb_pace_heeds(&idle->pace, now_ns));
	if (sleep_until_woken(idle, &alarms, ms))
		xb_pace_foretell(&idle->pace, xb_clock_ns(CLOCK_MONOTONIC));
}

bool xb_idle_rest(struct xb_idle *idle, const struct xb_rest *rest)
{
	uint64_t now_ns = xb_clock_ns(CLOCK_MONOTONIC);
	enum xb_pace_next next = xb_pace_idle(&idle->pace, now_ns, wake_ns(idle));

	if (next == XB_PACE_YIELD)
		sched_yield();
	if (next != XB_PACE_SLEEP)
		return false;
	if (!rest->snapshot || arm(rest))
		sleep_armed(idle, rest, now_ns);
	return true;
}
