/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A check that holds in every build and in every thread (cmocka's asserts are for the test's own),
 * and random numbers that can be had again.
 */
#ifndef XB_TESTS_MUST_H
#define XB_TESTS_MUST_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define MUST(cond)                                                                            \
	do {                                                                                  \
		if (!(cond)) {                                                                \
			fprintf(stderr, "%s:%d: must hold: %s\n", __FILE__, __LINE__, #cond); \
			abort();                                                              \
		}                                                                             \
	} while (0)

/** A generator of random numbers (xorshift64*); one for each thread. */
struct rnd {
	uint64_t state;
};

/** Seeds from XB_SEED, else from the clock, and says what it took. */
static inline struct rnd rnd_seed(void)
{
	const char *given = getenv("XB_SEED");
	struct rnd rnd = {given ? strtoull(given, NULL, 0) : (uint64_t)time(NULL) * 2654435761u};

	rnd.state |= 1;
	fprintf(stderr, "XB_SEED=%llu\n", (unsigned long long)rnd.state);
	return rnd;
}

static inline uint64_t rnd_next(struct rnd *rnd)
{
	rnd->state ^= rnd->state >> 12;
	rnd->state ^= rnd->state << 25;
	rnd->state ^= rnd->state >> 27;
	return rnd->state * 0x2545f4914f6cdd1du;
}

/** A number below `n`. */
static inline uint32_t rnd_below(struct rnd *rnd, uint32_t n)
{
	return (uint32_t)(rnd_next(rnd) >> 33) % n;
}

#endif
