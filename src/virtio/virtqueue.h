/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A virtqueue as it is passed between driver, transport and backend (virtio 1.2, 2.6), and the
 * addresses that a device knows our memory by.
 */
#ifndef XB_VIRTIO_VIRTQUEUE_H
#define XB_VIRTIO_VIRTQUEUE_H

#include <stdbool.h>
#include <stdint.h>

/** An address as the device knows it (an I/O virtual address): what descriptors and queue areas are
 * named by. Not to be dereferenced. */
struct xb_iova {
	uint64_t at;
};

/** How a device sees the memory that is posted to it, all of which is one arena: so far from where
 * this process sees it, modulo 2^64. 0: at the same addresses. */
struct xb_iova_map {
	uint64_t offset;
};

/** The only way in which an address of this process becomes one of the device. */
static inline struct xb_iova xb_iova_of(struct xb_iova_map map, const void *addr)
{
	return (struct xb_iova){(uint64_t)(uintptr_t)addr + map.offset};
}

/** The way back, for what serves a ring in this process or on its behalf. */
static inline void *xb_iova_ptr(struct xb_iova_map map, struct xb_iova iova)
{
	return (void *)(uintptr_t)(iova.at - map.offset);
}

/** Where a device is to begin in a virtqueue, or was when it stopped. */
struct xb_virtqueue {
	bool packed;           /* else split */
	uint16_t size;         /* descriptors; 0: no queue */
	struct xb_iova desc;   /* descriptor table, or ring */
	struct xb_iova driver; /* available ring, or the driver's event suppression structure */
	struct xb_iova device; /* used ring, or the device's event suppression structure */
	/** Split: the index of the next available entry. Packed: bits 0 to 14 the next descriptor
	 * that is to become available, bit 15 its wrap counter; bits 16 to 31 likewise for the next
	 * used one. As VHOST_SET_VRING_BASE takes it. */
	uint32_t base;
};

#endif
