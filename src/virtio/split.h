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

/* Each function is the one of vring.h with the same name, for rings of this format; their contracts
 * are there. A size is a power of two up to XB_VRING_SIZE_MAX. -EPROTO from xb_split_take: the
 * device named a chain that is not outstanding, claimed more bytes than were posted, or its index
 * ran ahead of what is posted. */

size_t xb_split_bytes(unsigned size, bool indirect);
int xb_split_init(struct xb_split *ring, void *mem, unsigned size, uint64_t features,
		  struct xb_iova_map map);
void xb_split_fini(struct xb_split *ring);
void xb_split_renew(struct xb_split *ring);
struct xb_virtqueue xb_split_virtqueue(const struct xb_split *ring);

static inline bool xb_split_has_room(const struct xb_split *ring, unsigned n)
{
	return ring->n_free >= (ring->tables && n > 1 ? 1 : n);
}

void xb_split_add(struct xb_split *ring, const struct xb_vring_buf *bufs, unsigned n, bool in,
		  void *cookie);
void xb_split_publish(struct xb_split *ring);
bool xb_split_must_notify(struct xb_split *ring);
int xb_split_take(struct xb_split *ring, void **ret_cookie, uint32_t *ret_len);
bool xb_split_has_used(const struct xb_split *ring);
bool xb_split_arm(struct xb_split *ring);
void xb_split_disarm(struct xb_split *ring);
void *xb_split_reclaim(struct xb_split *ring);

static inline unsigned xb_split_outstanding(const struct xb_split *ring)
{
	return (uint16_t)(ring->avail_idx - ring->used_idx);
}

#endif
