/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Parsing, the same code for the XDP program and for userspace.
 *
 * A cursor walks from `data` to `end`; each step checks that the header lies before `end`, which is
 * also what the BPF verifier wants to see, and reads each field once. xb_parse finds Ethernet and
 * up to two VLAN tags; xb_parse_key goes on from there to all that rules ask for. Headers are
 * looked for in the first XB_PARSE_BYTES only, so a packet has the same key whether it lies in one
 * piece or its beginning was gathered from a chain.
 */
#ifndef XBRIDGE_PARSE_H
#define XBRIDGE_PARSE_H

#include <linux/if_ether.h>
#include <linux/types.h>
#include <stddef.h>

#include "bytes.h"
#include "headers.h"
#include "rule.h"

#define XB_VLAN_TAGS_MAX 2

/** Where headers are looked for: two VLAN tags, IPv6 with some extension headers, TCP's flags. */
#define XB_PARSE_BYTES 256u

/** Most IPv6 extension headers that are passed over. */
#define XB_PARSE_EXT_MAX 8

/** A VLAN tag as it lies in the frame (IEEE 802.1Q, 9.6). */
struct xb_vlan_tag {
	__be16 tci;  /* priority, drop eligible, 12 bits of identifier */
	__be16 type; /* EtherType of what follows */
};

_Static_assert(sizeof(struct xb_vlan_tag) == 4, "as it lies in the frame");

/** What is known about a frame's headers. */
struct xb_parsed {
	__u8 dmac[ETH_ALEN];
	__u8 smac[ETH_ALEN];
	__be16 ethertype;             /* after the tags; of a third tag its own type */
	__u8 n_tags;                  /* 0 to XB_VLAN_TAGS_MAX */
	__u8 group;                   /* 1: the destination is a group address, or broadcast */
	__be16 tci[XB_VLAN_TAGS_MAX]; /* outermost first */
	__u16 l3_bytes;               /* from the start of the frame to what `ethertype` names */
};

/** Whether the destination is an own MAC of the uplink. */
enum xb_own {
	XB_OWN_NO,
	XB_OWN_YES,
	XB_OWN_KEPT, /* yes, and the uplink is shared: only rules that say `dmac own` may take it */
};

/** What rules ask of a frame beyond its bytes. */
struct xb_origin {
	__u8 in;  /* id of the port it came in by */
	__u8 own; /* enum xb_own */
};

/* The members of a key, by size: the largest first, so that each is aligned and nothing lies
 * between them. */
#define XB_KEY_128_(NAME, name, KIND, BITS, ...) XB_IF_128(BITS, __u8 name[16];)
#define XB_KEY_48_(NAME, name, KIND, BITS, ...)  XB_IF_48(BITS, __u8 name[6];)
#define XB_KEY_16_(NAME, name, KIND, BITS, ...)  XB_IF_16(BITS, __u16 name;)
#define XB_KEY_8_(NAME, name, KIND, BITS, ...)   XB_IF_8(BITS, __u8 name;)

/** All that rules can ask of a frame (field.h), numbers in host order. A field holds something
 * where its bit in `has` is set, and 0 elsewhere, so that frames are the same to any rule where
 * their keys' bytes are. Of an IPv4 address there are the first four bytes; `vlan` may be
 * XB_VLAN_NONE; `own` is enum xb_own. */
struct xb_key {
	XB_FIELDS(XB_KEY_128_)
	__u32 has; /* bits 1 << enum xb_match */
	XB_FIELDS(XB_KEY_48_)
	XB_FIELDS(XB_KEY_16_)
	XB_FIELDS(XB_KEY_8_)
	__u8 family; /* of the addresses: 4 or 6; 0: not IP, or malformed */
} __attribute__((aligned(8)));

#define XB_KEY_BYTES_(NAME, name, KIND, BITS, ...) +(BITS) / 8
_Static_assert(offsetof(struct xb_key, family) == sizeof(__u32) XB_FIELDS(XB_KEY_BYTES_),
	       "a hole between the members: the compiler may leave anything there");
_Static_assert(offsetof(struct xb_key, has) % 8 == 0, "an address is at a multiple of 8");
#undef XB_KEY_BYTES_

/** A key as words, to compare or mask it whole. */
#define XB_KEY_WORDS (sizeof(struct xb_key) / 8)
typedef __u64 __attribute__((may_alias)) xb_key_word;

