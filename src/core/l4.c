/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/l4.h"

#include "core/sum.h"

#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <string.h>

#define VLAN_TAG_BYTES     4u
#define VLAN_TAGS_MAX      2u
#define IPV4_MORE_OR_LATER 0x3fffu /* MF, or an offset: a fragment */
#define IPV6_MORE_OR_LATER 0xfff9u
#define EXT_UNIT_BYTES     8u

static enum xb_l4_found find_v4(const uint8_t *data, uint32_t len, uint32_t l3, struct xb_l4 *l4)
{
	struct iphdr ip;
	uint32_t behind;

	if (len < l3 + sizeof(ip))
		return XB_L4_OPAQUE;
	memcpy(&ip, data + l3, sizeof(ip));
	behind = l3 + ip.ihl * 4u;
	if (ip.version != 4 || ip.ihl < 5 || behind > len)
		return XB_L4_OPAQUE;
	l4->proto = ip.protocol;
	if (ntohs(ip.frag_off) & IPV4_MORE_OR_LATER)
		return XB_L4_OPAQUE;
	l4->v4 = true;
	l4->plain = ip.ihl == 5;
	l4->l3 = (uint16_t)l3;
	l4->l4 = (uint16_t)behind;
	l4->end = l3 + ntohs(ip.tot_len);
	return XB_L4_FOUND;
}

/* Passes over one extension header at `*at`; FOUND where there is none. Both outputs move on only
 * where it returns NOT_IP, that is: look again. */
static enum xb_l4_found pass_over(const uint8_t *data, uint32_t len, uint32_t *at, uint8_t *proto)
{
	uint8_t ext[EXT_UNIT_BYTES];
	uint32_t ext_bytes = EXT_UNIT_BYTES;

	switch (*proto) {
	case IPPROTO_HOPOPTS:
	case IPPROTO_DSTOPTS:
	case IPPROTO_ROUTING:
	case IPPROTO_FRAGMENT:
		break;
	default:
		return XB_L4_FOUND;
	}
	if (len < *at + sizeof(ext))
		return XB_L4_OPAQUE;
	memcpy(ext, data + *at, sizeof(ext));
	if (*proto == IPPROTO_FRAGMENT) {
		if (xb_get_be16(ext + 2) & IPV6_MORE_OR_LATER) {
			*proto = ext[0];
			return XB_L4_OPAQUE;
		}
	} else {
		ext_bytes += ext[1] * EXT_UNIT_BYTES;
		if (*proto == IPPROTO_ROUTING && ext[3])
			return XB_L4_OPAQUE;
	}
	if (len < *at + ext_bytes)
		return XB_L4_OPAQUE;
	*at += ext_bytes;
	*proto = ext[0];
	return XB_L4_NOT_IP;
}

static enum xb_l4_found find_v6(const uint8_t *data, uint32_t len, uint32_t l3, struct xb_l4 *l4)
{
	enum xb_l4_found found = XB_L4_NOT_IP;
	uint32_t at = l3 + (uint32_t)sizeof(struct ipv6hdr);
	struct ipv6hdr ip;

	if (len < at)
		return XB_L4_OPAQUE;
	memcpy(&ip, data + l3, sizeof(ip));
	if (ip.version != 6)
		return XB_L4_OPAQUE;
	l4->proto = ip.nexthdr;
	for (unsigned n = 0; n <= XB_EXT_HEADERS_MAX && found == XB_L4_NOT_IP; n++)
		found = pass_over(data, len, &at, &l4->proto);
	if (found != XB_L4_FOUND)
		return XB_L4_OPAQUE;
	l4->v4 = false;
	l4->plain = at == l3 + sizeof(ip);
	l4->l3 = (uint16_t)l3;
	l4->l4 = (uint16_t)at;
	l4->end = l3 + (uint32_t)sizeof(ip) + ntohs(ip.payload_len);
	return XB_L4_FOUND;
}

