/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Where a packet's network and transport headers lie, and access to the bytes of a chain by their
 * place in the packet.
 *
 * A packet is parsed once (xbridge/parse.h): what was found travels with it (pkt->headers), and
 * rules, coalescing, segmentation and checksums use it. If no rule is asked, the headers are found
 * when one of the others first needs them.
 */
#ifndef XB_CORE_L4_H
#define XB_CORE_L4_H

#include "core/frame.h"
#include "xbridge/bytes.h"
#include "xbridge/parse.h"

#include <stdbool.h>
#include <stdint.h>

/** Headers are looked for in this many bytes from the packet's start: two VLAN tags, IPv6 with some
 *  extension headers, TCP with all options. Headers beyond that are not found. */
#define XB_HEADERS_BYTES XB_PARSE_BYTES

enum xb_l4_found {
	XB_L4_NOT_IP, /* no IPv4 or IPv6 after at most two VLAN tags */
	XB_L4_OPAQUE, /* IP, but its transport header is not there, out of reach, or not to be
			 touched: a fragment, malformed, truncated, too many extension headers,
			 authenticated, or with an IPv6 routing header that still changes the
			 destination (and with it the pseudo header) */
	XB_L4_FOUND,
};

static inline enum xb_l4_found xb_l4_found(const struct xb_headers *headers)
{
	if (!(headers->flags & (XB_HEADERS_IPV4 | XB_HEADERS_IPV6)))
		return XB_L4_NOT_IP;
	return headers->flags & (XB_HEADERS_OPAQUE | XB_HEADERS_BOUND) ? XB_L4_OPAQUE : XB_L4_FOUND;
}

static inline bool xb_l4_is_v4(const struct xb_headers *headers)
{
	return headers->flags & XB_HEADERS_IPV4;
}

/** Finds the headers in the first `len` bytes of a packet. Each field is read once. Of a runt
 *  nothing is found. */
void xb_headers_find(const uint8_t *data, uint32_t len, struct xb_headers *ret_headers);

/** As xb_headers_find, for a network header of ethertype `type` at `at`, which may lie within
 *  another packet. The headers' `vlan` is 0. */
void xb_headers_find_l3(const uint8_t *data, uint32_t len, uint32_t at, uint16_t type,
			struct xb_headers *ret_headers);

/** The packet's headers, which are found now if they have not been before. `data` holds its first
 *  `len` bytes (xb_packet_headers). */
static inline const struct xb_headers *xb_packet_parse(struct xb_frame *pkt, const uint8_t *data,
						       uint32_t len)
{
	if (!pkt->headers.l3)
		xb_headers_find(data, len, &pkt->headers);
	return &pkt->headers;
}

/** Passes over an Ethernet header at `*at` and at most two VLAN tags: `*at` and the ethertype are
 *  those of what follows. False, with both untouched, where the header is cut off. */
bool xb_l2_pass(const uint8_t *data, uint32_t len, uint32_t *at, uint16_t *ret_type);

/** The running sum (xb_csum_add) of the pseudo header, for `len` bytes of transport header and
 *  payload. `data` is the packet's start and holds the IP header that was found. */
uint64_t xb_l4_pseudo(const uint8_t *data, const struct xb_headers *headers, uint32_t len);

/** A hash of addresses and ports, never 0: the same for all packets of a flow and direction, and
 * for others by chance or by intent. For a header that was found and is followed by four bytes at
 *  least. */
uint32_t xb_l4_flow_hash(const uint8_t *data, const struct xb_headers *headers);

/** Copies the packet's first bytes, at most `max`, into `buf`. Returns how many. */
uint32_t xb_packet_read(const struct xb_frame *pkt, uint8_t *buf, uint32_t max);

/** The packet's first bytes in one piece, XB_HEADERS_BYTES or all there are: in the first frame if
 *  that holds them, otherwise gathered into `buf`. */
static inline const uint8_t *xb_packet_headers(const struct xb_frame *pkt,
					       uint8_t buf[XB_HEADERS_BYTES], uint32_t *ret_len)
{
	if (pkt->len < XB_HEADERS_BYTES && pkt->next) {
		*ret_len = xb_packet_read(pkt, buf, XB_HEADERS_BYTES);
		return buf;
	}
	*ret_len = pkt->len < XB_HEADERS_BYTES ? pkt->len : XB_HEADERS_BYTES;
	return xb_frame_data(pkt);
}

/** Writes `len` bytes at `at`, over the bounds of frames; what would lie beyond the packet is left
 *  out. */
void xb_packet_write(struct xb_frame *pkt, uint32_t at, const void *data, uint32_t len);

#endif
