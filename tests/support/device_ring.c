/* SPDX-License-Identifier: BSD-2-Clause */
#include "support/device_ring.h"

#include "support/must.h"

#include <stdatomic.h>
#include <string.h>

void device_ring_init(struct device_ring *ring, const struct xb_virtqueue *queue,
		      struct xb_iova_map map, uint64_t features)
{
	MUST(!queue->packed && !queue->base);
	*ring = (struct device_ring){
		.vring = {.num = queue->size,
			  .desc = xb_iova_ptr(map, queue->desc),
			  .avail = xb_iova_ptr(map, queue->driver),
			  .used = xb_iova_ptr(map, queue->device)},
		.map = map,
		.event_idx = features >> VIRTIO_RING_F_EVENT_IDX & 1,
		.indirect = features >> VIRTIO_RING_F_INDIRECT_DESC & 1,
	};
}

unsigned device_ring_waiting(const struct device_ring *ring)
{
	uint16_t idx = __atomic_load_n(&ring->vring.avail->idx, __ATOMIC_ACQUIRE);
	uint16_t n = (uint16_t)(idx - ring->next_avail);

	MUST(n <= ring->vring.num);
	return n;
}

static void add_buf(const struct device_ring *ring, struct device_chain *chain,
		    const struct vring_desc *desc)
{
	bool writable = desc->flags & VRING_DESC_F_WRITE;

	MUST(chain->n < DEVICE_BUFS_MAX);
	MUST(!chain->n || writable == chain->writable);
	MUST(desc->len);
	chain->writable = writable;
	chain->bytes += desc->len;
	chain->bufs[chain->n++] = (struct device_buf){
		xb_iova_ptr(ring->map, (struct xb_iova){desc->addr}), desc->len};
}

/* Walks descriptors from `at` on in a table of `size`. */
static void walk(const struct device_ring *ring, struct device_chain *chain,
		 const struct vring_desc *table, unsigned size, unsigned at)
{
	for (unsigned steps = 0;; steps++) {
		MUST(at < size && steps < size);
		MUST(!(table[at].flags & ~(VRING_DESC_F_NEXT | VRING_DESC_F_WRITE)));
		add_buf(ring, chain, &table[at]);
		if (!(table[at].flags & VRING_DESC_F_NEXT))
			return;
		at = table[at].next;
	}
}

bool device_ring_get(struct device_ring *ring, struct device_chain *ret_chain)
{
	const struct vring_desc *desc;
	unsigned size = ring->vring.num;
	uint16_t head;

	if (!device_ring_waiting(ring))
		return false;
	head = ring->vring.avail->ring[ring->next_avail++ & (size - 1)];
	MUST(head < size);
	desc = &ring->vring.desc[head];
	ret_chain->head = head;
	ret_chain->n = 0;
	ret_chain->bytes = 0;
	ret_chain->table = desc->flags & VRING_DESC_F_INDIRECT;
	if (ret_chain->table) {
		MUST(ring->indirect && desc->flags == VRING_DESC_F_INDIRECT);
		MUST(desc->len && desc->len % sizeof(*desc) == 0);
		walk(ring, ret_chain, xb_iova_ptr(ring->map, (struct xb_iova){desc->addr}),
		     desc->len / (unsigned)sizeof(*desc), 0);
	} else {
		walk(ring, ret_chain, ring->vring.desc, size, head);
	}
	MUST(ret_chain->n <= size); /* 2.7.5.3.1: in a table, too */
	return true;
}

void device_ring_put(struct device_ring *ring, uint32_t id, uint32_t len)
{
	struct vring_used_elem *elem =
		&ring->vring.used->ring[ring->next_used++ & (ring->vring.num - 1)];

	/* relaxed, since a hostile device writes beside the driver's reads */
	__atomic_store_n(&elem->id, id, __ATOMIC_RELAXED);
	__atomic_store_n(&elem->len, len, __ATOMIC_RELAXED);
}

void device_ring_flush(struct device_ring *ring)
{
	ring->shown_used = ring->next_used;
	__atomic_store_n(&ring->vring.used->idx, ring->shown_used, __ATOMIC_RELEASE);
}

bool device_ring_must_call(struct device_ring *ring)
{
	uint16_t old = ring->called_idx;

	atomic_thread_fence(memory_order_seq_cst);
	ring->called_idx = ring->shown_used;
	if (old == ring->shown_used)
		return false;
	if (ring->event_idx)
		return vring_need_event(
			__atomic_load_n(&vring_used_event(&ring->vring), __ATOMIC_RELAXED),
			ring->shown_used, old);
	return !(__atomic_load_n(&ring->vring.avail->flags, __ATOMIC_RELAXED) &
		 VRING_AVAIL_F_NO_INTERRUPT);
}

void device_ring_ask(struct device_ring *ring)
{
	if (ring->event_idx)
		__atomic_store_n(&vring_avail_event(&ring->vring), ring->next_avail,
				 __ATOMIC_RELAXED);
	else
		__atomic_store_n(&ring->vring.used->flags, 0, __ATOMIC_RELAXED);
}

void device_ring_hush(struct device_ring *ring)
{
	if (!ring->event_idx)
		__atomic_store_n(&ring->vring.used->flags, VRING_USED_F_NO_NOTIFY,
				 __ATOMIC_RELAXED);
}
