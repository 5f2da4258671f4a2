/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Checksums of packets: sums over a chain of frames, and the software half of checksum offload.
 */
#ifndef XB_CORE_CHECKSUM_H
#define XB_CORE_CHECKSUM_H

#include "core/frame.h"
#include "core/sum.h"

#include <stdint.h>

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
 * (after up to two VLAN tags, IPv4 options, IPv6 extension headers), writes the pseudo header's
 * sum into its checksum field and sets csum_start and csum_offset.
 *
 * Where a PARTIAL checksum can't say it, the packet is finished as by xb_csum_finish and becomes
 * COMPLETE: SCTP, padding after the IP packet that isn't zero, UDP without checksum, tunnels, all
 * that xb_csum_finish leaves alone.
 */
void xb_csum_make_partial(struct xb_frame *pkt);

#endif
