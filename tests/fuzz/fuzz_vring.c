/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Used rings by a device that keeps to no rule: what the driver side gives back was posted, and is
 * given back once, with no more bytes than there was room for; whatever it refuses, all that is
 * outstanding can be reclaimed, and memory outside of the rings is left alone.
 *
 * Input: two bytes of set-up, then steps of a byte and what it wants.
 */
#include "virtio/vring.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(cond)              \
	do {                     \
		if (!(cond))     \
			abort(); \
	} while (0)

#define CHAINS 256u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
	const uint8_t *data;
	size_t left;
};

/* A chain as it was posted. */
struct posted {
	bool outstanding;
	uint32_t in_bytes;
};

static struct posted posted[CHAINS];
static unsigned n_posted, n_outstanding;

static uint8_t byte(struct input *in)
{
	if (!in->left)
		return 0;
	in->left--;
	return *in->data++;
}

static uint32_t word(struct input *in)
{
	uint32_t value = byte(in);

	for (unsigned i = 0; i < 3; i++)
		value = value << 8 | byte(in);
	return value;
}

static void post(struct xb_vring *ring, struct input *in)
{
	struct xb_vring_buf bufs[XB_VRING_CHAIN_MAX];
	unsigned n = 1 + byte(in) % XB_VRING_CHAIN_MAX;
	bool writable = byte(in) & 1;
	uint32_t room = 0;

	if (n_posted == CHAINS || !xb_vring_has_room(ring, n))
		return;
	for (unsigned i = 0; i < n; i++) {
		bufs[i] = (struct xb_vring_buf){&posted[i], byte(in)};
		room += bufs[i].len;
	}
	posted[n_posted] = (struct posted){true, writable ? room : 0};
	xb_vring_add(ring, bufs, n, writable, &posted[n_posted++]);
	n_outstanding++;
}

static void give_back(const struct posted *chain)
{
	CHECK(chain >= posted && chain < posted + n_posted && chain->outstanding);
	posted[chain - posted].outstanding = false;
	n_outstanding--;
}

/* Takes what there is; false after what the ring refuses. */
static bool take(struct xb_vring *ring)
{
	void *cookie = NULL;
	uint32_t len = 0;
	int ret;

	while ((ret = xb_vring_take(ring, &cookie, &len)) == 1) {
		CHECK(len <= ((struct posted *)cookie)->in_bytes);
		give_back(cookie);
	}
	CHECK(ret == 0 || ret == -EPROTO);
	CHECK(xb_vring_outstanding(ring) == n_outstanding);
	return ret == 0;
}

/* The device writes a used element, or the index. */
static void misuse_split(struct xb_split *ring, struct input *in, unsigned how)
{
	struct vring_used *used = ring->vring.used;

	if (how == 0) { /* likely in order */
		used->ring[used->idx % ring->size] =
			(struct vring_used_elem){byte(in) % (ring->size + 1), byte(in)};
		used->idx++;
	} else if (how == 1) {
		used->ring[byte(in) % ring->size] = (struct vring_used_elem){word(in), word(in)};
	} else {
		used->idx = (uint16_t)word(in);
	}
}

/* A used descriptor, in the right place or in any; or flags alone. */
static void misuse_packed(struct xb_packed *ring, struct input *in, unsigned how)
{
	const uint16_t both = 1u << VRING_PACKED_DESC_F_AVAIL | 1u << VRING_PACKED_DESC_F_USED;
	struct vring_packed_desc *next = &ring->desc[ring->next_used];

	if (how == 0)
		*next = (struct vring_packed_desc){
			.id = (uint16_t)(byte(in) % (ring->size + 1)),
			.len = byte(in),
			.flags = ring->used_wrap ? both : 0,
		};
	else if (how == 1)
		ring->desc[byte(in) % ring->size] = (struct vring_packed_desc){
			.id = (uint16_t)word(in), .len = word(in), .flags = (uint16_t)word(in)};
	else
		next->flags = (uint16_t)word(in);
}

/* What a device writes in its place, or anything anywhere in the rings. */
static void misbehave(struct xb_vring *ring, struct input *in, uint8_t *mem, size_t bytes)
{
	unsigned how = byte(in) % 4;

	if (how == 3)
		mem[word(in) % bytes] = byte(in);
	else if (ring->is_packed)
		misuse_packed(&ring->packed, in, how);
	else
		misuse_split(&ring->split, in, how);
}

static void end(struct xb_vring *ring)
{
	const struct posted *chain;

	while ((chain = xb_vring_reclaim(ring)))
		give_back(chain);
	CHECK(n_outstanding == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};
	unsigned ring_size = 1u << byte(&in) % 7;
	uint8_t features = byte(&in);
	uint64_t negotiated = (uint64_t)(features & 1) << VIRTIO_RING_F_INDIRECT_DESC |
			      (uint64_t)(features >> 1 & 1) << VIRTIO_RING_F_EVENT_IDX |
			      (uint64_t)(features >> 2 & 1) << VIRTIO_F_RING_PACKED;
	size_t bytes = xb_vring_bytes(ring_size, negotiated);
	bool goes_on = true;
	uint8_t *mem = aligned_alloc(4096, (bytes + 4095) / 4096 * 4096);
	struct xb_vring ring;

	CHECK(mem);
	memset(mem, 0, bytes);
	n_posted = n_outstanding = 0;
	CHECK(xb_vring_init(&ring, mem, ring_size, negotiated,
			    (struct xb_iova_map){0x4000000000000000u}) == 0);
	while (in.left && goes_on) {
		switch (byte(&in) % 4) {
		case 0:
			post(&ring, &in);
			break;
		case 1:
			xb_vring_publish(&ring);
			xb_vring_must_notify(&ring);
			break;
		case 2:
			misbehave(&ring, &in, mem, bytes);
			break;
		default:
			xb_vring_arm(&ring);
			goes_on = take(&ring);
			break;
		}
	}
	end(&ring);
	xb_vring_fini(&ring);
	free(mem);
	return 0;
}
