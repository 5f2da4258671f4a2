/* SPDX-License-Identifier: BSD-2-Clause */
#include "daemon/doors.h"
#include "daemon/own.h"

void xb_doors_check(struct xb_instance *instance, bool links)
{
	xb_for_each_door(instance, door)
	{
		if (xb_door_is_there(door))
			door->ops->check(door, links);
	}
	xb_for_each_door(instance, door)
	{
		if (xb_door_is_there(door))
			door->ops->follow(door);
	}
	xb_own_enter(instance);
}
