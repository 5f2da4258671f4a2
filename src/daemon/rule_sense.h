/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Whether a rule makes sense: what contradicts itself, and what does nothing.
 */
#ifndef XB_DAEMON_RULE_SENSE_H
#define XB_DAEMON_RULE_SENSE_H

#include "daemon/image.h"
#include "daemon/rule_names.h"
#include "xbridge/rule.h"

#include <stdbool.h>

/** A test of a rule that no frame passes, beside its others. */
struct xb_rule_fault {
	enum xb_match at;
	const char *why;
};

/** Whether the rule's own words contradict each other, so that no frame could match. */
bool xb_rule_contradicts(const struct xb_rule *rule, struct xb_rule_fault *ret_fault);

/** Most that there is to be said about one rule. */
#define XB_RULE_DOUBTS_MAX 6u

/**
 * What is doubtful about a rule that is in force all the same: it can't match, or does nothing.
 *
 * @names: what is known of the ports.
 *
 * Returns how many sentences `ret_doubts` has got; they are constants.
 */
unsigned xb_rule_doubts(const struct xb_ranked_rule *ranked, const struct xb_rule_names *names,
			const char *ret_doubts[XB_RULE_DOUBTS_MAX]);

#endif
