/* SPDX-License-Identifier: BSD-2-Clause */
#include "virtio/split.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define RING_ALIGN 4096u

size_t xb_split_bytes(unsigned size, bool indirect)
{
	size_t tables = indirect ? (size_t)size * XB_VRING_CHAIN_MAX * sizeof(struct vring_desc)
				 : 0;

	return xb_round_up(vring_size(size, RING_ALIGN), RING_ALIGN) + tables;
}

/* All descriptors are free, none has been posted. */
static void empty(struct xb_split *ring)
{
	for (unsigned i = 0; i < ring->size; i++)
		ring->posted[i] = (struct xb_posted){.next = (uint16_t)(i + 1)};
	ring->n_free = ring->size;
	ring->free_head = 0;
	ring->avail_idx = ring->published_idx = ring->notified_idx = 0;
	ring->used_idx = ring->reclaimed = 0;
}

int xb_split_init(struct xb_split *ring, void *mem, unsigned size, uint64_t features,
		  struct xb_iova_map map)
{
	struct xb_posted *posted;

	if (!size || size > XB_VRING_SIZE_MAX || size & (size - 1))
		return -EINVAL;
	posted = calloc(size, sizeof(*posted));
	if (!posted)
		return -ENOMEM;
	*ring = (struct xb_split){
		.size = (uint16_t)size,
		.event_idx = features >> VIRTIO_RING_F_EVENT_IDX & 1,
		.map = map,
		.posted = posted,
	};
	empty(ring);
	vring_init(&ring->vring, size, mem, RING_ALIGN);
	if (features >> VIRTIO_RING_F_INDIRECT_DESC & 1)
		ring->tables = (struct vring_desc *)((uint8_t *)mem +
						     xb_round_up(vring_size(size, RING_ALIGN),
								 RING_ALIGN));
	xb_split_disarm(ring);
	return 0;
}

struct xb_virtqueue xb_split_virtqueue(const struct xb_split *ring)
{
	return (struct xb_virtqueue){
		.size = ring->size,
		.desc = xb_iova_of(ring->map, ring->vring.desc),
		.driver = xb_iova_of(ring->map, ring->vring.avail),
		.device = xb_iova_of(ring->map, ring->vring.used),
	};
}

void xb_split_renew(struct xb_split *ring)
{
	/* tables need no zeroes: each is filled before it is posted */
	memset(ring->vring.desc, 0, xb_split_bytes(ring->size, false));
	empty(ring);
	xb_split_disarm(ring);
}

void xb_split_fini(struct xb_split *ring)
{
	free(ring->posted);
	*ring = (struct xb_split){0};
}

/* ---- posting ---- */

static void fill_table(const struct xb_split *ring, struct vring_desc *table,
		       const struct xb_vring_buf *bufs, unsigned n, uint16_t flags)
{
	for (unsigned i = 0; i < n; i++)
		table[i] = (struct vring_desc){
			.addr = xb_iova_of(ring->map, bufs[i].addr).at,
			.len = bufs[i].len,
			.flags = (uint16_t)(flags | (i + 1 < n ? VRING_DESC_F_NEXT : 0)),
			.next = (uint16_t)(i + 1),
		};
}

void xb_split_add(struct xb_split *ring, const struct xb_vring_buf *bufs, unsigned n, bool in,
		  void *cookie)
{
	uint16_t flags = in ? VRING_DESC_F_WRITE : 0;
	uint16_t head = ring->free_head;
	uint16_t at = head;
	uint32_t bytes = 0;
	bool indirect = ring->tables && n > 1;
	unsigned n_desc = indirect ? 1 : n;

	assert(cookie && n && n <= XB_VRING_CHAIN_MAX && n_desc <= ring->n_free);
	if (indirect) {
		struct vring_desc *table = ring->tables + (size_t)head * XB_VRING_CHAIN_MAX;

		fill_table(ring, table, bufs, n, flags);
		ring->vring.desc[head] = (struct vring_desc){
			.addr = xb_iova_of(ring->map, table).at,
			.len = (uint32_t)(n * sizeof(*table)),
			.flags = VRING_DESC_F_INDIRECT,
		};
		at = ring->posted[head].next;
	} else {
		for (unsigned i = 0; i < n; i++) {
			uint16_t next = ring->posted[at].next;

			ring->vring.desc[at] = (struct vring_desc){
				.addr = xb_iova_of(ring->map, bufs[i].addr).at,
				.len = bufs[i].len,
				.flags = (uint16_t)(flags | (i + 1 < n ? VRING_DESC_F_NEXT : 0)),
				.next = next,
			};
			at = next;
		}
	}
	for (unsigned i = 0; in && i < n; i++)
		bytes += bufs[i].len;
	ring->posted[head].cookie = cookie;
	ring->posted[head].in_bytes = bytes;
	ring->posted[head].n_desc = (uint16_t)n_desc;
	ring->free_head = at;
	ring->n_free = (uint16_t)(ring->n_free - n_desc);
	ring->vring.avail->ring[ring->avail_idx & (ring->size - 1)] = head;
	ring->avail_idx++;
}

