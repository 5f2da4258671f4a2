/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A rate limit (GCRA, the generic cell rate algorithm): one word that says when the next packet
 * would be due if they came evenly. What comes too long before that is over the limit. Any number
 * of threads.
 */
#ifndef XB_CORE_LIMIT_H
#define XB_CORE_LIMIT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct xb_limit {
	_Atomic uint64_t due_ns; /* when the next packet is due */
	_Atomic uint32_t pps;    /* packets a second; 0: no limit */
};

/** Packets that may come at once: a tenth of a second's, at least one. */
static inline uint32_t xb_limit_burst(uint32_t pps)
{
	return pps < 10 ? 1 : pps / 10;
}

/** Whether a packet at `now_ns` (monotonic; the coarse clock will do) is within the limit, which it
 *  then uses up. */
static inline bool xb_limit_allows(struct xb_limit *limit, uint64_t now_ns)
{
	uint32_t pps = atomic_load_explicit(&limit->pps, memory_order_relaxed);
	uint64_t due_ns = atomic_load_explicit(&limit->due_ns, memory_order_relaxed);
	uint64_t each_ns, ahead_ns, start_ns;

	if (!pps)
		return true;
	each_ns = 1000000000u / pps;
	ahead_ns = each_ns * (xb_limit_burst(pps) - 1);
	do {
		start_ns = due_ns > now_ns ? due_ns : now_ns;
		if (start_ns - now_ns > ahead_ns)
			return false;
	} while (!atomic_compare_exchange_weak_explicit(&limit->due_ns, &due_ns, start_ns + each_ns,
							memory_order_relaxed,
							memory_order_relaxed));
	return true;
}

#endif
