/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The door of a port to this host's kernel.
 */
#ifndef XB_DAEMON_DOOR_KERNEL_H
#define XB_DAEMON_DOOR_KERNEL_H

#include "daemon/door.h"
#include "daemon/kernel_port.h"

struct xb_kernel_door {
	struct xb_door base;                     /* first */
	char name[IFNAMSIZ + XB_INSTANCE_BYTES]; /* what its stable address is made from */
	struct xb_kernel_config config;          /* as it is now, by options and commands */
	struct xb_kernel_port kernel;
	unsigned followed_mtu;   /* the first uplink's, when the interface was last told */
	uint8_t followed_mac[6]; /* likewise */
	bool arp_said;           /* that it lies beside a shared uplink */
	bool carrier_said;       /* that its carrier can't be set */
	bool is_whole;           /* it stops to be started again as it is */
	bool moves;              /* it leaves its interface for one in another namespace */
	unsigned wanted;         /* queues, while that is being changed */
	bool moved;              /* no flow goes to the queues that are to go */
	unsigned times_empty;    /* looks at them that found nothing */
	uint64_t empty_by_ns;    /* until when they may run empty */
};

extern const struct xb_door_ops xb_kernel_door_ops;

/**
 * Begins to open and start a kernel port; the instance's `life` is poked when it is `published`, or
 * `failed`.
 *
 * @is_first: it is the one with the alias `kernel`, and has XB_KERNEL_PORT_ID.
 * @change:   what waits for it, where the instance runs already; otherwise NULL.
 *
 * Returns 0 or -errno.
 */
int xb_kernel_door_open(struct xb_instance *instance, const struct xb_kernel_config *config,
			bool is_first, struct xb_change *change, struct xb_error *err);

/** The door with the alias `kernel`; NULL: there is none. */
struct xb_kernel_door *xb_kernel_door_first(const struct xb_instance *instance);

/** The kernel port whose id is at least `id`; NULL: there is none. */
struct xb_kernel_door *xb_kernel_door_from(const struct xb_instance *instance, unsigned id);

#define xb_for_each_kernel_door(instance, kernel_door)                                           \
	for (struct xb_kernel_door *kernel_door = xb_kernel_door_from(instance, 0); kernel_door; \
	     kernel_door = xb_kernel_door_from(instance, kernel_door->base.id + 1u))

/** At the end: none is at anything any more. */
void xb_kernel_doors_rest(struct xb_instance *instance);

/** When no worker is left: closes and frees all. */
void xb_kernel_doors_close(struct xb_instance *instance);

/** When all else that is to start has started: interfaces that are to outlive this process may.
 * Returns 0 or -errno. */
int xb_kernel_doors_settle(struct xb_instance *instance, struct xb_error *err);

#endif
