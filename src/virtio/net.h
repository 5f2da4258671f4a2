/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The virtio-net driver (virtio 1.2, 5.1) as a port, over any transport.
 *
 * Theory. The driver owns two virtqueues for each queue pair. Receiving: free frames of the arena
 * are posted one by one, with room for the virtio-net header in front of where the packet starts;
 * with MRG_RXBUF the device spreads a packet over as many as it needs, and they become a chain as
 * they lie. Sending: the header is written into the headroom in front of the packet's first byte,
 * and the chain is posted where it lies. Nothing is copied.
 *
 *      frame   ├── 244 ──┼ header 12 ┼ packet … ───────────────┤
 *
 * Frames that are posted are the ring's (XB_OWNER_RX, XB_OWNER_TX) until it gives them back or the
 * device is reset. A reset ends in xb_virtio_net_stop: each frame comes back, what was not sent yet
 * is counted as tx_reset; the next start negotiates everything anew.
 *
 * Threads: start, stop and resize are the control thread's, while the queues concerned are not
 * published.
 */
#ifndef XB_VIRTIO_NET_H
#define XB_VIRTIO_NET_H

#include "core/port.h"
#include "virtio/features.h"
#include "virtio/transport.h"
#include "virtio/vring.h"

/** Header of every packet: that of VERSION_1 (virtio 1.2, 5.1.6). */
#define XB_NET_HEADER_BYTES ((uint32_t)sizeof(struct virtio_net_hdr_v1))

/** One queue pair. */
struct xb_virtio_net_queue {
	struct xb_vring rx, tx;
	void *rx_mem, *tx_mem; /* the rings' shared memory, in the arena */
	uint32_t rx_frames;    /* to keep posted: fewer than fit where frames are few */
	_Atomic bool broken;   /* the device broke the ring's rules: nothing moves until a reset */
	_Atomic uint64_t violations;         /* how often it did, in either direction */
	xb_counter rx_notifies, tx_notifies; /* system calls that woke the device */
};

struct xb_virtio_net {
	struct xb_port port;
	struct xb_virtio_transport *transport;
	struct xb_arena *arena;
	uint64_t wanted;   /* features that the driver knows and may use */
	uint64_t features; /* negotiated; 0 while stopped */
	unsigned queue_size;
	unsigned mtu;
	struct xb_virtio_net_queue *queues; /* queues_max of the port */
};

struct xb_virtio_net_options {
	const char *name;
	unsigned queues_max;           /* at most the transport's pairs_max */
	unsigned queue_size;           /* descriptors of each virtqueue, a power of two */
	unsigned mtu;                  /* bytes of IP in one frame on the wire */
	struct xb_offload_set offload; /* to be negotiated, as far as the device can */
	bool packed;                   /* packed rings, where the device offers them */
};

/** Readies a stopped port. Transport and arena outlive it. Returns 0, -EINVAL or -ENOMEM. */
int xb_virtio_net_init(struct xb_virtio_net *net, struct xb_virtio_transport *transport,
		       struct xb_arena *arena, const struct xb_virtio_net_options *options,
		       struct xb_error *err);
/** What is to be negotiated from the next start on. */
void xb_virtio_net_set_offload(struct xb_virtio_net *net, struct xb_offload_set offload);

/** The port is stopped. */
void xb_virtio_net_fini(struct xb_virtio_net *net);

/** Resets the device and takes it from there to DRIVER_OK with `pairs` queue pairs in use
 * (virtio 1.2, 3.1.1). On failure the device is reset again. Returns 0 or -errno. */
int xb_virtio_net_start(struct xb_virtio_net *net, unsigned pairs, struct xb_cache *cache,
			struct xb_error *err);

/** Resets the device and takes all frames back. */
void xb_virtio_net_stop(struct xb_virtio_net *net, struct xb_cache *cache);

/** Whether the device has broken a ring's rules, or failed on its side, since the last start: a
 * reset is due. Any thread. */
bool xb_virtio_net_broken(const struct xb_virtio_net *net);

/** Whether the device has given back packets by pairs from `pairs` on, which are not published,
 * that nobody has taken. */
bool xb_virtio_net_unread(const struct xb_virtio_net *net, unsigned pairs);

/**
 * Changes how many queue pairs are in use, without a reset: more of them come ready to be
 * published; fewer must be unpublished before, and what the device then still has for them is lost.
 * Returns 0 or -errno, with the port as before.
 */
int xb_virtio_net_resize(struct xb_virtio_net *net, unsigned pairs, struct xb_cache *cache,
			 struct xb_error *err);

#endif
