/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/arena.h"

#include "core/calls.h"
#include "core/cleanup.h"
#include "core/memfd.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

XB_CALL(control, madvise);

#define PAGE_BYTES 4096u
#define HUGE_BYTES (2u << 20)

/* How much the kernel is to clear at once: until it has done so, no signal is delivered. */
#define POPULATE_BYTES (4u << 20)

static size_t round_up(size_t n, size_t unit)
{
	return (n + unit - 1) / unit * unit;
}

/* ---- the depot: a lock-free stack of bundles ---- */

static void depot_push(struct xb_arena *arena, struct xb_frame *head)
{
	uint64_t old = atomic_load_explicit(&arena->depot, memory_order_relaxed);
	uint64_t new;

	do {
		atomic_store_explicit(&head->next_bundle, (uint32_t)old, memory_order_relaxed);
		new = ((old >> 32) + 1) << 32 | (uint32_t)(head - arena->frames + 1);
		/* release: pairs with the acquire in depot_pop, so that the bundle's links are seen
		 */
	} while (!atomic_compare_exchange_weak_explicit(
		&arena->depot, &old, new, memory_order_release, memory_order_relaxed));
}

static struct xb_frame *depot_pop(struct xb_arena *arena)
{
	uint64_t old = atomic_load_explicit(&arena->depot, memory_order_acquire);
	struct xb_frame *head;
	uint64_t new;

	do {
		if (!(uint32_t)old)
			return NULL;
		/* Another worker may take this bundle now and reuse it. Then what we read here is
		 * stale, but the tag has changed, and the exchange fails. */
		head = &arena->frames[(uint32_t)old - 1];
		new = ((old >> 32) + 1) << 32 |
		      atomic_load_explicit(&head->next_bundle, memory_order_relaxed);
	} while (!atomic_compare_exchange_weak_explicit(
		&arena->depot, &old, new, memory_order_acquire, memory_order_acquire));
	return head;
}

static bool cache_refill(struct xb_cache *cache)
{
	struct xb_frame *frame = depot_pop(cache->arena);

	if (!frame)
		return false;
	for (; frame; frame = frame->next)
		cache->slot[cache->n++] = frame;
	return true;
}

static void cache_spill(struct xb_cache *cache, unsigned n)
{
	struct xb_frame *head = NULL;

	while (n--) {
		struct xb_frame *frame = cache->slot[--cache->n];

		frame->next = head;
		head = frame;
	}
	if (head)
		depot_push(cache->arena, head);
}

void xb_cache_init(struct xb_cache *cache, struct xb_arena *arena)
{
	cache->arena = arena;
	cache->frames = arena->frames;
	cache->frames_end = arena->frames + arena->n_frames;
	cache->captures = NULL;
	cache->thread = 0;
	cache->n = 0;
}

void xb_cache_fini(struct xb_cache *cache)
{
	while (cache->n)
		cache_spill(cache, cache->n < XB_BUNDLE ? cache->n : XB_BUNDLE);
}

/* ---- frames and packets ---- */

static struct xb_frame *take(struct xb_cache *cache)
{
	struct xb_frame *frame = cache->slot[--cache->n];

	xb_frame_give(frame, XB_OWNER_POOL, XB_OWNER_WORKER);
	xb_packet_init(frame, XB_FRAME_HEADROOM, 0);
	return frame;
}

struct xb_frame *xb_frame_alloc(struct xb_cache *cache)
{
	if (!cache->n && !cache_refill(cache))
		return NULL;
	return take(cache);
}

bool xb_frame_alloc_many(struct xb_cache *cache, struct xb_frame **ret_frames, unsigned n)
{
	unsigned got;

	for (got = 0; got < n; got++) {
		ret_frames[got] = xb_frame_alloc(cache);
		if (!ret_frames[got])
			break;
	}
	if (got == n)
		return true;
	while (got)
		xb_packet_free(cache, ret_frames[--got]);
	return false;
}

/* A bug of ours. Named so that a stack trace says it. */
static _Noreturn __attribute__((noinline, cold)) void frame_of_another_arena(void)
{
	assert(false && "the frame belongs to this arena");
	__builtin_trap();
}

