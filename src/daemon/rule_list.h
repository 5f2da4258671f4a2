/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Rules in a row, as somebody wants them: from the command line, a configuration or `steer load`.
 */
#ifndef XB_DAEMON_RULE_LIST_H
#define XB_DAEMON_RULE_LIST_H

#include "core/error.h"
#include "daemon/rule_text.h"
#include "xbridge/rule.h"

/** The text that a rule comes from, to say where a mistake is; all 0: of none. */
struct xb_rule_source {
	unsigned line;  /* of a text; 0: it has one only */
	unsigned given; /* as the how-manieth --rule, or `rule` of a file; 0: as none */
	struct xb_rule_places places;
};

/** Zeroed it is empty. An id of 0 means that the rule has yet to get one. */
struct xb_rule_list {
	unsigned n;
	struct xb_rule *rules; /* from the heap */
	struct xb_rule_source *sources;
};

/** Appends a copy. Returns 0, -ENOMEM, or -E2BIG beyond XB_RULES_MAX. */
int xb_rule_list_add(struct xb_rule_list *list, const struct xb_rule *rule,
		     struct xb_rule_source source, struct xb_error *err);

/**
 * Appends the rules of a text, one a line; '#' starts a comment.
 *
 * Returns 0 or what is wrong with a line, which the error names; the list then holds the rules
 * before it.
 */
int xb_rule_list_parse(struct xb_rule_list *list, const char *text, struct xb_error *err);

void xb_rule_list_free(struct xb_rule_list *list);

#endif
