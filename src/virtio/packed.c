/* SPDX-License-Identifier: BSD-2-Clause */
#include "virtio/packed.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define PAGE_BYTES 4096u
#define LINE_BYTES 64u /* what the two sides write lies in different cache lines */

#define F_AVAIL (1u << VRING_PACKED_DESC_F_AVAIL)
#define F_USED  (1u << VRING_PACKED_DESC_F_USED)

static_assert(sizeof(struct vring_packed_desc_event) == sizeof(uint32_t) &&
		      offsetof(struct vring_packed_desc_event, flags) == 2,
	      "an event suppression structure is read and written as one word");

/* The event suppression structures come after the descriptors, and tables on the next page. */
static size_t events_at(unsigned size)
{
	return xb_round_up(size * sizeof(struct vring_packed_desc), LINE_BYTES);
}

static size_t ring_bytes(unsigned size)
{
	return xb_round_up(events_at(size) + 2 * LINE_BYTES, PAGE_BYTES);
}

size_t xb_packed_bytes(unsigned size, bool indirect)
{
	size_t tables =
		indirect ? (size_t)size * XB_VRING_CHAIN_MAX * sizeof(struct vring_packed_desc) : 0;

	return ring_bytes(size) + tables;
}

/* All descriptors are free, none has been posted; both wrap counters begin at 1. */
static void clear(struct xb_packed *ring)
{
	for (unsigned i = 0; i < ring->size; i++)
		ring->posted[i] = (struct xb_posted){.next = (uint16_t)(i + 1)};
	ring->n_free = ring->size;
	ring->free_id = 0;
	ring->next_avail = ring->next_used = 0;
	ring->outstanding = ring->n_added = ring->reclaimed = 0;
	ring->pending = false;
	ring->avail_wrap = ring->used_wrap = true;
}

int xb_packed_init(struct xb_packed *ring, void *mem, unsigned size, uint64_t features,
		   struct xb_iova_map map)
{
	uint8_t *bytes = mem;
	struct xb_posted *posted;

	if (!size || size > XB_VRING_SIZE_MAX)
		return -EINVAL;
	posted = calloc(size, sizeof(*posted));
	if (!posted)
		return -ENOMEM;
	*ring = (struct xb_packed){
		.size = (uint16_t)size,
		.event_idx = features >> VIRTIO_RING_F_EVENT_IDX & 1,
		.map = map,
		.desc = mem,
		.driver_event = (uint32_t *)(bytes + events_at(size)),
		.device_event = (const uint32_t *)(bytes + events_at(size) + LINE_BYTES),
		.posted = posted,
	};
	clear(ring);
	if (features >> VIRTIO_RING_F_INDIRECT_DESC & 1)
		ring->tables = (struct vring_packed_desc *)(bytes + ring_bytes(size));
	xb_packed_disarm(ring);
	return 0;
}

struct xb_virtqueue xb_packed_virtqueue(const struct xb_packed *ring)
{
	const uint32_t start = 1u << VRING_PACKED_EVENT_F_WRAP_CTR;

	return (struct xb_virtqueue){
		.packed = true,
		.size = ring->size,
		.desc = xb_iova_of(ring->map, ring->desc),
		.driver = xb_iova_of(ring->map, ring->driver_event),
		.device = xb_iova_of(ring->map, ring->device_event),
		.base = start | start << 16,
	};
}

void xb_packed_renew(struct xb_packed *ring)
{
	/* tables need no zeroes: each is filled before it is posted */
	memset(ring->desc, 0, ring_bytes(ring->size));
	clear(ring);
	xb_packed_disarm(ring);
}

void xb_packed_fini(struct xb_packed *ring)
{
	free(ring->posted);
	*ring = (struct xb_packed){0};
}

/* ---- posting ---- */

static uint16_t avail_flags(const struct xb_packed *ring)
{
	return ring->avail_wrap ? F_AVAIL : F_USED;
}

static void advance(uint16_t *at, bool *wrap, unsigned n, uint16_t size)
{
	unsigned next = *at + n;

	if (next >= size) {
		next -= size;
		*wrap = !*wrap;
	}
	*at = (uint16_t)next;
}

/* Writes the next descriptor, but for its flags. */
static struct vring_packed_desc *fill(struct xb_packed *ring, const void *addr, uint32_t len,
				      uint16_t id)
{
	struct vring_packed_desc *desc = &ring->desc[ring->next_avail];

	desc->addr = xb_iova_of(ring->map, addr).at;
	desc->len = len;
	desc->id = id;
	return desc;
}

