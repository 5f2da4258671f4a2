/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The driver side of a virtqueue of either format: split (split.h) or packed (packed.h), as
 * VIRTIO_F_RING_PACKED was negotiated. Which of them is one predictable branch in a call.
 *
 * What is the same for both: a ring is shared memory in which the device may write anything at any
 * time; it gets -EPROTO for that, never our memory. One thread at a time. No system call:
 * xb_vring_must_notify says when to make one.
 */
#ifndef XB_VIRTIO_VRING_H
#define XB_VIRTIO_VRING_H

#include "virtio/packed.h"
#include "virtio/split.h"

#include <linux/virtio_config.h>

struct xb_vring {
	bool is_packed;
	union {
		struct xb_split split;
		struct xb_packed packed;
	};
};

/** Bytes of shared memory for a ring of `size` with these features, page-aligned. */
static inline size_t xb_vring_bytes(unsigned size, uint64_t features)
{
	bool indirect = features >> VIRTIO_RING_F_INDIRECT_DESC & 1;

	return features >> VIRTIO_F_RING_PACKED & 1 ? xb_packed_bytes(size, indirect)
						    : xb_split_bytes(size, indirect);
}

/**
 * Lays out an empty ring.
 *
 * @mem:      xb_vring_bytes(size, features), zeroed; stays the caller's.
 * @features: what was negotiated (VIRTIO_F_RING_PACKED, VIRTIO_RING_F_EVENT_IDX, _INDIRECT_DESC).
 * @map:      where the device sees `mem`, and all that will be posted.
 *
 * Returns 0, -EINVAL (a size that the format hasn't got) or -ENOMEM.
 */
static inline int xb_vring_init(struct xb_vring *ring, void *mem, unsigned size, uint64_t features,
				struct xb_iova_map map)
{
	ring->is_packed = features >> VIRTIO_F_RING_PACKED & 1;
	return ring->is_packed ? xb_packed_init(&ring->packed, mem, size, features, map)
			       : xb_split_init(&ring->split, mem, size, features, map);
}

static inline void xb_vring_fini(struct xb_vring *ring)
{
	if (ring->is_packed)
		xb_packed_fini(&ring->packed);
	else
		xb_split_fini(&ring->split);
}

/** Lays the same ring out anew, empty, on its memory. All chains have been reclaimed. */
static inline void xb_vring_renew(struct xb_vring *ring)
{
	if (ring->is_packed)
		xb_packed_renew(&ring->packed);
	else
		xb_split_renew(&ring->split);
}

/** The ring as the device is to be told of it: empty, as init and renew leave it. */
static inline struct xb_virtqueue xb_vring_virtqueue(const struct xb_vring *ring)
{
	return ring->is_packed ? xb_packed_virtqueue(&ring->packed)
			       : xb_split_virtqueue(&ring->split);
}

/** Whether a chain of `n` buffers can be posted now; with INDIRECT it takes one descriptor. */
static inline bool xb_vring_has_room(const struct xb_vring *ring, unsigned n)
{
	return ring->is_packed ? xb_packed_has_room(&ring->packed, n)
			       : xb_split_has_room(&ring->split, n);
}

/**
 * Posts a chain that the device reads (`in` false) or writes (`in` true). Not visible to the device
 * before xb_vring_publish. The caller has made sure of room, n ≥ 1 and n ≤ XB_VRING_CHAIN_MAX.
 *
 * @cookie: what xb_vring_take gives back; not NULL.
 */
static inline void xb_vring_add(struct xb_vring *ring, const struct xb_vring_buf *bufs, unsigned n,
				bool in, void *cookie)
{
	if (ring->is_packed)
		xb_packed_add(&ring->packed, bufs, n, in, cookie);
	else
		xb_split_add(&ring->split, bufs, n, in, cookie);
}

/** Makes all posted chains visible to the device. */
static inline void xb_vring_publish(struct xb_vring *ring)
{
	if (ring->is_packed)
		xb_packed_publish(&ring->packed);
	else
		xb_split_publish(&ring->split);
}

/** Whether the device wants to be told about what was published since the last call. */
static inline bool xb_vring_must_notify(struct xb_vring *ring)
{
	return ring->is_packed ? xb_packed_must_notify(&ring->packed)
			       : xb_split_must_notify(&ring->split);
}

/**
 * Takes the next chain that the device has used.
 *
 * @ret_len: bytes that the device wrote, at most what was posted for writing.
 *
 * Returns 1, 0 (none), or -EPROTO: the device broke the ring's rules, and it is to be reset.
 */
static inline int xb_vring_take(struct xb_vring *ring, void **ret_cookie, uint32_t *ret_len)
{
	return ring->is_packed ? xb_packed_take(&ring->packed, ret_cookie, ret_len)
			       : xb_split_take(&ring->split, ret_cookie, ret_len);
}

/** Chains that were posted and not taken back. */
static inline unsigned xb_vring_outstanding(const struct xb_vring *ring)
{
	return ring->is_packed ? ring->packed.outstanding : xb_split_outstanding(&ring->split);
}

/** Whether a used chain waits to be taken. */
static inline bool xb_vring_has_used(const struct xb_vring *ring)
{
	return ring->is_packed ? xb_packed_has_used(&ring->packed)
			       : xb_split_has_used(&ring->split);
}

/** Asks for a call at the next used chain. Returns false where one is there already. */
static inline bool xb_vring_arm(struct xb_vring *ring)
{
	return ring->is_packed ? xb_packed_arm(&ring->packed) : xb_split_arm(&ring->split);
}

/** No calls wanted. */
static inline void xb_vring_disarm(struct xb_vring *ring)
{
	if (ring->is_packed)
		xb_packed_disarm(&ring->packed);
	else
		xb_split_disarm(&ring->split);
}

/** After a reset, when the device no longer touches the ring: hands over each chain still
 * outstanding, in no order. Returns NULL when there is none left. The ring is not used again
 * before xb_vring_renew. */
static inline void *xb_vring_reclaim(struct xb_vring *ring)
{
	return ring->is_packed ? xb_packed_reclaim(&ring->packed) : xb_split_reclaim(&ring->split);
}

#endif
