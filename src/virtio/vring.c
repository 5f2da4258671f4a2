/* SPDX-License-Identifier: BSD-2-Clause */
#include "virtio/vring.h"

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define RING_ALIGN 4096u

/* Shared fields are little-endian (virtio 1) and so is every host that we build for. */
static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "big-endian hosts need conversions here");

static uint16_t load_acquire(const uint16_t *p)
{
	return __atomic_load_n(p, __ATOMIC_ACQUIRE);
}

static uint16_t load_relaxed(const uint16_t *p)
{
	return __atomic_load_n(p, __ATOMIC_RELAXED);
}

static void store_release(uint16_t *p, uint16_t value)
{
	__atomic_store_n(p, value, __ATOMIC_RELEASE);
}

static void store_relaxed(uint16_t *p, uint16_t value)
{
	__atomic_store_n(p, value, __ATOMIC_RELAXED);
}

static size_t round_up(size_t n, size_t unit)
{
	return (n + unit - 1) / unit * unit;
}

size_t xb_vring_bytes(unsigned size, bool indirect)
{
	size_t tables = indirect ? (size_t)size * XB_VRING_CHAIN_MAX * sizeof(struct vring_desc)
				 : 0;

	return round_up(vring_size(size, RING_ALIGN), RING_ALIGN) + tables;
}

/* All descriptors are free, none has been posted. */
static void empty(struct xb_vring *ring)
{
	for (unsigned i = 0; i < ring->size; i++)
		ring->slots[i] = (struct xb_vring_slot){.next = (uint16_t)(i + 1)};
	ring->n_free = ring->size;
	ring->free_head = 0;
	ring->avail_idx = ring->published_idx = ring->notified_idx = 0;
	ring->used_idx = ring->reclaimed = 0;
}

int xb_vring_init(struct xb_vring *ring, void *mem, unsigned size, uint64_t features,
		  struct xb_iova_map map)
{
	struct xb_vring_slot *slots;

	if (!size || size > XB_VRING_SIZE_MAX || size & (size - 1))
		return -EINVAL;
	slots = calloc(size, sizeof(*slots));
	if (!slots)
		return -ENOMEM;
	*ring = (struct xb_vring){
		.size = (uint16_t)size,
		.event_idx = features >> VIRTIO_RING_F_EVENT_IDX & 1,
		.map = map,
		.slots = slots,
	};
	empty(ring);
	vring_init(&ring->vring, size, mem, RING_ALIGN);
	if (features >> VIRTIO_RING_F_INDIRECT_DESC & 1)
		ring->tables =
			(struct vring_desc *)((uint8_t *)mem +
					      round_up(vring_size(size, RING_ALIGN), RING_ALIGN));
	xb_vring_disarm(ring);
	return 0;
}

struct xb_virtqueue xb_vring_virtqueue(const struct xb_vring *ring)
{
	return (struct xb_virtqueue){
		.size = ring->size,
		.desc = xb_iova_of(ring->map, ring->vring.desc),
		.driver = xb_iova_of(ring->map, ring->vring.avail),
		.device = xb_iova_of(ring->map, ring->vring.used),
	};
}

void xb_vring_renew(struct xb_vring *ring)
{
	/* tables need no zeroes: each is filled before it is posted */
	memset(ring->vring.desc, 0, xb_vring_bytes(ring->size, false));
	empty(ring);
	xb_vring_disarm(ring);
}

void xb_vring_fini(struct xb_vring *ring)
{
	free(ring->slots);
	*ring = (struct xb_vring){0};
}

/* ---- posting ---- */

