/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The image's answer against that of a reference which asks rule after rule, on random tables and
 * on frames that lie on, or just beside, what the rules ask for.
 */
#include "daemon/image.h"

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
#define VERDICT        5u
#define BUILD_MS_BOUND 1000u /* with sanitizers on a busy machine; 100 are promised natively */

static struct xb_rule rules[XB_RULES_MAX];
static struct xb_ranked_rule ranked[XB_RULES_MAX];
static struct xb_image *image;

static uint64_t seed = 1;

/* xorshift64*: the same tables each time, everywhere */
static uint64_t draw(void)
{
	seed ^= seed >> 12;
	seed ^= seed << 25;
	seed ^= seed >> 27;
	return seed * 2685821657736338717ull;
}

static uint32_t below(uint32_t n)
{
	return (uint32_t)(draw() >> 33) % n;
}

/* ---- the reference ---- */

static bool in_prefix(const struct xb_prefix *prefix, uint8_t family, const uint8_t *addr)
{
	if (family != prefix->family)
		return false;
	for (unsigned bit = 0; bit < prefix->bits; bit++)
		if ((addr[bit / 8] ^ prefix->addr[bit / 8]) & 0x80 >> bit % 8)
			return false;
	return true;
}

static bool in_range(const struct xb_range *range, uint16_t n)
{
	return range->first <= n && n <= range->last;
}

struct frame {
	struct xb_parsed parsed;
	struct xb_parsed_ip ip;
	struct xb_origin origin;
};

static bool satisfies(const struct xb_ranked_rule *wanted, enum xb_match what,
		      const struct frame *frame)
{
	const struct xb_rule *rule = wanted->rule;
	const struct xb_parsed_ip *ip = &frame->ip;
	bool known = ip->has >> what & 1;

	switch (what) {
	case XB_MATCH_IN:
		return frame->origin.in == wanted->in;
	case XB_MATCH_VLAN:
		return frame->parsed.n_tags &&
		       (__builtin_bswap16(frame->parsed.tci[0]) & 0xfff) == rule->vlan;
	case XB_MATCH_SMAC:
		return !memcmp(frame->parsed.smac, rule->smac, 6);
	case XB_MATCH_DMAC:
		return !memcmp(frame->parsed.dmac, rule->dmac, 6);
	case XB_MATCH_DMAC_OWN:
		return frame->origin.own;
	case XB_MATCH_ETHERTYPE:
		return __builtin_bswap16(frame->parsed.ethertype) == rule->ethertype;
	case XB_MATCH_PROTO:
		return known && ip->proto == rule->proto;
	case XB_MATCH_SRC:
		return in_prefix(&rule->src, ip->family, ip->src);
	case XB_MATCH_DST:
		return in_prefix(&rule->dst, ip->family, ip->dst);
	case XB_MATCH_SPORT:
		return known && in_range(&rule->sport, ip->sport);
	case XB_MATCH_DPORT:
		return known && in_range(&rule->dport, ip->dport);
	case XB_MATCH_TCP_FLAGS:
		return known && (ip->tcp_flags & rule->tcp_mask) == rule->tcp_flags;
	case XB_MATCH_ICMP_TYPE:
		return known && in_range(&rule->icmp_type, ip->icmp_type);
	case XB_MATCH_DSCP:
		return known && ip->dscp == rule->dscp;
	case XB_MATCH_FRAG:
		return known && ip->frag == rule->frag;
	default:
		return false;
	}
}

static uint32_t reference(unsigned n, const struct frame *frame)
{
	for (uint32_t rank = 0; rank < n; rank++) {
		bool all = true;

		for (unsigned what = 0; all && what < XB_MATCH_COUNT; what++)
			all = !XB_RULE_TESTS(&rules[rank], what) ||
			      satisfies(&ranked[rank], what, frame);
		if (all)
			return rank;
	}
	return XB_RANK_NONE;
}

/* ---- random rules ---- */

/* How a table is made: which fields its rules ask for, how often, and from how wide a choice. */
struct style {
	uint32_t fields;
	uint32_t odds;   /* a field is asked for by one rule in so many */
	uint32_t values; /* choice of values, so that rules meet */
};

static struct xb_prefix some_prefix(const struct style *style)
{
	struct xb_prefix prefix = {.family = below(2) ? 4 : 6};
	unsigned max = prefix.family == 4 ? 32 : 128;
	uint64_t upper = below(style->values) * 0x9e3779b97f4a7c15ull;
	uint64_t lower = below(4) ? 0 : draw();

	for (unsigned i = 0; i < 8; i++) {
		prefix.addr[i] = (uint8_t)(upper >> (56 - 8 * i));
		prefix.addr[8 + i] = (uint8_t)(lower >> (56 - 8 * i));
	}
	prefix.bits = (uint8_t)(below(3) ? max - below(below(2) ? max : 4) : below(max + 1));
	for (unsigned bit = prefix.bits; bit < 128; bit++)
		prefix.addr[bit / 8] &= (uint8_t) ~(0x80 >> bit % 8);
	return prefix;
}

