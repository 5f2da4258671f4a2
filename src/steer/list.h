/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A table as somebody wants it, rules and default verdict: from the command line, a configuration
 * file or `steer load`.
 */
#ifndef XB_STEER_LIST_H
#define XB_STEER_LIST_H

#include "core/error.h"
#include "steer/text.h"
#include "xbridge/rule.h"

/** The text that a rule comes from, to say where a mistake is; all 0: it comes from none. */
struct xb_rule_source {
	unsigned line;  /* of a text, from 1; 0: the text has one line only */
	unsigned given; /* the number of the --rule, or of the `rule` in a file, from 1; 0: it was
			   given otherwise */
	struct xb_rule_places places;
};

/** Adds to an error which rule it is about, where the source tells. Returns `code`. */
int xb_rule_source_blame(const struct xb_rule_source *source, int code, struct xb_error *err);

/** Zeroed it is empty, and says nothing of the default verdict. An id of 0 means that the rule has
 * yet to get one. */
struct xb_rule_list {
	unsigned n;
	struct xb_rule *rules; /* from the heap */
	struct xb_rule_source *sources;
	char verdict[XB_RULE_NAME_BYTES]; /* the default verdict's word; "": not said */
	unsigned verdict_line; /* where that stands, from 1; 0: the text has one line only */
};

/** Appends a copy. Returns 0, -ENOMEM, or -E2BIG beyond XB_RULES_MAX. */
int xb_rule_list_add(struct xb_rule_list *list, const struct xb_rule *rule,
		     struct xb_rule_source source, struct xb_error *err);

/** Removes the rule at place `i`. */
void xb_rule_list_remove(struct xb_rule_list *list, unsigned i);

/** Says what the default verdict is to be. Returns 0, or -EINVAL where the word is too long to be
 * one. */
int xb_rule_list_set_verdict(struct xb_rule_list *list, const char *word, unsigned line,
			     struct xb_error *err);

/**
 * Appends the rules of a text, one a line, and takes the default verdict from a line `default
 * VERDICT`, of which there may be one. '#' starts a comment, except in quotes.
 *
 * Returns 0 or what is wrong with a line, which the error names; the list then holds the rules
 * before it.
 */
int xb_rule_list_parse(struct xb_rule_list *list, const char *text, struct xb_error *err);

void xb_rule_list_free(struct xb_rule_list *list);

#endif
