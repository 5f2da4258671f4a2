/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * When a worker without packets polls on, and when it sleeps.
 *
 * Theory. To be woken costs time: `wake_ns`, as measured on this machine. A worker polls through a
 * gap between packets that is short compared with that, if lately polling met the next packet often
 * enough. In a dense stream, with more than one packet in the time of a wake-up, there is nothing
 * to gain: a worker that sleeps finds several packets when it is woken, which cost less together.
 * After a rest a worker also heeds a port that tells of a packet on its way, and polls for it. If
 * that packet does not come, it heeds none again until one has.
 *
 * The policy depends only on what it is told, times (CLOCK_MONOTONIC) included. One thread.
 */
#ifndef XB_CORE_PACE_H
#define XB_CORE_PACE_H

#include <stdbool.h>
#include <stdint.h>

/** A wake-up that takes longer counts as this. */
#define XB_WAKE_NS_MAX 1250000u

struct xb_pace {
	uint64_t since_ns;    /* when the worker ran out of packets; 0: it has some */
	uint64_t foretold_ns; /* when it was told that one is on its way; 0: none since the last */
	unsigned covered;     /* share of gaps that could be polled through, in 1/256 */
	int pending_ms;     /* how long the next sleep may be while transmissions are unfinished */
	uint64_t window_ns; /* when counting began */
	uint64_t window_packets; /* that came since */
	bool dense;              /* lately more than one packet came in the time of a wake-up */
};

enum xb_pace_next {
	XB_PACE_POLL,
	XB_PACE_YIELD, /* poll, but let others have the CPU: the sender may need it */
	XB_PACE_SLEEP,
};

void xb_pace_init(struct xb_pace *pace);

/** Counts packets that a round has brought. */
static inline void xb_pace_count(struct xb_pace *pace, unsigned packets)
{
	pace->window_packets += packets;
}

/** Whether there was a gap, so that xb_pace_end_gap is to be told when it ends. */
static inline bool xb_pace_in_gap(const struct xb_pace *pace)
{
	return pace->since_ns;
}

/** A packet has come: notes whether polling covered, or would have covered, the gap before it. */
void xb_pace_end_gap(struct xb_pace *pace, uint64_t now_ns, uint64_t wake_ns);

/** A round has brought nothing: what to do now. */
enum xb_pace_next xb_pace_idle(struct xb_pace *pace, uint64_t now_ns, uint64_t wake_ns);

/** Before a sleep: whether a packet on its way is to end it. */
bool xb_pace_heeds(const struct xb_pace *pace, uint64_t now_ns);
/** One is on its way. */
void xb_pace_foretell(struct xb_pace *pace, uint64_t now_ns);

/** How long to sleep, `longest_ms` at most: with unfinished transmissions shortly at first, then
 *  ever longer. */
int xb_pace_sleep_ms(struct xb_pace *pace, bool pending, int longest_ms);

#endif
