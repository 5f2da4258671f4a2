/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What tools/bench steer measures with: sets of rules, and frames that a rule matches.
 */
#ifndef XB_TOOLS_BENCH_RULES_H
#define XB_TOOLS_BENCH_RULES_H

#include "xbridge/rule.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define die(...)                              \
	do {                                  \
		fprintf(stderr, __VA_ARGS__); \
		fputc('\n', stderr);          \
		exit(1);                      \
	} while (0)

struct rule_set {
	char name[64];
	unsigned n;
	struct xb_rule rules[XB_RULES_MAX];
};

/** A file of rules, as `steer load` reads it. */
struct rule_set *rules_from(const char *path);

/** Sets whose walk takes as long as rules can make it, from kind 0 on; the last rule is the one
 * that matches what frame_for makes of it. NULL behind the last kind. */
struct rule_set *rules_of_worst_kind(unsigned kind);

/** Writes a set as rules_from reads it. */
void rules_write(const struct rule_set *set, const char *path);

/** Longest frame that is made. */
#define FRAME_BYTES 128u

/** A frame of an address family that the rule matches, where it is no fragment and `in` is left
 *  out: the first address and the first port of each range. Returns its length. */
unsigned frame_for(const struct xb_rule *rule, uint8_t *frame);

#endif
