/* SPDX-License-Identifier: BSD-2-Clause */
#include "support/device_ring.h"
#include "support/must.h"

#include <stdatomic.h>

#define F_AVAIL (1u << VRING_PACKED_DESC_F_AVAIL)
#define F_USED  (1u << VRING_PACKED_DESC_F_USED)

void device_packed_init(struct device_ring *ring, const struct xb_virtqueue *queue)
{
	MUST(queue->size && queue->base == 0x80008000u);
	MUST(queue->desc.at % 16 == 0 && queue->driver.at % 4 == 0 && queue->device.at % 4 == 0);
	ring->packed = (struct device_packed){
		.size = queue->size,
		.desc = xb_iova_ptr(ring->map, queue->desc),
		.driver_event = xb_iova_ptr(ring->map, queue->driver),
		.device_event = xb_iova_ptr(ring->map, queue->device),
		.avail_wrap = true,
		.used_wrap = true,
		.called_wrap = true,
	};
}

static void step(const struct device_packed *ring, uint16_t *at, bool *wrap, unsigned n)
{
	MUST(n <= ring->size);
	*wrap ^= *at + n >= ring->size;
	*at = (uint16_t)((*at + n) % ring->size);
}

/* The driver's counter at this descriptor; it is available where USED is the opposite. */
static bool is_available(uint16_t flags, bool wrap)
{
	return !!(flags & F_AVAIL) == wrap && !!(flags & F_USED) != wrap;
}

static uint16_t flags_of(const struct device_packed *ring, uint16_t at)
{
	return __atomic_load_n(&ring->desc[at].flags, __ATOMIC_ACQUIRE);
}

unsigned device_packed_waiting(const struct device_ring *device)
{
	const struct device_packed *ring = &device->packed;
	uint16_t at = ring->next_avail;
	bool wrap = ring->avail_wrap;
	unsigned chains = 0;

	for (unsigned seen = 0; seen < ring->size && is_available(flags_of(ring, at), wrap);) {
		bool more;

		do {
			more = flags_of(ring, at) & VRING_DESC_F_NEXT;
			step(ring, &at, &wrap, 1);
			MUST(++seen <= ring->size);
		} while (more);
		chains++;
	}
	return chains;
}

static void walk_table(const struct device_ring *device, struct device_chain *chain,
		       const struct vring_packed_desc *head)
{
	const struct vring_packed_desc *table = xb_iova_ptr(device->map,
							    (struct xb_iova){head->addr});

	/* 2.8.7: no flag but WRITE in a table, none but INDIRECT outside */
	MUST(device->indirect && head->len && head->len % sizeof(*table) == 0);
	for (unsigned i = 0; i < head->len / sizeof(*table); i++) {
		MUST(!(table[i].flags & ~VRING_DESC_F_WRITE));
		device_chain_add(chain, device->map, table[i].addr, table[i].len,
				 table[i].flags & VRING_DESC_F_WRITE);
	}
}

bool device_packed_get(struct device_ring *device, struct device_chain *ret_chain)
{
	struct device_packed *ring = &device->packed;
	uint16_t flags = flags_of(ring, ring->next_avail);
	unsigned n = 0;
	uint16_t id;

	if (!is_available(flags, ring->avail_wrap))
		return false;
	ret_chain->n = 0;
	ret_chain->bytes = 0;
	ret_chain->table = flags & VRING_DESC_F_INDIRECT;
	do {
		const struct vring_packed_desc *desc = &ring->desc[ring->next_avail];

		flags = flags_of(ring, ring->next_avail);
		MUST(is_available(flags, ring->avail_wrap)); /* each of a chain */
		flags &= (uint16_t) ~(F_AVAIL | F_USED);
		id = desc->id;
		if (ret_chain->table) {
			MUST(!n && flags == VRING_DESC_F_INDIRECT);
			walk_table(device, ret_chain, desc);
		} else {
			MUST(!(flags & ~(VRING_DESC_F_NEXT | VRING_DESC_F_WRITE)));
			device_chain_add(ret_chain, device->map, desc->addr, desc->len,
					 flags & VRING_DESC_F_WRITE);
		}
		step(ring, &ring->next_avail, &ring->avail_wrap, 1);
		n++;
	} while (flags & VRING_DESC_F_NEXT);
	MUST(ret_chain->n <= ring->size); /* in a table, too */
	MUST(id < ring->size && id < DEVICE_PACKED_MAX && !ring->held[id]);
	ring->held[id] = true;
	ring->n_desc[id] = (uint16_t)n;
	ret_chain->head = id;
	return true;
}

