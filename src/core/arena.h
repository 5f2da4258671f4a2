/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The arena: one shared memory object that is at once the AF_XDP UMEM and the memory table given to
 * vhost. Frames first, then room for virtqueues, so that one region describes all of it.
 *
 *      offset 0                     frames × 4096                       bytes
 *      ├── frame 0 ── frame 1 ── … ──┼── rings (xb_arena_ring_alloc) ────┤
 *
 * Its pool hands out frames. The depot holds free frames in bundles of XB_BUNDLE on a lock-free
 * stack. Each worker has a cache of its own in front of it, refilled and spilled a bundle at a
 * time. The stack's head carries a tag that grows with each change, so that an exchange fails if
 * the same head was taken off and put back in between.
 */
#ifndef XB_CORE_ARENA_H
#define XB_CORE_ARENA_H

#include "core/error.h"
#include "core/frame.h"

#include <stdbool.h>
#include <stddef.h>

/** Frames that move between a cache and the depot at a time. */
#define XB_BUNDLE 32u

/** A place in an arena: bytes from its start. A type of its own, so that it is no address. */
struct xb_off {
	uint64_t bytes;
};

struct xb_arena {
	int fd;           /* the memfd, to be mapped by a backend; its size is sealed */
	bool huge;        /* backed by huge pages */
	uint8_t *base;    /* where it is mapped in this process */
	size_t bytes;     /* all of it */
	size_t populated; /* from its start: has memory */
	uint32_t n_frames;
	struct xb_frame *frames; /* n_frames, private */
	_Atomic uint64_t
		depot;         /* tag << 32 | index + 1 of the first bundle's head, 0 where empty */
	uint32_t n_ring_pages; /* room for rings, in pages */
	uint8_t *ring_pages;   /* n_ring_pages, private: 1 where handed out; control thread only */
};

struct xb_captures;

/** A worker's own stock of free frames, and the captures that see its packets. Not shared. */
struct xb_cache {
	struct xb_arena *arena;
	const struct xb_captures *captures;         /* NULL: none (core/capture.h) */
	unsigned thread;                            /* its number there */
	const struct xb_frame *frames, *frames_end; /* the arena's */
	unsigned n;
	struct xb_frame *slot[2 * XB_BUNDLE];
};

/**
 * Makes an arena with all frames free.
 *
 * Huge pages (2 MiB) are taken where enough are reserved, silently ordinary ones elsewhere.
 *
 * @n_frames:   rounded up to a multiple of XB_BUNDLE.
 * @ring_bytes: room for virtqueues after the frames, rounded up to a page.
 *
 * Returns 0, or -ENOMEM, -EMFILE or what xb_memfd_make and mmap say.
 */
int xb_arena_init(struct xb_arena *arena, uint32_t n_frames, size_t ring_bytes,
		  struct xb_error *err);

/**
 * Has the kernel give the frames their memory, a piece at a call: for a large arena that takes
 * seconds. That of rings comes when they are handed out, and goes with them.
 *
 * Returns 0 where all of it is there, -EAGAIN where more is to be done, otherwise what
 * madvise(MADV_POPULATE_WRITE) says, as -ENOMEM.
 */
int xb_arena_populate(struct xb_arena *arena, struct xb_error *err);

/** Unmaps and closes. All ports that used the arena are gone by then. */
void xb_arena_fini(struct xb_arena *arena);

/** Page-aligned, zeroed room for a virtqueue, which takes memory as it is touched; NULL where none
 * is left. Control thread. */
void *xb_arena_ring_alloc(struct xb_arena *arena, size_t bytes);
void xb_arena_ring_free(struct xb_arena *arena, void *ring, size_t bytes);

/** Bytes that rings have. Control thread. */
size_t xb_arena_ring_bytes(const struct xb_arena *arena);

static inline struct xb_off xb_arena_off(const struct xb_arena *arena, const void *addr)
{
	return (struct xb_off){(uint64_t)((const uint8_t *)addr - arena->base)};
}

/** The frame that covers a place in the arena; NULL where no frame does. */
static inline struct xb_frame *xb_arena_frame(const struct xb_arena *arena, struct xb_off off)
{
	uint64_t index = off.bytes / XB_FRAME_BYTES;

	return index < arena->n_frames ? &arena->frames[index] : NULL;
}

/** How many frames each of `n` queues may keep posted: as many as it wants, but so that half of the
 * arena's free frames stay free for others, and 2 * XB_BUNDLE at least. Any thread. */
uint32_t xb_arena_share(const struct xb_arena *arena, unsigned n, uint32_t wanted);

/** Counts the frames of each owner into `ret_counts`. While traffic runs, a snapshot of no single
 *  moment; at rest, exact. Any thread. */
void xb_arena_count(const struct xb_arena *arena, uint32_t ret_counts[XB_OWNER_COUNT]);

void xb_cache_init(struct xb_cache *cache, struct xb_arena *arena);
/** Gives all frames in the cache back to the depot. */
void xb_cache_fini(struct xb_cache *cache);

/** A free frame, now in the worker's hands, as an empty packet after the headroom; NULL where none
 *  is left. */
struct xb_frame *xb_frame_alloc(struct xb_cache *cache);

/** Takes `n` free frames, or none. Returns whether it did. */
bool xb_frame_alloc_many(struct xb_cache *cache, struct xb_frame **ret_frames, unsigned n);

/** Gives back a packet in the worker's hands, with all its frames. NULL is allowed. A frame of
 * another arena ends the process: once handed out again, it would make the kernel or a guest read
 * or write a place that is not the packet's. */
void xb_packet_free(struct xb_cache *cache, struct xb_frame *first);

/** A copy of a packet with all that is known about it, data after the headroom; NULL where frames
 *  are short. */
struct xb_frame *xb_packet_copy(struct xb_cache *cache, const struct xb_frame *first);

#endif
