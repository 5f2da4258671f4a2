/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The steering table as frames are judged by it: an image without pointers, made by the daemon and
 * walked by the XDP program and by userspace, with the code below.
 *
 * A rule is a bit. Its place is its rank: the rule that is asked first has rank 0. Each thing that
 * a rule can ask for (an axis) maps a frame's value to the set of rules which that value satisfies;
 * the AND of all axes' sets is what matches, its lowest bit the winner.
 *
 *     value ──► interval ──┬──► base: 64 words, shared by the 16 intervals around it
 *                          └──► extra: what this interval has beyond, few words
 *
 * An axis of few values has a place for each; on others the value is looked for among the sorted
 * starts of intervals, in a part that a root table names. Every set begins with a summary, which
 * has a bit for each word of the set that is not zero: the AND of the summaries tells which words
 * to look at.
 *
 * Places in the image are bytes from its start. Each is masked when it is used, so whatever an
 * image holds, nothing beyond its end is read.
 */
#ifndef XBRIDGE_IMAGE_H
#define XBRIDGE_IMAGE_H

#include "parse.h"
#include "rule.h"
#include "steer.h"

/** Room for the largest image that XB_RULES_MAX rules can make. */
#define XB_IMAGE_BYTES (8u << 20)

#define XB_SET_WORDS   (XB_RULES_MAX / 64)
#define XB_DENSE_BYTES ((1 + XB_SET_WORDS) * 8u)

/** The axes: one for each enum xb_match, where an address is that of IPv4, and one more for each
 * address, of IPv6: XB_AXIS_SRC6. */
enum xb_axis_id {
#define XB_AXIS_6_(NAME, name, KIND, BITS, ...) XB_IF_128(BITS, XB_AXIS_##NAME##6, )
	XB_AXIS_BEFORE_6 = XB_MATCH_COUNT - 1, /* the next one is XB_MATCH_COUNT */
	XB_FIELDS(XB_AXIS_6_)
#undef XB_AXIS_6_
		XB_AXIS_COUNT
};

/** Intervals that share a base set. */
#define XB_BLOCK_SHIFT 4

/** In `extra`: the interval has a dense set of its own, with all of its rules; no other is asked.
 */
#define XB_EXTRA_WHOLE 1u

/** The binary search among 2 * XB_RULES_MAX + 1 intervals ends after so many steps. */
#define XB_SEARCH_STEPS 14

/** An axis. `absent` is the set of rules that don't ask it, for frames without a value there. */
struct xb_axis {
	__u32 n;          /* intervals, or values of an axis that has a place for each */
	__u32 wide;       /* 1: a value has two halves (SRC6, DST6) */
	__u32 starts;     /* __u64 a start, or two, the upper first; starts[0] is 0 */
	__u32 base;       /* __u32 for each 1 << XB_BLOCK_SHIFT intervals: a dense set */
	__u32 extra;      /* __u32 an interval: a packed set, or XB_EXTRA_WHOLE and a dense one */
	__u32 absent;     /* a dense set */
	__u32 root;       /* __u32 a bucket, and one more: the interval in which it starts */
	__u32 root_n;     /* buckets; 0: each value has its place, nothing is searched */
	__u32 root_shift; /* a value's bucket: (upper word - root_min) >> root_shift */
	__u32 zero;
	__u64 root_min;
};

_Static_assert(sizeof(struct xb_axis) == 48, XB_PINNED);

/** What a rank stands for. */
struct xb_image_rule {
	__u32 id;
	__u32 slot; /* its element in the maps of rules, counters and limits */
	__u32 verdict;
	__u32 zero;
	__u64 each_ns;  /* from one frame to the next at the limit's rate; 0: no limit */
	__u64 ahead_ns; /* how far frames may run ahead of that rate */
};

_Static_assert(sizeof(struct xb_image_rule) == 32, XB_PINNED);

/** Axes, in the order in which they are asked. */
struct xb_axis_list {
	__u32 n;
	__u8 ids[20]; /* enum xb_axis_id */
};

_Static_assert(XB_AXIS_COUNT <= sizeof(((struct xb_axis_list *)0)->ids),
	       "there is room for all axes");

