/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A virtio-net device behind struct xb_virtio_transport, in this process.
 *
 * It really reads the rings: descriptors, indirect tables, EVENT_IDX, and it looks at a ring that
 * it found empty only after a notification. What the driver sends on queue pair p it loops back on
 * p, or keeps; packets that a test pushes it delivers, over as many mergeable buffers as they take.
 *
 * It does a step at a time (sim_device_step), or in a thread of its own. The thread reads and
 * writes the driver's memory under no lock, when it likes. A call of the transport is an order: the
 * thread comes to it when it has done what it is at, and the call returns when the order is carried
 * out.
 *
 * What is posted to it is its own until then: the last that it does at a reset, and to pairs that
 * it gives up, is to read and write every buffer that is still posted. A driver that takes buffers
 * back, or posts them elsewhere, before the reset has ended is found at it, whatever the threads'
 * timing.
 *
 * Its addresses of the driver's memory are others than the driver's own (sim->transport.map): all
 * that it finds in a ring has to lie in the arena by them.
 *
 * It notes what the driver does in `log`, and in `wrong` the first thing that virtio 1.2 forbids.
 */
#ifndef XB_TESTS_SIM_DEVICE_H
#define XB_TESTS_SIM_DEVICE_H

#include "core/arena.h"
#include "support/device_ring.h"
#include "virtio/transport.h"

#include <linux/virtio_net.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/queue.h>

#define SIM_PAIRS_MAX 4u

/** Rules that the device can break (HOSTILE.md, row 19), once each time it is told to. */
enum sim_fault {
	SIM_HONEST,
	SIM_RX_ID_BEYOND,       /* a used id that is no descriptor */
	SIM_RX_ID_FREE,         /* one that is not outstanding: used twice */
	SIM_RX_INDEX_JUMP,      /* the used index far ahead */
	SIM_RX_LEN_LONG,        /* more bytes than the buffer has */
	SIM_RX_BUFFERS_0,       /* num_buffers 0 */
	SIM_RX_BUFFERS_MANY,    /* num_buffers 65535 */
	SIM_RX_BUFFERS_MISSING, /* num_buffers one more than it used */
	SIM_TX_ID_BEYOND,
	SIM_TX_ID_FREE,
	SIM_TX_INDEX_JUMP,
	SIM_FAULTS
};

struct sim_packet {
	STAILQ_ENTRY(sim_packet) next;
	struct virtio_net_hdr_v1 hdr;
	uint32_t len;
	uint8_t data[];
};

STAILQ_HEAD(sim_list, sim_packet);

struct sim_pair {
	struct device_ring ring[2];   /* receive, transmit, as the driver sees it */
	struct xb_virtqueue queue[2]; /* as it was told; its base is where it has got to, once
				       * it has stopped */
	bool set[2];
	bool asleep[2]; /* waits for a notification */
	int kick_fd[2], call_fd;
	struct sim_list to_driver, from_driver;
};

struct sim_order;

struct sim_device {
	struct xb_virtio_transport transport;
	pthread_mutex_t lists; /* of packets, and `steer`, which tells on which they come */
	/* of the driver's frames, unless NULL: what the device reads or writes must be posted to
	 * it, all the while */
	const struct xb_arena *arena;
	/* what it is like; to be set before a start */
	uint64_t offers;
	bool refuse_features_ok;
	bool loop;
	uint32_t use_max; /* bytes of each receive buffer that it uses; 0: all */
	unsigned fail_at; /* the call of the transport that fails (-EIO), counted from 1; 0: none */
	_Atomic int fault;
	_Atomic bool failed; /* says `broken` */
	/* what it is in; the device's own, but for the status */
	_Atomic uint8_t status;
	uint64_t features;
	unsigned pairs, steer;
	unsigned calls;
	struct sim_pair pair[SIM_PAIRS_MAX];
	/* what happened */
	char log[256];
	const char *wrong;
	_Atomic uint64_t received;  /* from the driver */
	_Atomic uint64_t delivered; /* to the driver */
	_Atomic uint64_t lost; /* waited for delivery when a reset or a smaller set of pairs came */
	_Atomic uint64_t too_long; /* for one buffer, without MRG_RXBUF */
	_Atomic uint64_t notified;
	/* the thread */
	pthread_t thread;
	bool threaded;
	_Atomic bool stop;
	const struct sim_order *_Atomic order; /* to be carried out */
	int wake_fd, done_fd;
};

/** What an honest device with everything offers. */
extern const uint64_t sim_all_features;

void sim_device_init(struct sim_device *sim, unsigned pairs_max);
void sim_device_fini(struct sim_device *sim);

/** Does whatever it can do now. Returns packets that it moved. */
unsigned sim_device_step(struct sim_device *sim);

/** Lets it run by itself. */
void sim_device_run(struct sim_device *sim);
void sim_device_halt(struct sim_device *sim);

/** A packet for the driver to receive on a queue pair. */
void sim_device_push(struct sim_device *sim, unsigned pair, const struct virtio_net_hdr_v1 *hdr,
		     const void *data, uint32_t len);
/** The next packet that the driver sent on a pair and that wasn't looped; the caller's to free. */
struct sim_packet *sim_device_pop(struct sim_device *sim, unsigned pair);

#endif
