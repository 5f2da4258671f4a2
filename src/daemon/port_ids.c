/* SPDX-License-Identifier: BSD-2-Clause */
#include "daemon/port_ids.h"

#include "daemon/doors.h"

#include <errno.h>

static bool is_captured(const struct xb_instance *instance, const struct xb_port_id *id)
{
	for (unsigned i = 0; i < instance->captures.n; i++)
		if (instance->captures_began_ns[i] <= id->gone_ns)
			return true;
	return false;
}

static bool is_free(const struct xb_instance *instance, uint16_t number)
{
	const struct xb_port_id *id = &instance->ids[number];

	if (instance->doors[number] || xb_steering_ports(&instance->steering) >> number & 1)
		return false;
	return !id->had || (id->is_out && !is_captured(instance, id));
}

uint16_t xb_port_ids_take(struct xb_instance *instance)
{
	xb_port_ids_look(instance);
	for (unsigned i = 0; i < XB_PORTS_MAX; i++) {
		uint16_t number = (instance->next_id + i) % XB_PORTS_MAX;

		/* the kernel port's is kept for it, so that it has always the same */
		if (number == XB_KERNEL_PORT_ID || !is_free(instance, number))
			continue;
		instance->next_id = (number + 1u) % XB_PORTS_MAX;
		return number;
	}
	return XB_PORT_ID_NONE;
}

void xb_port_ids_give_back(struct xb_instance *instance, uint16_t id, uint32_t generation)
{
	instance->ids[id] = (struct xb_port_id){
		.had = true,
		.generation = generation,
		.gone_ns = xb_now_ns(),
	};
}

static bool all_have_passed(const struct xb_instance *instance)
{
	xb_for_each_door(instance, door)
	{
		if (door->ops->has_passed && !door->ops->has_passed(door))
			return false;
	}
	return true;
}

static void mark_all(const struct xb_instance *instance)
{
	xb_for_each_door(instance, door)
	{
		if (door->ops->mark)
			door->ops->mark(door);
	}
}

/* Rings are marked once a table is in force that does not know a port that has gone. One mark
 * serves all ids that wait for it, and the next is made when it has been passed. */
void xb_port_ids_look(struct xb_instance *instance)
{
	bool passed = all_have_passed(instance), due = false;

	for (unsigned i = 0; passed && i < XB_PORTS_MAX; i++) {
		struct xb_port_id *id = &instance->ids[i];

		if (!id->had || id->is_out)
			continue;
		id->is_out = id->is_marked;
		if (id->is_marked || id->generation == instance->steering.store.generation)
			continue;
		id->is_marked = due = true;
	}
	if (due)
		mark_all(instance);
}

int xb_port_ids_refuse(struct xb_error *err)
{
	xb_refuse(err, -ENOSPC,
		  "there is no room for another port: %u at most, and those that were "
		  "removed while a capture runs, or a change of rules is on trial, "
		  "count as long as that lasts",
		  XB_PORTS_MAX);
	xb_hint(err, "remove one, or end the capture or the trial");
	return -ENOSPC;
}
