/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/l4.h"

#include "core/sum.h"

#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <string.h>

static const struct xb_origin nowhere;

void xb_headers_find(const uint8_t *data, uint32_t len, struct xb_headers *ret_headers)
{
	uint32_t reach = len < XB_HEADERS_BYTES ? len : XB_HEADERS_BYTES;
	struct xb_key key; /* not needed here */

	if (xb_parse_all(data, data + reach, &nowhere, &key, ret_headers))
		*ret_headers = (struct xb_headers){0};
}

void xb_headers_find_l3(const uint8_t *data, uint32_t len, uint32_t at, uint16_t type,
			struct xb_headers *ret_headers)
{
	struct xb_sight sight = {.data = data + at, .end = data + len, .ip_end = XB_PARSE_BYTES};
	struct xb_key key = {0}; /* not needed here */

	*ret_headers = (struct xb_headers){0};
	if (at > len || (type != ETH_P_IP && type != ETH_P_IPV6))
		return;
	if (type == ETH_P_IP)
		xb_parse_ipv4(&sight, 0, &key, ret_headers);
	else
		xb_parse_ipv6(&sight, 0, &key, ret_headers);
	ret_headers->l3 = (uint16_t)at;
	ret_headers->l4 = (uint16_t)(ret_headers->l4 + at);
	ret_headers->end += at;
}

bool xb_l2_pass(const uint8_t *data, uint32_t len, uint32_t *at, uint16_t *ret_type)
{
	struct xb_parsed parsed;

	if (*at > len || xb_parse(data + *at, data + len, &parsed))
		return false;
	*at += parsed.l3_bytes;
	*ret_type = XB_NTOHS(parsed.ethertype);
	return true;
}

uint64_t xb_l4_pseudo(const uint8_t *data, const struct xb_headers *headers, uint32_t len)
{
	/* length and protocol are 32-bit words in the order of the wire */
	uint64_t sum = (uint64_t)htonl(len) + htonl(headers->proto);

	if (xb_l4_is_v4(headers))
		return xb_csum_add(sum, data + headers->l3 + offsetof(struct iphdr, saddr), 8);
	return xb_csum_add(sum, data + headers->l3 + offsetof(struct ipv6hdr, saddr), 32);
}

uint32_t xb_l4_flow_hash(const uint8_t *data, const struct xb_headers *headers)
{
	uint64_t words[4] = {0};
	uint32_t ports;
	uint64_t mix;

	if (xb_l4_is_v4(headers))
		memcpy(words, data + headers->l3 + offsetof(struct iphdr, saddr), 8);
	else
		memcpy(words, data + headers->l3 + offsetof(struct ipv6hdr, saddr), 32);
	memcpy(&ports, data + headers->l4, sizeof(ports));
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
