/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory. Interfaces are set down, deleted and made again, moved to another network namespace and
 * back, given another MTU or other queues. Nothing here trusts an event: each look asks how things
 * are now, so that events which were lost, or came together, do no harm. What is gone has no queues
 * in the snapshot, so that the other ports go on, and is tried again at each look; why it can't be
 * used is said once for each new reason. What has changed is stopped, and started as it is now.
 * Both take time: a door that is at it is not looked at.
 */
#include "daemon/doors.h"

#include "netdev/ifname.h"

#include <string.h>

/* ---- the table ---- */

struct xb_door *xb_doors_from(const struct xb_instance *instance, unsigned id)
{
	for (; id < XB_PORTS_MAX; id++)
		if (instance->doors[id] && instance->doors[id]->port)
			return instance->doors[id];
	return NULL;
}

void xb_doors_forget_change(struct xb_instance *instance, const struct xb_change *change)
{
	xb_for_each_door(instance, door)
	{
		if (door->waiting == change)
			door->waiting = NULL;
	}
}

void xb_doors_add(struct xb_door *door)
{
	door->instance->doors[door->id] = door;
}

void xb_doors_remove(struct xb_door *door)
{
	door->instance->doors[door->id] = NULL;
}

bool xb_door_is_there(const struct xb_door *door)
{
	return !door->coming && !door->going;
}

const struct xb_door *xb_doors_first_uplink(const struct xb_instance *instance)
{
	xb_for_each_door(instance, door)
	{
		if (xb_door_is_there(door) && door->port->caps.uplink)
			return door;
	}
	return NULL;
}

/* ---- names ---- */

static bool is_called(const struct xb_door *door, const char *name)
{
	return !strcmp(name, door->port->name) || (door->alias && !strcmp(name, door->alias));
}

struct xb_door *xb_doors_find(const struct xb_instance *instance, const char *name)
{
	uint32_t ifindex;

	xb_for_each_door(instance, door)
	{
		if (xb_door_is_there(door) && is_called(door, name))
			return door;
	}
	ifindex = xb_ifname_index(name);
	xb_for_each_door(instance, door)
	{
		if (xb_door_is_there(door) && ifindex && ifindex == door->ifindex && !door->lost)
			return door;
	}
	xb_for_each_door(instance, door)
	{
		if (xb_door_is_there(door) && door->ops->was_called &&
		    door->ops->was_called(door, name))
			return door;
	}
	return NULL;
}

struct xb_port *xb_instance_port(const struct xb_instance *instance, const char *name)
{
	struct xb_door *door = xb_doors_find(instance, name);

	return door ? door->port : NULL;
}

const char *xb_port_name(const struct xb_instance *instance, unsigned id)
{
	const struct xb_door *door = id < XB_PORTS_MAX ? instance->doors[id] : NULL;

	return door && door->port ? door->port->name : "?";
}
