/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory. On each axis a rule is an interval, from its first value to its last (a rule that asks by
 * mask is evaluated value by value). The starts of all rules' intervals and the values after their
 * ends cut the axis into at most 2n + 1 pieces in which the set of rules doesn't change. A sweep
 * from the first piece to the last keeps that set: at each start it adds the rules that begin there
 * and removes those that have ended. What sixteen pieces in a row have in common goes into one
 * dense set, what each has beyond it into a packed one; equal dense sets are written once. A packed
 * set of many words takes longer to read than a dense one, so such a piece gets a dense set of its
 * own as long as there is room.
 */
#include "steer/image.h"

#include "core/cleanup.h"
#include "steer/field.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK       (1u << XB_BLOCK_SHIFT)
#define PIECES_MAX  (2 * XB_RULES_MAX + 1)
#define NS_PER_SEC  1000000000ull
#define BUCKETS_MAX (2u * XB_RULES_MAX)
/* What is built may be larger than what is allowed, but never larger than this: an axis has 2
 * XB_RULES_MAX + 1 pieces; each rule begins and ends once and so adds a word to at most sixteen of
 * them twice. */
#define ROOM_BYTES (32u << 20)
/* Room for dense sets of single pieces, and from how many words on a packed set is made one. */
#define SPARE_BYTES (2u << 20)
#define PACKED_MAX  16u
#define DEDUP_SLOTS                                                                  \
	4096u /* dense sets that are looked for again; more are merely written twice \
	       */

/* A value of an axis; upper 0 but for IPv6. */
struct value {
	uint64_t upper, lower;
};

struct set {
	uint64_t words[XB_SET_WORDS];
};

/* What a rule asks of an axis: values from first to last. */
struct span {
	struct value first, last;
	uint32_t rank;
};

struct build {
	uint8_t *image;
	uint32_t at;    /* where the next table goes */
	uint32_t spare; /* bytes left for dense sets of single pieces */
	const struct xb_ranked_rule *rules;
	unsigned n;
	struct span *spans;   /* of the axis that is being written */
	struct value *starts; /* of its pieces */
	struct set *block;    /* full sets of BLOCK pieces */
	uint32_t dedup[DEDUP_SLOTS];
};

/* ---- values ---- */

static int compare_values(const void *a, const void *b)
{
	const struct value *x = a, *y = b;

	if (x->upper != y->upper)
		return x->upper < y->upper ? -1 : 1;
	return (x->lower > y->lower) - (x->lower < y->lower);
}

/* Steps to the next value; false after the last of all. */
static bool step(struct value *value, bool wide)
{
	if (!wide)
		return ++value->upper != 0;
	if (++value->lower)
		return true;
	return ++value->upper != 0;
}

static struct value number(uint64_t n)
{
	return (struct value){.upper = n};
}

static struct span span_of_prefix(const struct xb_prefix *prefix)
{
	struct value first = {xb_get_be64(prefix->addr), xb_get_be64(prefix->addr + 8)};
	unsigned bits = prefix->bits;
	struct value host;

	if (prefix->family == 4) {
		uint64_t addr = first.upper >> 32;

		return (struct span){number(addr), number(addr | (uint64_t)UINT32_MAX >> bits), 0};
	}
	host.upper = bits >= 64 ? 0 : UINT64_MAX >> bits;
	host.lower = bits <= 64 ? UINT64_MAX : bits == 128 ? 0 : UINT64_MAX >> (bits - 64);
	return (struct span){first, {first.upper | host.upper, first.lower | host.lower}, 0};
}

static struct span span_of_range(const struct xb_range *range)
{
	return (struct span){number(range->first), number(range->last), 0};
}

static struct span span_of_number(uint64_t n)
{
	return (struct span){number(n), number(n), 0};
}

/* ---- axes ---- */

static bool is_wide(unsigned axis)
{
	return XB_AXES_V6 >> axis & 1;
}