struct xb_image_head {
	__u32 generation;
	__u32 n_rules;
	__u32 asks_own; /* 1: some rule asks for DMAC_OWN */
	__u32 bytes;    /* of the image */
	__u32 rules;    /* struct xb_image_rule a rank */
	__u32 zero;
	struct xb_axis_list ip6;   /* what any rule asks for of an IPv6 frame */
	struct xb_axis_list other; /* the same, of any other frame */
	__u64 any_in; /* bits 1 << port: IN, which is the first of both lists, excludes no rule for
			 a frame from there */
	struct xb_key mask; /* all ones where a rule asks: other bits of a key don't matter */
	struct xb_axis axes[XB_AXIS_COUNT];
};

/** An element of the array `images`; the bytes after image->head.bytes mean nothing. */
struct xb_image {
	struct xb_image_head head;
	__u8 tables[XB_IMAGE_BYTES - sizeof(struct xb_image_head)];
};

_Static_assert(sizeof(struct xb_image) == XB_IMAGE_BYTES &&
		       !(XB_IMAGE_BYTES & (XB_IMAGE_BYTES - 1)),
	       "a masked place is in the image");
_Static_assert(offsetof(struct xb_image_head, mask) % 8 == 0, "it is read in words, as a key is");
_Static_assert(offsetof(struct xb_image, tables) % 8 == 0, "tables begin at multiples of 8");
_Static_assert(XB_AXIS_COUNT <= 32, "sets of axes are words of 32 bits");

#define XB_RANK_NONE XB_RULES_MAX

/* Calls step(i, data) for i from 0 to n - 1, until it returns 1. The verifier looks at such a step
 * once, not once for each turn. */
#ifdef __bpf__
#define XB_STEP                  static __attribute__((noinline))
#define XB_GLOBAL                __attribute__((noinline)) /* the verifier looks at it alone, and once */
#define xb_repeat(n, step, data) bpf_loop(n, step, data, 0)
#else
#define XB_STEP   XB_INLINE
#define XB_GLOBAL XB_INLINE
XB_INLINE void xb_repeat(__u32 n, long (*step)(__u32 i, void *data), void *data)
{
	for (__u32 i = 0; i < n && !step(i, data); i++)
		;
}
#endif

XB_INLINE __u64 xb_image_u64(const void *image, __u32 at)
{
	return *(const __u64 *)((const __u8 *)image + (at & (XB_IMAGE_BYTES - 8)));
}

XB_INLINE __u32 xb_image_u32(const void *image, __u32 at)
{
	return *(const __u32 *)((const __u8 *)image + (at & (XB_IMAGE_BYTES - 4)));
}

/** What a rank stands for; `rank` is below head.n_rules. */
XB_INLINE struct xb_image_rule xb_image_rule(const struct xb_image *image, __u32 rank)
{
	__u32 at = image->head.rules + rank * (__u32)sizeof(struct xb_image_rule);
	struct xb_image_rule rule = {
		.id = xb_image_u32(image, at + offsetof(struct xb_image_rule, id)),
		.slot = xb_image_u32(image, at + offsetof(struct xb_image_rule, slot)),
		.verdict = xb_image_u32(image, at + offsetof(struct xb_image_rule, verdict)),
		.each_ns = xb_image_u64(image, at + offsetof(struct xb_image_rule, each_ns)),
		.ahead_ns = xb_image_u64(image, at + offsetof(struct xb_image_rule, ahead_ns)),
	};

	return rule;
}

/* BPF has no instruction for it. */
XB_INLINE __u32 xb_popcount(__u64 word)
{
	word -= word >> 1 & 0x5555555555555555ull;
	word = (word & 0x3333333333333333ull) + (word >> 2 & 0x3333333333333333ull);
	word = (word + (word >> 4)) & 0x0f0f0f0f0f0f0f0full;
	return (__u32)(word * 0x0101010101010101ull >> 56);
}

/** The place of the lowest bit of a word that is not zero. */
XB_INLINE __u32 xb_lowest_bit(__u64 word)
{
#ifdef __bpf__
	/* multiplied by the only bit left, a de Bruijn sequence has a number of its own in its
	 * uppermost six bits for each place */
	static const __u8 places[64] = {
		0,  1,  48, 2,  57, 49, 28, 3,  61, 58, 50, 42, 38, 29, 17, 4,
		62, 55, 59, 36, 53, 51, 43, 22, 45, 39, 33, 30, 24, 18, 12, 5,
		63, 47, 56, 27, 60, 41, 37, 16, 54, 35, 52, 21, 44, 32, 23, 11,
		46, 26, 40, 15, 34, 20, 31, 10, 25, 14, 19, 9,  13, 8,  7,  6,
	};

	return places[(word & -word) * 0x3f79d71b4cb0a89ull >> 58];
#else
	return (__u32)__builtin_ctzll(word);
#endif
}