static struct xb_range some_range(const struct style *style, uint32_t max)
{
	uint32_t first = below(4) ? below(style->values) * 7919u % (max + 1) : below(2) * max;
	uint32_t width = below(3) ? below(2) * below(8) : below(max + 1);

	return (struct xb_range){(uint16_t)first,
				 (uint16_t)(first + width < max ? first + width : max)};
}

static void some_mac(const struct style *style, uint8_t mac[6])
{
	uint32_t n = below(style->values) * 2654435761u;

	mac[0] = below(8) ? 2 : 0xff;
	memcpy(mac + 1, &n, sizeof(n));
	mac[5] = below(8) ? 0 : 0xff;
}

static void some_rule(const struct style *style, struct xb_ranked_rule *out, struct xb_rule *rule)
{
	*rule = (struct xb_rule){.prio = XB_RULE_PRIO_DEFAULT};
	for (unsigned what = 0; what < XB_MATCH_COUNT; what++)
		if (style->fields >> what & 1 && !below(style->odds))
			rule->match |= 1u << what;
	/* a rule asks for one destination only; addresses are of one family */
	if (XB_RULE_TESTS(rule, XB_MATCH_DMAC))
		rule->match &= ~(1u << XB_MATCH_DMAC_OWN);
	rule->vlan = (uint16_t)below(below(2) ? 4 : 4095);
	some_mac(style, rule->smac);
	some_mac(style, rule->dmac);
	rule->ethertype = (uint16_t)(below(2) ? 0x0800 : 0x0600 + below(style->values));
	rule->proto = (uint16_t)(below(2) ? 6 : below(256));
	rule->src = some_prefix(style);
	do
		rule->dst = some_prefix(style);
	while (rule->dst.family != rule->src.family);
	rule->sport = some_range(style, UINT16_MAX);
	rule->dport = some_range(style, UINT16_MAX);
	rule->icmp_type = some_range(style, UINT8_MAX);
	rule->tcp_mask = (uint8_t)below(256);
	rule->tcp_flags = rule->tcp_mask & (uint8_t)below(256);
	rule->dscp = (uint16_t)below(64);
	rule->frag = (uint16_t)below(3);
	*out = (struct xb_ranked_rule){.rule = rule, .verdict = VERDICT, .in = below(4)};
}

/* ---- frames around a rule ---- */

/* An address in the prefix, at one of its ends, or just beyond. */
static void near_prefix(const struct xb_prefix *prefix, uint8_t addr[16])
{
	unsigned bytes = prefix->family == 4 ? 4 : 16;
	uint8_t fill = (uint8_t)(below(2) ? 0 : 0xff);
	int carry = (int)below(3) - 1;

	memset(addr, 0, 16);
	memcpy(addr, prefix->addr, bytes);
	for (unsigned bit = prefix->bits; bit < bytes * 8; bit++)
		addr[bit / 8] |= (uint8_t)(fill & 0x80 >> bit % 8);
	for (unsigned i = bytes; carry && i--;) {
		int sum = addr[i] + carry;

		addr[i] = (uint8_t)sum;
		carry = sum < 0 ? -1 : sum > 255;
	}
}

static uint16_t near_range(const struct xb_range *range)
{
	return (uint16_t)((below(2) ? range->first : range->last) + below(3) - 1);
}

static void near_rule(const struct xb_ranked_rule *near, struct frame *frame)
{
	const struct xb_rule *rule = near->rule;
	struct xb_parsed_ip *ip = &frame->ip;

	memset(frame, 0, sizeof(*frame));
	frame->origin = (struct xb_origin){below(4) ? near->in : below(4), below(2)};
	frame->parsed.n_tags = (uint8_t)below(3);
	frame->parsed.tci[0] =
		__builtin_bswap16((uint16_t)(rule->vlan + below(2) + (below(8) << 13)));
	memcpy(frame->parsed.smac, rule->smac, 6);
	memcpy(frame->parsed.dmac, rule->dmac, 6);
	frame->parsed.smac[5] = (uint8_t)(frame->parsed.smac[5] + (below(4) ? 0 : below(3) - 1));
	frame->parsed.dmac[5] = (uint8_t)(frame->parsed.dmac[5] + (below(4) ? 0 : below(3) - 1));
	frame->parsed.ethertype =
		__builtin_bswap16((uint16_t)(rule->ethertype + (below(4) ? 0 : below(3) - 1)));
	if (below(16) == 0)
		return;
	ip->family = rule->src.family;
	near_prefix(&rule->src, ip->src);
	near_prefix(&rule->dst, ip->dst);
	ip->proto = (uint8_t)(rule->proto + (below(8) ? 0 : 1));
	ip->sport = near_range(&rule->sport);
	ip->dport = near_range(&rule->dport);
	ip->icmp_type = (uint8_t)near_range(&rule->icmp_type);
	ip->tcp_flags = (uint8_t)(rule->tcp_flags | (below(256) & ~rule->tcp_mask));
	if (below(8) == 0)
		ip->tcp_flags ^= (uint8_t)(1u << below(8));
	ip->dscp = (uint8_t)((rule->dscp + !below(8)) & 63);
	ip->frag = (uint8_t)(below(8) ? rule->frag : below(3));
	ip->has = (below(4) ? ~0u : (uint32_t)draw()) & (~0u << XB_MATCH_PROTO);
}

