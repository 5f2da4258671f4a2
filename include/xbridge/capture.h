/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * How captured packets go from the daemon to `xbridge capture`: a ring in shared memory for each
 * thread that handles packets, one writer and one reader each.
 *
 * The control socket hands the memory over as two memfds (enum xb_capture_fd), with the sizes in
 * the reply. In the first, each ring is a page with struct xb_capture_ring and `ring_bytes` of
 * records after it; ring i starts at i * XB_CAPTURE_RING_AT(ring_bytes). In the second, page i is
 * ring i's struct xb_capture_tail.
 *
 * Both are sealed against shrinking, and the first against writing: its reader can map it only
 * read-only. The writer does not trust the tail: one that can't be means that the ring is full.
 */
#ifndef XBRIDGE_CAPTURE_H
#define XBRIDGE_CAPTURE_H

#include <stdalign.h>
#include <stdatomic.h>
#include <stdint.h>

#define XB_CAPTURE_PAGE                4096u
#define XB_CAPTURE_RING_AT(ring_bytes) ((uint64_t)XB_CAPTURE_PAGE + (ring_bytes))

/** The descriptors of a capture, in the order in which they are handed over. */
enum xb_capture_fd {
	XB_CAPTURE_RECORDS, /* to the reader read-only */
	XB_CAPTURE_TAILS,   /* the reader's */
	XB_CAPTURE_FDS,
};

/** Captures at a time. */
#define XB_CAPTURES_MAX 4u

/** Positions count bytes since the start and never wrap; the place is position % ring_bytes. */
struct xb_capture_ring {
	alignas(64) _Atomic uint64_t head; /* written up to here */
	_Atomic uint64_t lost;             /* packets that found no room */
};

struct xb_capture_tail {
	_Atomic uint64_t read; /* read up to here */
};

/** Most bytes of a packet that are captured: no packet has more. */
#define XB_CAPTURE_SNAP_MAX (256u << 10)

enum xb_capture_way {
	XB_CAPTURE_IN,  /* received by the port */
	XB_CAPTURE_OUT, /* sent by it, or dropped on the way out */
};

/** No reason: the packet was not dropped there. */
#define XB_CAPTURE_NO_DROP 0xffffu

/** A packet as it crossed a port. `n` bytes follow, then padding up to a multiple of 8. */
struct xb_capture_record {
	uint32_t record_bytes; /* all of it, with padding */
	uint32_t n;            /* bytes of the packet that are here */
	uint64_t time_ns;      /* CLOCK_REALTIME */
	uint32_t bytes;        /* of the packet */
	uint32_t rule;         /* its id; 0: none */
	uint16_t port;         /* id of the port that it crossed */
	uint16_t from;         /* id of the port that it came from */
	uint16_t queue;
	uint16_t way;        /* enum xb_capture_way */
	uint16_t verdict;    /* enum xb_verdict, XB_VERDICT_PORT(id) */
	uint16_t stage;      /* enum xb_stage */
	uint16_t drop;       /* enum xb_drop, or XB_CAPTURE_NO_DROP */
	uint16_t gso_size;   /* bytes of payload in each segment; 0: one segment */
	uint32_t by_program; /* 1: it was dropped by the XDP program; no port has received it */
	uint32_t unused;
};

#endif
