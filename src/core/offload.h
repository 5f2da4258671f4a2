/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What is left to do on a packet: a checksum that is to be finished, a TCP or UDP segment that is
 * to be cut, by a port or before one. It travels beside the packet (struct xb_frame) and means what
 * the fields of the same names mean in struct virtio_net_hdr (virtio 1.2, 5.1.6), in host byte
 * order.
 */
#ifndef XB_CORE_OFFLOAD_H
#define XB_CORE_OFFLOAD_H

#include <stdint.h>

enum xb_csum {
	XB_CSUM_COMPLETE, /* the packet holds its checksum, nothing is known about it */
	XB_CSUM_PARTIAL,  /* csum_start/csum_offset say where one is to be finished; the field
			     holds the folded, not inverted sum of the pseudo header */
	XB_CSUM_TRUSTED,  /* right by the receiving port's word, whatever the field says: for a port
			     without offload it is computed anew */
};

enum xb_gso {
	XB_GSO_NONE,
	XB_GSO_TCP4,
	XB_GSO_TCP6,
	XB_GSO_UDP_L4, /* USO: cut into datagrams */
};

struct xb_offload {
	uint8_t csum;         /* enum xb_csum */
	uint8_t gso;          /* enum xb_gso; unless NONE, csum is PARTIAL */
	uint8_t ecn;          /* TCP: CWR stays on the first segment only */
	uint16_t gso_size;    /* bytes of payload in each segment but the last */
	uint16_t hdr_bytes;   /* bytes of all headers that each segment repeats; 0 unless gso */
	uint16_t csum_start;  /* bytes from the start of the packet */
	uint16_t csum_offset; /* bytes from csum_start */
};

/** What a port takes in tx_batch, as a mask; the sorting room does the rest before. */
enum {
	XB_TAKES_CSUM = 1u << 0, /* XB_CSUM_PARTIAL and XB_CSUM_TRUSTED packets */
	XB_TAKES_TSO4 = 1u << 1,
	XB_TAKES_TSO6 = 1u << 2,
	XB_TAKES_ECN = 1u << 3, /* TSO with CWR set */
	XB_TAKES_USO = 1u << 4,
	XB_TAKES_TSO = XB_TAKES_TSO4 | XB_TAKES_TSO6 | XB_TAKES_ECN,
	XB_TAKES_ALL = XB_TAKES_CSUM | XB_TAKES_TSO | XB_TAKES_USO,
};

/** What may be left undone between a port and the other side, in either direction, as masks of
 *  XB_TAKES_…. */
struct xb_offload_set {
	uint32_t takes; /* by us, in what the port sends */
	uint32_t gives; /* by the other side, in what the port receives */
};

#define XB_OFFLOAD_ALL ((struct xb_offload_set){XB_TAKES_ALL, XB_TAKES_ALL})

#endif