/* What the axis asks for in a rule. */
static enum xb_match match_of(unsigned axis)
{
	static const enum xb_match matches[XB_AXIS_COUNT] = {
#define MATCH_OF(NAME, name, KIND, BITS, ...) \
	[XB_MATCH_##NAME] = XB_MATCH_##NAME,  \
	XB_IF_128(BITS, [XB_AXIS_##NAME##6] = XB_MATCH_##NAME, )
		XB_FIELDS(MATCH_OF)
#undef MATCH_OF
	};

	return matches[axis];
}

/* How many places the axis has, one for each value; 0: its values are looked for. */
static unsigned places_of(unsigned axis)
{
	return xb_fields[match_of(axis)].places;
}

static bool asks(const struct xb_ranked_rule *ranked, unsigned axis)
{
	if (axis == XB_MATCH_IN)
		return xb_ranked_rule_ports(ranked) != XB_IN_ANY;
	return XB_RULE_TESTS(ranked->rule, match_of(axis));
}

/* The values that a rule wants on an axis that it asks; false where there are none, as it asks for
 * the other family. */
static bool span_of(const struct xb_ranked_rule *ranked, unsigned axis, struct span *ret_span)
{
	const struct xb_field *field = &xb_fields[match_of(axis)];
	const void *wanted = xb_field_of(field, ranked->rule);

	switch (field->kind) {
	case XB_FIELD_OWN:
		*ret_span = (struct span){number(XB_OWN_YES), number(XB_OWN_KEPT), 0};
		break;
	case XB_FIELD_PORTS:
	case XB_FIELD_FLAGS:
		*ret_span = (struct span){0}; /* a set is no interval: see is_wanted */
		break;
	case XB_FIELD_NUMBER:
	case XB_FIELD_PROTOCOL:
	case XB_FIELD_HEX:
	case XB_FIELD_NAME:
		*ret_span = span_of_number(*(const uint16_t *)wanted);
		break;
	case XB_FIELD_MAC:
		*ret_span = span_of_number(xb_mac_value(wanted));
		break;
	case XB_FIELD_DMAC:
		*ret_span = span_of_number(xb_mac_value(ranked->dmac));
		break;
	case XB_FIELD_RANGE:
	case XB_FIELD_SERVICE:
		*ret_span = span_of_range(wanted);
		break;
	case XB_FIELD_PREFIX:
		*ret_span = span_of_prefix(wanted);
		return ((const struct xb_prefix *)wanted)->family == (is_wide(axis) ? 6 : 4);
	}
	return true;
}

/* ---- writing ---- */

static void set_bit(struct set *set, uint32_t rank)
{
	set->words[rank / 64] |= 1ull << rank % 64;
}

static void clear_bit(struct set *set, uint32_t rank)
{
	set->words[rank / 64] &= ~(1ull << rank % 64);
}

static uint64_t summary_of(const struct set *set)
{
	uint64_t summary = 0;

	for (unsigned w = 0; w < XB_SET_WORDS; w++)
		summary |= (uint64_t) !!set->words[w] << w;
	return summary;
}

/* Room for a table. */
static uint32_t take(struct build *build, size_t bytes)
{
	uint32_t at = build->at;

	bytes = (bytes + 7) & ~(size_t)7;
	assert(bytes <= ROOM_BYTES - at);
	build->at += (uint32_t)bytes;
	return at;
}

static void *at(const struct build *build, uint32_t place)
{
	return build->image + place;
}

static uint32_t *entry(const struct build *build, uint32_t table, uint32_t i)
{
	return (uint32_t *)at(build, table) + i;
}

static uint32_t hash_of(const struct set *set)
{
	uint64_t hash = 0;

	for (unsigned w = 0; w < XB_SET_WORDS; w++)
		hash = (hash ^ set->words[w]) * 0x9e3779b97f4a7c15ull;
	return (uint32_t)(hash >> 40) % DEDUP_SLOTS;
}

/* Writes a dense set, or finds it. */
static uint32_t dense(struct build *build, const struct set *set)
{
	uint32_t *known = &build->dedup[hash_of(set)];
	uint32_t place = *known;
	uint64_t summary = summary_of(set);

	if (place && !memcmp((uint8_t *)at(build, place) + 8, set->words, sizeof(set->words)))
		return place;
	place = take(build, XB_DENSE_BYTES);
	memcpy(at(build, place), &summary, sizeof(summary));
	memcpy((uint8_t *)at(build, place) + 8, set->words, sizeof(set->words));
	*known = place;
	return place;
}

static uint32_t packed(struct build *build, const struct set *set)
{
	uint64_t summary = summary_of(set);
	uint32_t place = take(build, 8 + 8 * xb_popcount(summary));
	uint64_t *out = at(build, place);

	*out++ = summary;
	for (unsigned w = 0; w < XB_SET_WORDS; w++)
		if (set->words[w])
			*out++ = set->words[w];
	return place;
}

/* A piece's own dense set; 0 where there is no room for it. */
static uint32_t whole(struct build *build, const struct set *set)
{
	uint32_t before = build->at, place;

	if (build->spare < XB_DENSE_BYTES)
		return 0;
	place = dense(build, set);
	build->spare -= build->at - before;
	return place | XB_EXTRA_WHOLE;
}

/* Writes what `set` has and `base` has not; 0 where that is nothing. */
static uint32_t extra(struct build *build, const struct set *set, const struct set *base)
{
	struct set beyond;
	uint32_t words, place = 0;

	for (unsigned w = 0; w < XB_SET_WORDS; w++)
		beyond.words[w] = set->words[w] & ~base->words[w];
	words = xb_popcount(summary_of(&beyond));
	if (!words)
		return 0;
	if (words > PACKED_MAX)
		place = whole(build, set);
	return place ? place : packed(build, &beyond);
}

/* Writes the sets of a block of pieces, the first of which is piece `first`. */
static void write_block(struct build *build, const struct xb_axis *axis, uint32_t first,
			unsigned pieces)
{
	struct set common = build->block[0];

	for (unsigned i = 1; i < pieces; i++)
		for (unsigned w = 0; w < XB_SET_WORDS; w++)
			common.words[w] &= build->block[i].words[w];
	*entry(build, axis->base, first / BLOCK) = dense(build, &common);
	for (unsigned i = 0; i < pieces; i++)
		*entry(build, axis->extra, first + i) = extra(build, &build->block[i], &common);
}

static void take_tables(struct build *build, struct xb_axis *axis, uint32_t pieces)
{
	axis->n = pieces;
	axis->base = take(build, (pieces + BLOCK - 1) / BLOCK * sizeof(uint32_t));
	axis->extra = take(build, pieces * sizeof(uint32_t));
}

/* Whether a rule, by its span, wants the value of a place. */
static bool is_wanted(const struct build *build, unsigned id, const struct span *span,
		      unsigned place)
{
	const struct xb_ranked_rule *ranked = &build->rules[span->rank];
	const struct xb_field *field = &xb_fields[match_of(id)];
	const struct xb_flags *flags = xb_field_of(field, ranked->rule);

	switch (field->kind) {
	case XB_FIELD_PORTS:
		return xb_ranked_rule_ports(ranked) >> place & 1;
	case XB_FIELD_FLAGS:
		return (place & flags->mask) == flags->set;
	default:
		return place >= span->first.upper && place <= span->last.upper;
	}
}

/* An axis with a place for each value: every rule is asked about every value. */
static void write_places(struct build *build, struct xb_axis *axis, unsigned id, unsigned places,
			 const struct set *indifferent, unsigned n_spans)
{
	take_tables(build, axis, places);
	for (unsigned place = 0; place < places; place++) {
		struct set *set = &build->block[place % BLOCK];

		if (id == XB_MATCH_DMAC_OWN && place == XB_OWN_KEPT)
			*set = (struct set){0};
		else
			*set = *indifferent;
		for (unsigned i = 0; i < n_spans; i++)
			if (is_wanted(build, id, &build->spans[i], place))
				set_bit(set, build->spans[i].rank);
		if (place % BLOCK == BLOCK - 1 || place == places - 1)
			write_block(build, axis, place & ~(BLOCK - 1), place % BLOCK + 1);
	}
}

/* Sorts the starts of pieces and drops doubles; returns how many are left. */
static unsigned find_starts(struct build *build, unsigned n_spans, bool wide)
{
	struct value *starts = build->starts;
	unsigned n = 0, left = 1;

	starts[n++] = (struct value){0};
	for (unsigned i = 0; i < n_spans; i++) {
		struct value after = build->spans[i].last;

		starts[n++] = build->spans[i].first;
		if (step(&after, wide))
			starts[n++] = after;
	}
	qsort(starts, n, sizeof(*starts), compare_values);
	for (unsigned i = 1; i < n; i++)
		if (compare_values(&starts[i], &starts[left - 1]))
			starts[left++] = starts[i];
	return left;
}

static int compare_firsts(const void *a, const void *b)
{
	const struct span *x = a, *y = b;

	return compare_values(&x->first, &y->first);
}

static int compare_lasts(const void *a, const void *b)
{
	const struct span *const *x = a, *const *y = b;

	return compare_values(&(*x)->last, &(*y)->last);
}

/* Buckets of equal width from the second start to the last: the first piece is what lies below. */
static void write_root(struct build *build, struct xb_axis *axis)
{
	const struct value *starts = build->starts;
	uint64_t min = axis->n > 1 ? starts[1].upper : 0;
	uint64_t width = starts[axis->n - 1].upper - min;
	uint32_t piece = 0;

	axis->root_min = min;
	while (width >> axis->root_shift >= BUCKETS_MAX ||
	       (width >> axis->root_shift) > 2ull * axis->n)
		axis->root_shift++;
	axis->root_n = (uint32_t)(width >> axis->root_shift) + 1;
	axis->root = take(build, (axis->root_n + 1) * sizeof(uint32_t));
	for (uint32_t bucket = 0; bucket < axis->root_n; bucket++) {
		uint64_t from = min + ((uint64_t)bucket << axis->root_shift);

		/* the last piece that starts before the bucket, or with it */
		while (piece + 1 < axis->n &&
		       (starts[piece + 1].upper < from ||
			(starts[piece + 1].upper == from && !starts[piece + 1].lower)))
			piece++;
		*entry(build, axis->root, bucket) = piece;
	}
	*entry(build, axis->root, axis->root_n) = axis->n - 1;
}

static int write_pieces(struct build *build, struct xb_axis *axis, bool wide,
			const struct set *indifferent, unsigned n_spans)
{
	xb_auto_free const struct span **ends = calloc(n_spans + 1, sizeof(*ends));
	struct set now = *indifferent;
	unsigned begun = 0, ended = 0;

	if (!ends)
		return -ENOMEM;
	qsort(build->spans, n_spans, sizeof(*build->spans), compare_firsts);
	for (unsigned i = 0; i < n_spans; i++)
		ends[i] = &build->spans[i];
	qsort(ends, n_spans, sizeof(*ends), compare_lasts);

	take_tables(build, axis, find_starts(build, n_spans, wide));
	axis->wide = wide;
	axis->starts = take(build, axis->n * (wide ? 16 : 8));
	for (unsigned piece = 0; piece < axis->n; piece++) {
		const struct value *start = &build->starts[piece];
		uint64_t *out = (uint64_t *)at(build, axis->starts) + piece * (wide ? 2 : 1);

		out[0] = start->upper;
		if (wide)
			out[1] = start->lower;
		for (; ended < n_spans && compare_values(&ends[ended]->last, start) < 0; ended++)
			clear_bit(&now, ends[ended]->rank);
		for (; begun < n_spans && compare_values(&build->spans[begun].first, start) <= 0;
		     begun++)
			set_bit(&now, build->spans[begun].rank);
		build->block[piece % BLOCK] = now;
		if (piece % BLOCK == BLOCK - 1 || piece == axis->n - 1)
			write_block(build, axis, piece & ~(BLOCK - 1), piece % BLOCK + 1);
	}
	write_root(build, axis);
	return 0;
}

static int write_axis(struct build *build, struct xb_axis *axis, unsigned id)
{
	struct set indifferent = {0};
	unsigned n_spans = 0, places = places_of(id);

	for (unsigned rank = 0; rank < build->n; rank++) {
		struct span span;

		if (!asks(&build->rules[rank], id)) {
			set_bit(&indifferent, rank);
		} else if (span_of(&build->rules[rank], id, &span)) {
			span.rank = rank;
			build->spans[n_spans++] = span;
		}
	}
	axis->absent = dense(build, &indifferent);
	if (!places)
		return write_pieces(build, axis, is_wide(id), &indifferent, n_spans);
	write_places(build, axis, id, places, &indifferent, n_spans);
	return 0;
}

/* ---- the whole ---- */

static void write_rules(struct build *build, struct xb_image_head *image)
{
	struct xb_image_rule *out;

	image->rules = take(build, build->n * sizeof(*out));
	out = at(build, image->rules);
	for (unsigned rank = 0; rank < build->n; rank++) {
		const struct xb_ranked_rule *ranked = &build->rules[rank];
		uint64_t pps = ranked->rule->limit_pps;
		uint64_t each_ns = pps ? (NS_PER_SEC + pps / 2) / pps : 0;

		out[rank] = (struct xb_image_rule){
			.id = ranked->rule->id,
			.slot = ranked->slot,
			.verdict = ranked->verdict,
			.each_ns = each_ns,
			.ahead_ns = pps ? each_ns * (ranked->rule->limit_burst - 1) : 0,
		};
	}
}

/* The axes that any rule asks for: bits 1 << axis. */
static uint32_t used_axes(const struct build *build)
{
	uint32_t used = 0;

	for (unsigned rank = 0; rank < build->n; rank++)
		for (unsigned id = 0; id < XB_AXIS_COUNT; id++)
			used |= (uint32_t)asks(&build->rules[rank], id) << id;
	return used;
}

static void list_axes(uint32_t axes, struct xb_axis_list *list)
{
	for (unsigned id = 0; id < XB_AXIS_COUNT; id++)
		if (axes & XB_AXIS_BIT(id))
			list->ids[list->n++] = (uint8_t)id;
}

/* The ports from which any rule may be met. */
static uint64_t ports_of_all(const struct build *build)
{
	uint64_t ports = XB_IN_ANY;

	for (unsigned rank = 0; rank < build->n; rank++)
		ports &= xb_ranked_rule_ports(&build->rules[rank]);
	return ports;
}

/* The bits of a key that these rules look at. The addresses' family comes with the addresses, and
 * all rules look at `own`: it may keep a frame from them. */
static struct xb_key key_mask(uint32_t used)
{
	struct xb_key mask = {.has = used & ((1u << XB_MATCH_COUNT) - 1)};

	for (unsigned what = 0; what < XB_MATCH_COUNT; what++)
		if (used >> what & 1)
			memset((char *)&mask + xb_fields[what].key_at, 0xff,
			       xb_fields[what].key_bytes);
	if (used & XB_AXES_V4) /* and XB_AXES_V6: an address has an axis of each */
		mask.family = 0xff;
	mask.own = 0xff;
	return mask;
}

static int write_axes(struct build *build, struct xb_image_head *image)
{
	uint32_t used = used_axes(build);
	int ret = 0;

	image->asks_own = used >> XB_MATCH_DMAC_OWN & 1;
	image->mask = key_mask(used);
	list_axes(used & ~XB_AXES_V4, &image->ip6);
	list_axes(used & ~XB_AXES_V6, &image->other);
	if (used & XB_AXIS_BIT(XB_MATCH_IN))
		image->any_in = ports_of_all(build);
	for (unsigned id = 0; !ret && id < XB_AXIS_COUNT; id++)
		if (used & XB_AXIS_BIT(id))
			ret = write_axis(build, &image->axes[id], id);
	return ret;
}

/* Builds the image, with so much room for dense sets of single pieces, whatever size that makes it.
 * Returns 0 or -ENOMEM. */
static int build_with(const struct xb_ranked_rule *rules, unsigned n, uint32_t generation,
		      uint32_t spare, struct xb_image **ret_image)
{
	xb_auto_free struct xb_image *image = calloc(1, ROOM_BYTES);
	xb_auto_free struct span *spans = calloc(n + 1, sizeof(*spans));
	xb_auto_free struct value *starts = calloc(PIECES_MAX, sizeof(*starts));
	xb_auto_free struct set *block = calloc(BLOCK, sizeof(*block));
	xb_auto_free struct build *build = calloc(1, sizeof(*build));
	struct xb_image_head *head;

	if (!image || !spans || !starts || !block || !build)
		return -ENOMEM;
	build->image = (uint8_t *)image;
	build->at = sizeof(*head);
	build->spare = spare;
	build->rules = rules;
	build->n = n;
	build->spans = spans;
	build->starts = starts;
	build->block = block;

	head = &image->head;
	head->generation = generation;
	head->n_rules = n;
	write_rules(build, head);
	if (write_axes(build, head) < 0)
		return -ENOMEM;
	head->bytes = build->at;
	*ret_image = XB_TAKE_PTR(image);
	return 0;
}

int xb_image_build(const struct xb_ranked_rule *rules, unsigned n, uint32_t generation,
		   struct xb_image **ret_image, struct xb_error *err)
{
	static const uint32_t spares[] = {SPARE_BYTES, 0};

	assert(n <= XB_RULES_MAX);
	for (unsigned i = 0; i < sizeof(spares) / sizeof(spares[0]); i++) {
		xb_auto_free struct xb_image *image = NULL;

		if (build_with(rules, n, generation, spares[i], &image) < 0)
			return xb_fail(err, -ENOMEM, "make the image of %u rules", n);
		if (image->head.bytes <= XB_IMAGE_BYTES) {
			*ret_image = XB_TAKE_PTR(image);
			return 0;
		}
		xb_refuse(err, -E2BIG, "%u rules make an image of %u KiB, and %u KiB are allowed",
			  n, image->head.bytes >> 10, XB_IMAGE_BYTES >> 10);
	}
	xb_hint(err, "let fewer ranges and prefixes overlap");
	return -E2BIG;
}
