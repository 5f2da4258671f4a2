/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Asking the steering table in userspace: for packets that no XDP program has judged.
 *
 * The table is the one that the program asks, byte for byte (xbridge/image.h), and so are the
 * rules' limits. Counters are userspace's own; readers add the program's.
 */
#ifndef XB_CORE_RULES_H
#define XB_CORE_RULES_H

#include "core/frame.h"
#include "xbridge/flow.h"
#include "xbridge/steer.h"

#include <stdbool.h>

/** A table in force; the same for all workers, immutable but for counters and limits. */
struct xb_rules {
	const struct xb_image *image;     /* NULL: there are no rules */
	struct xb_rule_user_stats *stats; /* by slot */
	__u64 *limits;                    /* by slot: when the next frame is due (xbridge/gcra.h) */
};

/** One worker's memory of what it has asked. */
struct xb_rules_cache {
	struct xb_walk walk;
	struct xb_flow flows[XB_FLOWS];
};

/** What became of the question. */
enum xb_rules_answer {
	XB_RULES_NONE, /* no rule matches */
	XB_RULES_MATCH,
	XB_RULES_BEYOND, /* a rule matches, and its limit is used up */
};

/**
 * Finds the first rule that matches a packet, counts the hit and charges the rule's limit, unless
 * the XDP program has done so (XB_STAGE_UNTOLD). The packet is no runt. Where there are rules its
 * headers are found on the way (pkt->headers).
 *
 * @now_ns:   the coarse monotonic clock, for the rule's last hit.
 * @ret_rule: set where a rule matches.
 */
enum xb_rules_answer xb_rules_ask(const struct xb_rules *rules, struct xb_rules_cache *cache,
				  struct xb_frame *pkt, const struct xb_origin *origin,
				  uint64_t now_ns, struct xb_image_rule *ret_rule);

/**
 * Finds the first rule that matches a frame, whose first bytes, XB_PARSE_BYTES or all there are,
 * lie from `data` to `end`: no runt. Counts nothing, charges nothing, remembers nothing.
 *
 * Returns whether there is one, which is `ret_rule` then.
 */
bool xb_rules_look(const struct xb_rules *rules, struct xb_walk *walk, const uint8_t *data,
		   const uint8_t *end, const struct xb_origin *origin,
		   struct xb_image_rule *ret_rule);

#endif
