/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Whether the frames that the program redirects from a queue arrive in its socket.
 *
 * The kernel may drop a redirected frame without counting it anywhere: where the frame's device or
 * queue is not the one that the socket is bound to (a native program on a bond runs in its members'
 * drivers), or where the socket is not bound. So each queue is looked at twice a second:
 *
 *               frames were redirected for most of a second, and none arrived
 *      trusted ──────────────────────────────────────────────────────────────► withheld ◄─┐
 *         ▲                                                                       │ later  │
 *         │   frames arrive                                                       ▼        │ none
 *         └──────────────────────────────────────────────────────────────────── tried ─────┘
 *
 * A frame has arrived if the kernel has put it into the RX ring or has counted it as lost. Control
 * thread.
 */
#ifndef XB_XSK_DELIVERY_H
#define XB_XSK_DELIVERY_H

#include <stdbool.h>
#include <stdint.h>

/** How long frames may be redirected while none arrives. Looks are half a second apart, so that it
 *  is noticed in less than two. */
#define XB_DELIVERY_DOUBT_NS 900000000u

/** After how long a queue is tried again: first, and at most; it doubles each time. */
#define XB_DELIVERY_RETRY_NS     5000000000u
#define XB_DELIVERY_RETRY_MAX_NS 640000000000u

enum xb_delivery_state {
	XB_DELIVERY_TRUSTED,
	XB_DELIVERY_WITHHELD, /* its frames pass */
	XB_DELIVERY_TRIED,    /* it was withheld; its frames are redirected again, to see */
};

/** What was counted of a queue up to a moment. `redirected` is read first. */
struct xb_delivery_counts {
	uint64_t redirected; /* by the program */
	uint32_t received;   /* put into the RX ring */
	uint64_t missed;     /* counted as lost by the socket */
};

struct xb_delivery {
	enum xb_delivery_state state;
	struct xb_delivery_counts counts; /* at the last look */
	uint64_t since_ns; /* when a look first found frames that did not arrive; 0 */
	int64_t owed;      /* redirected, and neither arrived nor reported */
	uint64_t retry_ns; /* withheld: when it is tried again */
	uint64_t pause_ns; /* how long it was withheld last */
};

/** Starts over: the socket was opened just now. */
void xb_delivery_start(struct xb_delivery *delivery, const struct xb_delivery_counts *counts);

/** Takes a look; sets `state`. Returns the frames that are known to have vanished since they were
 *  last reported: 0 unless the queue becomes withheld. */
uint64_t xb_delivery_look(struct xb_delivery *delivery, const struct xb_delivery_counts *counts,
			  uint64_t now_ns);

#endif
