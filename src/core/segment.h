/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Segmentation in software: a TCP or UDP packet of many segments is cut for a port that can't.
 */
#ifndef XB_CORE_SEGMENT_H
#define XB_CORE_SEGMENT_H

#include "core/arena.h"

/** Most packets that one packet can become: 64 KiB of payload in segments of XB_SEGMENT_BYTES_MIN.
 *  A smaller gso_size is cut too as long as the packets stay fewer. */
#define XB_SEGMENT_BYTES_MIN 64u
#define XB_SEGMENTS_MAX      1024u

/**
 * Cuts `pkt` (offload.gso other than NONE) into packets of offload.gso_size bytes of payload:
 * headers repeated; IPv4 total length, identification (+1 each) and header checksum; IPv6 payload
 * length; TCP sequence, FIN and PSH on the last only, CWR on the first only; UDP length. Each new
 * packet is one frame where it fits, its checksum finished, its fate and in_port those of `pkt`.
 *
 * Where the headers end is read from the packet itself: hdr_bytes, for some peers a mere hint, is
 * not used. The payload ends where the packet ends, since some guests leave the IP and UDP length
 * fields to the device that cuts; an IP length beyond the packet is refused. A payload that fits
 * in one segment, even an empty one, gives one packet.
 *
 * On success `pkt` is freed and ret_pkts[0..n) are in the worker's hands.
 *
 * @takes: XB_TAKES_CSUM: checksums are left PARTIAL instead.
 *
 * Returns the number of packets (at most `max` and XB_SEGMENTS_MAX), or, with `pkt` and `ret_pkts`
 * untouched: -EINVAL (headers contradict the offload: other protocol, fragment, checksum not
 * PARTIAL at the place of its protocol, gso_size 0, SYN, RST or URG on a packet to be cut), -E2BIG
 * (more than `max`), -ENOBUFS (frames are short).
 */
int xb_segment(struct xb_cache *cache, struct xb_frame *pkt, uint32_t takes,
	       struct xb_frame **ret_pkts, unsigned max);

/** Bytes of all headers that each segment of `pkt` would repeat (what hdr_bytes should say), or
 *  -EINVAL as xb_segment. */
int xb_segment_headers(struct xb_frame *pkt);

#endif
