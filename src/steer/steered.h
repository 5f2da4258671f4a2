/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A table with all that a wanted one (list.h) leaves open: ids, slots and order.
 */
#ifndef XB_STEER_STEERED_H
#define XB_STEER_STEERED_H

#include "steer/list.h"

#include <stdbool.h>
#include <stdint.h>

/** A rule of a table. */
struct xb_steered_rule {
	struct xb_rule rule;
	uint32_t slot; /* its element in the maps of rules, counters and limits */
	struct xb_rule_source source;
};

/** A table; its rules in the order in which they are asked. */
struct xb_steered_list {
	unsigned n;
	struct xb_steered_rule *rules; /* from the heap */
	char word[XB_RULE_NAME_BYTES]; /* the default verdict, as it was given */
	uint16_t verdict;              /* what that means */
	uint64_t ports;     /* bits 1 << id: of all that rules and default verdict mean */
	bool names_uplinks; /* a rule says `in uplink`, which was taken for: */
	uint64_t uplinks;   /* bits 1 << id */
	bool names_kernel;  /* a rule says `dmac kernel`, which was taken for: */
	uint8_t kernel_mac[6];
};

/** What was given out last. */
struct xb_steered_counts {
	uint32_t last_id;
	uint32_t next_slot; /* where the search for a free one starts */
};

/** Whether two rules are the same but for their ids. */
bool xb_steered_same(const struct xb_rule *a, const struct xb_rule *b);

/** A hash of what a rule says; its id does not matter. */
uint32_t xb_steered_hash(const struct xb_rule *rule);

/** The rule of that id, or NULL. */
const struct xb_steered_rule *xb_steered_find(const struct xb_steered_list *list, uint32_t id);

/** Frees the rules; the list is empty then, and says nothing of a default verdict. */
void xb_steered_list_free(struct xb_steered_list *list);

#endif