/* One axis' answer: a dense set and a packed one. */
struct xb_sets {
	__u32 base, extra;
};

/* The interval of an axis that holds the value. */
XB_GLOBAL __u32 xb_axis_interval(const struct xb_image *image, __u32 id, __u64 upper, __u64 lower)
{
	const struct xb_axis *axis;
	__u32 low, high, wide;
	__u64 bucket;

	if (!image || id >= XB_AXIS_COUNT)
		return 0;
	axis = &image->head.axes[id];
	wide = axis->wide;
	if (!axis->root_n)
		return upper < axis->n ? (__u32)upper : 0;
	if (upper < axis->root_min)
		return 0;
	bucket = (upper - axis->root_min) >> (axis->root_shift & 63);
	if (bucket >= axis->root_n)
		bucket = axis->root_n - 1;
	/* the answer is in [low, high] */
	low = xb_image_u32(image, axis->root + (__u32)bucket * 4);
	high = xb_image_u32(image, axis->root + (__u32)bucket * 4 + 4);
	for (int i = 0; i < XB_SEARCH_STEPS && low < high; i++) {
		__u32 middle = (low + high + 1) >> 1;
		__u32 at = axis->starts + (wide ? middle * 16 : middle * 8);
		__u64 start = xb_image_u64(image, at);
		int is_after = start > upper;

		if (wide && start == upper)
			is_after = xb_image_u64(image, at + 8) > lower;
		if (is_after)
			high = middle - 1;
		else
			low = middle;
	}
	return low;
}

XB_INLINE struct xb_sets xb_axis_sets(const void *image, const struct xb_axis *axis, __u32 interval)
{
	struct xb_sets sets;

	sets.base = xb_image_u32(image, axis->base + (interval >> XB_BLOCK_SHIFT) * 4);
	sets.extra = xb_image_u32(image, axis->extra + interval * 4);
	if (sets.extra & XB_EXTRA_WHOLE) {
		sets.base = sets.extra - XB_EXTRA_WHOLE;
		sets.extra = 0;
	}
	return sets;
}

XB_INLINE struct xb_sets xb_axis_absent(const struct xb_axis *axis)
{
	struct xb_sets sets = {.base = axis->absent, .extra = 0};

	return sets;
}

/* Place 0 holds no set: it stands for none. */
XB_INLINE __u64 xb_sets_summary(const void *image, const struct xb_sets *sets)
{
	__u64 summary = xb_image_u64(image, sets->base);

	return sets->extra ? summary | xb_image_u64(image, sets->extra) : summary;
}

/** One frame's walk through an image. In BPF an element of a per-CPU map, since it is too large for
 *  the stack. */
struct xb_walk {
	__u64 upper[XB_AXIS_COUNT]; /* the value on each axis; of SRC6 and DST6 its upper half */
	__u64 lower[XB_AXIS_COUNT]; /* of an IPv6 address its lower half; otherwise 0 */
	__u32 known;                /* bits 1 << axis: the frame has a value there */
	__u32 ip6;                  /* it is an IPv6 frame */
	__u32 kept;                 /* the frame is for those rules alone that say `dmac own` */
	__u32 n_sets;
	struct xb_sets sets[XB_AXIS_COUNT]; /* the axes' answers, as far as they are asked */
};

#define XB_AXIS_BIT(axis) (1u << (axis))

/** The axes of IPv4 addresses, and those of IPv6 addresses: bits 1 << axis. */
#define XB_AXES_V4_(NAME, name, KIND, BITS, ...) XB_IF_128(BITS, | XB_AXIS_BIT(XB_MATCH_##NAME))
#define XB_AXES_V6_(NAME, name, KIND, BITS, ...) XB_IF_128(BITS, | XB_AXIS_BIT(XB_AXIS_##NAME##6))
#define XB_AXES_V4                               (0u XB_FIELDS(XB_AXES_V4_))
#define XB_AXES_V6                               (0u XB_FIELDS(XB_AXES_V6_))

