/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A queue pair of the TAP port: what its two forms (tap_uring.c, tap_readv.c) share.
 *
 * A read is filled with free frames in advance, since how long a packet is shows only when it is
 * there. The virtio-net header goes right in front of the packet:
 *
 *      frame 0   ├── 244 ──┼ header 12 ┼ packet, 3840 bytes ─────────┤
 *      frame 1…  ├ packet, 4096 bytes ───────────────────────────────┤
 *
 * The frames that a packet has filled become that packet, the others stay for the next.
 */
#ifndef XB_VHOST_TAP_QUEUE_H
#define XB_VHOST_TAP_QUEUE_H

#include "vhost/tap_port.h"

#include <liburing.h>
#include <linux/virtio_net.h>
#include <stdalign.h>
#include <sys/uio.h>

/** Frames of a read that holds the longest packet: 3840 + 16 × 4096 bytes. */
#define XB_TAP_READ_FRAMES_MAX 17u

/** Writes posted at a time. */
#define XB_TAP_WRITES XB_BATCH

struct xb_tap_read {
	unsigned missing; /* frames 0 to missing - 1 were taken by a packet */
	struct xb_frame *frames[XB_TAP_READ_FRAMES_MAX]; /* XB_OWNER_RX */
	struct iovec iov[XB_TAP_READ_FRAMES_MAX];
};

struct xb_tap_write {
	struct xb_frame *pkt; /* XB_OWNER_TX */
	unsigned n;
	uint32_t bytes;               /* header included */
	struct virtio_net_hdr_v1 hdr; /* where the first frame has no room for it */
	struct iovec iov[XB_PACKET_FRAMES_MAX + 1];
};

struct xb_tap_queue {
	int fd; /* the TAP's; -1: not started */
	/* reading: the queue's owner */
	struct xb_tap_read *reads; /* depth of the port */
	struct io_uring rx_ring;
	unsigned burst;    /* reads to try next */
	unsigned n_posted; /* reads, not yet completed */
	bool more;         /* all of the last burst found a packet: there may be more */
	bool scouting;     /* a poll request is posted */
	bool recalled;     /* and called back */
	/* sending: whoever sends, under tx_lock where shared */
	alignas(64) struct io_uring tx_ring;
	struct xb_tap_write *writes; /* XB_TAP_WRITES */
	unsigned n_free;             /* writes not in use */
	uint8_t free[XB_TAP_WRITES]; /* their indices */
};

static inline struct xb_tap_port *xb_tap_port_of(struct xb_port *port)
{
	return (struct xb_tap_port *)port;
}

static inline bool xb_tap_is_broken(struct xb_tap_port *tap_port)
{
	return atomic_load_explicit(&tap_port->broken, memory_order_relaxed);
}

/** A worker or the control thread found the interface deleted. */
void xb_tap_give_up(struct xb_tap_port *tap_port);

/** Fills a read up with free frames, or, where they don't suffice, takes none. Returns whether it
 * is full. */
bool xb_tap_read_fill(struct xb_tap_read *read, struct xb_cache *cache);

/**
 * Makes a packet of what a read has brought.
 *
 * @got: what it returned, other than -EAGAIN.
 *
 * Returns the packet, or NULL where it was dropped and counted, or where `got` is an error.
 */
struct xb_frame *xb_tap_read_done(struct xb_port *port, unsigned q, struct xb_tap_read *read,
				  ssize_t got, struct xb_cache *cache);

/** Puts the header in front of a packet and lists its pieces in `write`. The packet becomes
 *  XB_OWNER_TX. */
void xb_tap_write_prepare(struct xb_tap_write *write, struct xb_frame *pkt);

/** Completes a write: counts and frees its packet.
 *  @ret: what writing returned. */
void xb_tap_write_done(struct xb_port *port, unsigned q, struct xb_tap_write *write, ssize_t ret,
		       struct xb_cache *cache);

extern const struct xb_port_ops xb_tap_uring_ops;
extern const struct xb_port_ops xb_tap_readv_ops;

/** Reads up to `max` packets, one by one; `*ret_more` tells whether it stopped before the queue was
 *  empty. */
unsigned xb_tap_read_each(struct xb_port *port, unsigned q, struct xb_cache *cache,
			  struct xb_frame **pkts, unsigned max, bool *ret_more);

/** May io_uring be used? Returns 0, with `*ret_nowait` telling whether the descriptor's driver
 * knows RWF_NOWAIT; or -ENOSYS, -EPERM or -EINVAL (a kernel before 5.19). */
int xb_tap_uring_probe(int fd, bool *ret_nowait);

/** Makes the rings of a queue whose `fd` is set. Returns 0 or -errno. */
int xb_tap_uring_start(struct xb_tap_port *tap_port, struct xb_tap_queue *queue);
/** Calls back what is posted on a queue, without waiting: the kernel takes its time. Returns
 * whether nothing is posted any more. */
bool xb_tap_uring_recall(struct xb_port *port, unsigned q, struct xb_cache *cache);
/** Cancels what is still posted and waits for it; no request refers to a frame or to `fd` after.
 * Writes that were not handed to the kernel stay in `writes`. */
void xb_tap_uring_stop(struct xb_port *port, unsigned q, struct xb_cache *cache);

#endif
