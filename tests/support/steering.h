/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Random steering tables, frames that lie on, or just beside, what their rules ask for, and a
 * reference that asks rule after rule. The same at each run.
 */
#ifndef XB_TESTS_STEERING_H
#define XB_TESTS_STEERING_H

#include "steer/image.h"

#include <stdint.h>

/** The table, by rank. */
extern struct xb_rule steering_rules[XB_RULES_MAX];
extern struct xb_ranked_rule steering_ranked[XB_RULES_MAX];

/** How a table is made: which fields its rules ask for, how often, and from how wide a choice. */
struct steering_style {
	uint32_t fields;
	uint32_t odds;   /* a field is asked for by one rule in so many */
	uint32_t values; /* choice of values, so that rules meet */
};

/** A number below n. */
uint32_t steering_below(uint32_t n);

struct steering_style steering_some_style(void);

/** A size for the table of that number: each small one, the largest, then others. */
unsigned steering_some_size(unsigned table);

/** A rule whose names are none but its verdict's: it asks for any port. */
struct xb_ranked_rule steering_rank(const struct xb_rule *rule, uint32_t slot, uint32_t verdict);

/** Makes one rule; its id is rank + 1, its slot the rank. */
void steering_make_rule(unsigned rank, const struct steering_style *style);

/** A key that lies around a rule. It need not be one that a frame can have. */
void steering_key_near(unsigned rank, struct xb_key *key);

/** Longest frame that is made. */
#define STEERING_FRAME_BYTES 128u

/** A frame that has of a key what a frame can have; returns its length. */
unsigned steering_make_frame(const struct xb_key *key, uint8_t *frame);

/** The rank that is to be found among the first n rules, or XB_RANK_NONE. */
uint32_t steering_reference(unsigned n, const struct xb_key *key);

#endif