void xb_split_publish(struct xb_split *ring)
{
	if (ring->published_idx == ring->avail_idx)
		return;
	/* release: descriptors and ring entries are visible before the index that covers them; its
	 * partner is the device's acquire of avail->idx */
	xb_store_release(&ring->vring.avail->idx, ring->avail_idx);
	ring->published_idx = ring->avail_idx;
}

bool xb_split_must_notify(struct xb_split *ring)
{
	uint16_t old = ring->notified_idx;
	uint16_t new = ring->published_idx;

	if (old == new)
		return false;
	/* full barrier: our avail->idx is visible before we read what the device waits for; its
	 * partner stands between the device's write of avail_event (or flags) and its last look at
	 * avail->idx */
	atomic_thread_fence(memory_order_seq_cst);
	ring->notified_idx = new;
	if (ring->event_idx)
		return vring_need_event(xb_load_relaxed(&vring_avail_event(&ring->vring)), new,
					old);
	return !(xb_load_relaxed(&ring->vring.used->flags) & VRING_USED_F_NO_NOTIFY);
}

/* ---- taking back ---- */

bool xb_split_has_used(const struct xb_split *ring)
{
	return xb_load_relaxed(&ring->vring.used->idx) != ring->used_idx;
}

static void release(struct xb_split *ring, uint16_t head)
{
	struct xb_posted *chain = &ring->posted[head];
	uint16_t last = head;

	for (unsigned i = 1; i < chain->n_desc; i++)
		last = ring->posted[last].next;
	ring->posted[last].next = ring->free_head;
	ring->free_head = head;
	ring->n_free = (uint16_t)(ring->n_free + chain->n_desc);
	chain->cookie = NULL;
}

int xb_split_take(struct xb_split *ring, void **ret_cookie, uint32_t *ret_len)
{
	/* acquire: the used elements are read after the index that covers them; its partner is the
	 * device's release of used->idx */
	uint16_t idx = xb_load_acquire(&ring->vring.used->idx);
	const struct vring_used_elem *elem;
	struct xb_posted *chain;
	uint32_t id, len;

	if (idx == ring->used_idx)
		return 0;
	if ((uint16_t)(idx - ring->used_idx) > xb_split_outstanding(ring))
		return -EPROTO;
	elem = &ring->vring.used->ring[ring->used_idx & (ring->size - 1)];
	id = __atomic_load_n(&elem->id, __ATOMIC_RELAXED);
	len = __atomic_load_n(&elem->len, __ATOMIC_RELAXED);
	if (id >= ring->size)
		return -EPROTO;
	chain = &ring->posted[id];
	if (!chain->cookie || len > chain->in_bytes)
		return -EPROTO;
	*ret_cookie = chain->cookie;
	*ret_len = len;
	release(ring, (uint16_t)id);
	ring->used_idx++;
	return 1;
}

bool xb_split_arm(struct xb_split *ring)
{
	if (ring->event_idx)
		xb_store_relaxed(&vring_used_event(&ring->vring), ring->used_idx);
	else
		xb_store_relaxed(&ring->vring.avail->flags, 0);
	/* full barrier: what we ask for is visible before the last look; its partner stands between
	 * the device's write of used->idx and its read of used_event (or flags) */
	atomic_thread_fence(memory_order_seq_cst);
	return !xb_split_has_used(ring);
}

void xb_split_disarm(struct xb_split *ring)
{
	if (ring->event_idx)
		/* an index that the device has just passed comes again after 65536 chains only */
		xb_store_relaxed(&vring_used_event(&ring->vring), (uint16_t)(ring->used_idx - 1));
	else
		xb_store_relaxed(&ring->vring.avail->flags, VRING_AVAIL_F_NO_INTERRUPT);
}

void *xb_split_reclaim(struct xb_split *ring)
{
	for (; ring->reclaimed < ring->size; ring->reclaimed++) {
		void *cookie = ring->posted[ring->reclaimed].cookie;

		if (cookie) {
			release(ring, ring->reclaimed);
			ring->used_idx++;
			return cookie;
		}
	}
	return NULL;
}
