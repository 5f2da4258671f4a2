/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Frames: fixed-size chunks of an arena. A packet is one frame or a chain of them.
 *
 * What we know about a frame lives here, in private memory, never in the arena, which the kernel
 * and other processes can write. A frame has one owner at any time. Only the owner may read or
 * change it, except for `owner`, which the accounting reads from any thread.
 *
 *      pool ──alloc──► worker ──post──► rx ring ──harvest──► worker ──tx_batch──► tx ring ──┐
 *        ▲                │                                                                │
 *        └────── free ────┴────────────────────────── completion ──────────────────────────┘
 *
 * The owner is written on the first frame of a packet; the frames after it are REST.
 */
#ifndef XB_CORE_FRAME_H
#define XB_CORE_FRAME_H

#include "core/offload.h"
#include "xbridge/headers.h"

#include <assert.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** Bytes of one frame: the page, which is what AF_XDP takes as a chunk and one TLB entry covers. */
#define XB_FRAME_BYTES 4096u

/** Where a received packet starts in its frame: AF_XDP puts it there (XDP_PACKET_HEADROOM), and the
 *  virtio-net header and XDP metadata fit in front of it. */
#define XB_FRAME_HEADROOM 256u

/** Bytes that fit after the headroom. */
#define XB_FRAME_ROOM (XB_FRAME_BYTES - XB_FRAME_HEADROOM)

/** Longest packet: 64 KiB of IP after Ethernet with two VLAN tags. */
#define XB_PACKET_BYTES_MAX (65535u + 22u)

/** Longest chain: 64 KiB as TCP segments of an Ethernet MTU, one in each frame. */
#define XB_PACKET_FRAMES_MAX 48u

enum xb_owner {
	XB_OWNER_POOL,   /* free: in the depot or in a cache */
	XB_OWNER_RX,     /* posted for receiving: the kernel or a device may write it */
	XB_OWNER_WORKER, /* a packet in a worker's hands */
	XB_OWNER_TX,     /* a packet posted for sending: the kernel or a device may read it */
	XB_OWNER_REST,   /* after the first frame of a packet */
	XB_OWNER_COUNT
};

/** A packet's verdict, and what gave it; all 0 until it is judged. */
struct xb_fate {
	uint16_t verdict; /* enum xb_verdict or XB_VERDICT_PORT(id), see xbridge/steer.h */
	uint16_t stage;   /* enum xb_stage */
	uint32_t rule;    /* id of the rule, 0 where none matched */
};

struct xb_frame {
	alignas(64) struct xb_frame *next; /* the packet's next frame, or NULL */
	uint8_t *base;                     /* first byte of the frame; never changes */
	_Atomic uint8_t owner;             /* enum xb_owner */
	uint8_t count;                     /* frames in the packet (first frame only) */
	uint16_t head;                     /* bytes from base to the first byte of data */
	uint16_t len;                      /* bytes of data in this frame */
	uint16_t in_port;                  /* id of the port that it came from (first frame only) */
	uint32_t bytes;                    /* bytes of the packet (first frame only) */
	struct xb_fate fate;               /* (first frame only) */
	struct xb_offload offload;         /* (first frame only) */
	struct xb_headers headers;    /* found in the packet's first bytes; l3 0: not looked for
					 since they changed (first frame only) */
	_Atomic uint32_t next_bundle; /* the pool's own */
};

static_assert(sizeof(struct xb_frame) == 64, "one cache line for each frame");

/** First byte of the frame's data. */
static inline uint8_t *xb_frame_data(const struct xb_frame *frame)
{
	return frame->base + frame->head;
}

static inline enum xb_owner xb_frame_owner(const struct xb_frame *frame)
{
	return (enum xb_owner)atomic_load_explicit(&frame->owner, memory_order_relaxed);
}

/** Hands a frame from one owner to the next; checked where assertions are on. */
static inline void xb_frame_give(struct xb_frame *frame, enum xb_owner from, enum xb_owner to)
{
	assert(xb_frame_owner(frame) == from);
	(void)from;
	atomic_store_explicit(&frame->owner, (uint8_t)to, memory_order_relaxed);
}

/** Forgets where the packet's headers lie. To be called by code that changes a header, or where the
 *  packet starts. A new checksum changes nothing that is remembered. */
static inline void xb_packet_forget(struct xb_frame *first)
{
	first->headers.l3 = 0;
}

/** Makes a packet of one frame from one in the worker's hands: `head` and `len` say where its data
 *  lies. Nothing else is known about the packet then. */
static inline void xb_packet_init(struct xb_frame *frame, uint32_t head, uint32_t len)
{
	assert(head + len <= XB_FRAME_BYTES);
	frame->next = NULL;
	frame->count = 1;
	frame->head = (uint16_t)head;
	frame->len = (uint16_t)len;
	frame->bytes = len;
	frame->fate = (struct xb_fate){0};
	frame->offload = (struct xb_offload){0};
	xb_packet_forget(frame);
}

/** Chains `rest` (one frame, in the worker's hands, data set) after `last`, which is the last
 * frame of the packet that starts at `first`. */
static inline void xb_packet_append(struct xb_frame *first, struct xb_frame *last,
				    struct xb_frame *rest)
{
	assert(first->count < XB_PACKET_FRAMES_MAX);
	xb_frame_give(rest, XB_OWNER_WORKER, XB_OWNER_REST);
	rest->next = NULL;
	last->next = rest;
	first->count++;
	first->bytes += rest->len;
}

#endif
