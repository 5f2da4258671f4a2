/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The Internet checksum (RFC 1071) over packets, and the software half of checksum offload.
 */
#ifndef XB_CORE_CHECKSUM_H
#define XB_CORE_CHECKSUM_H

#include "core/frame.h"

#include <stdint.h>

/** Adds `len` bytes to a running ones'-complement sum, as native-endian 16-bit words; an odd last
 *  byte counts as padded with zero. Sums of pieces may be added where each piece but the last has
 *  an even length. A running sum is 0 only where all bytes were. */
uint64_t xb_csum_add(uint64_t sum, const void *data, uint32_t len);

/** As xb_csum_add, and copies the bytes to `to`, which doesn't overlap, in the same pass. */
uint64_t xb_csum_copy(uint64_t sum, void *to, const void *data, uint32_t len);

/** Adds one running sum to another. */
static inline uint64_t xb_csum_join(uint64_t a, uint64_t b)
{
	a += b;
	return a + (a < b);
}

/** Adds the running sum of a piece whose first byte stands at an odd place of the whole: its words
 *  lie across the whole's, and to turn the sum by a byte is to swap the bytes of each (RFC 1071,
 *  2.B). */
static inline uint64_t xb_csum_join_odd(uint64_t sum, uint64_t piece)
{
	return xb_csum_join(sum, piece << 8 | piece >> 56);
}

/** Folds a running sum to 16 bits, not inverted; in memory order, ready to be stored. */
uint16_t xb_csum_fold(uint64_t sum);

/** The running sum of `len` bytes of a packet, a chain of any shape, from byte `from` on. Bytes
 *  beyond the packet's end count as none. */
uint64_t xb_csum_packet(const struct xb_frame *pkt, uint32_t from, uint32_t len);

/**
 * Finishes the checksum that `pkt->offload` leaves open, over a chain of any shape, and marks it
 * complete. For packets that are not to be cut (gso NONE).
 *
 * PARTIAL: the sum from csum_start to the packet's end goes to csum_start + csum_offset (virtio
 * 1.2, 5.1.6.2); 0 becomes 0xffff at UDP's offset. TRUSTED: the checksum of TCP, of UDP unless it
 * has none, and the CRC32c of SCTP are computed anew; another protocol, a fragment or a packet
 * that is shorter than its headers say stays as it is. COMPLETE: nothing to do.
 *
 * A TRUSTED packet in a tunnel (core/cover.h) has each checksum finished that was left open, and no
 * other touched.
 *
 * Returns 0, or -EINVAL with the packet untouched where the checksum's place lies outside of it.
 */
int xb_csum_finish(struct xb_frame *pkt);

/**
 * Turns a TRUSTED packet into a PARTIAL one for a port that takes such: finds the transport header
 * (behind up to two VLAN tags, IPv4 options, IPv6 extension headers), writes the pseudo header's
 * sum into its checksum field and sets csum_start and csum_offset.
 *
 * Where a PARTIAL checksum can't say it, the packet is finished as by xb_csum_finish and becomes
 * COMPLETE: SCTP, padding behind the IP packet that isn't zero, UDP without checksum, tunnels, all
 * that xb_csum_finish leaves alone.
 */
void xb_csum_make_partial(struct xb_frame *pkt);

#endif