static void fill_table(const struct xb_vring *ring, struct vring_desc *table,
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

void xb_vring_add(struct xb_vring *ring, const struct xb_vring_buf *bufs, unsigned n, bool in,
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
		at = ring->slots[head].next;
	} else {
		for (unsigned i = 0; i < n; i++) {
			uint16_t next = ring->slots[at].next;

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
	ring->slots[head].cookie = cookie;
	ring->slots[head].in_bytes = bytes;
	ring->slots[head].n_desc = (uint16_t)n_desc;
	ring->free_head = at;
	ring->n_free = (uint16_t)(ring->n_free - n_desc);
	ring->vring.avail->ring[ring->avail_idx & (ring->size - 1)] = head;
	ring->avail_idx++;
}

void xb_vring_publish(struct xb_vring *ring)
{
	if (ring->published_idx == ring->avail_idx)
		return;
	/* release: descriptors and ring entries are visible before the index that covers them; its
	 * partner is the device's acquire of avail->idx */
	store_release(&ring->vring.avail->idx, ring->avail_idx);
	ring->published_idx = ring->avail_idx;
}

bool xb_vring_must_notify(struct xb_vring *ring)
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
		return vring_need_event(load_relaxed(&vring_avail_event(&ring->vring)), new, old);
	return !(load_relaxed(&ring->vring.used->flags) & VRING_USED_F_NO_NOTIFY);
}

/* ---- taking back ---- */

bool xb_vring_has_used(const struct xb_vring *ring)
{
	return load_relaxed(&ring->vring.used->idx) != ring->used_idx;
}

static void slot_free(struct xb_vring *ring, uint16_t head)
{
	struct xb_vring_slot *slot = &ring->slots[head];
	uint16_t last = head;

	for (unsigned i = 1; i < slot->n_desc; i++)
		last = ring->slots[last].next;
	ring->slots[last].next = ring->free_head;
	ring->free_head = head;
	ring->n_free = (uint16_t)(ring->n_free + slot->n_desc);
	slot->cookie = NULL;
}

int xb_vring_take(struct xb_vring *ring, void **ret_cookie, uint32_t *ret_len)
{
	/* acquire: the used elements are read after the index that covers them; its partner is the
	 * device's release of used->idx */
	uint16_t idx = load_acquire(&ring->vring.used->idx);
	const struct vring_used_elem *elem;
	struct xb_vring_slot *slot;
	uint32_t id, len;

	if (idx == ring->used_idx)
		return 0;
	if ((uint16_t)(idx - ring->used_idx) > xb_vring_outstanding(ring))
		return -EPROTO;
	elem = &ring->vring.used->ring[ring->used_idx & (ring->size - 1)];
	id = __atomic_load_n(&elem->id, __ATOMIC_RELAXED);
	len = __atomic_load_n(&elem->len, __ATOMIC_RELAXED);
	if (id >= ring->size)
		return -EPROTO;
	slot = &ring->slots[id];
	if (!slot->cookie || len > slot->in_bytes)
		return -EPROTO;
	*ret_cookie = slot->cookie;
	*ret_len = len;
	slot_free(ring, (uint16_t)id);
	ring->used_idx++;
	return 1;
}

bool xb_vring_arm(struct xb_vring *ring)
{
	if (ring->event_idx)
		store_relaxed(&vring_used_event(&ring->vring), ring->used_idx);
	else
		store_relaxed(&ring->vring.avail->flags, 0);
	/* full barrier: what we ask for is visible before the last look; its partner stands between
	 * the device's write of used->idx and its read of used_event (or flags) */
	atomic_thread_fence(memory_order_seq_cst);
	return !xb_vring_has_used(ring);
}

void xb_vring_disarm(struct xb_vring *ring)
{
	if (ring->event_idx)
		/* an index that the device has just passed comes again after 65536 chains only */
		store_relaxed(&vring_used_event(&ring->vring), (uint16_t)(ring->used_idx - 1));
	else
		store_relaxed(&ring->vring.avail->flags, VRING_AVAIL_F_NO_INTERRUPT);
}

void *xb_vring_reclaim(struct xb_vring *ring)
{
	for (; ring->reclaimed < ring->size; ring->reclaimed++) {
		void *cookie = ring->slots[ring->reclaimed].cookie;

		if (cookie) {
			slot_free(ring, ring->reclaimed);
			ring->used_idx++;
			return cookie;
		}
	}
	return NULL;
}
