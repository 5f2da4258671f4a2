/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The group tap: a packet socket on a shared uplink that gives xbridge its copy of group frames,
 * which the program passes to the uplink's own stack.
 *
 * It sees what the stack sees: frames that the program passed. One that it redirected never gets
 * here, and one that it passed because the daemon stalled was redirected by nobody, so no frame
 * arrives twice. What xbridge or the host sends through the uplink does not come back
 * (PACKET_IGNORE_OUTGOING). A VLAN tag that the kernel took off is put back; a checksum that a
 * local sender left open is handed on as such.
 *
 * Limits: frames of up to XB_FRAME_ROOM bytes; longer ones, and segments that the kernel has
 * joined, are dropped (too_long).
 *
 * One owner at a time, that of the uplink's queue 0; opening and closing belong to the control
 * thread. Needs CAP_NET_RAW.
 */
#ifndef XB_XSK_GROUP_TAP_H
#define XB_XSK_GROUP_TAP_H

#include "core/error.h"
#include "core/port.h"

#include <stdint.h>

/** Frames that one system call reads. */
#define XB_GROUP_TAP_BATCH 32u

struct xb_group_tap {
	int fd; /* readable when a frame waits; -1: closed */
	unsigned n_spare;
	struct xb_frame *spare[XB_GROUP_TAP_BATCH]; /* to be read into; RX-owned */
};

/** Opens the tap. Returns 0 or -errno. */
int xb_group_tap_open(struct xb_group_tap *tap, uint32_t ifindex, const char *ifname,
		      struct xb_error *err);

/** Closes it and gives its frames back. Harmless where it is closed. */
void xb_group_tap_close(struct xb_group_tap *tap, struct xb_cache *cache);

/** Reads up to `max` frames (one system call) as packets in the worker's hands, without a fate, and
 *  returns their number. What is not fit to be one counts as a drop on queue `q` of `port`. */
unsigned xb_group_tap_rx(struct xb_group_tap *tap, struct xb_port *port, unsigned q,
			 struct xb_cache *cache, struct xb_frame **pkts, unsigned max);

/** Frames lost, since the last call, because the socket was full. Control thread. */
uint64_t xb_group_tap_missed(const struct xb_group_tap *tap);

#endif
