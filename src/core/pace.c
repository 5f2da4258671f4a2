/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/pace.h"

/* How long an idle worker goes on polling before it sleeps: as long as so many wake-ups take here,
 * within bounds. */
#define SPIN_WAKES  16u
#define SPIN_MIN_NS 50000u
#define SPIN_MAX_NS (SPIN_WAKES * XB_WAKE_NS_MAX)

/* How long packets are counted to tell a dense stream from a sparse one. */
#define WINDOW_NS 4000000u

/* The share of gaps between packets that such polling covered, smoothed over the last eight or so,
 * from which on it is worthwhile. */
#define COVERED_ALL   256u
#define COVERED_WORTH (COVERED_ALL / 8)

/* A sleeping worker looks after unfinished transmissions this soon, then ever later. */
#define PENDING_MIN_MS 1

void xb_pace_init(struct xb_pace *pace)
{
	*pace = (struct xb_pace){.covered = COVERED_ALL / 2, .pending_ms = PENDING_MIN_MS};
}

/* A gap up to this is polled through. */
static uint64_t spin_ns(const struct xb_pace *pace, uint64_t wake_ns)
{
	uint64_t ns = SPIN_WAKES * wake_ns;

	return ns < SPIN_MIN_NS || pace->dense ? SPIN_MIN_NS : ns;
}

static void judge_density(struct xb_pace *pace, uint64_t now_ns, uint64_t wake_ns)
{
	uint64_t counted_ns = now_ns - pace->window_ns;

	if (counted_ns < WINDOW_NS)
		return;
	pace->dense = pace->window_packets * wake_ns > counted_ns;
	pace->window_ns = now_ns;
	pace->window_packets = 0;
}

void xb_pace_end_gap(struct xb_pace *pace, uint64_t now_ns, uint64_t wake_ns)
{
	uint64_t gap_ns = now_ns - pace->since_ns;

	if (!pace->since_ns)
		return;
	pace->since_ns = 0;
	pace->foretold_ns = 0;
	pace->covered -= pace->covered / 8;
	if (gap_ns < spin_ns(pace, wake_ns))
		pace->covered += COVERED_ALL / 8;
}

static bool polls_on(const struct xb_pace *pace, uint64_t now_ns, uint64_t wake_ns)
{
	uint64_t ns = spin_ns(pace, wake_ns);

	return (pace->covered >= COVERED_WORTH && now_ns - pace->since_ns < ns) ||
	       (pace->foretold_ns && now_ns < pace->foretold_ns + ns);
}

enum xb_pace_next xb_pace_idle(struct xb_pace *pace, uint64_t now_ns, uint64_t wake_ns)
{
	judge_density(pace, now_ns, wake_ns);
	if (!pace->since_ns)
		pace->since_ns = now_ns;
	if (!polls_on(pace, now_ns, wake_ns))
		return XB_PACE_SLEEP;
	return pace->foretold_ns || now_ns - pace->since_ns >= SPIN_MIN_NS ? XB_PACE_YIELD
									   : XB_PACE_POLL;
}

/* Only a packet that comes after a rest finds the worker asleep. */
bool xb_pace_heeds(const struct xb_pace *pace, uint64_t now_ns)
{
	return now_ns - pace->since_ns >= SPIN_MAX_NS && !pace->foretold_ns;
}

void xb_pace_foretell(struct xb_pace *pace, uint64_t now_ns)
{
	pace->foretold_ns = now_ns;
}

int xb_pace_sleep_ms(struct xb_pace *pace, bool pending, int longest_ms)
{
	if (!pending) {
		pace->pending_ms = PENDING_MIN_MS;
		return longest_ms;
	}
	if (pace->pending_ms < longest_ms)
		pace->pending_ms *= 2;
	return pace->pending_ms < longest_ms ? pace->pending_ms : longest_ms;
}
