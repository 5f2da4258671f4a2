/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The XDP program that feeds an uplink's sockets, as the uplink sees it. The gate's is one
 * (daemon/gate_views.h); another can take its place.
 *
 * A program serves several uplinks, each in a slot of its own. It redirects a queue's frames as
 * long as there is a socket and the queue's owner beats; otherwise it passes them.
 */
#ifndef XB_XSK_PROGRAM_H
#define XB_XSK_PROGRAM_H

#include "core/error.h"
#include "netdev/own_macs.h"
#include "xbridge/steer.h"

#include <stdbool.h>
#include <stdint.h>

/** What an uplink asks for. Control thread; each returns 0 or -errno unless it says otherwise. */
struct xb_program_ops {
	/** Gives the interface a slot. -EEXIST: it has one; -ENOSPC: none is left. */
	int (*claim)(void *arg, uint32_t ifindex, const char *ifname, uint32_t *ret_slot,
		     struct xb_error *err);
	/** Takes the slot back. What sits on the interface stays, and passes everything. */
	void (*release)(void *arg, uint32_t slot, bool was_attached);
	int (*set_config)(void *arg, uint32_t slot, const struct xb_steer_config *config,
			  struct xb_error *err);
	/** Makes the slot's own MACs be exactly these. */
	int (*set_own_macs)(void *arg, uint32_t slot, const struct xb_own_mac_entry *macs,
			    unsigned n, struct xb_error *err);
	/** Gives a queue's frames to a socket; -1: lets them pass, and clears the heartbeat. */
	int (*set_socket)(void *arg, uint32_t slot, uint32_t queue, int socket_fd,
			  struct xb_error *err);
	/** Whether the program is still on the interface: 1, 0, or -errno where that can't be found
	 * out now. */
	int (*is_attached)(void *arg, uint32_t slot, uint32_t ifindex);
};

/** All of it outlives the uplinks. */
struct xb_program {
	const struct xb_program_ops *ops;
	void *arg;
	struct xb_queue_state *queues;      /* XB_UPLINKS_MAX * XB_QUEUES_MAX, see XB_QUEUE_SLOT */
	const struct xb_in_force *in_force; /* which table the program asks */
};

/** Says that a queue's owner is alive. `now_ns` is CLOCK_MONOTONIC_COARSE, not 0. Any thread, one
 *  for each queue. */
static inline void xb_program_beat(const struct xb_program *program, uint32_t slot, uint32_t queue,
				   uint64_t now_ns)
{
	__atomic_store_n(&program->queues[XB_QUEUE_SLOT(slot, queue)].beat_ns, now_ns,
			 __ATOMIC_RELAXED);
}

/** Frames that the program has redirected from a queue; may be some too few (xbridge/steer.h). */
static inline uint64_t xb_program_redirected(const struct xb_program *program, uint32_t slot,
					     uint32_t queue)
{
	return __atomic_load_n(&program->queues[XB_QUEUE_SLOT(slot, queue)].redirected,
			       __ATOMIC_RELAXED);
}

/** Lets the frames of a queue pass (pass_undelivered), or redirects them again. */
static inline void xb_program_withhold(const struct xb_program *program, uint32_t slot,
				       uint32_t queue, bool withhold)
{
	__atomic_store_n(&program->queues[XB_QUEUE_SLOT(slot, queue)].withheld, withhold,
			 __ATOMIC_RELAXED);
}

#endif
