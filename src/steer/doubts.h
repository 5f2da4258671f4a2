/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What is doubtful about a rule: it can't match, or it does nothing.
 */
#ifndef XB_STEER_DOUBTS_H
#define XB_STEER_DOUBTS_H

#include "steer/image.h"
#include "steer/names.h"

/** Most sentences about one rule. */
#define XB_RULE_DOUBTS_MAX 6u

/**
 * Says what is doubtful about a rule, which is in force all the same.
 *
 * @names: what is known of the ports.
 *
 * Returns how many sentences `ret_doubts` got; they are constants.
 */
unsigned xb_rule_doubts(const struct xb_ranked_rule *ranked, const struct xb_rule_names *names,
			const char *ret_doubts[XB_RULE_DOUBTS_MAX]);

#endif
