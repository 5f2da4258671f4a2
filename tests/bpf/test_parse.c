/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The parser and the order of verdicts that the XDP program and userspace share, run in userspace.
 */
#include "xbridge/classify.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const uint8_t macs[12] = {0x02, 0, 0, 0, 0, 1, 0x02, 0, 0, 0, 0, 9};

/* A frame with up to three tags and then IPv4, of which `bytes` are there, in heap memory of just
 * that size, so that a sanitizer sees a read beyond. */
static int parse(unsigned n_tags, unsigned bytes, struct xb_parsed *ret)
{
	uint8_t whole[64] = {0};
	uint8_t *frame = malloc(bytes ? bytes : 1);
	int result;

	memcpy(whole, macs, sizeof(macs));
	for (unsigned i = 0; i < n_tags; i++) {
		uint8_t *tag = whole + 12 + 4 * i;

		tag[0] = i == 0 && n_tags > 1 ? 0x88 : 0x81;
		tag[1] = i == 0 && n_tags > 1 ? 0xa8 : 0x00;
		tag[3] = (uint8_t)(5 + i);
	}
	whole[12 + 4 * n_tags] = 0x08;
	memcpy(frame, whole, bytes);
	result = xb_parse(frame, frame + bytes, ret);
	free(frame);
	return result;
}

static void runt_is_no_frame(void **state)
{
	struct xb_parsed parsed;

	(void)state;
	for (unsigned bytes = 0; bytes < 14; bytes++)
		assert_int_equal(parse(0, bytes, &parsed), -1);
	assert_int_equal(parse(0, 14, &parsed), 0);
}

static void up_to_two_tags_are_parsed(void **state)
{
	struct xb_parsed parsed;

	(void)state;
	for (unsigned tags = 0; tags <= 2; tags++) {
		assert_int_equal(parse(tags, 60, &parsed), 0);
		assert_int_equal(parsed.n_tags, tags);
		assert_int_equal(parsed.ethertype, XB_HTONS(ETH_P_IP));
		assert_int_equal(parsed.l3_bytes, 14 + 4 * tags);
		for (unsigned i = 0; i < 2; i++)
			assert_int_equal(XB_NTOHS(parsed.tci[i]), i < tags ? 5 + i : 0);
	}
}

static void third_tag_stays_the_ethertype(void **state)
{
	struct xb_parsed parsed;

	(void)state;
	assert_int_equal(parse(3, 60, &parsed), 0);
	assert_int_equal(parsed.n_tags, 2);
	assert_int_equal(parsed.ethertype, XB_HTONS(ETH_P_8021Q));
	assert_int_equal(parsed.l3_bytes, 22);
}

static void tag_that_is_cut_off_does_not_count(void **state)
{
	struct xb_parsed parsed;

	(void)state;
	for (unsigned bytes = 14; bytes < 18; bytes++) {
		assert_int_equal(parse(1, bytes, &parsed), 0);
		assert_int_equal(parsed.n_tags, 0);
		assert_int_equal(parsed.ethertype, XB_HTONS(ETH_P_8021Q));
	}
	for (unsigned bytes = 18; bytes < 22; bytes++) {
		assert_int_equal(parse(2, bytes, &parsed), 0);
		assert_int_equal(parsed.n_tags, 1);
	}
}

static void verdicts_come_in_order(void **state)
{
	struct xb_scene scene = {
		.shared = 1, .verdict = XB_VERDICT_DROP, .uplink = 1, .own = 1, .group = 1};
	struct xb_image_rule rule = {.id = 7, .verdict = XB_VERDICT_PORT(2)};
	struct xb_decision decision;

	(void)state;
	assert_int_equal(xb_classify(&scene, &rule).stage, XB_STAGE_GROUP);
	scene.shared = 0;
	decision = xb_classify(&scene, &rule);
	assert_int_equal(decision.stage, XB_STAGE_RULE);
	assert_int_equal(decision.verdict, XB_VERDICT_PORT(2));
	assert_int_equal(decision.rule, 7);
	decision = xb_classify(&scene, NULL);
	assert_int_equal(decision.stage, XB_STAGE_OWN_MAC);
	assert_int_equal(decision.verdict, XB_VERDICT_PASS);
	assert_int_equal(decision.rule, 0);
	scene.own = 0;
	decision = xb_classify(&scene, NULL);
	assert_int_equal(decision.stage, XB_STAGE_DEFAULT);
	assert_int_equal(decision.verdict, XB_VERDICT_DROP);
}

static void a_default_that_is_the_frames_own_port_bridges(void **state)
{
	struct xb_scene scene = {.verdict = XB_VERDICT_PORT(3), .in = 2, .uplink = 1};

	(void)state;
	assert_int_equal(xb_classify(&scene, NULL).verdict, XB_VERDICT_PORT(3));
	scene.in = 3;
	assert_int_equal(xb_classify(&scene, NULL).verdict, XB_VERDICT_BRIDGE);
	assert_int_equal(xb_classify(&scene, NULL).stage, XB_STAGE_DEFAULT);
}

static void pass_of_a_frame_from_elsewhere_bridges(void **state)
{
	struct xb_scene scene = {.verdict = XB_VERDICT_PASS, .in = 2, .uplink = 0};
	struct xb_image_rule rule = {.id = 7, .verdict = XB_VERDICT_PASS};

	(void)state;
	assert_int_equal(xb_classify(&scene, NULL).verdict, XB_VERDICT_BRIDGE);
	assert_int_equal(xb_classify(&scene, &rule).verdict, XB_VERDICT_BRIDGE);
	scene.uplink = 1;
	assert_int_equal(xb_classify(&scene, NULL).verdict, XB_VERDICT_PASS);
	assert_int_equal(xb_classify(&scene, &rule).verdict, XB_VERDICT_PASS);
}

static void rules_see_whether_an_own_mac_is_kept(void **state)
{
	struct xb_scene scene = {.shared = 1};

	(void)state;
	assert_int_equal(xb_own_of(&scene), XB_OWN_NO);
	scene.own = 1;
	assert_int_equal(xb_own_of(&scene), XB_OWN_KEPT);
	scene.shared = 0;
	assert_int_equal(xb_own_of(&scene), XB_OWN_YES);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(runt_is_no_frame),
		cmocka_unit_test(up_to_two_tags_are_parsed),
		cmocka_unit_test(third_tag_stays_the_ethertype),
		cmocka_unit_test(tag_that_is_cut_off_does_not_count),
		cmocka_unit_test(verdicts_come_in_order),
		cmocka_unit_test(a_default_that_is_the_frames_own_port_bridges),
		cmocka_unit_test(pass_of_a_frame_from_elsewhere_bridges),
		cmocka_unit_test(rules_see_whether_an_own_mac_is_kept),
	};

	return cmocka_run_group_tests_name("parse", tests, NULL, NULL);
}
