/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Which checksums a packet holds, and which bytes each of them covers: that of its own transport
 * header and, where it carries others in a tunnel, those of the packets within.
 *
 * Tunnels that are known: IPv4 and IPv6 in either, GRE (with checksum, key, sequence number;
 * Ethernet or IP in it), MPLS (over Ethernet, IP or GRE), VXLAN (also GPE) and Geneve. Not known
 * are FOU, GUE, ERSPAN, NSH, and whatever is encrypted.
 */
#ifndef XB_CORE_COVER_H
#define XB_CORE_COVER_H

#include "core/l4.h"

/** Most IP headers within one another that are looked at: two tunnels deep and some more. */
#define XB_COVERS_MAX 6u

/** Most MPLS labels in a row. */
#define XB_MPLS_LABELS_MAX 8u

/** One checksum. With l4.proto TCP and UDP it includes the pseudo header; GRE's has none; SCTP's is
 *  a CRC32c of four bytes. */
struct xb_cover {
	struct xb_headers l4;
	uint32_t len;   /* bytes that it covers, from l4.l4 on; all lie within the packet */
	uint32_t check; /* where it stands: bytes from l4.l4 */
};

struct xb_covers {
	unsigned n;  /* outermost first */
	bool tunnel; /* there is an IP packet within another or after MPLS labels, or a GRE header
		      */
	struct xb_cover cover[XB_COVERS_MAX];
};

/**
 * Finds all checksums in a packet of `packet_bytes` of which `data` holds the first `len`, and
 * whose own `headers` were found (xb_packet_parse). What contradicts itself, and all within it, is
 * left out: a length beyond the packet around it, UDP without checksum, fragments, a protocol
 * without a checksum of its own.
 */
void xb_covers_find(const uint8_t *data, uint32_t len, uint32_t packet_bytes,
		    const struct xb_headers *headers, struct xb_covers *ret_covers);

/**
 * Whether a checksum was left open by its sender: its field holds the sum of the pseudo header, as
 * that of the kernel's CHECKSUM_PARTIAL does (0 for GRE, which has none, and for SCTP). A finished
 * checksum may look like that by chance: to finish it again gives the same value.
 */
bool xb_cover_is_open(const uint8_t *data, uint32_t len, const struct xb_cover *cover);

/** The running sum of the pseudo header; 0 for GRE. */
uint64_t xb_cover_pseudo(const uint8_t *data, const struct xb_cover *cover);

#endif
