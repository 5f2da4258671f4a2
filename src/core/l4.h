/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Where a packet's network and transport headers lie, for those who change them: checksum,
 * segmentation, coalescing. (What a rule may test is found by xbridge/parse.h, for both worlds.)
 * And access to the bytes of a chain by their place in the packet.
 */
#ifndef XB_CORE_L4_H
#define XB_CORE_L4_H

#include "core/bytes.h"
#include "core/frame.h"

#include <stdbool.h>
#include <stdint.h>

/** Headers are looked for in this many bytes from the packet's start: two VLAN tags, IPv6 with some
 *  extension headers, TCP with all options. What lies behind is not found. */
#define XB_HEADERS_BYTES 256u

/** Most IPv6 extension headers that are passed over. */
#define XB_EXT_HEADERS_MAX 8u

enum xb_l4_found {
	XB_L4_NOT_IP, /* no IPv4 or IPv6 behind at most two VLAN tags */
	XB_L4_OPAQUE, /* IP, but its transport header is not there, out of reach, or not to be
			 touched: a fragment, malformed, truncated, too many extension headers, an
			 IPv6 routing header that still changes the destination (and with it the
			 pseudo header). `proto` is the last protocol number seen, or 0 */
	XB_L4_FOUND,
};

/** Places are bytes from the packet's start. Apart from `proto` valid only where FOUND. */
struct xb_l4 {
	bool v4;
	bool plain; /* no IPv4 options, no IPv6 extension headers */
	uint8_t proto;
	uint16_t l3;  /* the IP header */
	uint16_t l4;  /* the transport header; it may be cut off, or absent */
	uint32_t end; /* first byte behind the IP packet by its own length field, which may claim
			 anything: less than l4, more than there is */
};

/** Finds the headers in the first `len` bytes of a packet. Each field is read once. */
enum xb_l4_found xb_l4_find(const uint8_t *data, uint32_t len, struct xb_l4 *ret_l4);

/** Passes over an Ethernet header at `*at` and at most two VLAN tags: `*at` and the ethertype are
 * those of what follows. False, with both untouched, where they are cut off. */
bool xb_l2_pass(const uint8_t *data, uint32_t len, uint32_t *at, uint16_t *ret_type);

/** As xb_l4_find, for a network header of ethertype `type` at `at`, which may lie within another
 *  packet. */
enum xb_l4_found xb_l3_find(const uint8_t *data, uint32_t len, uint32_t at, uint16_t type,
			    struct xb_l4 *ret_l4);

/** The running sum (xb_csum_add) of the pseudo header, for `len` bytes of transport header and
 *  payload. `data` is the packet's start and holds the IP header that was found. */
uint64_t xb_l4_pseudo(const uint8_t *data, const struct xb_l4 *l4, uint32_t len);

/** A hash of addresses and ports, never 0: the same for all packets of a flow and direction, and
 * for others by chance or by intent. For a header that was found and is followed by four bytes at
 *  least. */
uint32_t xb_l4_flow_hash(const uint8_t *data, const struct xb_l4 *l4);

/** The packet's first bytes in one piece, XB_HEADERS_BYTES or all there are: in the first frame
 * where it holds them, else gathered into `buf`. */
const uint8_t *xb_packet_headers(const struct xb_frame *pkt, uint8_t buf[XB_HEADERS_BYTES],
				 uint32_t *ret_len);

/** Copies the packet's first bytes, at most `max`, into `buf`. Returns how many. */
uint32_t xb_packet_read(const struct xb_frame *pkt, uint8_t *buf, uint32_t max);

/** Writes `len` bytes at `at`, over the bounds of frames; what would lie beyond the packet is left
 *  out. */
void xb_packet_write(struct xb_frame *pkt, uint32_t at, const void *data, uint32_t len);

#endif