static uint32_t find(const struct frame *frame)
{
	struct xb_walk walk;

	memset(&walk, 0x5a, sizeof(walk));
	xb_walk_start(&walk, &frame->parsed, &frame->ip, &frame->origin);
	return xb_walk_find(&walk, image);
}

static double build(unsigned n)
{
	struct timespec start, end;
	struct xb_error err = {0};
	struct xb_image *built;

	clock_gettime(CLOCK_MONOTONIC, &start);
	assert_int_equal(xb_image_build(ranked, n, 1, &built, &err), 0);
	clock_gettime(CLOCK_MONOTONIC, &end);
	assert_true(built->bytes <= XB_IMAGE_BYTES);
	memcpy(image, built, built->bytes);
	free(built);
	assert_int_equal(image->n_rules, n);
	return (double)(end.tv_sec - start.tv_sec) * 1e3 +
	       (double)(end.tv_nsec - start.tv_nsec) / 1e6;
}

static void compare(unsigned n, unsigned table, unsigned frames, uint32_t *matched)
{
	for (unsigned i = 0; i < frames; i++) {
		struct frame frame;
		uint32_t got, wanted;

		near_rule(&ranked[below(n)], &frame);
		got = find(&frame);
		wanted = reference(n, &frame);
		if (got != wanted)
			fail_msg("table %u of %u rules, frame %u: rank %u, not %u", table, n, i,
				 got, wanted);
		*matched += got != XB_RANK_NONE;
	}
}

static unsigned some_size(unsigned table)
{
	if (table < 8)
		return table < 4 ? 1 + table : XB_RULES_MAX;
	return below(3) ? 1 + below(200) : 1 + below(XB_RULES_MAX);
}

static void image_and_reference_agree_on_random_tables(void **state)
{
	uint32_t matched = 0;

	(void)state;
	for (unsigned table = 0; table < TABLES; table++) {
		unsigned n = some_size(table);
		struct style style = {
			.fields = below(4) ? (uint32_t)draw() : ~0u,
			.odds = 1 + below(8),
			.values = 1 + below(below(2) ? 8 : 5000),
		};

		for (unsigned i = 0; i < n; i++)
			some_rule(&style, &ranked[i], &rules[i]);
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
		struct style style = {.fields = ~0u, .odds = 1, .values = 1u << 20};

		some_rule(&style, &ranked[i], &rules[i]);
		rules[i].sport = (struct xb_range){(uint16_t)(i * 7), (uint16_t)(28672 + i * 9)};
		rules[i].dport = (struct xb_range){(uint16_t)(i * 5), (uint16_t)(24000 + i * 10)};
		rules[i].src.bits = (uint8_t)(8 + i % 25);
		rules[i].dst.bits = (uint8_t)(8 + i / 2 % 25);
		for (unsigned bit = rules[i].src.bits; bit < 128; bit++)
			rules[i].src.addr[bit / 8] &= (uint8_t) ~(0x80 >> bit % 8);
		for (unsigned bit = rules[i].dst.bits; bit < 128; bit++)
			rules[i].dst.addr[bit / 8] &= (uint8_t) ~(0x80 >> bit % 8);
	}
	took_ms = build(XB_RULES_MAX);
	print_message("largest table: %u KiB in %.1f ms\n", image->bytes >> 10, took_ms);
	assert_true(took_ms < BUILD_MS_BOUND);
	compare(XB_RULES_MAX, 0, 2000, &matched);
}

static void no_rules_match_nothing(void **state)
{
	struct frame frame = {0};

	(void)state;
	build(0);
	assert_int_equal(find(&frame), XB_RANK_NONE);
}

/* What a daemon of another schema, or a bit that fell over, may leave there. */
static void a_damaged_image_is_read_within_its_bounds(void **state)
{
	struct style style = {.fields = ~0u, .odds = 4, .values = 50};

	(void)state;
	for (unsigned i = 0; i < 100; i++)
		some_rule(&style, &ranked[i], &rules[i]);
	for (unsigned round = 0; round < 2000; round++) {
		struct frame frame;

		if (round % 100 == 0)
			build(100);
		for (unsigned i = 0; i < 8; i++) {
			uint32_t at = below(sizeof(*image) * (below(2) ? 1 : 20));

			if (at >= 8) /* generation and number of rules */
				((uint8_t *)image)[at] = (uint8_t)draw();
		}
		near_rule(&ranked[below(100)], &frame);
		assert_true(find(&frame) <= XB_RANK_NONE);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_rules_match_nothing),
		cmocka_unit_test(image_and_reference_agree_on_random_tables),
		cmocka_unit_test(the_worst_table_fits_and_is_made_in_time),
		cmocka_unit_test(a_damaged_image_is_read_within_its_bounds),
	};
	int ret;

	image = calloc(1, XB_IMAGE_BYTES);
	ret = cmocka_run_group_tests(tests, NULL, NULL);
	free(image);
	return ret;
}
