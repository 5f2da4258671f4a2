/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XB_CORE_CLOCK_H
#define XB_CORE_CLOCK_H

#include <stdint.h>
#include <time.h>

/** What a clock says, in nanoseconds. CLOCK_MONOTONIC_COARSE costs half of CLOCK_MONOTONIC, and
 *  lags it by up to a tick (4 ms). */
static inline uint64_t xb_clock_ns(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

#endif