void xb_packet_free(struct xb_cache *cache, struct xb_frame *first)
{
	enum xb_owner owner = XB_OWNER_WORKER;

	while (first) {
		struct xb_frame *next = first->next;

		if (first < cache->frames || first >= cache->frames_end)
			frame_of_another_arena();
		if (cache->n == 2 * XB_BUNDLE)
			cache_spill(cache, XB_BUNDLE);
		xb_frame_give(first, owner, XB_OWNER_POOL);
		cache->slot[cache->n++] = first;
		owner = XB_OWNER_REST;
		first = next;
	}
}

/* Appends `len` bytes to the copy, in new frames as needed. */
static bool copy_bytes(struct xb_cache *cache, struct xb_frame *copy, struct xb_frame **last,
		       const uint8_t *data, uint32_t len)
{
	while (len) {
		uint32_t room = XB_FRAME_BYTES - (*last)->head - (*last)->len;
		uint32_t part = len < room ? len : room;

		if (!room) {
			struct xb_frame *more = xb_frame_alloc(cache);

			if (!more)
				return false;
			more->head = 0;
			xb_packet_append(copy, *last, more);
			*last = more;
			continue;
		}
		memcpy(xb_frame_data(*last) + (*last)->len, data, part);
		(*last)->len = (uint16_t)((*last)->len + part);
		copy->bytes += part;
		data += part;
		len -= part;
	}
	return true;
}

struct xb_frame *xb_packet_copy(struct xb_cache *cache, const struct xb_frame *first)
{
	struct xb_frame *copy = xb_frame_alloc(cache);
	struct xb_frame *last = copy;

	if (!copy)
		return NULL;
	for (const struct xb_frame *from = first; from; from = from->next) {
		if (!copy_bytes(cache, copy, &last, xb_frame_data(from), from->len)) {
			xb_packet_free(cache, copy);
			return NULL;
		}
	}
	copy->in_port = first->in_port;
	copy->fate = first->fate;
	copy->offload = first->offload;
	copy->headers = first->headers;
	return copy;
}

void xb_arena_count(const struct xb_arena *arena, uint32_t ret_counts[XB_OWNER_COUNT])
{
	memset(ret_counts, 0, XB_OWNER_COUNT * sizeof(*ret_counts));
	for (uint32_t i = 0; i < arena->n_frames; i++)
		ret_counts[xb_frame_owner(&arena->frames[i])]++;
}

uint32_t xb_arena_share(const struct xb_arena *arena, unsigned n, uint32_t wanted)
{
	uint32_t owners[XB_OWNER_COUNT];
	uint32_t share;

	xb_arena_count(arena, owners);
	share = owners[XB_OWNER_POOL] / 2 / (n ? n : 1);
	if (share < 2 * XB_BUNDLE)
		share = 2 * XB_BUNDLE;
	return share < wanted ? share : wanted;
}

/* ---- the memory ---- */

static int map_memory(struct xb_arena *arena, size_t bytes, unsigned flags)
{
	xb_auto_fd int fd = xb_memfd_make("xbridge-arena", bytes, flags);
	void *base;

	if (fd < 0)
		return fd;
	base = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (base == MAP_FAILED)
		return -errno;
	arena->fd = XB_TAKE_FD(fd);
	arena->base = base;
	arena->bytes = bytes;
	arena->huge = flags & MFD_HUGETLB;
	return 0;
}

static void fill_depot(struct xb_arena *arena)
{
	for (uint32_t i = 0; i < arena->n_frames; i++) {
		struct xb_frame *frame = &arena->frames[i];
		bool ends = (i + 1) % XB_BUNDLE == 0;

		frame->base = arena->base + (size_t)i * XB_FRAME_BYTES;
		frame->next = ends ? NULL : frame + 1;
		atomic_init(&frame->owner, XB_OWNER_POOL);
	}
	for (uint32_t i = arena->n_frames; i; i -= XB_BUNDLE)
		depot_push(arena, &arena->frames[i - XB_BUNDLE]);
}

int xb_arena_init(struct xb_arena *arena, uint32_t n_frames, size_t ring_bytes,
		  struct xb_error *err)
{
	xb_auto_free struct xb_frame *frames = NULL;
	xb_auto_free uint8_t *ring_pages = NULL;
	struct xb_arena made = {.fd = -1};
	size_t frame_bytes;
	int ret;

