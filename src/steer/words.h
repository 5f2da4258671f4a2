/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The values in a rule: one word each, read and printed. A reader returns whether the whole word
 * was such a value, and leaves the result untouched where it was not; it may change the word.
 * Numbers and MAC addresses: core/word.h.
 */
#ifndef XB_STEER_WORDS_H
#define XB_STEER_WORDS_H

#include "core/word.h"
#include "xbridge/rule.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/** A name for a number. Lists end with a NULL; of two names for a number the first is printed. */
struct xb_word {
	const char *word;
	unsigned number;
};

extern const struct xb_word xb_vlan_words[];
extern const struct xb_word xb_proto_words[];
extern const struct xb_word xb_ethertype_words[];
extern const struct xb_word xb_frag_words[];

bool xb_word_named(const struct xb_word *words, const char *word, uint64_t *ret_number);

/** The name of a number, or NULL. */
const char *xb_word_name(const struct xb_word *words, unsigned number);

/** "N" or "N-M". */
bool xb_word_range(char *word, uint16_t max, struct xb_range *ret_range);
void xb_range_print(const struct xb_range *range, FILE *out);

/** ADDRESS or ADDRESS/BITS; clears the bits after the prefix. */
bool xb_word_prefix(char *word, struct xb_prefix *ret_prefix);
void xb_prefix_print(const struct xb_prefix *prefix, FILE *out);

/** TCP flags: a number, or names like "syn,ack". */
bool xb_word_flags(char *word, uint8_t *ret_flags);
void xb_flags_print(uint8_t flags, FILE *out);

/** The name of a port. */
bool xb_word_port(const char *word, char ret_name[XB_RULE_NAME_BYTES]);

/** Names of ports, joined by commas. */
bool xb_word_ports(const char *word, char ret_names[XB_RULE_IN_BYTES]);

/** Takes the first name off a list of ports; "" is left of the last one. Returns what follows it.
 */
const char *xb_next_port(const char *list, char ret_name[XB_RULE_NAME_BYTES]);

/**
 * A word, or text in double quotes, in which \" and \\ stand for " and \; no control characters.
 * Unlike the readers above, this one takes the start of a longer text.
 *
 * Returns what follows it, or NULL.
 */
const char *xb_word_text(const char *at, char ret_text[XB_RULE_COMMENT_BYTES]);

/** In quotes. */
void xb_text_print(const char *text, FILE *out);

#endif