/* A field's value on its axis, by its size. */
#define XB_PLACE_8_(walk, NAME, key, name)  (walk)->upper[XB_MATCH_##NAME] = (key)->name;
#define XB_PLACE_16_(walk, NAME, key, name) (walk)->upper[XB_MATCH_##NAME] = (key)->name;
#define XB_PLACE_48_(walk, NAME, key, name) \
	(walk)->upper[XB_MATCH_##NAME] = xb_mac_value((key)->name);
#define XB_PLACE_128_(walk, NAME, key, name)                             \
	(walk)->upper[XB_AXIS_##NAME##6] = xb_get_be64((key)->name);     \
	(walk)->lower[XB_AXIS_##NAME##6] = xb_get_be64((key)->name + 8); \
	(walk)->upper[XB_MATCH_##NAME] = (walk)->upper[XB_AXIS_##NAME##6] >> 32;

XB_INLINE void xb_walk_start(struct xb_walk *walk, const struct xb_key *key)
{
#define XB_PLACE_(NAME, name, KIND, BITS, ...) XB_PLACE_##BITS##_(walk, NAME, key, name)
	XB_FIELDS(XB_PLACE_)
#undef XB_PLACE_
	walk->known = key->has & ~XB_AXES_V4;
	if (key->family == 4)
		walk->known |= XB_AXES_V4;
	if (key->family == 6)
		walk->known |= XB_AXES_V6;
	walk->ip6 = key->family == 6;
	walk->kept = key->own == XB_OWN_KEPT;
	walk->n_sets = 0;
}

/* What the steps below share. */
struct xb_quest {
	struct xb_walk *walk;
	const struct xb_image *image;
	const struct xb_axis_list *asked;
	__u64 left;  /* words of all sets that may still hold the answer */
	__u32 first; /* of the axes that are asked */
	__u32 rank;
};

/* Asks the next axis. */
XB_STEP long xb_ask_axis(__u32 i, void *data)
{
	struct xb_quest *quest = data;
	const struct xb_image *image = quest->image;
	struct xb_walk *walk = quest->walk;
	const struct xb_axis *axis;
	struct xb_sets sets;
	__u32 id, n;

	i += quest->first;
	if (i >= XB_AXIS_COUNT)
		return 1;
	id = quest->asked->ids[i];
	if (id >= XB_AXIS_COUNT)
		return 1;
	axis = &image->head.axes[id];
	if (walk->known >> id & 1)
		sets = xb_axis_sets(image, axis,
				    xb_axis_interval(image, id, walk->upper[id], walk->lower[id]));
	else
		sets = xb_axis_absent(axis);
	n = walk->n_sets;
	if (n >= XB_AXIS_COUNT)
		return 1;
	walk->sets[n] = sets;
	walk->n_sets = n + 1;
	quest->left &= xb_sets_summary(image, &sets);
	return !quest->left;
}

/* Words that are looked at together: the search for a set's words is shared by them. */
#define XB_CHUNK_WORDS 4

/* Such words of one set, or of the AND of several. */
struct xb_chunk {
	__u64 a, b, c, d;
};

/* Takes from `chunk` what the set's words, from `word` on, don't have. */
XB_INLINE void xb_chunk_and(struct xb_chunk *chunk, const void *image, const struct xb_sets *sets,
			    __u32 word)
{
	__u32 at = (sets->base + 8 + word * 8) & (XB_IMAGE_BYTES - 8), extra = sets->extra;
	__u64 a, b, c, d, summary, which = 0;
	const __u64 *words;

	if (at > XB_IMAGE_BYTES - XB_CHUNK_WORDS * 8)
		at = 0; /* no set lies there */
	words = (const __u64 *)((const __u8 *)image + at);
	if (extra) {
		summary = xb_image_u64(image, extra);
		which = summary >> word & ((1u << XB_CHUNK_WORDS) - 1);
	}
	if (!which) {
		chunk->a &= words[0];
		chunk->b &= words[1];
		chunk->c &= words[2];
		chunk->d &= words[3];
		return;
	}
	extra += 8 + xb_popcount(summary & ((1ull << word) - 1)) * 8;
	a = words[0];
	b = words[1];
	c = words[2];
	d = words[3];
	if (which & 1) {
		a |= xb_image_u64(image, extra);
		extra += 8;
	}
	if (which & 2) {
		b |= xb_image_u64(image, extra);
		extra += 8;
	}
	if (which & 4) {
		c |= xb_image_u64(image, extra);
		extra += 8;
	}
	if (which & 8)
		d |= xb_image_u64(image, extra);
	chunk->a &= a;
	chunk->b &= b;
	chunk->c &= c;
	chunk->d &= d;
}

/* The lowest rank in the AND of all sets' words, from `word` on, or XB_RANK_NONE. */
XB_INLINE __u32 xb_ask_chunk(const struct xb_image *image, const struct xb_walk *walk, __u32 word)
{
	struct xb_chunk chunk = {~0ull, ~0ull, ~0ull, ~0ull};
	__u64 bits;

	for (__u32 n = 0; n < XB_AXIS_COUNT && n < walk->n_sets; n++) {
		xb_chunk_and(&chunk, image, &walk->sets[n], word);
		if (!(chunk.a | chunk.b | chunk.c | chunk.d))
			return XB_RANK_NONE;
	}
	if (chunk.a) {
		bits = chunk.a;
	} else if (chunk.b) {
		bits = chunk.b;
		word += 1;
	} else if (chunk.c) {
		bits = chunk.c;
		word += 2;
	} else {
		bits = chunk.d;
		word += 3;
	}
	return word * 64 + xb_lowest_bit(bits);
}

/* The words that are looked at with the lowest one that `left` names; `left` names one. */
XB_INLINE __u32 xb_chunk_of(__u64 left)
{
	return xb_lowest_bit(left) & ~(XB_CHUNK_WORDS - 1u) & (XB_SET_WORDS - 1);
}

XB_INLINE __u64 xb_without_chunk(__u64 left, __u32 word)
{
	return left & ~(((1ull << XB_CHUNK_WORDS) - 1) << word);
}

/* Chunks that are looked at in one step: a call costs as much as some words. */
#define XB_CHUNKS_A_STEP 4

/* The first rank in the lowest words that `left` names, or XB_RANK_NONE. */
XB_GLOBAL __u32 xb_ask_words(const struct xb_image *image, const struct xb_walk *walk, __u64 left)
{
	if (!image || !walk)
		return XB_RANK_NONE;
	for (int n = 0; n < XB_CHUNKS_A_STEP && left; n++) {
		__u32 word = xb_chunk_of(left);
		__u32 rank = xb_ask_chunk(image, walk, word);

		if (rank != XB_RANK_NONE)
			return rank;
		left = xb_without_chunk(left, word);
	}
	return XB_RANK_NONE;
}

/* The same of the words after those. */
XB_STEP long xb_ask_more_words(__u32 i, void *data)
{
	struct xb_quest *quest = data;

	(void)i;
	for (int n = 0; n < XB_CHUNKS_A_STEP && quest->left; n++)
		quest->left = xb_without_chunk(quest->left, xb_chunk_of(quest->left));
	if (!quest->left)
		return 1;
	quest->rank = xb_ask_words(quest->image, quest->walk, quest->left);
	return quest->rank != XB_RANK_NONE;
}

/**
 * The rank of the first rule that matches, or XB_RANK_NONE; after xb_walk_start.
 *
 * The cost is bounded: for each axis that the table uses one search of at most XB_SEARCH_STEPS,
 * then at most XB_SET_WORDS words of each.
 */
XB_INLINE __u32 xb_walk_find(struct xb_walk *walk, const struct xb_image *image)
{
	struct xb_quest quest = {
		.walk = walk,
		.image = image,
		.left = ~0ull,
		.rank = XB_RANK_NONE,
	};

	if (!walk || !image)
		return XB_RANK_NONE;
	if (!image->head.n_rules || (walk->kept && !image->head.asks_own))
		return XB_RANK_NONE;
	quest.asked = walk->ip6 ? &image->head.ip6 : &image->head.other;
	quest.first = image->head.any_in >> (walk->upper[XB_MATCH_IN] & 63) & 1;
	xb_repeat(quest.asked->n - quest.first, xb_ask_axis, &quest);
	if (!quest.left)
		return XB_RANK_NONE;
	quest.rank = xb_ask_words(image, walk, quest.left);
	if (quest.rank == XB_RANK_NONE)
		xb_repeat(XB_SET_WORDS / XB_CHUNK_WORDS / XB_CHUNKS_A_STEP - 1, xb_ask_more_words,
			  &quest);
	return quest.rank;
}

#endif