	made.n_frames = (uint32_t)round_up(n_frames, XB_BUNDLE);
	made.n_ring_pages = (uint32_t)(round_up(ring_bytes, PAGE_BYTES) / PAGE_BYTES);
	frame_bytes = (size_t)made.n_frames * XB_FRAME_BYTES;
	atomic_init(&made.depot, 0);

	frames = aligned_alloc(64, made.n_frames * sizeof(*frames));
	ring_pages = calloc(made.n_ring_pages + 1, sizeof(*ring_pages));
	if (!frames || !ring_pages)
		return xb_fail(err, -ENOMEM, "allocate the records of %u frames", n_frames);

	ret = map_memory(&made, round_up(frame_bytes + ring_bytes, HUGE_BYTES), MFD_HUGETLB);
	if (ret < 0)
		ret = map_memory(&made, frame_bytes + round_up(ring_bytes, PAGE_BYTES), 0);
	if (ret < 0) {
		xb_fail(err, ret, "map an arena of %u frames (%zu MiB)", n_frames,
			frame_bytes >> 20);
		xb_hint(err, "give fewer with --frames, or more memory");
		return ret;
	}
	made.frames = memset(XB_TAKE_PTR(frames), 0, made.n_frames * sizeof(*frames));
	made.ring_pages = XB_TAKE_PTR(ring_pages);
	fill_depot(&made);
	*arena = made;
	return 0;
}

int xb_arena_populate(struct xb_arena *arena, struct xb_error *err)
{
	const size_t wanted = (size_t)arena->n_frames * XB_FRAME_BYTES;
	size_t left = wanted - arena->populated;
	size_t bytes = left < POPULATE_BYTES ? left : POPULATE_BYTES;
	int code;

	if (bytes && madvise(arena->base + arena->populated, bytes, MADV_POPULATE_WRITE) < 0) {
		code = -errno;
		if (code == -EAGAIN || code == -EINTR)
			return -EAGAIN;
		xb_fail(err, code, "get the memory of %u frames (%zu MiB)", arena->n_frames,
			arena->bytes >> 20);
		xb_hint(err, "give fewer with --frames, or more memory");
		return code;
	}
	arena->populated += bytes;
	return arena->populated < wanted ? -EAGAIN : 0;
}

void xb_arena_fini(struct xb_arena *arena)
{
	if (!arena->base)
		return;
	munmap(arena->base, arena->bytes);
	close(arena->fd);
	free(arena->frames);
	free(arena->ring_pages);
	*arena = (struct xb_arena){.fd = -1};
}

static uint8_t *ring_room(const struct xb_arena *arena)
{
	return arena->base + (size_t)arena->n_frames * XB_FRAME_BYTES;
}

void *xb_arena_ring_alloc(struct xb_arena *arena, size_t bytes)
{
	size_t pages = round_up(bytes, PAGE_BYTES) / PAGE_BYTES;
	size_t run = 0;

	for (size_t page = 0; page < arena->n_ring_pages; page++) {
		run = arena->ring_pages[page] ? 0 : run + 1;
		if (run == pages) {
			size_t first = page + 1 - pages;

			memset(arena->ring_pages + first, 1, pages);
			return ring_room(arena) + first * PAGE_BYTES;
		}
	}
	return NULL;
}

void xb_arena_ring_free(struct xb_arena *arena, void *ring, size_t bytes)
{
	size_t pages = round_up(bytes, PAGE_BYTES) / PAGE_BYTES;

	if (!ring)
		return;
	memset(arena->ring_pages + ((uint8_t *)ring - ring_room(arena)) / PAGE_BYTES, 0, pages);
	/* zeroed for the next one: by giving the memory back, where its pages are small */
	if (arena->huge || madvise(ring, pages * PAGE_BYTES, MADV_REMOVE) < 0)
		memset(ring, 0, pages * PAGE_BYTES);
}

size_t xb_arena_ring_bytes(const struct xb_arena *arena)
{
	size_t pages = 0;

	for (uint32_t i = 0; i < arena->n_ring_pages; i++)
		pages += arena->ring_pages[i];
	return pages * PAGE_BYTES;
}
