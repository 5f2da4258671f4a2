/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The uplinks of an instance as a whole: at its start, and at its end.
 */
#include "daemon/uplink_doors.h"

#include "daemon/doors.h"
#include "daemon/log.h"

#include <errno.h>

/* ---- the start ---- */

/* The uplinks from the bottom up: one that others stand on comes before them. */
static unsigned sort_upwards(const struct xb_instance *instance,
			     struct xb_uplink_door *ret_sorted[XB_UPLINKS_MAX])
{
	unsigned n = 0;

	xb_for_each_uplink(instance, door)
	{
		unsigned at = n++;

		for (; at && ret_sorted[at - 1]->uplink->below.n > door->uplink->below.n; at--)
			ret_sorted[at] = ret_sorted[at - 1];
		ret_sorted[at] = door;
	}
	return n;
}

void xb_uplink_doors_attach(struct xb_instance *instance)
{
	struct xb_uplink_door *sorted[XB_UPLINKS_MAX];
	unsigned n = sort_upwards(instance, sorted);

	for (unsigned i = 0; i < n; i++)
		xb_uplink_door_attach(sorted[i]);
}

bool xb_uplink_doors_are_attached(const struct xb_instance *instance)
{
	xb_for_each_uplink(instance, door)
	{
		if (!door->attached)
			return false;
	}
	return true;
}

void xb_uplink_doors_bind(struct xb_instance *instance)
{
	xb_for_each_uplink(instance, door) xb_uplink_door_bind(door);
}

/* ---- the end ---- */

void xb_uplink_doors_end(struct xb_instance *instance)
{
	struct xb_uplink_door *sorted[XB_UPLINKS_MAX];
	unsigned n = sort_upwards(instance, sorted);

	while (n)
		xb_uplink_door_end(sorted[--n]);
}

void xb_uplink_doors_stop(struct xb_instance *instance)
{
	xb_for_each_uplink(instance, door)
	{
		while (xb_uplink_stop(door->uplink, &instance->cache) == -EAGAIN)
			;
		door->base.running = false;
	}
}

void xb_uplink_doors_free(struct xb_instance *instance)
{
	struct xb_uplink_door *door;

	while ((door = xb_uplink_door_next(instance, 0))) {
		xb_doors_remove(&door->base);
		door->base.ops->free(&door->base);
	}
}

static void give_up(struct xb_uplink_door *door)
{
	const char *name = door->uplink->port.name;
	struct xb_error err = {0};

	if (!door->detach.on_its_way && !door->attach.on_its_way)
		return;
	door->base.instance->programs_left = true;
	if (door->base.instance->left) {
		xb_log(XB_LOG_WARNING,
		       "%s: its XDP program is not off yet, and passes frames until it is: the "
		       "process xb-doorman goes on with that for up to %u s; perhaps its driver is "
		       "slow, or somebody holds the lock of libxdp (a flock on /sys/fs/bpf/xdp)",
		       name, 2 * XB_LEFT_S);
		return;
	}
	xb_fail(&err, -ETIMEDOUT, "give the doorman an order");
	xb_hint(&err,
		"somebody may hold the lock of libxdp (a flock on /sys/fs/bpf/xdp); the program "
		"stays on %s and passes frames: `xbridge detach %s`",
		name, name);
	xb_log_error(XB_LOG_WARNING, name, &err);
}

void xb_uplink_doors_give_up(struct xb_instance *instance)
{
	xb_for_each_uplink(instance, door) give_up(door);
}
