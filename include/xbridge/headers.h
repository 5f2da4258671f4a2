/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Where a frame's headers lie: what userspace keeps of a parse (parse.h), beside the packet.
 */
#ifndef XBRIDGE_HEADERS_H
#define XBRIDGE_HEADERS_H

#include <linux/types.h>

/** Bits of struct xb_headers, flags. */
enum {
	XB_HEADERS_IPV4 = 1 << 0,   /* IPv4, by the ethertype after at most two VLAN tags */
	XB_HEADERS_IPV6 = 1 << 1,   /* the same for IPv6 */
	XB_HEADERS_PLAIN = 1 << 2,  /* without IPv4 options or IPv6 extension headers */
	XB_HEADERS_OPAQUE = 1 << 3, /* IP, but its transport header is not there, out of reach, or
				       of a fragment; or the IP header can't be believed */
	XB_HEADERS_BOUND = 1 << 4,  /* an extension header forbids to touch what follows: it is
				       authenticated, or the destination still changes and with it
				       the pseudo header */
};

/** Places are bytes from the start of the frame. */
struct xb_headers {
	__u32 end;  /* where the IP packet ends by its own length field, which may claim anything:
		       before l4, or beyond the frame */
	__u16 l3;   /* what follows the Ethernet header and its tags; 0: nothing here is known */
	__u16 l4;   /* the transport header, which may be cut off; 0: unknown */
	__u16 vlan; /* identifier of the outermost tag; 0: untagged */
	__u8 proto; /* of the transport header; 0: unknown */
	__u8 flags; /* XB_HEADERS_… */
};

_Static_assert(sizeof(struct xb_headers) == 12, "parse.h writes it as words");

#endif
