/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The image's answer against that of a reference which asks rule after rule, on random tables and
 * on frames that lie on, or just beside, what the rules ask for.
 */
#include "steer/image.h"
#include "support/steering.h"
#include "xbridge/flow.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#define TABLES         240u
#define FRAMES         4500u /* a table: above a million in all */
#define BUILD_MS_BOUND 1000u /* with sanitizers on a busy machine; 100 are promised natively */

#define below steering_below

static struct xb_image *image;

static uint32_t find(const struct xb_key *key)
{
	struct xb_walk walk;

	memset(&walk, 0x5a, sizeof(walk));
	xb_walk_start(&walk, key);
	return xb_walk_find(&walk, image);
}

/* What the flow cache keeps of a key must be enough to tell. */
static struct xb_key masked(const struct xb_key *key)
{
	struct xb_key ret = *key;
	const uint8_t *mask = (const uint8_t *)&image->head.mask;

	for (unsigned i = 0; i < sizeof(ret); i++)
		((uint8_t *)&ret)[i] &= mask[i];
	return ret;
}

static double build(unsigned n)
{
	struct timespec start, end;
	struct xb_error err = {0};
	struct xb_image *built;

	clock_gettime(CLOCK_MONOTONIC, &start);
	assert_int_equal(xb_image_build(steering_ranked, n, 1, &built, &err), 0);
	clock_gettime(CLOCK_MONOTONIC, &end);
	assert_true(built->head.bytes <= XB_IMAGE_BYTES);
	memcpy(image, built, built->head.bytes);
	free(built);
	assert_int_equal(image->head.n_rules, n);
	return (double)(end.tv_sec - start.tv_sec) * 1e3 +
	       (double)(end.tv_nsec - start.tv_nsec) / 1e6;
}

static void compare(unsigned n, unsigned table, unsigned frames, uint32_t *matched)
{
	for (unsigned i = 0; i < frames; i++) {
		struct xb_key key, cached;
		uint32_t got, wanted;

		steering_key_near(below(n), &key);
		cached = masked(&key);
		got = find(&key);
		wanted = steering_reference(n, &key);
		assert_int_equal(find(&cached), got);
		if (got != wanted)
			fail_msg("table %u of %u rules, frame %u: rank %u, not %u", table, n, i,
				 got, wanted);
		*matched += got != XB_RANK_NONE;
	}
}

static void image_and_reference_agree_on_random_tables(void **state)
{
	uint32_t matched = 0;

	(void)state;
	for (unsigned table = 0; table < TABLES; table++) {
		unsigned n = steering_some_size(table);
		struct steering_style style = steering_some_style();

		for (unsigned i = 0; i < n; i++)
			steering_make_rule(i, &style);
		build(n);
		compare(n, table, n > 1000 ? FRAMES / 4 : FRAMES, &matched);
	}
	assert_true(matched > TABLES * FRAMES / 8);
}

/* The largest image: ranges that begin and end everywhere, on every axis that has them. */
static void the_worst_table_fits_and_is_made_in_time(void **state)
{
	uint32_t matched = 0;
	double took_ms;

	(void)state;
	for (unsigned i = 0; i < XB_RULES_MAX; i++) {
		struct steering_style style = {.fields = ~0u, .odds = 1, .values = 1u << 20};
		struct xb_rule *rule = &steering_rules[i];

		steering_make_rule(i, &style);
		rule->sport = (struct xb_range){(uint16_t)(i * 7), (uint16_t)(28672 + i * 9)};
		rule->dport = (struct xb_range){(uint16_t)(i * 5), (uint16_t)(24000 + i * 10)};
		rule->src.bits = (uint8_t)(8 + i % 25);
		rule->dst.bits = (uint8_t)(8 + i / 2 % 25);
		for (unsigned bit = rule->src.bits; bit < 128; bit++)
			rule->src.addr[bit / 8] &= (uint8_t) ~(0x80 >> bit % 8);
		for (unsigned bit = rule->dst.bits; bit < 128; bit++)
			rule->dst.addr[bit / 8] &= (uint8_t) ~(0x80 >> bit % 8);
	}
	took_ms = build(XB_RULES_MAX);
	print_message("largest table: %u KiB in %.1f ms\n", image->head.bytes >> 10, took_ms);
	assert_true(took_ms < BUILD_MS_BOUND);
	compare(XB_RULES_MAX, 0, 2000, &matched);
}

static void shuffle(uint32_t *numbers, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		numbers[i] = i;
	for (unsigned i = n; i > 1; i--) {
		unsigned other = below(i);
		uint32_t swap = numbers[i - 1];

		numbers[i - 1] = numbers[other];
		numbers[other] = swap;
	}
}

/* Prefixes in one another, as many as there is room for, each with addresses of its own in front
 * and behind of the next: chain after chain of them, one prefix a number. */
static struct xb_prefix prefix_of_number(uint8_t family, uint32_t number)
{
	const unsigned chain_bits = family == 4 ? 10 : 8, levels = family == 4 ? 11 : 60;
	unsigned chain = number / levels, bits = chain_bits + 2 * (1 + number % levels);
	struct xb_prefix prefix = {.family = family, .bits = (uint8_t)bits};

	for (unsigned bit = 0; bit < chain_bits; bit++)
		if (chain >> (chain_bits - 1 - bit) & 1)
			prefix.addr[bit / 8] |= (uint8_t)(0x80 >> bit % 8);
	for (unsigned bit = chain_bits + 1; bit < bits; bit += 2)
		prefix.addr[bit / 8] |= (uint8_t)(0x80 >> bit % 8);
	return prefix;
}

