/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The door of a port to this host's kernel.
 */
#ifndef XB_DAEMON_DOOR_KERNEL_H
#define XB_DAEMON_DOOR_KERNEL_H

#include "daemon/door.h"
#include "daemon/kernel_port.h"

/** The id of the port whose alias is `kernel`. */
#define XB_KERNEL_PORT_ID 0u

struct xb_kernel_door {
	struct xb_door base;            /* first */
	struct xb_kernel_config config; /* as it is now, by options and commands */
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

/** Opens and starts the port; the instance's `life` is poked when it is `published`, or `failed`.
 */
void xb_kernel_door_open(struct xb_kernel_door *door);

/** At the end: no worker is left. */
void xb_kernel_door_close(struct xb_kernel_door *door);

/**
 * Begins to change the number of the port's queues, without losing what they hold.
 *
 * @change: filled when it is done, perhaps before this returns; NULL: nobody asks.
 *
 * Returns 0 (it is begun, or done), -EAGAIN (the port is at something else: ask again), or another
 * -errno.
 */
int xb_kernel_door_set_queues(struct xb_kernel_door *door, unsigned queues,
			      struct xb_change *change, struct xb_error *err);

#endif
