/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The names in a rule: which ports they mean, now.
 */
#ifndef XB_DAEMON_RULE_NAMES_H
#define XB_DAEMON_RULE_NAMES_H

#include "core/error.h"
#include "daemon/image.h"
#include "daemon/rule_text.h"

#include <stdbool.h>

/** An instance's ports. */
struct xb_rule_names {
	/** The port's id, or -ENOENT; says whether frames from it may pass to a stack of its own.
	 */
	int (*port)(const void *arg, const char *name, bool *ret_uplink);
	const void *arg;
};

/**
 * Finds the ports that a rule names.
 *
 * @places:     where it names them, for the error.
 * @ret_ranked: gets the rule, its verdict and its port; the slot is the caller's.
 *
 * Returns 0, or -EINVAL for a name that no port has and for a verdict that makes no sense there.
 */
int xb_rule_resolve(const struct xb_rule_names *names, const struct xb_rule *rule,
		    const struct xb_rule_places *places, struct xb_ranked_rule *ret_ranked,
		    struct xb_error *err);

#endif
