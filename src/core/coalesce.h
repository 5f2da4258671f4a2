/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Coalescing (GRO): neighbours of one TCP stream in a batch become one packet of many segments,
 * without a copy: the payloads of the followers are chained after the first.
 */
#ifndef XB_CORE_COALESCE_H
#define XB_CORE_COALESCE_H

#include "core/arena.h"

/** Flows of a batch for which a run is kept at a time; with more, they make room for each other in
 *  turn. */
#define XB_COALESCE_FLOWS 32u

/**
 * Joins packets of a batch that all go to one port. Two packets join only where the receiver of the
 * result can cut it into the very packets that went in: same flow and receiving port, headers alike
 * except for lengths, checksums and IPv4 identification (which counts up by one, unless DF says
 * that it has no use); no IPv4 options, no IPv6 extension headers, no fragments; sequence numbers
 * in order; no flag but ACK, PSH on the last; same ECN field; same VLAN tags; equal options,
 * timestamps included; full segments but for the last. And only where every checksum is PARTIAL,
 * TRUSTED, or was verified here. What is not joined stays as it was, and the order within a flow
 * never changes. Padding after the IP packet is cut off where packets are joined.
 *
 * The result has gso_size, hdr_bytes and a PARTIAL checksum, IPv4 total length or IPv6 payload
 * length of the whole, and at most XB_PACKET_FRAMES_MAX frames and 65535 bytes of IP.
 *
 * @takes:      XB_TAKES_TSO4 / TSO6: what the port cuts. Nothing is joined without.
 * @frames_max: longest chain to build.
 *
 * Returns the packets left, at the front of `pkts`; `n` less that is frames_joined.
 */
unsigned xb_coalesce(struct xb_cache *cache, struct xb_frame **pkts, unsigned n, uint32_t takes,
		     unsigned frames_max);

#endif