bool xb_l2_pass(const uint8_t *data, uint32_t len, uint32_t *at, uint16_t *ret_type)
{
	uint32_t behind = *at + ETH_HLEN;
	uint16_t type;

	if (len < behind)
		return false;
	type = xb_get_be16(data + *at + 2 * ETH_ALEN);
	for (unsigned tags = 0; tags < VLAN_TAGS_MAX; tags++) {
		if (type != ETH_P_8021Q && type != ETH_P_8021AD)
			break;
		if (len < behind + VLAN_TAG_BYTES)
			return false;
		type = xb_get_be16(data + behind + 2);
		behind += VLAN_TAG_BYTES;
	}
	*at = behind;
	*ret_type = type;
	return true;
}

enum xb_l4_found xb_l3_find(const uint8_t *data, uint32_t len, uint32_t at, uint16_t type,
			    struct xb_l4 *ret_l4)
{
	ret_l4->proto = 0;
	if (type == ETH_P_IP)
		return find_v4(data, len, at, ret_l4);
	if (type == ETH_P_IPV6)
		return find_v6(data, len, at, ret_l4);
	return XB_L4_NOT_IP;
}

enum xb_l4_found xb_l4_find(const uint8_t *data, uint32_t len, struct xb_l4 *ret_l4)
{
	uint32_t at = 0;
	uint16_t type;

	ret_l4->proto = 0;
	if (!xb_l2_pass(data, len, &at, &type))
		return XB_L4_NOT_IP;
	return xb_l3_find(data, len, at, type, ret_l4);
}

uint64_t xb_l4_pseudo(const uint8_t *data, const struct xb_l4 *l4, uint32_t len)
{
	/* length and protocol are 32-bit words in the order of the wire */
	uint64_t sum = (uint64_t)htonl(len) + htonl(l4->proto);

	if (l4->v4)
		return xb_csum_add(sum, data + l4->l3 + offsetof(struct iphdr, saddr), 8);
	return xb_csum_add(sum, data + l4->l3 + offsetof(struct ipv6hdr, saddr), 32);
}

uint32_t xb_l4_flow_hash(const uint8_t *data, const struct xb_l4 *l4)
{
	uint64_t words[4] = {0};
	uint32_t ports;
	uint64_t mix;

	if (l4->v4)
		memcpy(words, data + l4->l3 + offsetof(struct iphdr, saddr), 8);
	else
		memcpy(words, data + l4->l3 + offsetof(struct ipv6hdr, saddr), 32);
	memcpy(&ports, data + l4->l4, sizeof(ports));
	mix = words[0] + words[1] * 0x9e3779b97f4a7c15u;
	mix ^= words[2] * 0xc2b2ae3d27d4eb4fu + words[3] * 0x165667b19e3779f9u;
	mix = (mix ^ ports * 0x27d4eb2f165667c5u) * 0x9e3779b97f4a7c15u;
	return (uint32_t)(mix >> 32) | 1;
}

uint32_t xb_packet_read(const struct xb_frame *pkt, uint8_t *buf, uint32_t max)
{
	uint32_t len = 0;

	for (; pkt && len < max; pkt = pkt->next) {
		uint32_t part = pkt->len < max - len ? pkt->len : max - len;

		memcpy(buf + len, xb_frame_data(pkt), part);
		len += part;
	}
	return len;
}

const uint8_t *xb_packet_headers(const struct xb_frame *pkt, uint8_t buf[XB_HEADERS_BYTES],
				 uint32_t *ret_len)
{
	if (pkt->len >= XB_HEADERS_BYTES || !pkt->next) {
		*ret_len = pkt->len < XB_HEADERS_BYTES ? pkt->len : XB_HEADERS_BYTES;
		return xb_frame_data(pkt);
	}
	*ret_len = xb_packet_read(pkt, buf, XB_HEADERS_BYTES);
	return buf;
}

void xb_packet_write(struct xb_frame *pkt, uint32_t at, const void *data, uint32_t len)
{
	const uint8_t *from = data;

	for (; pkt && len; pkt = pkt->next) {
		uint32_t part;

		if (at >= pkt->len) {
			at -= pkt->len;
			continue;
		}
		part = pkt->len - at < len ? pkt->len - at : len;
		memcpy(xb_frame_data(pkt) + at, from, part);
		from += part;
		len -= part;
		at = 0;
	}
}
