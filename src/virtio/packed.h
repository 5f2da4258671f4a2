/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The driver side of a packed virtqueue (virtio 1.2, 2.8), with EVENT_IDX and INDIRECT.
 *
 *      driver (we)                                        device
 *      desc[n]: address, length, id, flags (release) ──►  reads what the flags say is available
 *      reads what the flags say is used (acquire)    ◄──  desc[m]: id, length, flags
 *
 * Both sides go round one ring, each with a counter that flips at its end: a descriptor is
 * available where its flag AVAIL is the driver's counter and USED is not, and used where both are
 * the counter of who reads it. The device writes one used descriptor for each chain, in any order
 * of chains, and passes over as many as the chain had.
 *
 *      desc[]  │ used  used  (passed over) │ with the device  … │ free … │
 *                                          next_used            next_avail
 *
 * The ring is shared memory in which the device may write anything at any time, our descriptors
 * included. We never read those again: what is posted under which id is kept in private memory. Of
 * the shared part we read flags, id and length of the next used descriptor and the device's event
 * suppression structure, each once, and check them: a device that breaks the rules gets -EPROTO,
 * never our memory.
 *
 * The flags of the first descriptor of a batch are written last, by xb_packed_publish: a device
 * takes descriptors in their order, so that it sees all of the batch or nothing.
 *
 * One thread at a time. No system call: xb_packed_must_notify says when to make one.
 */
#ifndef XB_VIRTIO_PACKED_H
#define XB_VIRTIO_PACKED_H

#include "virtio/ring.h"

#include <linux/virtio_ring.h>

struct xb_packed {
	uint16_t size;
	uint16_t n_free;      /* descriptors that can be posted */
	uint16_t free_id;     /* first of the ids that are not in use */
	uint16_t next_avail;  /* next descriptor to fill */
	uint16_t next_used;   /* next one that the device will mark as used */
	uint16_t outstanding; /* chains */
	uint16_t n_added;     /* descriptors since xb_packed_must_notify last asked */
	uint16_t first;       /* descriptor of the batch whose flags are to be written last */
	uint16_t first_flags;
	uint16_t reclaimed; /* ids below were looked at by xb_packed_reclaim */
	bool pending;       /* there is a batch that is not published */
	bool avail_wrap, used_wrap;
	bool event_idx;
	struct xb_iova_map map;           /* of the device */
	struct vring_packed_desc *desc;   /* shared: size */
	uint32_t *driver_event;           /* shared: struct vring_packed_desc_event, as one word */
	const uint32_t *device_event;     /* shared: likewise */
	struct vring_packed_desc *tables; /* shared: size × XB_VRING_CHAIN_MAX; NULL: no INDIRECT */
	struct xb_posted *posted;         /* size, by id */
};

/* Each function is the one of vring.h with the same name, for rings of this format; their contracts
 * are there. A size is 1 to XB_VRING_SIZE_MAX. -EPROTO from xb_packed_take: the device
 * named a chain that is not outstanding, or claimed more bytes than were posted. */

size_t xb_packed_bytes(unsigned size, bool indirect);
int xb_packed_init(struct xb_packed *ring, void *mem, unsigned size, uint64_t features,
		   struct xb_iova_map map);
void xb_packed_fini(struct xb_packed *ring);
void xb_packed_renew(struct xb_packed *ring);
struct xb_virtqueue xb_packed_virtqueue(const struct xb_packed *ring);

static inline bool xb_packed_has_room(const struct xb_packed *ring, unsigned n)
{
	return ring->n_free >= (ring->tables && n > 1 ? 1 : n);
}

void xb_packed_add(struct xb_packed *ring, const struct xb_vring_buf *bufs, unsigned n, bool in,
		   void *cookie);
void xb_packed_publish(struct xb_packed *ring);
bool xb_packed_must_notify(struct xb_packed *ring);
int xb_packed_take(struct xb_packed *ring, void **ret_cookie, uint32_t *ret_len);
bool xb_packed_has_used(const struct xb_packed *ring);
bool xb_packed_arm(struct xb_packed *ring);
void xb_packed_disarm(struct xb_packed *ring);
void *xb_packed_reclaim(struct xb_packed *ring);

#endif
