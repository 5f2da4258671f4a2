/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the uplink keeps to itself, for uplink*.c: uplink.c makes, starts and stops it, uplink_rx.c
 * receives, uplink_tx.c chooses the way out and sends, uplink_stats.c reads what the kernel counts.
 */
#ifndef XB_XSK_UPLINK_OWN_H
#define XB_XSK_UPLINK_OWN_H

#include "netdev/netdev.h"
#include "xsk/delivery.h"
#include "xsk/group_tap.h"
#include "xsk/lane.h"
#include "xsk/packet_tx.h"
#include "xsk/uplink.h"

struct xb_uplink_private {
	struct xb_program program;
	struct xb_arena *arena;
	struct xb_lane *lanes; /* queues_max */
	unsigned tx_lanes;     /* lanes that the interface has TX queues for */
	uint32_t since;        /* generation of the table at the start: what older ones said is not
				  believed */
	unsigned tap_turn;     /* rounds until the tap is read; queue 0's owner */
	struct xb_group_tap tap;
	struct xb_packet_tx packet_tx;
	struct xb_xsk_set set;
	bool attached; /* its program has been put on the interface at least once */
	bool gone;     /* the interface, as last seen: what has its index by now may be another */
	int promisc_fd;
	int wake_epoll_fd;   /* shared: the first socket and the tap together */
	unsigned unreleased; /* queues, closed, whose frames the kernel may still hold */
	uint32_t unreleased_ifindex;
	uint32_t *marks;                /* by queue: how far its RX ring was written */
	uint64_t *missed;               /* by queue: what the kernel's counters said last */
	struct xb_delivery *deliveries; /* by queue */
};

static inline struct xb_uplink *xb_to_uplink(struct xb_port *port)
{
	return (struct xb_uplink *)port;
}

/* ---- uplink_name.c ---- */

/** Reads the interface by its index, and adopts the name that it has by now. Returns 0, -ENODEV,
 * -EAGAIN (it is there, but renamed again and again meanwhile), or another -errno. */
int xb_uplink_read(struct xb_uplink *uplink, struct xb_netdev *ret_netdev);

/** Finds the interface that is to be used: the same, or, where that has gone, the one that has the
 * name that was given. Likewise, with `err` filled. */
int xb_uplink_look_up(struct xb_uplink *uplink, struct xb_netdev *ret_netdev, struct xb_error *err);

/* ---- uplink_rx.c: the receiving half of xb_port_ops ---- */

unsigned xb_uplink_rx_batch(struct xb_port *port, unsigned q, struct xb_cache *cache,
			    struct xb_frame **pkts, unsigned max);
bool xb_uplink_arm(struct xb_port *port, unsigned q);
void xb_uplink_disarm(struct xb_port *port, unsigned q);
void xb_uplink_beat(struct xb_port *port, unsigned q, uint64_t now_ns);

/* ---- uplink_stats.c ---- */

/** Starts to watch whether what is redirected arrives: the sockets are open. */
void xb_uplink_start_delivery(struct xb_uplink *uplink);

/* ---- uplink_tx.c ---- */

/** The operations of an uplink that sends this way. */
const struct xb_port_ops *xb_uplink_ops(enum xb_uplink_tx tx);

/** Chooses the way out and opens it; the sockets are bound. Sets tx, tx_why, and of the port its
 *  operations and what it takes. Returns 0, or -errno where the way that was asked for fails. */
int xb_uplink_open_tx(struct xb_uplink *uplink, struct xb_error *err);

#endif