XB_INLINE int xb_is_vlan(__be16 ethertype)
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
XB_INLINE int xb_parse(const void *data, const void *end, struct xb_parsed *ret)
{
	const struct ethhdr *eth = data;
	const struct xb_vlan_tag *tag;
	const __u8 *cursor;

	if ((const void *)(eth + 1) > end)
		return -1;
	xb_copy_mac(ret->dmac, eth->h_dest);
	xb_copy_mac(ret->smac, eth->h_source);
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

/* The frame, and where its IP packet ends by its own length field. */
struct xb_sight {
	const __u8 *data;
	const void *end;
	__u32 ip_end;
};

/* Notes where the transport header lies. Here and below `headers` is NULL where it is not
 * wanted, as in BPF: a constant, so that nothing is left of it there. */
XB_INLINE void xb_note_l4(const struct xb_sight *sight, __u32 at, __u32 is_plain, __u32 is_fragment,
			  struct xb_headers *headers)
{
	headers->l4 = (__u16)at;
	if (is_plain)
		headers->flags |= XB_HEADERS_PLAIN;
	if (!is_fragment && (const void *)(sight->data + at) <= sight->end)
		headers->flags &= (__u8)~XB_HEADERS_OPAQUE;
}

/* The `len` bytes at `at`, or NULL where they are not all in sight: in the frame, in its first
 * XB_PARSE_BYTES, and in the IP packet. */
XB_INLINE const void *xb_see(const struct xb_sight *sight, __u32 at, __u32 len)
{
	const __u8 *here;

	if (at > XB_PARSE_BYTES - len || at + len > sight->ip_end)
		return NULL;
	here = sight->data + at;
	return (const void *)(here + len) > sight->end ? NULL : here;
}

#define XB_HAS(what) (1u << XB_MATCH_##what)

/** The fields of a layer, as bits of xb_key.has. */
XB_INLINE __u32 xb_has_of(enum xb_layer layer)
{
#define XB_OF_(NAME, name, KIND, BITS, FIRST, LAST, LAYER, ...) \
	| (layer == XB_LAYER_##LAYER ? XB_HAS(NAME) : 0u)
	return 0u XB_FIELDS(XB_OF_);
#undef XB_OF_
}

#define XB_TCP_BYTES     20u
#define XB_IPV4_BYTES    20u
#define XB_IPV6_BYTES    40u
#define XB_IPV4_MF       0x2000u
#define XB_IPV4_OFFSET   0x1fffu
#define XB_IPV6_MF       0x0001u
#define XB_IPV6_OFFSET   0xfff8u
#define XB_PROTO_HOPOPTS 0
#define XB_PROTO_ICMP    1
#define XB_PROTO_TCP     6
#define XB_PROTO_UDP     17
#define XB_PROTO_ROUTING 43
#define XB_PROTO_FRAG    44
#define XB_PROTO_AH      51
#define XB_PROTO_DSTOPTS 60
#define XB_PROTO_ICMPV6  58
#define XB_PROTO_SCTP    132

XB_INLINE __u8 xb_frag_of(__u32 later, __u32 more)
{
	return later ? XB_FRAG_LATER : more ? XB_FRAG_FIRST : XB_FRAG_NO;
}

/* Reads the start of the transport header. */
XB_INLINE void xb_parse_transport(const struct xb_sight *sight, __u32 at, struct xb_key *ret)
{
	const __u8 *bytes;

	switch (ret->proto) {
	case XB_PROTO_TCP:
		bytes = xb_see(sight, at + 13, 1);
		if (bytes) {
			ret->tcp_flags = *bytes;
			ret->has |= xb_has_of(XB_LAYER_TCP);
		}
		/* fallthrough */
	case XB_PROTO_UDP:
	case XB_PROTO_SCTP:
		bytes = xb_see(sight, at, 4);
		if (!bytes)
			break;
		ret->sport = xb_get_be16(bytes);
		ret->dport = xb_get_be16(bytes + 2);
		ret->has |= xb_has_of(XB_LAYER_PORTS);
		break;
	case XB_PROTO_ICMP:
	case XB_PROTO_ICMPV6:
		bytes = xb_see(sight, at, 1);
		if (!bytes)
			break;
		ret->icmp_type = *bytes;
		ret->has |= xb_has_of(XB_LAYER_ICMP);
		break;
	default:
		break;
	}
}

XB_INLINE void xb_parse_ipv4(struct xb_sight *sight, __u32 at, struct xb_key *ret,
			     struct xb_headers *headers)
{
	const __u8 *ip = xb_see(sight, at, XB_IPV4_BYTES);
	__u32 header_bytes, total_bytes;
	__u16 frag;

	if (headers)
		headers->flags = XB_HEADERS_IPV4 | XB_HEADERS_OPAQUE;
	if (!ip)
		return;
	header_bytes = (ip[0] & 0xfu) * 4;
	total_bytes = xb_get_be16(ip + 2);
	if (ip[0] >> 4 != 4 || header_bytes < XB_IPV4_BYTES)
		return;
	if (total_bytes && total_bytes < header_bytes)
		return;
	if (total_bytes)
		sight->ip_end = at + total_bytes;
	frag = xb_get_be16(ip + 6);
	ret->family = 4;
	ret->proto = ip[9];
	ret->dscp = ip[1] >> 2;
	ret->frag = xb_frag_of(frag & XB_IPV4_OFFSET, frag & XB_IPV4_MF);
	XB_COPY_AS(__u32, ret->src, ip + 12);
	XB_COPY_AS(__u32, ret->dst, ip + 16);
	ret->has |= xb_has_of(XB_LAYER_IP) | xb_has_of(XB_LAYER_CHAIN);
	if (headers) {
		headers->end = at + total_bytes;
		headers->proto = ret->proto;
	}
	if (headers && ret->frag != XB_FRAG_LATER)
		xb_note_l4(sight, at + header_bytes, header_bytes == XB_IPV4_BYTES,
			   ret->frag != XB_FRAG_NO, headers);
	if (ret->frag != XB_FRAG_LATER)
		xb_parse_transport(sight, at + header_bytes, ret);
}

XB_INLINE int xb_is_ext(__u8 kind)
{
	return kind == XB_PROTO_HOPOPTS || kind == XB_PROTO_ROUTING || kind == XB_PROTO_FRAG ||
	       kind == XB_PROTO_AH || kind == XB_PROTO_DSTOPTS;
}

/* Passes over one extension header (RFC 8200, 4; AH: RFC 4302, 2.2). Returns where the next header
 * starts, or 0 where this one is out of sight. */
XB_INLINE __u32 xb_pass_ext(const struct xb_sight *sight, __u32 at, struct xb_key *ret,
			    struct xb_headers *headers)
{
	const __u8 *ext = xb_see(sight, at, 8);
	__u8 kind = ret->proto;
	__u16 frag;

	if (!ext)
		return 0;
	ret->proto = ext[0];
	if (headers && (kind == XB_PROTO_AH || (kind == XB_PROTO_ROUTING && ext[3])))
		headers->flags |= XB_HEADERS_BOUND;
	if (kind == XB_PROTO_AH)
		return at + 8 + ext[1] * 4u;
	if (kind != XB_PROTO_FRAG)
		return at + 8 + ext[1] * 8u;
	frag = xb_get_be16(ext + 2);
	/* a second fragment header does not change what the first says */
	if (ret->frag == XB_FRAG_NO)
		ret->frag = xb_frag_of(frag & XB_IPV6_OFFSET, frag & XB_IPV6_MF);
	return at + 8;
}

XB_INLINE void xb_parse_ipv6(struct xb_sight *sight, __u32 at, struct xb_key *ret,
			     struct xb_headers *headers)
{
	const __u8 *ip = xb_see(sight, at, XB_IPV6_BYTES);
	__u32 payload_bytes, after_ip = at + XB_IPV6_BYTES;

	if (headers)
		headers->flags = XB_HEADERS_IPV6 | XB_HEADERS_OPAQUE;
	if (!ip || ip[0] >> 4 != 6)
		return;
	payload_bytes = xb_get_be16(ip + 4);
	at += XB_IPV6_BYTES;
	if (payload_bytes)
		sight->ip_end = at + payload_bytes;
	if (headers)
		headers->end = at + payload_bytes;
	ret->family = 6;
	ret->dscp = (__u8)((ip[0] & 0xf) << 2 | ip[1] >> 6);
	ret->proto = ip[6];
	xb_copy_ipv6(ret->src, ip + 8);
	xb_copy_ipv6(ret->dst, ip + 24);
	ret->has |= xb_has_of(XB_LAYER_IP);

	for (int i = 0; i < XB_PARSE_EXT_MAX && xb_is_ext(ret->proto); i++) {
		if (ret->frag == XB_FRAG_LATER)
			break; /* what follows is from the middle of the packet */
		at = xb_pass_ext(sight, at, ret, headers);
		if (!at)
			break;
	}
	if (ret->frag != XB_FRAG_NO || !xb_is_ext(ret->proto))
		ret->has |= XB_HAS(FRAG);
	if (!at || xb_is_ext(ret->proto)) {
		ret->proto = 0;
		return;
	}
	ret->has |= XB_HAS(PROTO);
	if (headers)
		headers->proto = ret->proto;
	if (headers && ret->frag != XB_FRAG_LATER)
		xb_note_l4(sight, at, at == after_ip, ret->frag != XB_FRAG_NO, headers);
	if (ret->frag != XB_FRAG_LATER)
		xb_parse_transport(sight, at, ret);
}

XB_INLINE void xb_key_l2(const struct xb_parsed *parsed, const struct xb_origin *origin,
			 struct xb_key *ret)
{
	ret->has = xb_has_of(XB_LAYER_FRAME);
	ret->in = origin->in;
	xb_copy_mac(ret->smac, parsed->smac);
	xb_copy_mac(ret->dmac, parsed->dmac);
	ret->ethertype = XB_NTOHS(parsed->ethertype);
	ret->vlan = parsed->n_tags ? XB_NTOHS(parsed->tci[0]) & 0xfff : XB_VLAN_NONE;
	ret->own = origin->own;
	if (origin->own)
		ret->has |= xb_has_of(XB_LAYER_OWN);
}

/* Puts a value into a key that is made in words: what the compiler sees of it is shifts by
 * constants. */
XB_INLINE void xb_key_put(__u64 *words, __u32 at, __u32 bytes, __u64 value)
{
	__u32 shift = at % 8 * 8;

	words[at / 8] |= value << shift;
	if (shift && shift + bytes * 8 > 64) /* it goes on in the next word */
		words[at / 8 + 1] |= value >> (64 - shift);
}

#define XB_KEY_PUT(words, name, value) \
	xb_key_put(words, offsetof(struct xb_key, name), sizeof(((struct xb_key *)0)->name), value)

/* The frame that most traffic consists of: untagged, IPv4 without options, no fragment, TCP or UDP,
 * nothing cut off. Its key is put together in whole words, as it is read back soon: a word that was
 * stored in pieces makes the processor wait. Returns whether it was such a frame. */
XB_INLINE int xb_key_plain(const void *data, const void *end, const struct xb_origin *origin,
			   struct xb_key *ret, struct xb_headers *headers)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	const __u64 mac_bits = 0xffffffffffffull;
	const __u8 *frame = data, *ip = frame + ETH_HLEN, *transport = ip + XB_IPV4_BYTES;
	__u32 has = xb_has_of(XB_LAYER_FRAME) | xb_has_of(XB_LAYER_IP) | xb_has_of(XB_LAYER_CHAIN) |
		    xb_has_of(XB_LAYER_PORTS);
	__u64 words[XB_KEY_WORDS] = {0};
	__u32 total_bytes, tcp_flags = 0;

	if (transport + XB_TCP_BYTES > (const __u8 *)end)
		return 0;
	total_bytes = xb_get_be16(ip + 2);
	if (XB_LOAD(__u16, frame + 12) != XB_HTONS(ETH_P_IP) || ip[0] != 0x45 ||
	    total_bytes < XB_IPV4_BYTES + XB_TCP_BYTES ||
	    XB_LOAD(__u16, ip + 6) & XB_HTONS(XB_IPV4_MF | XB_IPV4_OFFSET))
		return 0;
	if (ip[9] == XB_PROTO_TCP) {
		has |= xb_has_of(XB_LAYER_TCP);
		tcp_flags = transport[13];
	} else if (ip[9] != XB_PROTO_UDP) {
		return 0;
	}
	if (origin->own)
		has |= xb_has_of(XB_LAYER_OWN);
	XB_KEY_PUT(words, src, XB_LOAD(__u32, ip + 12));
	XB_KEY_PUT(words, dst, XB_LOAD(__u32, ip + 16));
	XB_KEY_PUT(words, has, has);
	XB_KEY_PUT(words, smac, XB_LOAD(__u64, frame + 6) & mac_bits);
	XB_KEY_PUT(words, dmac, XB_LOAD(__u64, frame) & mac_bits);
	XB_KEY_PUT(words, vlan, XB_VLAN_NONE);
	XB_KEY_PUT(words, ethertype, ETH_P_IP);
	XB_KEY_PUT(words, sport, XB_NTOHS(XB_LOAD(__u16, transport)));
	XB_KEY_PUT(words, dport, XB_NTOHS(XB_LOAD(__u16, transport + 2)));
	XB_KEY_PUT(words, in, origin->in);
	XB_KEY_PUT(words, own, origin->own);
	XB_KEY_PUT(words, proto, ip[9]);
	XB_KEY_PUT(words, tcp_flags, tcp_flags);
	XB_KEY_PUT(words, dscp, ip[1] >> 2);
	XB_KEY_PUT(words, frag, XB_FRAG_NO);
	XB_KEY_PUT(words, family, 4);
#ifdef __clang__
#pragma clang loop unroll(full)
#endif
	for (__u32 i = 0; i < XB_KEY_WORDS; i++)
		((xb_key_word *)ret)[i] = words[i];
	if (headers) {
		/* by the struct's fields: end, l3, l4; vlan, proto, flags */
		__u64 places = (ETH_HLEN + total_bytes) | (__u64)ETH_HLEN << 32 |
			       (__u64)(ETH_HLEN + XB_IPV4_BYTES) << 48;
		__u32 rest = (__u32)ip[9] << 16 | (__u32)(XB_HEADERS_IPV4 | XB_HEADERS_PLAIN) << 24;

		__builtin_memcpy(headers, &places, sizeof(places));
		__builtin_memcpy((__u8 *)headers + sizeof(places), &rest, sizeof(rest));
	}
	return 1;
#else
	(void)data, (void)end, (void)origin, (void)ret, (void)headers;
	return 0;
#endif
}

/**
 * Makes the key of the frame from `data` to `end`, and notes where its headers lie. A header counts
 * only if all of it lies before `end`, in the first XB_PARSE_BYTES and, for what follows the IP
 * header, before the end of the IP packet by its length field (0: none is given, as in some packets
 * that are yet to be cut into segments).
 *
 * A malformed IPv4 or IPv6 header (cut off, of another version, or shorter than it has to be)
 * leaves all that is IP's unknown; an extension header whose start is cut off, or more than
 * XB_PARSE_EXT_MAX, leaves the protocol, and what depends on it, unknown. Of a later fragment only
 * addresses, DSCP and protocol are known.
 *
 * @ret_headers: NULL: not wanted.
 *
 * Returns 0, or -1 for a runt (xb_parse).
 */
XB_INLINE int xb_parse_all(const void *data, const void *end, const struct xb_origin *origin,
			   struct xb_key *ret, struct xb_headers *ret_headers)
{
	struct xb_sight sight = {.data = data, .end = end, .ip_end = XB_PARSE_BYTES};
	struct xb_parsed parsed;

	if (xb_key_plain(data, end, origin, ret, ret_headers))
		return 0;
	if (xb_parse(data, end, &parsed))
		return -1;
	if (ret_headers)
		*ret_headers = (struct xb_headers){
			.l3 = parsed.l3_bytes,
			.vlan = parsed.n_tags ? XB_NTOHS(parsed.tci[0]) & 0xfff : 0,
		};
	__builtin_memset(ret, 0, sizeof(*ret));
	xb_key_l2(&parsed, origin, ret);
	if (parsed.ethertype == XB_HTONS(ETH_P_IP))
		xb_parse_ipv4(&sight, parsed.l3_bytes, ret, ret_headers);
	else if (parsed.ethertype == XB_HTONS(ETH_P_IPV6))
		xb_parse_ipv6(&sight, parsed.l3_bytes, ret, ret_headers);
	return 0;
}

/** The key alone. */
XB_INLINE int xb_parse_key(const void *data, const void *end, const struct xb_origin *origin,
			   struct xb_key *ret)
{
	return xb_parse_all(data, end, origin, ret, NULL);
}

#endif
