/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Any frame's headers, and the rule that it meets: the parser finds what the reference finds, reads
 * nothing beyond the frame, and leaves fields that it doesn't know at zero; the compiled table,
 * asked as the data path asks it, first by a walk and then from memory, has the rule that is found
 * by asking one after the other with the reference's key.
 *
 * Input: one byte, then either the frame itself or the choices from which a well-shaped one is
 * made.
 */
#include "core/rules.h"
#include "support/headers.h"
#include "support/steering.h"

#include <stdlib.h>
#include <string.h>

#define RULES 512u

/* What the first byte asks for. */
#define SHAPED    0x01u
#define LIKE_RULE 0x02u /* a shaped one has a rule's addresses */

static const uint8_t *choices, *choices_end;
static struct xb_rule_user_stats stats[XB_RULES_MAX];
static struct xb_rules rules = {.stats = stats};
static struct xb_rules_cache cache;

static uint32_t choose(uint32_t n)
{
	uint32_t number = 0;

	for (uint32_t left = n - 1; left && choices < choices_end; left >>= 8)
		number = number << 8 | *choices++;
	return number % n;
}

static void make_table(void)
{
	const struct steering_style style = {.fields = ~0u, .odds = 4, .values = 3};
	struct xb_error err = {0};
	struct xb_image *image;

	for (unsigned rank = 0; rank < RULES; rank++)
		steering_make_rule(rank, &style);
	if (xb_image_build(steering_ranked, RULES, 1, &image, &err) < 0)
		abort();
	rules.image = image;
}

static void must_be(bool found, const struct xb_image_rule *rule, uint32_t rank)
{
	if (found != (rank != XB_RANK_NONE) || (found && rule->id != rank + 1))
		abort();
}

static void ask(uint8_t *frame, uint32_t len, const struct xb_origin *origin, uint32_t rank)
{
	const uint16_t bytes = len < UINT16_MAX ? (uint16_t)len : UINT16_MAX;
	struct xb_frame pkt = {.base = frame, .len = bytes, .bytes = bytes};
	struct xb_image_rule rule = {0};
	struct xb_walk walk;

	must_be(xb_rules_look(&rules, &walk, frame, frame + len, origin, &rule), &rule, rank);
	for (unsigned again = 0; again < 2; again++)
		must_be(xb_rules_ask(&rules, &cache, &pkt, origin, 1, &rule) == XB_RULES_MATCH,
			&rule, rank);
}

static void compare(const uint8_t *frame, uint32_t len, const struct xb_origin *origin)
{
	uint8_t *exact = malloc(len); /* for a sanitizer to see a read beyond */
	struct xb_key key, ref;

	if (!exact)
		return;
	memcpy(exact, frame, len);
	memset(&key, 0x5a, sizeof(key));
	if (xb_parse_key(exact, exact + len, origin, &key))
		abort();
	headers_reference(exact, len, origin, &ref);
	if (memcmp(&key, &ref, sizeof(key)) != 0)
		abort();
	ask(exact, len, origin, steering_reference(RULES, &ref));
	free(exact);
}

/* The prefix's first address, or one that differs in a bit. */
static void near_prefix(const struct xb_prefix *prefix, uint8_t addr[16])
{
	memcpy(addr, prefix->addr, 16);
	if (choose(2))
		addr[choose(16)] ^= (uint8_t)(1u << choose(8));
}

static uint32_t make_frame(bool like_rule, uint8_t *frame)
{
	const struct xb_rule *rule = &steering_rules[choose(RULES)];
	struct xb_key key = {.vlan = rule->vlan, .family = rule->src.family};
	uint32_t len = headers_make_frame(choose, frame);

	memcpy(key.smac, rule->smac, sizeof(key.smac));
	memcpy(key.dmac, rule->dmac, sizeof(key.dmac));
	near_prefix(&rule->src, key.src);
	near_prefix(&rule->dst, key.dst);
	if (like_rule)
		headers_put_addresses(&key, frame, len);
	return len;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t frame[HEADERS_FRAME_BYTES];
	struct xb_origin origin = {0};
	struct xb_key key;

	if (!size)
		return 0;
	if (!rules.image)
		make_table();
	origin.in = data[0] >> 2 & 3;
	origin.own = (data[0] >> 4 & 3) % 3;
	choices = data + 1;
	choices_end = data + size;
	if (*data & SHAPED)
		compare(frame, make_frame(*data & LIKE_RULE, frame), &origin);
	else if (size > ETH_HLEN)
		compare(data + 1, (uint32_t)(size - 1), &origin);
	else if (!xb_parse_key(data + 1, data + size, &origin, &key)) /* a runt */
		abort();
	return 0;
}
