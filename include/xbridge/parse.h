/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Parsing, the same lines for the XDP program and for userspace.
 *
 * A cursor walks from `data` to `end`; each step checks that the header lies before `end`, which is
 * also what the BPF verifier wants to see, and reads each field once. Today's decision needs
 * Ethernet and up to two VLAN tags; what rules will ask for continues at `cursor`, behind the last
 * tag that was parsed.
 */
#ifndef XBRIDGE_PARSE_H
#define XBRIDGE_PARSE_H

#include <linux/if_ether.h>
#include <linux/types.h>

#define XB_VLAN_TAGS_MAX 2

/** A VLAN tag as it lies in the frame (IEEE 802.1Q, 9.6). */
struct xb_vlan_tag {
	__be16 tci;  /* priority, drop eligible, 12 bits of identifier */
	__be16 type; /* EtherType of what follows */
};

/** What is known about a frame's headers. */
struct xb_parsed {
	__u8 dmac[ETH_ALEN];
	__u8 smac[ETH_ALEN];
	__be16 ethertype;             /* behind the tags; a third tag's own type stands here */
	__u8 n_tags;                  /* 0 to XB_VLAN_TAGS_MAX */
	__u8 group;                   /* the destination is a group address (broadcast too) */
	__be16 tci[XB_VLAN_TAGS_MAX]; /* outermost first */
	__u16 l3_bytes;               /* from the start of the frame to what `ethertype` names */
};

/** Host order of a 16-bit field without a function call, and constant where its argument is. */
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define XB_NTOHS(x) ((__u16)__builtin_bswap16((__u16)(x)))
#else
#define XB_NTOHS(x) ((__u16)(x))
#endif
#define XB_HTONS(x) ((__be16)XB_NTOHS(x))

static inline __attribute__((always_inline)) int xb_is_vlan(__be16 ethertype)
{
	return ethertype == XB_HTONS(ETH_P_8021Q) || ethertype == XB_HTONS(ETH_P_8021AD);
}

/**
 * Parses the frame from `data` to `end` into `ret`.
 *
 * Returns 0, or -1 where the frame is shorter than an Ethernet header (a runt; `ret` is undefined
 * then). A tag that is cut off by the end of the frame is not counted: `ethertype` stays the tag's
 * own.
 */
static inline __attribute__((always_inline)) int xb_parse(const void *data, const void *end,
							  struct xb_parsed *ret)
{
	const struct ethhdr *eth = data;
	const struct xb_vlan_tag *tag;
	const __u8 *cursor;

	if ((const void *)(eth + 1) > end)
		return -1;
	__builtin_memcpy(ret->dmac, eth->h_dest, ETH_ALEN);
	__builtin_memcpy(ret->smac, eth->h_source, ETH_ALEN);
	ret->group = ret->dmac[0] & 1;
	ret->ethertype = eth->h_proto;
	ret->n_tags = 0;
	ret->tci[0] = ret->tci[1] = 0;
	ret->l3_bytes = sizeof(*eth);
	cursor = (const __u8 *)(eth + 1);

#ifdef __clang__
#pragma clang loop unroll(full) /* indices into the stack stay constants */
#endif
	for (int i = 0; i < XB_VLAN_TAGS_MAX; i++) {
		if (!xb_is_vlan(ret->ethertype))
			break;
		tag = (const struct xb_vlan_tag *)cursor;
		if ((const void *)(tag + 1) > end)
			break;
		ret->tci[i] = tag->tci;
		ret->ethertype = tag->type;
		ret->n_tags++;
		ret->l3_bytes = (__u16)(ret->l3_bytes + sizeof(*tag));
		cursor += sizeof(*tag);
	}
	return 0;
}

#endif
