/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The flow cache in front of the image: which rule the last frame of a key has met. Each key has
 * one place. Each CPU, in the XDP program, and each worker has a cache of its own, so nothing here
 * is shared.
 *
 * It keeps ranks, never what became of a frame: a forwarding table may change its mind at any time.
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

/** Takes away what no rule asks for; returns the key's place. */
XB_INLINE __u32 xb_flow_place(struct xb_key *key, const struct xb_image *image)
{
	const xb_key_word *masks = (const xb_key_word *)&image->head.mask;
	xb_key_word *words = (xb_key_word *)key;
	static const __u64 odd[XB_KEY_WORDS] = {
		0x9e3779b97f4a7c15ull, 0xbf58476d1ce4e5b9ull, 0x94d049bb133111ebull,
		0xd6e8feb86659fd93ull, 0xff51afd7ed558ccdull, 0xc4ceb9fe1a85ec53ull,
		0xa0761d6478bd642full, 0xe7037ed1a0b428dbull,
	};
	__u64 hash = 0;

	/* each bit of the key reaches the product's uppermost bits */
#ifdef __clang__
#pragma clang loop unroll(full)
#endif
	for (unsigned i = 0; i < XB_KEY_WORDS; i++) {
		words[i] &= masks[i];
		hash += words[i] * odd[i];
	}
	return (__u32)(hash >> 52) & (XB_FLOWS - 1);
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

/** The rank of the first rule that a key, masked, meets: what its place in the cache remembers, or
 *  else what a walk finds, which is remembered. */
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
