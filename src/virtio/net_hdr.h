/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The virtio-net header (virtio 1.2, 5.1.6) in front of each packet, and struct xb_offload.
 *
 * The header comes from a peer that may be hostile: the caller copies it once out of shared memory,
 * and what stands here looks at that copy and at the packet alone. What was negotiated plays no
 * part: an offload that the peer was not to use is as well checked as any.
 */
#ifndef XB_VIRTIO_NET_HDR_H
#define XB_VIRTIO_NET_HDR_H

#include "core/frame.h"

#include <linux/virtio_net.h>

/* Younger than the UAPI headers that Debian 12 ships (Linux 6.2). */
#ifndef VIRTIO_NET_HDR_GSO_UDP_L4
#define VIRTIO_NET_HDR_GSO_UDP_L4 5
#endif

/**
 * Sets `pkt->offload` to what `hdr` says about the packet.
 *
 * Left PARTIAL is the checksum of TCP or UDP in its usual place only, so that nothing which a rule
 * has tested can change after; any other place is finished here, in software, and the packet is
 * COMPLETE (csum_start within a tunnel, in an IPv6 packet with a routing header). `hdr_bytes` is
 * computed from the packet; the header's hdr_len is a hint that peers get wrong. A packet of a
 * single segment is none of GSO. DATA_VALID makes it TRUSTED. Flags that are not known and
 * num_buffers are ignored.
 *
 * @pkt: in the worker's hands, its bytes no longer writable by the peer.
 *
 * Returns 0, or -EINVAL where header and packet contradict each other, with offload untouched:
 * csum_start, csum_offset or hdr_len beyond the packet; GSO of an unknown type, without NEEDS_CSUM,
 * with gso_size 0, or not of the kind that the packet is; ECN without TCP.
 */
int xb_net_hdr_read(const struct virtio_net_hdr_v1 *hdr, struct xb_frame *pkt);

/** Fills a header that says what `pkt->offload` says; num_buffers is 0. TRUSTED becomes DATA_VALID,
 * which a driver understands; a device, the kernel's TAP included, doesn't: see
 * xb_csum_make_partial. */
void xb_net_hdr_write(const struct xb_frame *pkt, struct virtio_net_hdr_v1 *ret_hdr);

#endif
