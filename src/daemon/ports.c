/* SPDX-License-Identifier: BSD-2-Clause */
#include "daemon/ports.h"

#include "daemon/doors.h"
#include "daemon/log.h"
#include "daemon/stats.h"

#include <errno.h>
#include <string.h>

/* ---- coming ---- */

void xb_ports_came(struct xb_door *door)
{
	struct xb_instance *instance = door->instance;

	door->coming = false;
	xb_instance_publish(instance);
	xb_log(XB_LOG_NOTICE, "port %s was added", door->port->name);
	xb_doors_check(instance, true); /* others follow it */
	xb_instance_check_steering(instance);
	xb_change_finish(&door->waiting, 0, NULL);
}

void xb_ports_failed(struct xb_door *door, const struct xb_error *err)
{
	door->failed = *err;
	door->going = true;
	door->ops->close(door);
}

void xb_ports_gave_up(struct xb_door *door, const struct xb_error *err)
{
	struct xb_change *waiting = door->waiting;
	const struct xb_error why = *err;

	xb_doors_remove(door);
	door->ops->free(door);
	xb_change_finish(&waiting, why.code, &why);
}

/* ---- going ---- */

static void leaving(struct xb_job *job)
{
	struct xb_door *door = (struct xb_door *)job;

	if (!xb_instance_is_quiet(door->instance, door->change)) {
		xb_job_again(job);
		return;
	}
	xb_job_rest(job);
	door->ops->close(door);
}

static int refuse_named(const struct xb_door *door, struct xb_error *err)
{
	const struct xb_steering *steering = &door->instance->steering;
	const char *name = door->port->name;
	bool by_default;
	const struct xb_rule *rule = xb_steering_find_naming(steering, door->port->id, &by_default);

	if (!rule && !by_default)
		return 0;
	if (steering->confirm_by_ns)
		xb_refuse(err, -EBUSY,
			  "port %s can't be removed: %s names it, and a change is on trial", name,
			  rule ? "a rule" : "the default verdict");
	else if (rule)
		xb_refuse(err, -EBUSY, "port %s can't be removed: rule %u names it", name,
			  rule->id);
	else
		xb_refuse(err, -EBUSY, "port %s can't be removed: the default verdict names it",
			  name);
	if (steering->confirm_by_ns)
		xb_hint(err, "`xbridge steer confirm` or `xbridge steer revert` first");
	else if (rule)
		xb_hint(err, "`xbridge steer del %u` first; `xbridge steer list %s` shows all",
			rule->id, name);
	else
		xb_hint(err, "`xbridge steer default bridge` first");
	return -EBUSY;
}

int xb_ports_remove(struct xb_door *door, struct xb_change *change, struct xb_error *err)
{
	int ret;

	if (!door->ops->close) {
		xb_refuse(err, -EOPNOTSUPP, "port %s can't be removed while xbridge runs",
			  door->port->name);
		return -EOPNOTSUPP;
	}
	if (xb_job_is_busy(&door->job) || door->going)
		return xb_fail(err, -EAGAIN, "remove %s: it is %s", door->port->name,
			       door->job.doing ? door->job.doing : "about to go");
	ret = refuse_named(door, err);
	if (ret < 0)
		return ret;
	door->going = true;
	door->published = false;
	door->waiting = change;
	door->change = xb_instance_publish(door->instance);
	xb_job_enter(&door->job, &door->instance->loop, "leaving", XB_JOB_NO_LIMIT, leaving);
	return 0;
}

/* ---- gone ---- */

static void finish(struct xb_door *door)
{
	struct xb_instance *instance = door->instance;
	struct xb_change *waiting = door->waiting;
	struct xb_error failed = door->failed;
	const uint16_t id = door->id;
	const uint32_t generation = door->generation;

	xb_job_rest(&door->job);
	if (!failed.code)
		xb_log(XB_LOG_NOTICE, "port %s was removed", door->port->name);
	xb_stats_depart(door);
	xb_fdb_reset_port(instance->fdb, id);
	xb_loop_watch_forget(&instance->loops, instance->fdb, id);
	instance->storms[id] = instance->storm_said_ns[id] = 0;
	xb_doors_remove(door);
	door->ops->free(door);
	xb_port_ids_give_back(instance, id, generation);
	xb_doors_check(instance, true); /* others follow */
	xb_change_finish(&waiting, failed.code, &failed);
}

/* The table is made again, so that what programs have judged by the one before can be told. What is
 * on trial has to end first; the id waits for that, not the port. */
static bool renew_table(struct xb_instance *instance)
{
	struct xb_error err = {0};

	if (instance->steering.confirm_by_ns)
		return true;
	if (!xb_instance_may_steer(instance, false))
		return false;
	if (xb_steering_renew(&instance->steering, &err) < 0)
		xb_log_error(XB_LOG_WARNING, "make the steering table again", &err);
	else
		xb_instance_steered(instance);
	return true;
}

static void renewing(struct xb_job *job)
{
	struct xb_door *door = (struct xb_door *)job;

	if (renew_table(door->instance))
		finish(door);
	else
		xb_job_again(job);
}

static void forgetting(struct xb_job *job)
{
	struct xb_door *door = (struct xb_door *)job;

	if (xb_instance_is_quiet(door->instance, door->change))
		xb_job_enter(job, &door->instance->loop, "forgetting", XB_JOB_NO_LIMIT, renewing);
	else
		xb_job_again(job);
}

void xb_ports_closed(struct xb_door *door)
{
	struct xb_instance *instance = door->instance;

	door->running = false;
	door->hidden = true;
	door->generation = instance->steering.store.generation;
	xb_fdb_forget_port(instance->fdb, door->port->id);
	door->change = xb_instance_publish(instance);
	xb_job_enter(&door->job, &instance->loop, "forgetting", XB_JOB_NO_LIMIT, forgetting);
}
