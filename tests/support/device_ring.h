/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The device side of a split virtqueue (virtio 1.2, 2.7), as a plain reference for the driver side:
 * it aborts the test where the driver breaks a rule.
 */
#ifndef XB_TESTS_DEVICE_RING_H
#define XB_TESTS_DEVICE_RING_H

#include "virtio/virtqueue.h"

#include <linux/virtio_ring.h>
#include <stdbool.h>
#include <stdint.h>

#define DEVICE_BUFS_MAX 64u

struct device_ring {
	struct vring vring;
	struct xb_iova_map map;
	uint16_t next_avail; /* next available entry to look at */
	uint16_t next_used;  /* next used entry to write */
	uint16_t shown_used; /* used->idx */
	uint16_t called_idx; /* used->idx when the driver's wish was last looked at */
	bool event_idx, indirect;
};

struct device_buf {
	uint8_t *addr;
	uint32_t len;
};

/** A chain as the driver posted it. */
struct device_chain {
	uint16_t head;
	bool writable; /* by the device: xbridge never mixes */
	bool table;    /* it lies in an indirect table */
	unsigned n;
	uint32_t bytes;
	struct device_buf bufs[DEVICE_BUFS_MAX];
};

/** Begins in a queue of a driver whose memory the device sees as `map` says. */
void device_ring_init(struct device_ring *ring, const struct xb_virtqueue *queue,
		      struct xb_iova_map map, uint64_t features);

/** Chains that wait. */
unsigned device_ring_waiting(const struct device_ring *ring);
/** Takes the next available chain. */
bool device_ring_get(struct device_ring *ring, struct device_chain *ret_chain);

/** Writes a used element, not yet visible. */
void device_ring_put(struct device_ring *ring, uint32_t id, uint32_t len);
/** Makes all used elements visible. */
void device_ring_flush(struct device_ring *ring);
/** Whether the driver wants a call for what became visible since the last question. */
bool device_ring_must_call(struct device_ring *ring);

/** Asks for a notification at the next available chain: to be followed by a fence and a look at
 *  device_ring_waiting. */
void device_ring_ask(struct device_ring *ring);
/** Wants none. */
void device_ring_hush(struct device_ring *ring);

#endif
