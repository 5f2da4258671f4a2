/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A port: where packets enter and leave. The sorting room knows nothing but this interface.
 *
 * Queue q of a port belongs to worker q mod N while the port is in the published snapshot, and to
 * the control thread otherwise. Only the queue's owner calls `rx_batch`, `arm` and `disarm`. Any
 * thread that sends on the queue calls `tx_batch` and `kick`, under the queue's tx_lock.
 *
 * A port implementation embeds struct xb_port as its first member.
 */
#ifndef XB_CORE_PORT_H
#define XB_CORE_PORT_H

#include "core/arena.h"
#include "core/frame.h"
#include "core/limit.h"
#include "xbridge/drops.h"
#include "xbridge/steer.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#define XB_NAME_BYTES 32u
#define XB_BATCH      64u /* packets that move through the sorting room at a time */

struct xb_port;

/** A counter with one writer at a time and readers anywhere. */
typedef _Atomic uint64_t xb_counter;

static inline void xb_count(xb_counter *counter, uint64_t n)
{
	uint64_t now = atomic_load_explicit(counter, memory_order_relaxed);

	atomic_store_explicit(counter, now + n, memory_order_relaxed);
}

static inline uint64_t xb_counted(const xb_counter *counter)
{
	return atomic_load_explicit(counter, memory_order_relaxed);
}

struct xb_port_ops {
	/**
	 * Takes up to `max` packets (at most XB_BATCH) that have arrived on queue `q` into `pkts`,
	 * now in the worker's hands, with `bytes`, `offload` and, where the port knows it, `fate`
	 * set. Posts fresh frames for what it took and, where it must, tells the other side (one
	 * system call). Counts what it refuses, as received and in `drops`; the caller counts the
	 * packets that it hands over.
	 */
	unsigned (*rx_batch)(struct xb_port *port, unsigned q, struct xb_cache *cache,
			     struct xb_frame **pkts, unsigned max);
	/**
	 * Posts packets from the front of `pkts` for sending on queue `q` and returns how many it
	 * took: those are the port's until they are completed, the others stay the caller's. A
	 * packet moves whole or not at all. Every packet obeys port->caps. Here and in kick,
	 * completed frames go back to `cache` and are counted as sent (xb_port_sent).
	 */
	unsigned (*tx_batch)(struct xb_port *port, unsigned q, struct xb_cache *cache,
			     struct xb_frame **pkts, unsigned n);
	/** Tells the other side what tx_batch has posted (one system call a batch) and takes back
	 * what was completed. Touches nothing that rx_batch changes, since its caller need not own
	 * the queue. Returns the packets still posted for sending. */
	unsigned (*kick)(struct xb_port *port, unsigned q, struct xb_cache *cache);
	/** Before the worker sleeps: asks for a wake-up on queue `q`'s wake_fd as soon as a packet
	 *  arrives. Returns false if one is there already: then the worker doesn't sleep. */
	bool (*arm)(struct xb_port *port, unsigned q);
	/** After the worker slept: no more wake-ups, the worker polls again. */
	void (*disarm)(struct xb_port *port, unsigned q);
	/** Says that the queue's owner is alive. Called at least every quarter of the stall limit,
	 *  by sleeping workers too. NULL for a port that has no use for it. */
	void (*beat)(struct xb_port *port, unsigned q, uint64_t now_ns);
};

/** What a port sends. Constant while the port is published. */
struct xb_port_caps {
	uint32_t takes;     /* XB_TAKES_… */
	uint32_t bytes_max; /* longest L2 frame on the wire, VLAN tags included */
	uint8_t frames_max; /* longest chain that tx_batch takes */
	bool uplink;        /* `pass` means something here */
	bool shared;        /* its own MACs and group frames belong to its own stack */
	bool trusts_csum;   /* received packets are marked XB_CSUM_TRUSTED */
};

/** One queue pair and its counters. */
struct xb_port_queue {
	alignas(64) int wake_fd; /* readable when an armed queue has a packet; -1: none */
	int early_fd; /* readable when a packet is on its way to the queue; -1: not known */
	/* Taken once a batch by any thread that sends here. The data path has two more locks: an
	 * uplink with fewer TX than RX queues takes one for each lane, under this one (xsk/lane.h),
	 * and a worker that learns an address tries the forwarding table's, without waiting for it
	 * (core/fdb.h). */
	pthread_mutex_t tx_lock;
	/* written by the queue's owner */
	alignas(64) xb_counter rx_packets;
	xb_counter rx_bytes;
	xb_counter rx_csum_left;   /* packets with a checksum left to us, or trusted */
	xb_counter rx_gso_packets; /* packets of more than one segment */
	/* Lost before they were ours. For an uplink the control thread alone writes it, from the
	 * kernel's counters; for any other port the queue's owner. */
	xb_counter rx_missed;
	/* written by the thread that sends, under tx_lock */
	alignas(64) xb_counter tx_packets;
	xb_counter tx_bytes;
	xb_counter tx_csum_left; /* packets whose checksum was left to the other side */
	xb_counter tx_gso_packets;
	xb_counter drops[XB_DROP_COUNT]; /* on behalf of the port: rx reasons by the queue's owner,
					    tx reasons by the thread that sends */
};

struct xb_port {
	const struct xb_port_ops *ops;
	char name[XB_NAME_BYTES];
	uint16_t id;       /* index in the snapshot; the same for the port's whole life */
	uint8_t domain;    /* the ports of one domain are bridged; constant while it is published */
	uint16_t n_queues; /* started; a snapshot publishes as many. Control thread */
	uint16_t queues_max;
	struct xb_port_caps caps;
	_Atomic bool up;       /* carrier: packets to a port that is down are dropped (port_down) */
	struct xb_limit storm; /* of group frames received */
	struct xb_port_queue *queues; /* queues_max; counters live as long as the port */
};

/** A drop reason's name, as in `stats`. */
const char *xb_drop_name(unsigned reason);

/** Readies the common part: name, queues and their counters. Returns 0, -ENOMEM or -EINVAL (name
 *  empty or too long). */
int xb_port_init(struct xb_port *port, const struct xb_port_ops *ops, const char *name,
		 unsigned queues_max);
void xb_port_fini(struct xb_port *port);

/** Completes a sent packet: counts it on queue `q` and frees its frames. For implementations; the
 *  packet is XB_OWNER_TX. */
void xb_port_sent(struct xb_port *port, unsigned q, struct xb_cache *cache, struct xb_frame *pkt);

/** Drops a packet that was posted for sending and will not be completed: counts `reason` (a tx
 *  reason) and frees it. For resets. */
void xb_port_unsent(struct xb_port *port, unsigned q, struct xb_cache *cache, struct xb_frame *pkt,
		    enum xb_drop reason);

/** Counts a packet of `bytes` that rx_batch does not hand over on queue `q`: it was ours, so it
 *  counts as received and as dropped. `pkt` is what there is of it, or NULL; it stays the caller's.
 *  For implementations. */
void xb_port_refuse(struct xb_port *port, unsigned q, const struct xb_cache *cache,
		    const struct xb_frame *pkt, uint32_t bytes, enum xb_drop reason);

/** Drops a packet in the worker's hands: counts it on queue `q` and frees it. */
void xb_port_drop(struct xb_port *port, unsigned q, struct xb_cache *cache, struct xb_frame *pkt,
		  enum xb_drop reason);

#endif
