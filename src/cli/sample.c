/* SPDX-License-Identifier: BSD-2-Clause */
#include "cli/sample.h"

#include "steer/field.h"
#include "xbridge/parse.h"

#include <linux/if_ether.h>
#include <stdbool.h>
#include <string.h>

#define ETHERTYPE_NONE 0x88b5u /* IEEE 802, local experimental: no rule on IP is met */
#define SCTP_BYTES     12u
#define ICMP_BYTES     8u
#define TCP_BYTES      20u
#define UDP_BYTES      8u
#define PROTO_NONE     59u /* IPv6: nothing follows. 0 would be an extension header */

static const uint8_t nobody[6] = {0x02, 0, 0, 0, 0, 1}, nobody_else[6] = {0x02, 0, 0, 0, 0, 2};

/* Returns what follows it. */
static uint8_t *append_be16(uint8_t *at, unsigned value)
{
	xb_put_be16(at, value);
	return at + 2;
}

static unsigned pick_ethertype(const struct xb_rule *match)
{
	if (XB_RULE_TESTS(match, XB_MATCH_ETHERTYPE))
		return match->ethertype;
	if (match->src.family || match->dst.family)
		return match->src.family == 6 || match->dst.family == 6 ? ETH_P_IPV6 : ETH_P_IP;
	if (match->proto == XB_PROTO_ICMPV6)
		return ETH_P_IPV6;
	return match->match & xb_fields_of_ip() ? ETH_P_IP : ETHERTYPE_NONE;
}

static bool is_tag(unsigned ethertype)
{
	return ethertype == ETH_P_8021Q || ethertype == ETH_P_8021AD;
}

/* An ethertype that is itself a tag's is seen only after the last tag that the parser skips. */
static unsigned pick_tags(const struct xb_rule *match, unsigned ethertype)
{
	bool asked = XB_RULE_TESTS(match, XB_MATCH_VLAN);

	if (asked && match->vlan == XB_VLAN_NONE)
		return 0;
	return is_tag(ethertype) ? XB_VLAN_TAGS_MAX : asked;
}

static uint8_t pick_proto(const struct xb_rule *match, uint8_t otherwise)
{
	if (XB_RULE_TESTS(match, XB_MATCH_PROTO))
		return (uint8_t)match->proto;
	return match->match & (xb_has_of(XB_LAYER_PORTS) | xb_has_of(XB_LAYER_TCP)) ? XB_PROTO_TCP
										    : otherwise;
}

static unsigned transport_bytes(uint8_t proto)
{
	switch (proto) {
	case XB_PROTO_TCP:
		return TCP_BYTES;
	case XB_PROTO_UDP:
		return UDP_BYTES;
	case XB_PROTO_SCTP:
		return SCTP_BYTES;
	case XB_PROTO_ICMP:
	case XB_PROTO_ICMPV6:
		return ICMP_BYTES;
	default:
		return 0;
	}
}

/* Ports, type and flags, in zeros. Returns its end. */
static uint8_t *put_transport(const struct xb_rule *match, uint8_t proto, uint8_t *at)
{
	unsigned bytes = transport_bytes(proto);

	if (XB_RULE_TESTS(match, XB_MATCH_FRAG) && match->frag == XB_FRAG_LATER)
		return at; /* of the payload nothing is known */
	if (proto == XB_PROTO_ICMP || proto == XB_PROTO_ICMPV6) {
		at[0] = (uint8_t)match->icmp_type.first;
	} else if (bytes) {
		xb_put_be16(at, match->sport.first);
		xb_put_be16(at + 2, match->dport.first);
	}
	if (proto == XB_PROTO_TCP) {
		at[12] = TCP_BYTES / 4 << 4;
		at[13] = match->tcp_flags.set;
	} else if (proto == XB_PROTO_UDP) {
		xb_put_be16(at + 4, UDP_BYTES);
	}
	return at + bytes;
}

static uint8_t *put_ipv4(const struct xb_rule *match, uint8_t *ip)
{
	uint8_t proto = pick_proto(match, 0);
	uint8_t *end;

	ip[0] = 0x45;
	ip[1] = (uint8_t)(match->dscp << 2);
	if (match->frag == XB_FRAG_FIRST)
		xb_put_be16(ip + 6, XB_IPV4_MF);
	else if (match->frag == XB_FRAG_LATER)
		xb_put_be16(ip + 6, 1);
	ip[8] = 64;
	ip[9] = proto;
	memcpy(ip + 12, match->src.addr, 4);
	memcpy(ip + 16, match->dst.addr, 4);
	end = put_transport(match, proto, ip + XB_IPV4_BYTES);
	xb_put_be16(ip + 2, (unsigned)(end - ip));
	return end;
}

static uint8_t *put_ipv6(const struct xb_rule *match, uint8_t *ip)
{
	uint8_t proto = pick_proto(match, PROTO_NONE);
	uint8_t *at = ip + XB_IPV6_BYTES, *end;
	bool whole = match->frag == XB_FRAG_NO;

	ip[0] = (uint8_t)(0x60 | match->dscp >> 2);
	ip[1] = (uint8_t)(match->dscp << 6);
	ip[6] = whole ? proto : XB_PROTO_FRAG;
	ip[7] = 64;
	memcpy(ip + 8, match->src.addr, 16);
	memcpy(ip + 24, match->dst.addr, 16);
	if (!whole) {
		at[0] = proto;
		xb_put_be16(at + 2, match->frag == XB_FRAG_FIRST ? XB_IPV6_MF : 8);
		at += 8;
	}
	end = put_transport(match, proto, at);
	xb_put_be16(ip + 4, (unsigned)(end - ip) - XB_IPV6_BYTES);
	return end;
}

static uint8_t *put_macs(const struct xb_rule *match, const struct xb_sample_macs *macs,
			 uint8_t *at)
{
	const uint8_t *dmac = nobody;

	if (XB_RULE_TESTS(match, XB_MATCH_DMAC_OWN))
		dmac = macs->own;
	else if (XB_RULE_TESTS(match, XB_MATCH_DMAC))
		dmac = match->dmac_kernel ? macs->kernel : match->dmac;
	memcpy(at, dmac, ETH_ALEN);
	memcpy(at + ETH_ALEN, XB_RULE_TESTS(match, XB_MATCH_SMAC) ? match->smac : nobody_else,
	       ETH_ALEN);
	return at + 2ul * ETH_ALEN;
}

uint32_t xb_sample_frame(const struct xb_rule *match, const struct xb_sample_macs *macs,
			 uint8_t buf[XB_SAMPLE_BYTES])
{
	unsigned ethertype = pick_ethertype(match);
	unsigned tags = pick_tags(match, ethertype);
	uint8_t *at;

	memset(buf, 0, XB_SAMPLE_BYTES);
	at = put_macs(match, macs, buf);
	for (unsigned i = 0; i < tags; i++) {
		at = append_be16(at, ETH_P_8021Q);
		at = append_be16(at, i ? 0 : match->vlan);
	}
	at = append_be16(at, ethertype);
	if (ethertype == ETH_P_IP)
		at = put_ipv4(match, at);
	else if (ethertype == ETH_P_IPV6)
		at = put_ipv6(match, at);
	else if (is_tag(ethertype) && !tags)
		return (uint32_t)(at - buf); /* no tag: the frame ends before it does */
	return at - buf < ETH_ZLEN ? ETH_ZLEN : (uint32_t)(at - buf);
}
