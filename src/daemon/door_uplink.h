/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The door of an uplink: an interface read through AF_XDP.
 */
#ifndef XB_DAEMON_DOOR_UPLINK_H
#define XB_DAEMON_DOOR_UPLINK_H

#include "daemon/config.h"
#include "daemon/door.h"
#include "daemon/doorman.h"
#include "xsk/uplink.h"

struct xb_uplink_door {
	struct xb_door base; /* first */
	struct xb_uplink *uplink;
	bool attached;           /* its program is on the interface, or has been */
	bool cleared;            /* its program had to go for one below it, and is put on again */
	uint64_t digest;         /* of addresses that change without an event */
	bool macs_due;           /* own addresses may have changed since they were read */
	uint16_t borrower;       /* the port that has its address, or had it last */
	bool unseen;             /* as last said: descriptors were too short to look at it */
	struct xb_errand attach; /* for the doorman */
	struct xb_errand detach; /* at the end */
};

extern const struct xb_door_ops xb_uplink_door_ops;

/** Looks the interface up, takes a slot of the gate for it, and puts the door into the table.
 * Returns 0 or -errno. */
int xb_uplink_door_open(struct xb_instance *instance, const struct xb_uplink_config *wanted,
			struct xb_error *err);

/** Begins to add one while the instance runs; `change` is filled when it is there, or can't be had.
 * Returns 0 or -errno. */
int xb_uplink_door_add(struct xb_instance *instance, const struct xb_uplink_config *wanted,
		       struct xb_change *change, struct xb_error *err);

/** Whether it can lend its address to tap0 (`mac uplink`). Returns 0, or -EINVAL: it is shared. */
int xb_uplink_door_may_lend(const struct xb_door *base, struct xb_error *err);

/** The first uplink whose id is `id` or above, or NULL. */
struct xb_uplink_door *xb_uplink_door_next(const struct xb_instance *instance, unsigned id);

/** The uplinks of an instance, by id. */
#define xb_for_each_uplink(instance, uplink_door)                                                \
	for (struct xb_uplink_door *uplink_door = xb_uplink_door_next(instance, 0); uplink_door; \
	     uplink_door = xb_uplink_door_next(instance, uplink_door->base.id + 1u))

/** Has its program put on; until the instance is ready, its `life` is poked when that is over: the
 * door is attached, or `failed`. */
void xb_uplink_door_attach(struct xb_uplink_door *door);

/** Binds its sockets; until the instance is ready, its `life` is poked when it is `published`, or
 * `failed`. */
void xb_uplink_door_bind(struct xb_uplink_door *door);

/** At the end of an instance: has its program taken off as soon as it has been attached, but not
 * one that a failed start has found there. Counted in n_detaching; the `life` is poked when it is
 * done. */
void xb_uplink_door_end(struct xb_uplink_door *door);

/** The programs of these slots were taken off for another one's: they are put on again. */
void xb_uplink_doors_cleared(struct xb_instance *instance, uint32_t slots);

#endif
