/* SPDX-License-Identifier: BSD-2-Clause */
#include "support/headers.h"

#include <stdbool.h>
#include <string.h>

/* ---- the reference ---- */

struct rest {
	const uint8_t *p;
	uint32_t n;
};

static const uint8_t *eat(struct rest *rest, uint32_t n)
{
	const uint8_t *eaten = rest->p;

	if (rest->n < n)
		return NULL;
	rest->p += n;
	rest->n -= n;
	return eaten;
}

static void cut_to(struct rest *rest, uint32_t n)
{
	if (rest->n > n)
		rest->n = n;
}

static uint16_t two(const uint8_t *p)
{
	return (uint16_t)(p[0] * 256 + p[1]);
}

static void know(struct xb_key *ref, enum xb_match what)
{
	ref->has |= 1u << what;
}

static void ref_transport(struct rest rest, struct xb_key *ref)
{
	bool tcp = ref->proto == 6;

	if (tcp || ref->proto == 17 || ref->proto == 132) {
		if (rest.n >= 4) {
			ref->sport = two(rest.p);
			ref->dport = two(rest.p + 2);
			know(ref, XB_MATCH_SPORT);
			know(ref, XB_MATCH_DPORT);
		}
		if (tcp && rest.n >= 14) {
			ref->tcp_flags = rest.p[13];
			know(ref, XB_MATCH_TCP_FLAGS);
		}
	}
	if ((ref->proto == 1 || ref->proto == 58) && rest.n >= 1) {
		ref->icmp_type = rest.p[0];
		know(ref, XB_MATCH_ICMP_TYPE);
	}
}

static void ref_addresses(struct xb_key *ref, uint8_t family, const uint8_t *src, uint8_t dscp)
{
	uint32_t n = family == 4 ? 4 : 16;

	ref->family = family;
	memcpy(ref->src, src, n);
	memcpy(ref->dst, src + n, n);
	ref->dscp = dscp;
	know(ref, XB_MATCH_SRC);
	know(ref, XB_MATCH_DST);
	know(ref, XB_MATCH_DSCP);
}

static void ref_ipv4(struct rest rest, struct xb_key *ref)
{
	const uint8_t *ip = rest.p;
	uint32_t ihl, total;

	if (rest.n < 20 || ip[0] / 16 != 4)
		return;
	ihl = ip[0] % 16 * 4u;
	total = two(ip + 2);
	if (ihl < 20 || (total != 0 && total < ihl))
		return;
	ref_addresses(ref, 4, ip + 12, ip[1] / 4);
	ref->proto = ip[9];
	know(ref, XB_MATCH_PROTO);
	know(ref, XB_MATCH_FRAG);
	if (two(ip + 6) % 8192)
		ref->frag = XB_FRAG_LATER;
	else if (ip[6] / 32 % 2)
		ref->frag = XB_FRAG_FIRST;
	if (total)
		cut_to(&rest, total);
	if (ref->frag != XB_FRAG_LATER && eat(&rest, ihl))
		ref_transport(rest, ref);
}

static bool ref_is_ext(uint8_t kind)
{
	return kind == 0 || kind == 43 || kind == 44 || kind == 51 || kind == 60;
}

static void ref_ipv6(struct rest rest, struct xb_key *ref)
{
	const uint8_t *ip = eat(&rest, 40);
	uint8_t kind;

	if (!ip || ip[0] / 16 != 6)
		return;
	ref_addresses(ref, 6, ip + 8, (uint8_t)(two(ip) / 64 % 64));
	if (two(ip + 4))
		cut_to(&rest, two(ip + 4));
	kind = ip[6];
	for (unsigned n = 0; ref_is_ext(kind); n++) {
		const uint8_t *ext = rest.p;
		uint32_t bytes;

		if (n == 8 || rest.n < 8)
			return;
		bytes = kind == 44 ? 8 : 8 + ext[1] * (kind == 51 ? 4u : 8u);
		if (kind == 44 && ref->frag == XB_FRAG_NO) {
			if (two(ext + 2) / 8)
				ref->frag = XB_FRAG_LATER;
			else if (ext[3] % 2)
				ref->frag = XB_FRAG_FIRST;
			if (ref->frag != XB_FRAG_NO)
				know(ref, XB_MATCH_FRAG);
		}
		kind = ext[0];
		if (ref->frag == XB_FRAG_LATER) {
			if (!ref_is_ext(kind)) {
				ref->proto = kind;
				know(ref, XB_MATCH_PROTO);
			}
			return;
		}
		if (!eat(&rest, bytes))
			rest.n = 0;
	}
	ref->proto = kind;
	know(ref, XB_MATCH_PROTO);
	know(ref, XB_MATCH_FRAG);
	ref_transport(rest, ref);
}

static bool ref_is_vlan(uint16_t type)
{
	return type == 0x8100 || type == 0x88a8;
}

static void ref_ethernet(const uint8_t *eth, const struct xb_origin *origin, struct xb_key *ref)
{
	memcpy(ref->dmac, eth, 6);
	memcpy(ref->smac, eth + 6, 6);
	ref->ethertype = two(eth + 12);
	ref->in = origin->in;
	know(ref, XB_MATCH_IN);
	know(ref, XB_MATCH_SMAC);
	know(ref, XB_MATCH_DMAC);
	know(ref, XB_MATCH_ETHERTYPE);
	ref->own = origin->own;
	if (ref->own)
		know(ref, XB_MATCH_DMAC_OWN);
}

