/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The device side of a virtqueue, split (virtio 1.2, 2.7) or packed (2.8), as a plain reference for
 * the driver side: it aborts the test where the driver breaks a rule.
 */
#ifndef XB_TESTS_DEVICE_RING_H
#define XB_TESTS_DEVICE_RING_H

#include "virtio/virtqueue.h"

#include <linux/virtio_ring.h>
#include <stdbool.h>
#include <stdint.h>

#define DEVICE_BUFS_MAX 64u
/** Longest packed ring. */
#define DEVICE_PACKED_MAX 1024u

struct device_packed {
	unsigned size;
	struct vring_packed_desc *desc;
	const uint32_t *driver_event;
	uint32_t *device_event;
	uint16_t next_avail, next_used;
	bool avail_wrap, used_wrap;
	uint16_t called_used; /* next_used when the driver's wish was last looked at */
	bool called_wrap;
	bool pending;   /* used descriptors are written, and not shown: the first has no flags */
	uint16_t first; /* that one */
	uint16_t first_flags;
	uint16_t n_desc[DEVICE_PACKED_MAX]; /* of the chain that has or had this id */
	bool held[DEVICE_PACKED_MAX];       /* got and not put */
};

struct device_ring {
	bool is_packed;
	bool event_idx, indirect;
	struct xb_iova_map map;
	/* split */
	struct vring vring;
	uint16_t next_avail; /* next available entry to look at */
	uint16_t next_used;  /* next used entry to write */
	uint16_t shown_used; /* used->idx */
	uint16_t called_idx; /* used->idx when the driver's wish was last looked at */
	/* packed */
	struct device_packed packed;
};

struct device_buf {
	uint8_t *addr;
	uint32_t len;
};

/** A chain as the driver posted it. */
struct device_chain {
	uint16_t head; /* its first descriptor; packed: its id */
	bool writable; /* by the device: xbridge never mixes */
	bool table;    /* it lies in an indirect table */
	unsigned n;
	uint32_t bytes;
	struct device_buf bufs[DEVICE_BUFS_MAX];
};

/** Begins in a queue of a driver whose memory the device sees as `map` says. */
void device_ring_init(struct device_ring *ring, const struct xb_virtqueue *queue,
		      struct xb_iova_map map, uint64_t features);

unsigned device_ring_size(const struct device_ring *ring);
/** Where it would go on, as struct xb_virtqueue has it. */
uint32_t device_ring_base(const struct device_ring *ring);

/** Chains that wait. */
unsigned device_ring_waiting(const struct device_ring *ring);
/** Takes the next available chain. */
bool device_ring_get(struct device_ring *ring, struct device_chain *ret_chain);
/** Puts the chain that was taken last back, to be taken again. */
void device_ring_unget(struct device_ring *ring, const struct device_chain *chain);

/** Writes a used element, not yet visible. */
void device_ring_put(struct device_ring *ring, uint32_t id, uint32_t len);
/** Makes all used elements visible. */
void device_ring_flush(struct device_ring *ring);
/** Claims, with the next flush, to have used more than the ring has. */
void device_ring_jump(struct device_ring *ring);
/** Whether the driver wants a call for what became visible since the last question. */
bool device_ring_must_call(struct device_ring *ring);

/** Asks for a notification at the next available chain: to be followed by a fence and a look at
 *  device_ring_waiting. */
void device_ring_ask(struct device_ring *ring);
/** Wants none. */
void device_ring_hush(struct device_ring *ring);

/* ---- device_packed.c: the same of a packed ring ---- */

void device_packed_init(struct device_ring *ring, const struct xb_virtqueue *queue);
unsigned device_packed_waiting(const struct device_ring *device);
bool device_packed_get(struct device_ring *device, struct device_chain *ret_chain);
void device_packed_unget(struct device_packed *ring, const struct device_chain *chain);
void device_packed_put(struct device_packed *ring, uint32_t id, uint32_t len);
void device_packed_flush(struct device_packed *ring);
void device_packed_jump(struct device_packed *ring);
bool device_packed_must_call(struct device_ring *device);
void device_packed_ask(struct device_ring *device);
void device_packed_hush(struct device_packed *ring);
/** A buffer of a chain, checked. */
void device_chain_add(struct device_chain *chain, struct xb_iova_map map, uint64_t addr,
		      uint32_t len, bool writable);

#endif
