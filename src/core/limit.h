/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A rate limit for any number of threads (xbridge/gcra.h).
 */
#ifndef XB_CORE_LIMIT_H
#define XB_CORE_LIMIT_H

#include "xbridge/gcra.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/** A port's storm limit by default: so many group frames a second cost a few percent of a CPU, and
 *  are a hundred times what hosts send in a quiet network. */
#define XB_STORM_PPS 20000u

struct xb_limit {
	__u64 due_ns;         /* when the next packet is due; atomic */
	_Atomic uint32_t pps; /* packets a second; 0: no limit */
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
	uint64_t each_ns;

	if (!pps)
		return true;
	each_ns = 1000000000u / pps;
	return xb_gcra_allows(&limit->due_ns, now_ns, each_ns, each_ns * (xb_limit_burst(pps) - 1));
}

#endif
