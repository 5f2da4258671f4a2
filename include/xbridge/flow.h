/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The flow cache in front of the image: which rule the last frame with a key has met. Each key has
 * one place. Each CPU, in the XDP program, and each worker has a cache of its own, so nothing here
 * is shared.
 *
 * It keeps ranks, never what became of a frame: the forwarding table may change at any time.
 */
#ifndef XBRIDGE_FLOW_H
#define XBRIDGE_FLOW_H

#include "image.h"

/** Places of a cache; a power of two. */
#define XB_FLOWS 4096u

struct xb_flow {
	struct xb_key key;
	__u32 generation; /* of the image that was asked; 0: nothing here yet */
	__u32 rank;       /* or XB_RANK_NONE */
};

_Static_assert(sizeof(struct xb_flow) == sizeof(struct xb_key) + 8 &&
		       offsetof(struct xb_flow, key) % 8 == 0,
	       "a flow's key is compared in words, and nothing lies after the rank");

/** Bits of a place. */
#define XB_FLOW_BITS 12
_Static_assert(XB_FLOWS == 1u << XB_FLOW_BITS, "a hash's uppermost bits are a place");

/** Masks what no rule asks for; returns the key's place. */
XB_INLINE __u32 xb_flow_place(struct xb_key *key, const struct xb_image *image)
{
	const xb_key_word *masks = (const xb_key_word *)&image->head.mask;
	xb_key_word *words = (xb_key_word *)key;
	/* drawn by lot from those with which 256 values of any byte have 236 places at least */
	static const __u64 odd[] = {
		0x9cecdeeea1560927ull, 0x89419f936769fc6full, 0xafd60b62eb86b181ull,
		0x44c6267afcd40b9dull, 0xe9a60be9b440d80full, 0xb2db3722338ccb9dull,
		0x6aaf1061dc80372full, 0x064cdc2db8a65ebbull, 0x6726c87d156b2103ull,
		0xf3358da90bb44eb9ull, 0x4395e19e96c0e921ull, 0x16bd0467325d62f5ull,
	};
	__u64 hash = 0;

	_Static_assert(sizeof(odd) / sizeof(odd[0]) >= XB_KEY_WORDS,
		       "a word without a number of its own would leave the hash as it is");
	/* each bit of the key reaches the product's uppermost bits */
#ifdef __clang__
#pragma clang loop unroll(full)
#endif
	for (unsigned i = 0; i < XB_KEY_WORDS; i++) {
		words[i] &= masks[i];
		hash += words[i] * odd[i];
	}
	return (__u32)(hash >> (64 - XB_FLOW_BITS)) & (XB_FLOWS - 1);
}

XB_INLINE int xb_flow_same_key(const struct xb_key *a, const struct xb_key *b)
{
	const xb_key_word *x = (const xb_key_word *)a, *y = (const xb_key_word *)b;
	__u64 differ = 0;

#ifdef __clang__
#pragma clang loop unroll(full)
#endif
	for (unsigned i = 0; i < XB_KEY_WORDS; i++)
		differ |= x[i] ^ y[i];
	return !differ;
}

/** The rank of the first rule that a masked key meets: from its place in the cache or, if that
 * holds another key, by a walk, whose answer is kept there. */
XB_INLINE __u32 xb_flow_find(struct xb_flow *flow, const struct xb_image *image,
			     const struct xb_key *key, struct xb_walk *walk)
{
	__u32 generation = image->head.generation;

	if (flow->generation == generation && xb_flow_same_key(&flow->key, key))
		return flow->rank;
	xb_walk_start(walk, key);
	flow->rank = xb_walk_find(walk, image);
	flow->key = *key;
	flow->generation = generation;
	return flow->rank;
}

#endif
