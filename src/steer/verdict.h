/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The verdicts that have words of their own. Every other verdict is a port, by its name.
 */
#ifndef XB_STEER_VERDICT_H
#define XB_STEER_VERDICT_H

#include <stdbool.h>
#include <stdint.h>

/** The words, as they stand in a sentence: "…, kernel or the name of a port" may follow. */
#define XB_VERDICTS_NAMED "pass, bridge, drop"

/** What a table without a default verdict of its own says of frames that no rule matches. */
#define XB_VERDICT_DEFAULT "bridge"

/** The words one by one, in the order of enum xb_verdict; NULL where there is none at `n`. */
const char *xb_verdict_word_at(unsigned n);

/** The word for an enum xb_verdict; "none" for XB_VERDICT_NONE, "?" where it has none. */
const char *xb_verdict_word(unsigned verdict);

/** Whether `word` is one of the words.
 *
 * @ret_verdict: set where it is; NULL: not wanted. */
bool xb_verdict_named(const char *word, uint16_t *ret_verdict);

#endif