static void fill_table(const struct xb_packed *ring, struct vring_packed_desc *table,
		       const struct xb_vring_buf *bufs, unsigned n, uint16_t flags)
{
	for (unsigned i = 0; i < n; i++)
		table[i] = (struct vring_packed_desc){
			.addr = xb_iova_of(ring->map, bufs[i].addr).at,
			.len = bufs[i].len,
			.flags = flags,
		};
}

/* The head of a chain, all else of which is written. Of a batch's first, the flags wait. */
static void finish(struct xb_packed *ring, uint16_t head, uint16_t flags)
{
	if (!ring->pending) {
		ring->first = head;
		ring->first_flags = flags;
		ring->pending = true;
		return;
	}
	/* release: the chain is visible before its head's flags; its partner is the device's
	 * acquire of them */
	xb_store_release(&ring->desc[head].flags, flags);
}

static void add_indirect(struct xb_packed *ring, const struct xb_vring_buf *bufs, unsigned n,
			 uint16_t in, uint16_t id)
{
	struct vring_packed_desc *table = ring->tables + (size_t)id * XB_VRING_CHAIN_MAX;
	uint16_t head = ring->next_avail;
	uint16_t flags = (uint16_t)(avail_flags(ring) | VRING_DESC_F_INDIRECT);

	fill_table(ring, table, bufs, n, in);
	fill(ring, table, (uint32_t)(n * sizeof(*table)), id);
	advance(&ring->next_avail, &ring->avail_wrap, 1, ring->size);
	finish(ring, head, flags);
}

static void add_direct(struct xb_packed *ring, const struct xb_vring_buf *bufs, unsigned n,
		       uint16_t in, uint16_t id)
{
	uint16_t head = ring->next_avail;
	uint16_t head_flags = 0;

	for (unsigned i = 0; i < n; i++) {
		struct vring_packed_desc *desc = fill(ring, bufs[i].addr, bufs[i].len, id);
		uint16_t flags = (uint16_t)(avail_flags(ring) | in |
					    (i + 1 < n ? VRING_DESC_F_NEXT : 0));

		if (i)
			xb_store_relaxed(&desc->flags, flags);
		else
			head_flags = flags;
		advance(&ring->next_avail, &ring->avail_wrap, 1, ring->size);
	}
	finish(ring, head, head_flags);
}

void xb_packed_add(struct xb_packed *ring, const struct xb_vring_buf *bufs, unsigned n, bool in,
		   void *cookie)
{
	uint16_t flags = in ? VRING_DESC_F_WRITE : 0;
	uint16_t id = ring->free_id;
	bool indirect = ring->tables && n > 1;
	unsigned n_desc = indirect ? 1 : n;
	struct xb_posted *chain;
	uint32_t bytes = 0;

	assert(cookie && n && n <= XB_VRING_CHAIN_MAX && n_desc <= ring->n_free);
	if (indirect)
		add_indirect(ring, bufs, n, flags, id);
	else
		add_direct(ring, bufs, n, flags, id);
	for (unsigned i = 0; in && i < n; i++)
		bytes += bufs[i].len;
	chain = &ring->posted[id];
	ring->free_id = chain->next;
	chain->cookie = cookie;
	chain->in_bytes = bytes;
	chain->n_desc = (uint16_t)n_desc;
	ring->n_free = (uint16_t)(ring->n_free - n_desc);
	ring->n_added = (uint16_t)(ring->n_added + n_desc);
	ring->outstanding++;
}

void xb_packed_publish(struct xb_packed *ring)
{
	if (!ring->pending)
		return;
	/* release: the whole batch is visible before the flags that begin it; its partner is the
	 * device's acquire of them */
	xb_store_release(&ring->desc[ring->first].flags, ring->first_flags);
	ring->pending = false;
}

/* Whether the descriptor that the device waits for is among those added. */
static bool has_passed(const struct xb_packed *ring, uint16_t off_wrap, uint16_t n_added)
{
	bool wrap = off_wrap >> VRING_PACKED_EVENT_F_WRAP_CTR;
	uint16_t event = off_wrap & (uint16_t) ~(1u << VRING_PACKED_EVENT_F_WRAP_CTR);

	if (wrap != ring->avail_wrap) /* of the lap before */
		event = (uint16_t)(event - ring->size);
	return vring_need_event(event, ring->next_avail, (uint16_t)(ring->next_avail - n_added));
}

