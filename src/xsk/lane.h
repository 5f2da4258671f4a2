/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A lane: one AF_XDP socket at work. It moves frames between a worker and the socket's four rings,
 * and remembers which frames it has given away, so that all of them come back when the socket is
 * closed.
 *
 *      worker ── fill ──► kernel ── rx ──► worker        (RX-owned in between)
 *      worker ── tx ──► kernel ── completion ──► pool    (TX-owned in between)
 *
 * The receiving half belongs to the queue's owner, the sending half to whoever sends, one at a time
 * (the port's tx_lock; where an interface has fewer TX than RX queues, several queues of the port
 * send through one lane, under the lane's own lock).
 */
#ifndef XB_XSK_LANE_H
#define XB_XSK_LANE_H

#include "core/arena.h"
#include "core/port.h"
#include "xsk/xsk.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct xb_lane {
	struct xb_port *port;
	unsigned q; /* queue of the port whose counters it writes */
	struct xb_xsk *xsk;
	struct xb_arena *arena;
	/* receiving */
	alignas(64) uint32_t fill_frames; /* frames to keep posted */
	uint32_t posted;
	uint64_t *rx_out; /* one bit for each frame of the arena: posted here for receiving */
	/* sending */
	alignas(64) pthread_mutex_t lock;
	bool locked;   /* several queues of the port send here */
	uint32_t sent; /* posted and not completed */
	uint64_t *tx_out;
};

/** Readies a lane without a socket. Returns 0 or -ENOMEM. */
int xb_lane_init(struct xb_lane *lane, struct xb_port *port, unsigned q, struct xb_arena *arena);
/** Its frames have been reclaimed before. */
void xb_lane_fini(struct xb_lane *lane);

/** Posts fresh frames for receiving, up to fill_frames, as far as there are any. */
void xb_lane_fill(struct xb_lane *lane, struct xb_cache *cache);

/** Takes up to `max` received packets, with the fate that the program wrote in front of them unless
 * it obeyed a table from before the generation `since`; `csum` (enum xb_csum) is what is known
 * about their checksums. */
unsigned xb_lane_rx(struct xb_lane *lane, struct xb_cache *cache, struct xb_frame **pkts,
		    unsigned max, uint32_t since, uint8_t csum);

/** Packets that wait in the RX ring. */
uint32_t xb_lane_rx_waiting(const struct xb_lane *lane);

/** Posts packets of one frame each; returns how many. */
unsigned xb_lane_tx(struct xb_lane *lane, struct xb_cache *cache, struct xb_frame **pkts,
		    unsigned n);

/** Wakes the kernel for sending where it asks for that, and takes back what was completed. Returns
 * the packets still posted for sending. */
unsigned xb_lane_kick(struct xb_lane *lane, struct xb_cache *cache);

/** Wakes the kernel for what was posted for receiving, where it asks for that. */
void xb_lane_wake_rx(const struct xb_lane *lane);

/** Takes back what was completed, as a last look before the socket is closed. */
void xb_lane_drain(struct xb_lane *lane, struct xb_cache *cache);

/** After the kernel has let go (xb_xsk_look_released): gives all frames back; what was posted for
 * sending counts as tx_reset. */
void xb_lane_reclaim(struct xb_lane *lane, struct xb_cache *cache);

#endif
