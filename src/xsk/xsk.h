/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * AF_XDP sockets: one for each RX queue of an interface, all over the frames of one arena, which is
 * their UMEM (aligned chunks of XB_FRAME_BYTES). Each has its own fill and completion ring.
 *
 * Opening and closing belong to the control thread, and never wait for others; the rings to whoever
 * works the queue (lane.h). Needs CAP_NET_RAW.
 *
 * When frames may be used again (Linux, net/xdp/xsk.c and xsk_buff_pool.c; the same from 6.1 to
 * today): close() marks the socket unbound and waits for a grace period, so that in copy mode
 * nothing is written after it returned. The buffer pool goes later, from a work queue, when the
 * last skb that the socket has sent is gone: until then a driver in zero-copy mode goes on writing
 * into what was posted, and one that sends from the UMEM's pages (IFF_TX_SKB_NO_LINEAR) may still
 * read them. As the pool leaves the queue in the same step in which it makes the driver stop, a
 * queue that can be bound again has no such frames any more. xb_xsk_look_released asks just that.
 */
#ifndef XB_XSK_XSK_H
#define XB_XSK_XSK_H

#include "core/arena.h"
#include "core/error.h"

#include <stdbool.h>
#include <stdint.h>
#include <xdp/xsk.h>

enum xb_xsk_mode {
	XB_XSK_AUTO, /* zero copy, else copy */
	XB_XSK_COPY,
	XB_XSK_ZEROCOPY, /* or fail */
};

struct xb_xsk {
	struct xsk_socket *socket;
	int fd;
	struct xsk_ring_cons rx;
	struct xsk_ring_prod tx;
	struct xsk_ring_prod fill;
	struct xsk_ring_cons comp;
};

struct xb_xsk_options {
	const char *ifname; /* outlives the set */
	unsigned n_queues;
	uint32_t ring_size; /* of each ring: a power of two */
	enum xb_xsk_mode mode;
};

/** All zero, it is closed. */
struct xb_xsk_set {
	struct xb_xsk_options options;
	const struct xb_arena *arena;
	struct xsk_umem *umem;
	struct xb_xsk *queue; /* n; NULL: closed */
	unsigned n;
	unsigned n_bound;
	bool zerocopy;
};

/** Makes room for the sockets of queues 0 to n_queues - 1. Returns 0 or -ENOMEM. */
int xb_xsk_set_open(struct xb_xsk_set *set, const struct xb_arena *arena,
		    const struct xb_xsk_options *options, struct xb_error *err);

/**
 * Binds the next queue's socket: to be called until it returns 0. A queue takes its time (with zero
 * copy the driver resets it), so that they are bound one by one.
 *
 * Returns 0 where all are bound; -EAGAIN where more are to be bound; -EBUSY where the queue is
 * taken, perhaps by the sockets of a process that has died: the kernel lets go of those in its own
 * time, so that it is to be tried again in a moment. Otherwise the set is closed: -ENOBUFS where
 * the arena can't be locked into memory (RLIMIT_MEMLOCK; raised here where that is allowed),
 * -EOPNOTSUPP where zero copy was insisted on, or another -errno.
 */
int xb_xsk_set_bind(struct xb_xsk_set *set, struct xb_error *err);

/** Closes the last socket that is open: to be called until it returns 0, for which the set is
 * closed. Each takes a grace period of the kernel. -EAGAIN: there are more. See above for what
 * becomes of the frames. A zeroed set is allowed. */
int xb_xsk_set_close_next(struct xb_xsk_set *set);
/** Closes all of them at once. */
void xb_xsk_set_close(struct xb_xsk_set *set);

/** Looks whether queues 0 to n_queues - 1, just closed, have let go of their frames. Returns 0
 * (also where the interface is gone: that releases them), or -EBUSY: not yet. */
int xb_xsk_look_released(uint32_t ifindex, unsigned n_queues);

#endif
