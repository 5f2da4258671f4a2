/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Sending through a packet socket: what an uplink does with `tx=packet`, in place of AF_XDP's TX
 * rings.
 *
 * An AF_XDP socket takes one whole frame a packet: segments must be cut and checksums finished
 * before. In copy mode the kernel then makes an sk_buff of each, and takes it through the driver
 * alone. A packet socket takes a segment of 64 KB whole, its checksum open, with a virtio-net
 * header in front: one sk_buff, one way through the kernel, and what the driver can't cut the
 * kernel cuts.
 *
 * What is sent this way meets the interface's queueing discipline and can be seen by tcpdump there.
 *
 * One socket for all queues: the kernel chooses the interface's queue, by flow. Opening and closing
 * belong to the control thread, while the port is not published. Needs CAP_NET_RAW to open.
 */
#ifndef XB_XSK_PACKET_TX_H
#define XB_XSK_PACKET_TX_H

#include "core/error.h"
#include "core/port.h"

#include <stdbool.h>
#include <stdint.h>

/** What it takes whole. UDP segments only newer kernels take, and no query tells. */
#define XB_PACKET_TX_TAKES (XB_TAKES_CSUM | XB_TAKES_TSO4 | XB_TAKES_TSO6 | XB_TAKES_ECN)

struct xb_packet_tx {
	int fd;       /* -1: closed */
	uint32_t mtu; /* the interface's */
};

/** Opens the socket. It receives nothing. Returns 0 or -errno. */
int xb_packet_tx_open(struct xb_packet_tx *tx, uint32_t ifindex, const char *ifname, uint32_t mtu,
		      struct xb_error *err);

/** Closes it. Harmless where it is closed. */
void xb_packet_tx_close(struct xb_packet_tx *tx);

/** Whether the kernel would refuse the packet for its length (EMSGSIZE; Linux, packet_snd): it lets
 *  pass what exceeds the MTU by the Ethernet header, and by one tag where that is 802.1Q's. It cuts
 *  segments before it measures them. */
bool xb_packet_tx_refuses(const struct xb_packet_tx *tx, const struct xb_frame *pkt);

/** Sends packets from the front of `pkts` on behalf of queue `q`, as xb_port_ops.tx_batch does, and
 *  completes them at once: nothing stays posted. What the kernel refuses is a drop (tx_error, or
 *  tx_full where the interface's queue is full); where the socket's buffer is full the rest stays
 *  the caller's. */
unsigned xb_packet_tx_send(const struct xb_packet_tx *tx, struct xb_port *port, unsigned q,
			   struct xb_cache *cache, struct xb_frame **pkts, unsigned n);

#endif