/* A rule that a person may write, with all that can be asked for at once. On each axis rules begin
 * and end in an order of its own, so that the sets of neighbours differ in as many words as may be.
 */
static void make_worst_rule(unsigned rank, uint8_t family, uint32_t order[4][XB_RULES_MAX])
{
	struct steering_style style = {.fields = ~0u, .odds = 1, .values = 1u << 20};
	struct xb_rule *rule = &steering_rules[rank];

	steering_make_rule(rank, &style);
	rule->match &= ~(1u << XB_MATCH_ICMP_TYPE | 1u << XB_MATCH_DMAC_OWN);
	rule->match |= 1u << XB_MATCH_DMAC;
	rule->ethertype = family == 4 ? 0x0800 : 0x86dd;
	rule->proto = 6;
	rule->vlan = (uint16_t)(rank % 4095);
	rule->sport.first = (uint16_t)(order[0][rank] * 7);
	rule->sport.last = (uint16_t)(28673 + order[1][rank] * 9);
	rule->dport.first = (uint16_t)(order[2][rank] * 5);
	rule->dport.last = (uint16_t)(24001 + order[3][rank] * 10);
	rule->src = prefix_of_number(family, order[0][rank]);
	rule->dst = prefix_of_number(family, order[2][rank]);
}

static void any_table_that_can_be_written_fits(void **state)
{
	static uint32_t order[4][XB_RULES_MAX];
	uint32_t matched = 0;

	(void)state;
	for (unsigned round = 0; round < 2; round++) {
		for (unsigned i = 0; i < 4; i++)
			shuffle(order[i], XB_RULES_MAX);
		for (unsigned rank = 0; rank < XB_RULES_MAX; rank++)
			make_worst_rule(rank, round ? 6 : 4, order);
		build(XB_RULES_MAX);
		print_message("in no order, IPv%u: %u KiB\n", round ? 6u : 4u,
			      image->head.bytes >> 10);
		compare(XB_RULES_MAX, round, 2000, &matched);
	}
}

/* Whole nanoseconds from frame to frame keep the rate to 5 %, and let the burst through. */
static void a_limit_is_kept_to_five_per_cent_whatever_its_rate(void **state)
{
	(void)state;
	for (uint32_t pps = 1; pps <= XB_RULE_PPS_MAX; pps += 1 + pps / 100) {
		struct xb_rule rule = {.id = 1, .limit_pps = pps, .limit_burst = 3};
		struct xb_ranked_rule ranked = steering_rank(&rule, 0, XB_VERDICT_DROP);
		struct xb_image_rule limit;
		struct xb_image *built;
		double rate;

		assert_int_equal(xb_image_build(&ranked, 1, 1, &built, NULL), 0);
		limit = xb_image_rule(built, 0);
		free(built);
		rate = 1e9 / (double)limit.each_ns;
		if (rate < pps * 0.95 || rate > pps * 1.05)
			fail_msg("%u a second are %.0f", pps, rate);
		assert_int_equal(limit.ahead_ns, 2 * limit.each_ns);
	}
}

/* Whatever frames differ in, their places in the flow cache do. */
static void each_byte_of_a_key_reaches_its_place(void **state)
{
	static struct xb_image all; /* 8 MB; its mask lets everything through */

	(void)state;
	memset(&all.head.mask, 0xff, sizeof(all.head.mask));
	for (unsigned byte = 0; byte < sizeof(struct xb_key); byte++) {
		bool taken[XB_FLOWS] = {false};
		unsigned places = 0;

		for (unsigned value = 0; value < 256; value++) {
			struct xb_key key = {.family = 4, .dscp = 7};
			uint32_t place;

			((uint8_t *)&key)[byte] = (uint8_t)value;
			place = xb_flow_place(&key, &all);
			assert_true(place < XB_FLOWS);
			places += !taken[place];
			taken[place] = true;
		}
		if (places < 200)
			fail_msg("256 values of byte %u have %u places", byte, places);
	}
}

static void no_rules_match_nothing(void **state)
{
	struct xb_key key = {0};

	(void)state;
	build(0);
	assert_int_equal(find(&key), XB_RANK_NONE);
}

/* What a daemon of another schema, or a bit that fell over, may leave there. */
static void a_damaged_image_is_read_within_its_bounds(void **state)
{
	struct steering_style style = {.fields = ~0u, .odds = 4, .values = 50};

	(void)state;
	for (unsigned i = 0; i < 100; i++)
		steering_make_rule(i, &style);
	for (unsigned round = 0; round < 2000; round++) {
		struct xb_key key;

		if (round % 100 == 0)
			build(100);
		for (unsigned i = 0; i < 8; i++) {
			uint32_t at = below(sizeof(image->head) * (below(2) ? 1 : 20));

			if (at >= 8) /* generation and number of rules */
				((uint8_t *)image)[at] = (uint8_t)below(256);
		}
		steering_key_near(below(100), &key);
		assert_true(find(&key) <= XB_RANK_NONE);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_rules_match_nothing),
		cmocka_unit_test(each_byte_of_a_key_reaches_its_place),
		cmocka_unit_test(a_limit_is_kept_to_five_per_cent_whatever_its_rate),
		cmocka_unit_test(image_and_reference_agree_on_random_tables),
		cmocka_unit_test(the_worst_table_fits_and_is_made_in_time),
		cmocka_unit_test(any_table_that_can_be_written_fits),
		cmocka_unit_test(a_damaged_image_is_read_within_its_bounds),
	};
	int ret;

	image = calloc(1, XB_IMAGE_BYTES);
	ret = cmocka_run_group_tests(tests, NULL, NULL);
	free(image);
	return ret;
}
