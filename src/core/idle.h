/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A worker without packets: it polls on for a while (core/pace.h says how long), then has its ports
 * arm their wake-ups and sleeps in poll(2).
 *
 * It wakes up when a packet arrives on a queue of its own, when the control thread calls it, in
 * time for the next heartbeat of its queues, and, while packets of its own wait for completion,
 * soon. After a rest also when a port tells that a packet is on its way.
 *
 * The control thread's calls tell how long it takes to be woken on this machine. That price decides
 * how long polling is worthwhile.
 *
 * For the worker's thread alone, except where a function says otherwise.
 */
#ifndef XB_CORE_IDLE_H
#define XB_CORE_IDLE_H

#include "core/pace.h"
#include "core/snapshot.h"

struct xb_idle {
	int wake_fd; /* eventfd of the worker's own */
	_Atomic bool asleep;
	_Atomic uint64_t called_ns; /* when the control thread woke it, asleep, last; 0: known */
	_Atomic uint64_t wake_ns;   /* how long it takes to be woken, smoothed */
	xb_counter sleeps;
	struct xb_pace pace;
};

/** Before the worker's thread starts. Returns 0 or what eventfd says. */
int xb_idle_init(struct xb_idle *idle);
void xb_idle_fini(struct xb_idle *idle);

/** Wakes the worker; one that is awake does not fall asleep the next time. Any thread. */
void xb_idle_wake(struct xb_idle *idle);

/** A round has taken in packets: ends the gap before it. */
void xb_idle_met(struct xb_idle *idle, unsigned packets);

/** What a worker without packets is about to leave alone. */
struct xb_rest {
	const struct xb_snapshot *snapshot; /* NULL: none */
	unsigned worker;                    /* its index */
	unsigned pending;                   /* packets posted for sending and not completed */
	uint64_t beat_ns;  /* when the hearts of its queues beat last; 0: not yet */
	uint64_t beats_ns; /* the longest time between two beats */
};

/**
 * A round has taken in nothing: polls on, or sleeps.
 *
 * Returns whether it has armed queues. Then no reference to the snapshot is held any more: the
 * caller adopts the newest one and calls xb_idle_disarm.
 */
bool xb_idle_rest(struct xb_idle *idle, const struct xb_rest *rest);

/** Disarms the queues of worker `worker`. */
void xb_idle_disarm(const struct xb_snapshot *snapshot, unsigned worker);

#endif
