/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Whether a rule contradicts itself.
 */
#ifndef XB_STEER_CONTRADICTION_H
#define XB_STEER_CONTRADICTION_H

#include "xbridge/rule.h"

#include <stdbool.h>
#include <stdint.h>

/** A test of a rule that no frame passes together with the rule's other tests. */
struct xb_rule_fault {
	enum xb_match at;
	const char *why; /* a constant */
};

/** Whether the rule's own words contradict each other, so that no frame could match. */
bool xb_rule_contradicts(const struct xb_rule *rule, struct xb_rule_fault *ret_fault);

/** The family of the rule's addresses, 4 or 6; 0: it names none. */
uint8_t xb_rule_family(const struct xb_rule *rule);

#endif