bool xb_packed_must_notify(struct xb_packed *ring)
{
	uint16_t n_added = ring->n_added;
	uint32_t event;

	if (!n_added || ring->pending)
		return false;
	/* full barrier: our descriptors are visible before we read what the device waits for; its
	 * partner stands between the device's write of that and its last look at the ring */
	atomic_thread_fence(memory_order_seq_cst);
	ring->n_added = 0;
	event = __atomic_load_n(ring->device_event, __ATOMIC_RELAXED);
	switch (event >> 16 & 3) {
	case VRING_PACKED_EVENT_FLAG_DISABLE:
		return false;
	case VRING_PACKED_EVENT_FLAG_DESC:
		return !ring->event_idx || has_passed(ring, (uint16_t)event, n_added);
	default:
		return true;
	}
}

/* ---- taking back ---- */

static bool is_used(const struct xb_packed *ring, uint16_t flags)
{
	return !(flags & F_AVAIL) != ring->used_wrap && !(flags & F_USED) != ring->used_wrap;
}

bool xb_packed_has_used(const struct xb_packed *ring)
{
	return is_used(ring, xb_load_relaxed(&ring->desc[ring->next_used].flags));
}

static void release(struct xb_packed *ring, uint16_t id)
{
	struct xb_posted *chain = &ring->posted[id];

	chain->cookie = NULL;
	chain->next = ring->free_id;
	ring->free_id = id;
	ring->n_free = (uint16_t)(ring->n_free + chain->n_desc);
	ring->outstanding--;
}

int xb_packed_take(struct xb_packed *ring, void **ret_cookie, uint32_t *ret_len)
{
	const struct vring_packed_desc *desc = &ring->desc[ring->next_used];
	struct xb_posted *chain;
	uint32_t len;
	uint16_t id;

	/* acquire: id and length are read after the flags that cover them, and so is what the
	 * device has written; its partner is the device's release of the flags */
	if (!is_used(ring, xb_load_acquire(&desc->flags)))
		return 0;
	id = xb_load_relaxed(&desc->id);
	len = __atomic_load_n(&desc->len, __ATOMIC_RELAXED);
	if (id >= ring->size)
		return -EPROTO;
	chain = &ring->posted[id];
	if (!chain->cookie || len > chain->in_bytes)
		return -EPROTO;
	*ret_cookie = chain->cookie;
	*ret_len = len;
	/* a branch, which is predicted: where the next one lies need not wait for this one's chain
	 */
	if (__builtin_expect(chain->n_desc == 1, 1))
		advance(&ring->next_used, &ring->used_wrap, 1, ring->size);
	else
		advance(&ring->next_used, &ring->used_wrap, chain->n_desc, ring->size);
	release(ring, id);
	return 1;
}

/* Offset and flags in one write, so that the device sees both of one wish. */
static void ask(struct xb_packed *ring, unsigned off_wrap, unsigned flags)
{
	__atomic_store_n(ring->driver_event, off_wrap | flags << 16, __ATOMIC_RELAXED);
}

bool xb_packed_arm(struct xb_packed *ring)
{
	if (ring->event_idx)
		ask(ring,
		    ring->next_used | (unsigned)ring->used_wrap << VRING_PACKED_EVENT_F_WRAP_CTR,
		    VRING_PACKED_EVENT_FLAG_DESC);
	else
		ask(ring, 0, VRING_PACKED_EVENT_FLAG_ENABLE);
	/* full barrier: what we ask for is visible before the last look; its partner stands between
	 * the device's write of a used descriptor and its read of our wish */
	atomic_thread_fence(memory_order_seq_cst);
	return !xb_packed_has_used(ring);
}

void xb_packed_disarm(struct xb_packed *ring)
{
	ask(ring, 0, VRING_PACKED_EVENT_FLAG_DISABLE);
}

void *xb_packed_reclaim(struct xb_packed *ring)
{
	for (; ring->reclaimed < ring->size; ring->reclaimed++) {
		void *cookie = ring->posted[ring->reclaimed].cookie;

		if (cookie) {
			release(ring, ring->reclaimed);
			return cookie;
		}
	}
	return NULL;
}
