/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The frame that `explain` makes of a match meets the rule that says the same, as a reference reads
 * rule and frame: for random rules of all fields.
 */
#include "cli/sample.h"
#include "steer/field.h"
#include "steer/text.h"
#include "support/steering.h"
#include "xbridge/parse.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define RULES 400000u
#define TIMES 200u /* that each field is asked for, at least */

#define below steering_below

static const struct xb_sample_macs macs = {
	.own = {0x02, 0, 0, 0, 0, 0x0a},
	.kernel = {0x02, 0, 0, 0, 0, 0x0b},
};

/* As a person can write it: what is not tested is zero. Returns false where no frame could match.
 */
static bool rewrite(const struct xb_rule *rule, struct xb_rule *ret_rule)
{
	char text[512];
	FILE *out = fmemopen(text, sizeof(text), "w");
	struct xb_error err = {0};

	xb_rule_print(rule, out);
	fclose(out);
	if (xb_rule_parse(text, ret_rule, &err) == 0)
		return true;
	if (!strstr(err.what, "no frame could match") && !strstr(err.what, "icmp-type"))
		fail_msg("'%s': %s", text, err.what);
	return false;
}

/* Values that mean something of their own come often. */
static struct xb_rule some_rule(void)
{
	static const uint16_t protos[] = {0, 1, 6, 17, 44, 51, 58, 59, 132, 89};
	static const uint16_t ethertypes[] = {0x0800, 0x86dd, 0x0806, 0x8100, 0x88a8};
	struct steering_style style = steering_some_style();
	struct xb_rule rule;

	steering_make_rule(0, &style);
	rule = steering_rules[0];
	rule.match &= ~(1u << XB_MATCH_IN); /* says nothing about the frame's bytes */
	if (below(2))
		rule.proto = protos[below(sizeof(protos) / sizeof(*protos))];
	if (below(2))
		rule.ethertype = ethertypes[below(sizeof(ethertypes) / sizeof(*ethertypes))];
	rule.dmac_kernel = XB_RULE_TESTS(&rule, XB_MATCH_DMAC) && below(2);
	strcpy(rule.verdict, "drop");
	return rule;
}

/* What is parsed of a frame, as a person reads it, matches that frame. */
static void reads_as_a_rule_that_matches(const struct xb_key *key)
{
	struct xb_rule parsed = xb_rule_of_key(key, "eth0");

	assert_string_equal(parsed.in, "eth0");
	assert_int_equal(parsed.match | 1u << XB_MATCH_DMAC_OWN,
			 key->has | 1u << XB_MATCH_DMAC_OWN);
	steering_rules[0] = parsed;
	steering_ranked[0] = steering_rank(&steering_rules[0], 0, XB_VERDICT_DROP);
	if (steering_reference(1, key) != 0) {
		xb_rule_print(&parsed, stderr);
		fail_msg(": that is not what was parsed");
	}
}

static bool meets(const struct xb_rule *rule)
{
	struct xb_origin origin = {.own = XB_RULE_TESTS(rule, XB_MATCH_DMAC_OWN)};
	uint8_t frame[XB_SAMPLE_BYTES];
	uint32_t len = xb_sample_frame(rule, &macs, frame);
	struct xb_key key;

	if (origin.own)
		assert_memory_equal(frame, macs.own, sizeof(macs.own));
	assert_true(len <= XB_SAMPLE_BYTES);
	steering_rules[0] = *rule;
	steering_ranked[0] = steering_rank(&steering_rules[0], 0, XB_VERDICT_DROP);
	if (rule->dmac_kernel)
		memcpy(steering_ranked[0].dmac, macs.kernel, sizeof(macs.kernel));
	if (xb_parse_key(frame, frame + len, &origin, &key) || steering_reference(1, &key))
		return false;
	reads_as_a_rule_that_matches(&key);
	return true;
}

static void what_is_asked_for_is_in_the_frame(void **state)
{
	unsigned asked[XB_MATCH_COUNT] = {0};

	(void)state;
	for (unsigned i = 0; i < RULES; i++) {
		struct xb_rule rule = some_rule(), written;

		if (!rewrite(&rule, &written))
			continue;
		if (!meets(&written)) {
			xb_rule_print(&written, stderr);
			fail_msg(": its sample does not match");
		}
		for (unsigned what = 0; what < XB_MATCH_COUNT; what++)
			asked[what] += XB_RULE_TESTS(&written, what);
	}
	for (unsigned what = XB_MATCH_IN + 1; what < XB_MATCH_COUNT; what++)
		if (asked[what] < TIMES)
			fail_msg("field %u is asked for %u times", what, asked[what]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_asked_for_is_in_the_frame),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
