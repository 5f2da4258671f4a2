/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A rule's limit, the same lines for the XDP program and for userspace, which share its state: one
 * number in a memory-mapped array.
 *
 * The number is the time at which the next frame is due at the limit's rate (GCRA, ITU-T I.371).
 * Frames may come ahead of it by as much as a burst; each that is let through moves it on. Time is
 * CLOCK_MONOTONIC, in ns.
 */
#ifndef XBRIDGE_LIMIT_H
#define XBRIDGE_LIMIT_H

#include <linux/types.h>

/** How often somebody else may move the number under our hands before the frame is let go. */
#define XB_LIMIT_TRIES 16

/**
 * Whether one more frame may pass at `now_ns`.
 *
 * @due_ns: the number; any CPU, any process.
 * @limit_ns: between two frames, not 0.
 * @burst_ns: how far frames may run ahead, at least limit_ns: a burst of burst_ns / limit_ns.
 */
static inline __attribute__((always_inline)) int xb_limit_allows(__u64 *due_ns, __u64 now_ns,
								 __u64 limit_ns, __u64 burst_ns)
{
	for (int i = 0; i < XB_LIMIT_TRIES; i++) {
		__u64 due = *(volatile __u64 *)due_ns;
		/* signed: due may have gone by */
		__u64 from = (__s64)(due - now_ns) > 0 ? due : now_ns;

		if (from + limit_ns - now_ns > burst_ns)
			return 0;
		if (__sync_val_compare_and_swap(due_ns, due, from + limit_ns) == due)
			return 1;
	}
	return 0;
}

#endif
