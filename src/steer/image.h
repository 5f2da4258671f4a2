/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Makes the image of a steering table (xbridge/image.h) from its rules.
 */
#ifndef XB_STEER_IMAGE_H
#define XB_STEER_IMAGE_H

#include "xbridge/image.h"

#include "core/error.h"

#include <assert.h>
#include <stdint.h>

/** A rule with its names resolved. */
struct xb_ranked_rule {
	const struct xb_rule *rule;
	uint32_t slot;    /* its element in the maps of rules, counters and limits */
	uint32_t verdict; /* enum xb_verdict */
	uint64_t in;      /* bits 1 << id: the ports whose frames it names; all: it names none */
	uint8_t dmac[6];  /* the destination that it asks for, where it does */
};

static_assert(XB_PORTS_MAX <= 64, "a set of ports fits a word");

#define XB_IN_ANY (~0ull)

/** The ports whose frames a rule applies to: those that it names, without the one that is its
 * verdict. */
static inline uint64_t xb_ranked_rule_ports(const struct xb_ranked_rule *ranked)
{
	uint64_t to = 0;

	if (ranked->verdict >= XB_VERDICT_PORT0)
		to = 1ull << (ranked->verdict - XB_VERDICT_PORT0);
	return ranked->in & ~to;
}

/**
 * Makes the image of `n` rules, which are in the order in which they are asked. Its first
 * head.bytes bytes are to be copied to where frames are judged by it.
 *
 * @ret_image: from the heap; the caller frees it.
 *
 * Returns 0, -ENOMEM, or -E2BIG where the rules' ranges overlap so much that XB_IMAGE_BYTES don't
 * hold the image.
 */
int xb_image_build(const struct xb_ranked_rule *rules, unsigned n, uint32_t generation,
		   struct xb_image **ret_image, struct xb_error *err);

#endif
