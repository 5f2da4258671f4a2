/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the driver sides of split and packed rings (split.c, packed.c) have in common: the pieces of
 * a chain, what is remembered of a chain that is posted, and access to words that the device reads
 * and writes at the same time. Each of those is one atomic access; each barrier names its partner
 * where it stands.
 */
#ifndef XB_VIRTIO_RING_H
#define XB_VIRTIO_RING_H

#include "virtio/virtqueue.h"

#include <assert.h>
#include <stddef.h>

/** Most descriptors of one chain: one for each frame of the longest packet. */
#define XB_VRING_CHAIN_MAX 48u
/** Most descriptors of a ring, of either format (virtio 1.2, 2.7 and 2.8.10.1). */
#define XB_VRING_SIZE_MAX 32768u

/** One piece of memory for the device. The ring tells the device its own address of it. */
struct xb_vring_buf {
	const void *addr;
	uint32_t len;
};

/** What is remembered of a chain. Private memory: nothing that the device writes gets here. */
struct xb_posted {
	void *cookie;      /* NULL: not outstanding */
	uint32_t in_bytes; /* what the device may write */
	uint16_t n_desc;   /* ring descriptors of the chain */
	uint16_t next;     /* next free one, or (split) next of the chain */
};

/* Shared fields are little-endian (virtio 1) and so is every host that we build for. */
static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "big-endian hosts need conversions");

static inline uint16_t xb_load_acquire(const uint16_t *p)
{
	return __atomic_load_n(p, __ATOMIC_ACQUIRE);
}

static inline uint16_t xb_load_relaxed(const uint16_t *p)
{
	return __atomic_load_n(p, __ATOMIC_RELAXED);
}

static inline void xb_store_release(uint16_t *p, uint16_t value)
{
	__atomic_store_n(p, value, __ATOMIC_RELEASE);
}

static inline void xb_store_relaxed(uint16_t *p, uint16_t value)
{
	__atomic_store_n(p, value, __ATOMIC_RELAXED);
}

static inline size_t xb_round_up(size_t n, size_t unit)
{
	return (n + unit - 1) / unit * unit;
}

#endif
