/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Copies of packets for `xbridge capture`: what crosses a port, or is dropped there, is written
 * into a ring of the thread that handles it (xbridge/capture.h), at the very places where it is
 * counted.
 *
 * The control thread makes captures and publishes them with a snapshot; a thread finds them through
 * its cache. A ring that is full loses packets and counts them: no worker waits for a reader.
 */
#ifndef XB_CORE_CAPTURE_H
#define XB_CORE_CAPTURE_H

#include "core/arena.h"
#include "core/error.h"
#include "xbridge/capture.h"
#include "xbridge/drops.h"

#include <stdbool.h>

/** What is captured. */
struct xb_capture_filter {
	int port;      /* id; -1: all ports */
	bool drops;    /* only what is dropped */
	uint32_t snap; /* bytes of each packet at most */
};

/** One thread's ring. */
struct xb_capture_tap {
	struct xb_capture_tail *tail; /* the reader's; to the writer read-only */
	struct xb_capture_ring *ring; /* the writer's; to the reader read-only */
	uint8_t *data;                /* mapped twice in a row: a record never wraps */
	uint64_t head;                /* the writer's ring->head; what the reader has read up to */
};

struct xb_capture {
	struct xb_capture_filter filter;
	uint32_t ring_bytes;
	unsigned n_taps;
	struct xb_capture_tap *taps; /* by thread */
};

/** Those that are published. */
struct xb_captures {
	unsigned n;
	struct xb_capture *list[XB_CAPTURES_MAX];
};

enum xb_capture_side { XB_CAPTURE_WRITER, XB_CAPTURE_READER };

/**
 * Maps ring `thread` of a capture's memory.
 *
 * @fds:        the records' and the tails' memory.
 * @ring_bytes: a power of two, at least a page.
 * @side:       each may write what is its own.
 *
 * Returns 0 or what mmap says.
 */
int xb_capture_map(struct xb_capture_tap *tap, const int fds[XB_CAPTURE_FDS], unsigned thread,
		   uint32_t ring_bytes, enum xb_capture_side side);
void xb_capture_unmap(struct xb_capture_tap *tap, uint32_t ring_bytes);

/**
 * Makes a capture with a ring for each of `n_threads`, and its memory.
 *
 * @ret_fds: the memory, for the reader: it can write the tails and nothing else, and shrink
 *           neither. The caller's to close.
 *
 * Returns 0, -ENOMEM or what memfd_create and mmap say.
 */
int xb_capture_new(const struct xb_capture_filter *filter, unsigned n_threads, uint32_t ring_bytes,
		   struct xb_capture **ret_capture, int ret_fds[XB_CAPTURE_FDS]);
/** Frees a capture that is in no snapshot any more. */
void xb_capture_free(struct xb_capture *capture);

/** Where a packet is, and what becomes of it there. */
struct xb_capture_event {
	uint16_t port, queue;
	enum xb_capture_way way;
	enum xb_drop drop; /* XB_DROP_COUNT: not dropped */
};

/** Copies a packet into all captures that want it; xb_capture does it where there are any. `pkt`
 * may be NULL: `bytes` of which nothing was kept. */
void xb_capture_write(const struct xb_cache *cache, const struct xb_capture_event *event,
		      const struct xb_frame *pkt, uint32_t bytes);

/** Copies what others have seen of a packet into all captures that want it: `record` but for the
 *  length of both, and `n` bytes. */
void xb_capture_put(const struct xb_cache *cache, const struct xb_capture_record *record,
		    const void *data, uint32_t n);

/** Counts packets that were lost before they could be put. */
void xb_capture_lose(const struct xb_cache *cache, uint64_t lost);

static inline void xb_capture(const struct xb_cache *cache, const struct xb_capture_event *event,
			      const struct xb_frame *pkt)
{
	if (__builtin_expect(cache->captures != NULL, 0))
		xb_capture_write(cache, event, pkt, pkt->bytes);
}

#endif
