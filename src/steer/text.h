/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The rule language: text to rule and back (DESIGN.md, 5).
 *
 *     [id N] [prio N] MATCH… to VERDICT [limit PPS[:BURST]] [comment "TEXT"]
 *
 * Matches come in any order, each once: the fields of xbridge/field.h.
 */
#ifndef XB_STEER_TEXT_H
#define XB_STEER_TEXT_H

#include "xbridge/rule.h"

#include "core/error.h"

#include <stdint.h>
#include <stdio.h>

/**
 * Reads one rule. A prefix's bits beyond its length are cleared; a BURST that is not given becomes
 * max(8, PPS / 10); an `id` that is not given stays 0.
 *
 * Whether its ports exist is not checked here.
 *
 * Returns 0, or -EINVAL with `err` naming the place (the character, from 1), what stands there and
 * what is expected there, or why no frame could ever match that.
 */
int xb_rule_parse(const char *text, struct xb_rule *ret_rule, struct xb_error *err);

/** Where the names of ports stand in a rule's text: the character, from 1. 0: unknown, or there is
 * none. */
struct xb_rule_places {
	uint16_t in, verdict;
};

/** The same; also says where the text names ports, so that an error about a port can point there.
 */
int xb_rule_parse_places(const char *text, struct xb_rule *ret_rule,
			 struct xb_rule_places *ret_places, struct xb_error *err);

/**
 * Reads what stands before `to` in a rule, alone: MATCH…, without id and prio. Errors as
 * xb_rule_parse.
 */
int xb_match_parse(const char *text, struct xb_rule *ret_match, struct xb_error *err);

/** Joins the words of a rule to a text as xb_rule_parse reads it; what follows `comment` may be a
 * word with blanks, as the shell leaves it. Returns it from the heap, or NULL. */
char *xb_rule_join(int argc, const char *const *argv);

/** Calls `say` for each thing that a rule tests, in the language's words and order: "proto", "tcp".
 * The strings are good until it returns. Returns 0 or -ENOMEM. */
int xb_rule_each_match(const struct xb_rule *rule,
		       void (*say)(void *arg, const char *keyword, const char *value), void *arg);

/** Writes a rule as xb_rule_parse reads it, on one line without a newline, and with an id only if
 * it has one.
 */
void xb_rule_print(const struct xb_rule *rule, FILE *out);

#endif