void device_packed_unget(struct device_packed *ring, const struct device_chain *chain)
{
	unsigned back = ring->n_desc[chain->head];

	ring->avail_wrap ^= back > ring->next_avail;
	ring->next_avail = (uint16_t)((ring->next_avail + ring->size - back) % ring->size);
	ring->held[chain->head] = false;
}

void device_packed_put(struct device_packed *ring, uint32_t id, uint32_t len)
{
	uint16_t flags = ring->used_wrap ? F_AVAIL | F_USED : 0;
	struct vring_packed_desc *desc = &ring->desc[ring->next_used];

	/* relaxed, since a hostile device writes beside the driver's reads */
	__atomic_store_n(&desc->id, (uint16_t)id, __ATOMIC_RELAXED);
	__atomic_store_n(&desc->len, len, __ATOMIC_RELAXED);
	if (ring->pending) {
		__atomic_store_n(&desc->flags, flags, __ATOMIC_RELEASE);
	} else {
		ring->pending = true;
		ring->first = ring->next_used;
		ring->first_flags = flags;
	}
	if (id < DEVICE_PACKED_MAX)
		ring->held[id] = false;
	step(ring, &ring->next_used, &ring->used_wrap,
	     id < DEVICE_PACKED_MAX && ring->n_desc[id] ? ring->n_desc[id] : 1);
}

void device_packed_flush(struct device_packed *ring)
{
	if (ring->pending)
		__atomic_store_n(&ring->desc[ring->first].flags, ring->first_flags,
				 __ATOMIC_RELEASE);
	ring->pending = false;
}

void device_packed_jump(struct device_packed *ring)
{
	for (unsigned i = 0; i < ring->size; i++)
		__atomic_store_n(&ring->desc[i].flags, ring->used_wrap ? F_AVAIL | F_USED : 0,
				 __ATOMIC_RELEASE);
}

bool device_packed_must_call(struct device_ring *device)
{
	struct device_packed *ring = &device->packed;
	uint16_t old = ring->called_used, new = ring->next_used;
	uint32_t wish;
	uint16_t event;

	MUST(!ring->pending);
	atomic_thread_fence(memory_order_seq_cst);
	if (old == new && ring->called_wrap == ring->used_wrap)
		return false;
	if (ring->called_wrap != ring->used_wrap)
		old = (uint16_t)(old - ring->size);
	ring->called_used = new;
	ring->called_wrap = ring->used_wrap;
	wish = __atomic_load_n(ring->driver_event, __ATOMIC_RELAXED);
	MUST(wish >> 16 <= VRING_PACKED_EVENT_FLAG_DESC);
	if (wish >> 16 != VRING_PACKED_EVENT_FLAG_DESC)
		return wish >> 16 == VRING_PACKED_EVENT_FLAG_ENABLE;
	MUST(device->event_idx);
	event = wish & 0x7fff;
	MUST(event < ring->size);
	if ((bool)(wish >> 15 & 1) != ring->used_wrap)
		event = (uint16_t)(event - ring->size);
	return vring_need_event(event, new, old);
}

void device_packed_ask(struct device_ring *device)
{
	struct device_packed *ring = &device->packed;
	uint32_t place = ring->next_avail | (uint32_t)ring->avail_wrap << 15;

	__atomic_store_n(ring->device_event,
			 device->event_idx ? place | (uint32_t)VRING_PACKED_EVENT_FLAG_DESC << 16
					   : (uint32_t)VRING_PACKED_EVENT_FLAG_ENABLE << 16,
			 __ATOMIC_RELAXED);
}

void device_packed_hush(struct device_packed *ring)
{
	__atomic_store_n(ring->device_event, (uint32_t)VRING_PACKED_EVENT_FLAG_DISABLE << 16,
			 __ATOMIC_RELAXED);
}
