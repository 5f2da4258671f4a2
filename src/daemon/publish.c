/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the workers see: snapshots of an instance's ports, and when the workers have adopted them.
 *
 * Theory. Two snapshots take turns: one is published, the other is filled next, as soon as no
 * worker holds it any more. A change that comes before that is published together with those that
 * follow it. So publishing never waits; whoever has to know that no worker holds on to what was
 * there before keeps the number that xb_instance_publish returns, and asks xb_instance_is_quiet for
 * it.
 */
#include "daemon/doors.h"
#include "daemon/instance.h"

#include <stddef.h>
#include <string.h>

/* ---- a snapshot ---- */

/* One that is stopped is there all the same, without queues: what a rule sends there is its drop
 * (port_down). */
static void add_port(struct xb_snapshot *snapshot, const struct xb_door *door)
{
	unsigned queues = xb_door_queues(door);

	xb_snapshot_add(snapshot, door->port);
	if (queues < door->port->n_queues)
		snapshot->queues[door->port->id] = (uint16_t)queues;
	if (door->ops->publish)
		door->ops->publish(door, snapshot);
}

static void fill(struct xb_instance *instance, struct xb_snapshot *snapshot)
{
	*snapshot = (struct xb_snapshot){
		.verdict = xb_steering_verdict(&instance->steering),
		.fdb = instance->fdb,
		.rules = xb_steering_rules(&instance->steering),
		.captures = instance->captures,
		.loops = &instance->loops.signs,
	};
	memcpy(snapshot->cut, instance->loops.cut, sizeof(snapshot->cut));
	xb_for_each_door(instance, door)
	{
		if (!door->hidden)
			add_port(snapshot, door);
	}
}

/* ---- publishing ---- */

/* Notes what the workers have reached, and publishes what has changed meanwhile. */
static void settle(struct xb_instance *instance)
{
	struct xb_published *published = &instance->published;
	struct xb_snapshot *snapshot = &published->snapshots[published->newest ^ 1];

	if (!xb_workers_reached(&instance->workers, published->generation))
		return;
	published->quiet = published->offered;
	if (published->offered == published->wanted)
		return;
	fill(instance, snapshot);
	published->generation = xb_workers_offer(&instance->workers, snapshot);
	published->offered = published->wanted;
	published->newest ^= 1;
	instance->cache.captures = snapshot->captures.n ? &snapshot->captures : NULL;
}

static struct xb_instance *instance_of(struct xb_job *job)
{
	return (struct xb_instance *)((char *)job - offsetof(struct xb_instance, published.job));
}

static void publishing(struct xb_job *job)
{
	struct xb_instance *instance = instance_of(job);

	settle(instance);
	if (instance->published.offered == instance->published.wanted)
		xb_job_rest(job);
	else
		xb_job_again(job);
}

uint64_t xb_instance_publish(struct xb_instance *instance)
{
	struct xb_published *published = &instance->published;

	published->wanted++;
	settle(instance);
	if (published->offered != published->wanted && !xb_job_is_busy(&published->job))
		xb_job_enter(&published->job, &instance->loop, "publishing", XB_JOB_NO_LIMIT,
			     publishing);
	return published->wanted;
}

bool xb_instance_is_quiet(struct xb_instance *instance, uint64_t number)
{
	settle(instance);
	return instance->published.quiet >= number;
}

bool xb_instance_is_settled(struct xb_instance *instance)
{
	return xb_instance_is_quiet(instance, instance->published.wanted);
}

void xb_instance_unpublish_all(struct xb_instance *instance)
{
	xb_job_rest(&instance->published.job);
	xb_loop_forget(&instance->loop, &instance->trial_end);
	if (instance->workers.worker)
		xb_workers_offer(&instance->workers, NULL);
}

const struct xb_snapshot *xb_instance_snapshot(const struct xb_instance *instance)
{
	return &instance->published.snapshots[instance->published.newest];
}