void headers_reference(const uint8_t *frame, uint32_t len, const struct xb_origin *origin,
		       struct xb_key *ref)
{
	struct rest rest = {frame + 14, (len < 256 ? len : 256) - 14};
	uint16_t type;

	memset(ref, 0, sizeof(*ref));
	ref_ethernet(frame, origin, ref);
	ref->vlan = XB_VLAN_NONE;
	know(ref, XB_MATCH_VLAN);
	for (unsigned tags = 0; tags < 2 && ref_is_vlan(ref->ethertype); tags++) {
		const uint8_t *tag = eat(&rest, 4);

		if (!tag)
			return;
		if (!tags)
			ref->vlan = two(tag) % 4096;
		ref->ethertype = two(tag + 2);
	}
	type = ref->ethertype;
	if (type == 0x0800)
		ref_ipv4(rest, ref);
	else if (type == 0x86dd)
		ref_ipv6(rest, ref);
}

/* ---- frames ---- */

static uint32_t (*below)(uint32_t n);

static uint8_t one_of(const char *choices, uint32_t n)
{
	return (uint8_t)choices[below(n)];
}

static void put16(uint8_t *p, uint32_t value)
{
	p[0] = (uint8_t)(value >> 8);
	p[1] = (uint8_t)value;
}

static uint8_t some_proto(void)
{
	return below(8) ? one_of("\x06\x11\x01\x3a\x84", 5) : (uint8_t)below(256);
}

static uint32_t add_ipv6(uint8_t *ip, uint32_t room)
{
	uint32_t n = below(4) ? below(4) : below(11);
	uint8_t *next = ip + 6;
	uint32_t at = 40;

	ip[0] = (uint8_t)(0x60 | below(16));
	while (n-- && at + 150 < room) {
		uint8_t kind = one_of("\x00\x2b\x2c\x33\x3c", 5);
		uint32_t units = below(below(3) ? 3 : 12);

		*next = kind;
		next = ip + at;
		ip[at + 1] = (uint8_t)units;
		if (kind == 44)
			put16(ip + at + 2, below(3) ? below(2) : below(65536));
		at += 8 + (kind == 44 ? 0 : units * (kind == 51 ? 4 : 8));
	}
	*next = some_proto();
	return at;
}

static uint32_t add_ipv4(uint8_t *ip)
{
	uint32_t words = below(3) ? 5 : 5 + below(11);

	ip[0] = (uint8_t)(0x40 | words);
	put16(ip + 6, below(3) ? 0x4000 : below(65536));
	if (below(2))
		put16(ip + 6, below(4) << 13);
	ip[9] = some_proto();
	return words * 4;
}

uint32_t headers_make_frame(uint32_t (*choose)(uint32_t n), uint8_t *frame)
{
	uint32_t at = 12, l3, len;
	bool v6;

	below = choose;
	v6 = below(2);
	for (uint32_t i = 0; i < HEADERS_FRAME_BYTES; i++)
		frame[i] = (uint8_t)below(256);
	for (uint32_t tags = below(8) ? below(3) : 3; tags; tags--, at += 4)
		put16(frame + at, below(2) ? 0x8100 : 0x88a8);
	put16(frame + at, v6 ? 0x86dd : 0x0800);
	l3 = at + 2;
	at = l3 + (v6 ? add_ipv6(frame + l3, HEADERS_FRAME_BYTES - l3) : add_ipv4(frame + l3));
	len = at + below(24);
	/* the packet's own length: right, none, a little off, or wild */
	put16(frame + l3 + (v6 ? 4 : 2), below(3)   ? len - l3 - (v6 ? 40 : 0)
					 : below(3) ? below(3) * below(80)
						    : below(65536));
	if (below(6) == 0)
		frame[below(at)] = (uint8_t)below(256);
	if (below(4) == 0)
		len = 14 + below(len - 13);
	if (below(4) == 0)
		len += below(60); /* padding */
	return len < HEADERS_FRAME_BYTES ? len : HEADERS_FRAME_BYTES;
}

void headers_put_addresses(const struct xb_key *key, uint8_t *frame, uint32_t len)
{
	uint32_t bytes = key->family == 4 ? 4 : 16;
	uint32_t at = 12;

	memcpy(frame, key->dmac, 6);
	memcpy(frame + 6, key->smac, 6);
	if (len >= 16 && ref_is_vlan(two(frame + 12)) && key->vlan < XB_VLAN_NONE)
		put16(frame + 14, key->vlan);
	while (at + 6 <= len && ref_is_vlan(two(frame + at)))
		at += 4;
	if (two(frame + at) != (key->family == 4 ? 0x0800 : 0x86dd))
		return;
	at += key->family == 4 ? 14 : 10;
	if (at + 2 * bytes > len)
		return;
	memcpy(frame + at, key->src, bytes);
	memcpy(frame + at + bytes, key->dst, bytes);
}
