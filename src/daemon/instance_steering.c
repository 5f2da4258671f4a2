/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the steering table knows of its instance, and when a table on trial ends.
 */
#include "daemon/doors.h"
#include "daemon/gate_views.h"
#include "daemon/log.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

/* ---- what names mean ---- */

static int port_of_name(const void *arg, const char *name)
{
	const struct xb_port *port = xb_instance_port(arg, name);

	return port ? port->id : -ENOENT;
}

static uint64_t bit_of(const struct xb_door *door)
{
	return 1ull << door->port->id;
}

static uint64_t uplinks(const void *arg)
{
	uint64_t mask = 0;

	xb_for_each_door(arg, door)
	{
		mask |= door->port->caps.uplink ? bit_of(door) : 0;
	}
	return mask;
}

static uint64_t untagged(const void *arg)
{
	uint64_t mask = 0;

	xb_for_each_door(arg, door)
	{
		mask |= door->loses_tags ? bit_of(door) : 0;
	}
	return mask;
}

static uint64_t of_vlan(const void *arg, uint16_t vlan)
{
	uint64_t mask = 0;

	xb_for_each_door(arg, door)
	{
		mask |= door->of_vlan && door->vlan == vlan ? bit_of(door) : 0;
	}
	return mask;
}

static bool kernel_mac(const void *arg, uint8_t ret_mac[6])
{
	const struct xb_door *door = xb_doors_find(arg, "kernel");

	if (!door)
		return false;
	memcpy(ret_mac, door->mac, sizeof(door->mac));
	return true;
}

/* ---- trials ---- */

static void on_trial_end(struct xb_timer *timer);

static void set_timer(struct xb_instance *instance)
{
	uint64_t by_ns = instance->steering.confirm_by_ns;

	if (by_ns)
		xb_loop_at(&instance->loop, &instance->trial_end, by_ns, on_trial_end);
	else
		xb_loop_forget(&instance->loop, &instance->trial_end);
}

static void tick(struct xb_instance *instance)
{
	if (!xb_steering_tick(&instance->steering, xb_now_ns()))
		return;
	xb_instance_steered(instance);
	xb_log(XB_LOG_WARNING,
	       "the change of the steering table was not confirmed in time: the table from before "
	       "is back, %u rules, default %s",
	       instance->steering.now.n, instance->steering.now.word);
}

static void on_trial_end(struct xb_timer *timer)
{
	tick((struct xb_instance *)((char *)timer - offsetof(struct xb_instance, trial_end)));
}

/* ---- the table ---- */

/* The rules hold all the same. */
static void warn_unshown(const struct xb_steering *steering)
{
	if (steering->unshown.code)
		xb_log_error(XB_LOG_WARNING, "the pinned rules are not those in force",
			     &steering->unshown);
}

int xb_instance_start_steering(struct xb_instance *instance, struct xb_error *err)
{
	const struct xb_rule_names names = {port_of_name, uplinks,    untagged,
					    of_vlan,      kernel_mac, instance};
	const struct xb_steer_maps maps = xb_gate_maps(&instance->gate);
	struct xb_rule_list *rules = &instance->config.rules;
	int ret = xb_steering_init(&instance->steering, instance->gate_open ? &maps : NULL, &names,
				   err);

	if (!ret)
		ret = xb_rule_list_set_verdict(rules, instance->config.verdict_word, 0, err);
	if (!ret) /* without any rule, too: an earlier run may have left some */
		ret = xb_steering_load(&instance->steering, rules, 0, err);
	if (!ret)
		warn_unshown(&instance->steering);
	return ret;
}

void xb_instance_steered(struct xb_instance *instance)
{
	warn_unshown(&instance->steering);
	xb_instance_publish(instance);
	set_timer(instance);
}

bool xb_instance_may_steer(struct xb_instance *instance, bool joins)
{
	/* an image is written where the one before the last was, which no worker may look at */
	if (!xb_instance_is_settled(instance))
		return false;
	if (!joins && xb_steering_resume(&instance->steering)) { /* another one waits to join */
		xb_instance_publish(instance);
		return xb_instance_is_settled(instance);
	}
	if (!xb_steering_must_stand_back(&instance->steering, joins))
		return true;
	xb_steering_stand_back(&instance->steering);
	xb_instance_publish(instance);
	return xb_instance_is_settled(instance);
}

int xb_instance_refresh_steering(struct xb_instance *instance, struct xb_error *err)
{
	int ret;

	if (!xb_instance_is_settled(instance))
		return -EAGAIN;
	ret = xb_steering_refresh(&instance->steering, err);
	if (ret > 0)
		xb_instance_steered(instance);
	return ret < 0 ? ret : 0;
}

void xb_instance_check_steering(struct xb_instance *instance)
{
	struct xb_error err = {0};
	int ret;

	tick(instance);
	if (xb_steering_resume(&instance->steering)) /* who wanted to join has gone */
		xb_instance_steered(instance);
	ret = xb_instance_refresh_steering(instance, &err);
	if (ret < 0 && ret != -EAGAIN)
		xb_log_error(XB_LOG_ERROR, "make the steering table again", &err);
}
