/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The driver side of a split virtqueue (virtio 1.2, 2.7), with EVENT_IDX and INDIRECT.
 *
 *      driver (we)                                device
 *      desc[], avail->ring[], avail->idx  ──►     reads what avail->idx (release) covers
 *      reads what used->idx covers (acquire) ◄──  used->ring[], used->idx
 *
 * The rings are shared memory that the device writes. What we rely on (free list, what is posted
 * where) is kept in private memory; of the shared part we read used->idx and used elements only,
 * each once, and check them: a device that breaks the rules gets -EPROTO, never our memory.
 *
 * One thread at a time. No system call: xb_split_must_notify says when to make one.
 */
#ifndef XB_VIRTIO_SPLIT_H
#define XB_VIRTIO_SPLIT_H

#include "virtio/ring.h"

#include <linux/virtio_ring.h>

struct xb_split {
	uint16_t size;
	uint16_t n_free;
	uint16_t free_head;
	uint16_t avail_idx; /* next to fill; published up to published_idx */
	uint16_t published_idx;
	uint16_t notified_idx; /* avail->idx when we last asked whether to notify */
	uint16_t used_idx;     /* next used element to look at */
	uint16_t reclaimed;    /* those below were looked at by xb_split_reclaim */
	bool event_idx;
	struct xb_iova_map map;    /* of the device */
	struct vring vring;        /* shared */
	struct vring_desc *tables; /* shared: size × XB_VRING_CHAIN_MAX, NULL without INDIRECT */
	struct xb_posted *posted;  /* size */
};

/** Bytes of shared memory for a ring of `size` (a power of two), page-aligned. */
size_t xb_split_bytes(unsigned size, bool indirect);

/**
 * Lays out an empty ring.
 *
 * @mem:      xb_split_bytes(size, indirect), zeroed; stays the caller's.
 * @features: what was negotiated (VIRTIO_RING_F_EVENT_IDX, _INDIRECT_DESC).
 * @map:      where the device sees `mem`, and all that will be posted.
 *
 * Returns 0, -EINVAL (size not a power of two, or over XB_VRING_SIZE_MAX) or -ENOMEM.
 */
int xb_split_init(struct xb_split *ring, void *mem, unsigned size, uint64_t features,
		  struct xb_iova_map map);
void xb_split_fini(struct xb_split *ring);

/** Lays the same ring out anew, empty, on its memory. All chains have been reclaimed. */
void xb_split_renew(struct xb_split *ring);

/** The ring as the device is to be told of it: empty, as init and renew leave it. */
struct xb_virtqueue xb_split_virtqueue(const struct xb_split *ring);

/** Chains of `n` buffers that can be posted now; with INDIRECT each takes one descriptor. */
static inline bool xb_split_has_room(const struct xb_split *ring, unsigned n)
{
	return ring->n_free >= (ring->tables && n > 1 ? 1 : n);
}

/**
 * Posts a chain that the device reads (`in` false) or writes (`in` true). Not visible to the device
 * before xb_split_publish. The caller has made sure of room, n ≥ 1 and n ≤ XB_VRING_CHAIN_MAX.
 *
 * @cookie: what xb_split_take gives back; not NULL.
 */
void xb_split_add(struct xb_split *ring, const struct xb_vring_buf *bufs, unsigned n, bool in,
		  void *cookie);

/** Makes all posted chains visible to the device. */
void xb_split_publish(struct xb_split *ring);

/** Whether the device wants to be told about what was published since the last call. */
bool xb_split_must_notify(struct xb_split *ring);

/**
 * Takes the next chain that the device has used.
 *
 * @ret_len: bytes that the device wrote, at most what was posted for writing.
 *
 * Returns 1, 0 (none), or -EPROTO: the device named a chain that is not outstanding, claimed more
 * bytes than were posted, or its index ran ahead of what is posted. The ring is to be reset then.
 */
int xb_split_take(struct xb_split *ring, void **ret_cookie, uint32_t *ret_len);

/** Chains that were posted and not taken back. */
static inline unsigned xb_split_outstanding(const struct xb_split *ring)
{
	return (uint16_t)(ring->avail_idx - ring->used_idx);
}

/** Whether a used chain waits to be taken. */
bool xb_split_has_used(const struct xb_split *ring);

/** Asks for a call at the next used chain. Returns false where one is there already. */
bool xb_split_arm(struct xb_split *ring);
/** No calls wanted. */
void xb_split_disarm(struct xb_split *ring);

/** After a reset, when the device no longer touches the ring: hands over each chain still
 *  outstanding, in no order. Returns NULL when there is none left. The ring is not used again
 * before xb_split_renew. */
void *xb_split_reclaim(struct xb_split *ring);

#endif
