/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A ring of either format and its device, for the tests of rings: each runs once for split and once
 * for packed.
 */
#ifndef XB_TESTS_VRING_PAIR_H
#define XB_TESTS_VRING_PAIR_H

#include "support/device_ring.h"
#include "support/must.h"
#include "virtio/vring.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <string.h>

#define EVENT_IDX (1ull << VIRTIO_RING_F_EVENT_IDX)
#define INDIRECT  (1ull << VIRTIO_RING_F_INDIRECT_DESC)
#define PACKED    (1ull << VIRTIO_F_RING_PACKED)

/* The rings' format: 0 or PACKED. */
static uint64_t format;

/* A ring and its device. */
struct pair {
	struct xb_vring ring;
	struct device_ring device;
	void *mem;
	size_t bytes;
};

/* The device's addresses are others than ours. */
static const struct xb_iova_map map = {0x4000000000000000u};

static inline void pair_init(struct pair *pair, unsigned size, uint64_t features)
{
	struct xb_virtqueue queue;

	features |= format;
	pair->bytes = xb_vring_bytes(size, features);
	pair->mem = aligned_alloc(4096, (pair->bytes + 4095) / 4096 * 4096);
	MUST(pair->mem);
	memset(pair->mem, 0, pair->bytes);
	assert_int_equal(xb_vring_init(&pair->ring, pair->mem, size, features, map), 0);
	queue = xb_vring_virtqueue(&pair->ring);
	device_ring_init(&pair->device, &queue, map, features);
}

static inline void pair_fini(struct pair *pair)
{
	xb_vring_fini(&pair->ring);
	free(pair->mem);
}

static inline unsigned n_free(const struct xb_vring *ring)
{
	return ring->is_packed ? ring->packed.n_free : ring->split.n_free;
}

static inline void add_one(struct xb_vring *ring, bool in, uint32_t len, void *cookie)
{
	static uint8_t memory[4096];
	struct xb_vring_buf buf = {memory, len};

	xb_vring_add(ring, &buf, 1, in, cookie);
}

#endif
