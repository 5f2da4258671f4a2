/* SPDX-License-Identifier: BSD-2-Clause */
#include "support/device_ring.h"

#include "support/must.h"

#include <linux/virtio_config.h>
#include <stdatomic.h>
#include <string.h>

void device_ring_init(struct device_ring *ring, const struct xb_virtqueue *queue,
		      struct xb_iova_map map, uint64_t features)
{
	*ring = (struct device_ring){
		.is_packed = queue->packed,
		.event_idx = features >> VIRTIO_RING_F_EVENT_IDX & 1,
		.indirect = features >> VIRTIO_RING_F_INDIRECT_DESC & 1,
		.map = map,
	};
	MUST(queue->packed == (features >> VIRTIO_F_RING_PACKED & 1));
	if (queue->packed) {
		device_packed_init(ring, queue);
		return;
	}
	MUST(!queue->base);
	ring->vring = (struct vring){.num = queue->size,
				     .desc = xb_iova_ptr(map, queue->desc),
				     .avail = xb_iova_ptr(map, queue->driver),
				     .used = xb_iova_ptr(map, queue->device)};
}

unsigned device_ring_size(const struct device_ring *ring)
{
	return ring->is_packed ? ring->packed.size : ring->vring.num;
}

uint32_t device_ring_base(const struct device_ring *ring)
{
	const struct device_packed *packed = &ring->packed;

	if (!ring->is_packed)
		return ring->next_avail;
	return packed->next_avail | (uint32_t)packed->avail_wrap << 15 |
	       (uint32_t)packed->next_used << 16 | (uint32_t)packed->used_wrap << 31;
}

unsigned device_ring_waiting(const struct device_ring *ring)
{
	uint16_t idx, n;

	if (ring->is_packed)
		return device_packed_waiting(ring);
	idx = __atomic_load_n(&ring->vring.avail->idx, __ATOMIC_ACQUIRE);
	n = (uint16_t)(idx - ring->next_avail);
	MUST(n <= ring->vring.num);
	return n;
}

void device_chain_add(struct device_chain *chain, struct xb_iova_map map, uint64_t addr,
		      uint32_t len, bool writable)
{
	MUST(chain->n < DEVICE_BUFS_MAX);
	MUST(!chain->n || writable == chain->writable);
	MUST(len);
	chain->writable = writable;
	chain->bytes += len;
	chain->bufs[chain->n++] = (struct device_buf){xb_iova_ptr(map, (struct xb_iova){addr}),
						      len};
}

/* Walks descriptors from `at` on in a table of `size`. */
static void walk(const struct device_ring *ring, struct device_chain *chain,
		 const struct vring_desc *table, unsigned size, unsigned at)
{
	for (unsigned steps = 0;; steps++) {
		MUST(at < size && steps < size);
		MUST(!(table[at].flags & ~(VRING_DESC_F_NEXT | VRING_DESC_F_WRITE)));
		device_chain_add(chain, ring->map, table[at].addr, table[at].len,
				 table[at].flags & VRING_DESC_F_WRITE);
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

	if (ring->is_packed)
		return device_packed_get(ring, ret_chain);
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

void device_ring_unget(struct device_ring *ring, const struct device_chain *chain)
{
	if (ring->is_packed)
		device_packed_unget(&ring->packed, chain);
	else
		ring->next_avail--;
}

void device_ring_put(struct device_ring *ring, uint32_t id, uint32_t len)
{
	struct vring_used_elem *elem;

	if (ring->is_packed) {
		device_packed_put(&ring->packed, id, len);
		return;
	}
	elem = &ring->vring.used->ring[ring->next_used++ & (ring->vring.num - 1)];
	/* relaxed, since a hostile device writes beside the driver's reads */
	__atomic_store_n(&elem->id, id, __ATOMIC_RELAXED);
	__atomic_store_n(&elem->len, len, __ATOMIC_RELAXED);
}

void device_ring_jump(struct device_ring *ring)
{
	if (ring->is_packed)
		device_packed_jump(&ring->packed);
	else
		ring->next_used = (uint16_t)(ring->next_used + ring->vring.num + 1);
}

void device_ring_flush(struct device_ring *ring)
{
	if (ring->is_packed) {
		device_packed_flush(&ring->packed);
		return;
	}
	ring->shown_used = ring->next_used;
	__atomic_store_n(&ring->vring.used->idx, ring->shown_used, __ATOMIC_RELEASE);
}

bool device_ring_must_call(struct device_ring *ring)
{
	uint16_t old = ring->called_idx;

	if (ring->is_packed)
		return device_packed_must_call(ring);
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
	if (ring->is_packed)
		device_packed_ask(ring);
	else if (ring->event_idx)
		__atomic_store_n(&vring_avail_event(&ring->vring), ring->next_avail,
				 __ATOMIC_RELAXED);
	else
		__atomic_store_n(&ring->vring.used->flags, 0, __ATOMIC_RELAXED);
}

void device_ring_hush(struct device_ring *ring)
{
	if (ring->is_packed)
		device_packed_hush(&ring->packed);
	else if (!ring->event_idx)
		__atomic_store_n(&ring->vring.used->flags, VRING_USED_F_NO_NOTIFY,
				 __ATOMIC_RELAXED);
}
