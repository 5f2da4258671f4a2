/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The life of the kernel's port: opened at the start, looked after, stopped and started where it
 * has changed or was deleted, given more queues or fewer.
 *
 *      running ─► leaving ─► recalling ─► (stopped) ─► running, or tried again each second
 *              ─► emptying ⇄ parting ─► sending ─► recalling ─► running, with fewer queues
 *
 * Fewer queues lose nothing: flows are moved off those that are to go, which are then emptied,
 * first what waits in the TAP and in vhost-net, by the workers that still serve them, then our own
 * rings. What is left in a ring can be seen only once no worker takes packets out of it; where
 * something is, the queue is given back for a moment.
 */
#include "daemon/door_kernel.h"

#include "daemon/arp.h"
#include "daemon/config_value.h"
#include "daemon/domains.h"
#include "daemon/doors.h"
#include "daemon/json.h"
#include "daemon/kernel_follow.h"
#include "daemon/log.h"
#include "daemon/own.h"
#include "daemon/ports.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

/* How long queues that are to go may take to run empty. What lies in them then is lost. */
#define EMPTY_MS 3000u
#define SEND_MS  3000u

/* How long the kernel may take to give back what it was asked to do. */
#define RECALL_MS 1000u

/* How long what has failed is left alone. */
#define RETRY_NS 1000000000u

/* How long an interface may be held by a process that is going. */
#define HELD_MS 1000u

static struct xb_kernel_door *door_of(struct xb_job *job)
{
	return (struct xb_kernel_door *)job;
}

/* ---- started ---- */

/* Beside a shared uplink both interfaces would answer ARP for each other's address. */
static void confine_arp(struct xb_kernel_door *door)
{
	const char *ifname = door->kernel.port->name;
	struct xb_error err = {0};

	xb_for_each_door(door->base.instance, other)
	{
		const char *uplink = other->port->name;

		if (!other->port->caps.shared || !xb_kernel_port_is_here(&door->kernel))
			continue;
		if (xb_arp_confine(ifname, &err) < 0)
			xb_log_error(XB_LOG_WARNING, "ARP", &err);
		if (door->arp_said)
			return;
		door->arp_said = true;
		xb_log(XB_LOG_WARNING,
		       "%s lies beside the shared uplink %s: %s answers for no address but its own "
		       "(arp_ignore=1 arp_announce=2), but %s still answers ARP for %s's address; "
		       "a network namespace of its own (--netns) avoids that",
		       ifname, uplink, ifname, uplink, ifname);
		return;
	}
}

/* What the common part says of it. */
static void note(struct xb_kernel_door *door)
{
	if (door->base.running)
		xb_tap_get_mac(&door->kernel.tap, door->kernel.mac);
	memcpy(door->base.mac, door->kernel.mac, sizeof(door->base.mac));
	door->base.mtu = door->kernel.mtu;
}

static void show(struct xb_kernel_door *door)
{
	door->base.port = door->kernel.port;
	door->base.published = true;
	door->base.queues = door->kernel.port->n_queues;
	note(door);
	xb_own_enter(door->base.instance); /* it may have another address now */
}

/* Starts the port, which is open. The caller publishes it. */
static int start(struct xb_kernel_door *door, struct xb_error *err)
{
	int ret;

	confine_arp(door);
	xb_kernel_follow_carrier(door);
	ret = xb_kernel_port_start(&door->kernel, door->config.queues, &door->base.instance->cache,
				   err);
	if (ret < 0)
		return ret;
	door->base.running = true;
	show(door);
	if (!atomic_load(&door->kernel.port->up))
		xb_log(XB_LOG_NOTICE, "%s is down: bring it up (ip link set %s up)",
		       door->kernel.port->name, door->kernel.port->name);
	return 0;
}

static void finish_opening(struct xb_kernel_door *door, int ret, const struct xb_error *err)
{
	const struct xb_kernel_lent lent = xb_kernel_lent(door);

	xb_job_rest(&door->base.job);
	if (ret < 0 && door->base.coming) {
		xb_ports_gave_up(&door->base, err);
		return;
	}
	if (ret < 0) {
		door->base.failed = *err;
	} else {
		door->followed_mtu = lent.mtu;
		if (lent.uplink_mac)
			memcpy(door->followed_mac, lent.uplink_mac, sizeof(door->followed_mac));
		xb_log(XB_LOG_INFO, "%s: %s", door->kernel.port->name, door->kernel.why);
	}
	if (door->base.coming)
		xb_ports_came(&door->base);
	else
		xb_job_poke(&door->base.instance->life);
}

static int put_into_domain(struct xb_kernel_door *door, struct xb_error *err)
{
	int domain = xb_domains_take(door->base.instance, door->config.domain, err);

	if (domain < 0)
		return domain;
	door->kernel.port->domain = (uint8_t)domain;
	return 0;
}

/* The kernel may let go of a killed daemon's TAP some time after that process is gone. */
static void opening(struct xb_job *job)
{
	struct xb_kernel_door *door = door_of(job);
	struct xb_error err = {0};
	const struct xb_kernel_lent lent = xb_kernel_lent(door);
	int ret = xb_kernel_port_open(&door->kernel, door->base.id, &door->config, &lent,
				      &door->base.instance->arena, &err);

	if (ret == -EBUSY && !xb_job_is_late(job)) {
		xb_job_again(job);
		return;
	}
	if (!ret)
		ret = put_into_domain(door, &err);
	if (!ret)
		atomic_store(&door->kernel.port->storm.pps, XB_STORM_PPS);
	if (!ret)
		ret = start(door, &err);
	finish_opening(door, ret, &err);
}

/* That it is one of this kind; it may not be open. */
static struct xb_kernel_door *as_kernel(struct xb_door *door)
{
	return door && door->ops == &xb_kernel_door_ops ? (struct xb_kernel_door *)door : NULL;
}

struct xb_kernel_door *xb_kernel_door_from(const struct xb_instance *instance, unsigned id)
{
	for (; id < XB_PORTS_MAX; id++)
		if (as_kernel(instance->doors[id]) && instance->doors[id]->port)
			return as_kernel(instance->doors[id]);
	return NULL;
}

struct xb_kernel_door *xb_kernel_door_first(const struct xb_instance *instance)
{
	struct xb_kernel_door *door = as_kernel(instance->doors[XB_KERNEL_PORT_ID]);

	return door && door->base.port && xb_door_is_there(&door->base) ? door : NULL;
}

int xb_kernel_door_open(struct xb_instance *instance, const struct xb_kernel_config *config,
			bool is_first, struct xb_change *change, struct xb_error *err)
{
	struct xb_kernel_door *door = aligned_alloc(64, (sizeof(*door) + 63) / 64 * 64);
	uint16_t id = is_first ? XB_KERNEL_PORT_ID : xb_port_ids_take(instance);

	if (!door)
		return xb_fail(err, -ENOMEM, "make the port %s", config->ifname);
	if (id == XB_PORT_ID_NONE) {
		free(door);
		return xb_port_ids_refuse(err);
	}
	memset(door, 0, sizeof(*door));
	door->config = *config;
	door->base.ops = &xb_kernel_door_ops;
	door->base.instance = instance;
	door->base.id = id;
	door->base.alias = is_first ? "kernel" : NULL;
	door->base.coming = change;
	door->base.waiting = change;
	snprintf(door->name, sizeof(door->name), "%s%s%s", instance->config.name,
		 is_first ? "" : "/", is_first ? "" : config->ifname);
	xb_doors_add(&door->base);
	xb_job_enter(&door->base.job, &instance->loop, "opening", HELD_MS, opening);
	return 0;
}

static void free_door(struct xb_door *base)
{
	struct xb_kernel_door *door = (struct xb_kernel_door *)base;

	if (door->kernel.port)
		xb_kernel_port_close(&door->kernel, &base->instance->cache);
	free(door);
}

void xb_kernel_doors_rest(struct xb_instance *instance)
{
	for (unsigned id = 0; id < XB_PORTS_MAX; id++)
		if (as_kernel(instance->doors[id]))
			xb_job_rest(&instance->doors[id]->job);
}

void xb_kernel_doors_close(struct xb_instance *instance)
{
	for (unsigned id = 0; id < XB_PORTS_MAX; id++) {
		struct xb_kernel_door *door = as_kernel(instance->doors[id]);

		if (!door)
			continue;
		xb_job_rest(&door->base.job);
		xb_doors_remove(&door->base);
		free_door(&door->base);
	}
}

int xb_kernel_doors_settle(struct xb_instance *instance, struct xb_error *err)
{
	int ret = 0;

	xb_for_each_kernel_door(instance, door)
	{
		if (!ret)
			ret = xb_kernel_port_settle(&door->kernel, &door->config, err);
	}
	return ret;
}

/* ---- stopped, and started again ---- */

static void try_again_later(struct xb_kernel_door *door, const struct xb_error *err)
{
	xb_log_trouble(door->base.trouble, sizeof(door->base.trouble), door->kernel.port->name,
		       err);
	door->base.again_ns = xb_now_ns() + RETRY_NS;
}

static bool start_again(struct xb_kernel_door *door)
{
	struct xb_error err = {0};

	if (start(door, &err) < 0) {
		try_again_later(door, &err);
		xb_change_finish(&door->base.waiting, err.code, &err);
		return false;
	}
	door->base.trouble[0] = '\0';
	xb_instance_publish(door->base.instance);
	xb_change_finish(&door->base.waiting, 0, NULL);
	return true;
}

/* Starts it again, on its interface, or on a new one where that was deleted. */
static void reopen(struct xb_kernel_door *door)
{
	const struct xb_kernel_lent lent = xb_kernel_lent(door);
	struct xb_error err = {0};

	if (xb_kernel_port_reopen(&door->kernel, &door->config, &lent, &err) < 0)
		try_again_later(door, &err);
	else if (start_again(door))
		xb_log(XB_LOG_NOTICE, "%s is back", door->kernel.port->name);
}

/* Stops it once what its device holds has come back, or that has taken too long. Returns whether it
 * is done; otherwise the state is called again. */
static bool is_stopped(struct xb_kernel_door *door)
{
	struct xb_cache *cache = &door->base.instance->cache;

	if (!xb_kernel_port_recall(&door->kernel, 0, cache) && !xb_job_is_late(&door->base.job)) {
		xb_job_again(&door->base.job);
		return false;
	}
	xb_kernel_port_stop(&door->kernel, cache);
	xb_job_rest(&door->base.job);
	return true;
}

static void stopping(struct xb_job *job)
{
	struct xb_kernel_door *door = door_of(job);

	if (!is_stopped(door))
		return;
	if (door->moves)
		xb_kernel_port_leave(&door->kernel);
	door->moves = false;
	if (door->is_whole)
		start_again(door);
	else
		reopen(door);
}

static void leaving(struct xb_job *job)
{
	struct xb_kernel_door *door = door_of(job);

	if (xb_instance_is_quiet(door->base.instance, door->base.change))
		xb_job_enter(job, &door->base.instance->loop, "stopping", RECALL_MS, stopping);
	else
		xb_job_again(job);
}

/* Stops it and starts it again; `is_whole`: nothing but what it has negotiated is to be renewed. */
static void restart(struct xb_kernel_door *door, bool is_whole)
{

	door->is_whole = is_whole;
	door->base.published = false;
	door->base.running = false;
	door->base.change = xb_instance_publish(door->base.instance);
	xb_job_enter(&door->base.job, &door->base.instance->loop, "leaving", XB_JOB_NO_LIMIT,
		     leaving);
}

/* ---- more queues, or fewer ---- */

static void finish_resize(struct xb_kernel_door *door, int code, const struct xb_error *err)
{
	xb_job_rest(&door->base.job);
	if (!code)
		door->config.queues = door->wanted;
	show(door); /* all that it has, whatever came of it */
	xb_instance_publish(door->base.instance);
	xb_change_finish(&door->base.waiting, code, err);
}

static void resize(struct xb_kernel_door *door)
{
	struct xb_error err = {0};
	int ret = xb_kernel_port_resize(&door->kernel, door->wanted, &door->base.instance->cache,
					&err);

	finish_resize(door, ret, &err);
}

static void recalling(struct xb_job *job)
{
	struct xb_kernel_door *door = door_of(job);

	if (!xb_kernel_port_recall(&door->kernel, door->wanted, &door->base.instance->cache) &&
	    !xb_job_is_late(job))
		xb_job_again(job);
	else
		resize(door);
}

/* What is posted for sending on queues to which nobody sends any more is sent. */
static void sending(struct xb_job *job)
{
	struct xb_kernel_door *door = door_of(job);
	struct xb_port *port = door->kernel.port;
	unsigned left = 0;

	for (unsigned q = door->wanted; q < port->n_queues; q++)
		left += port->ops->kick(port, q, &door->base.instance->cache);
	if (left && !xb_job_is_late(job))
		xb_job_again(job);
	else
		xb_job_enter(job, &door->base.instance->loop, "recalling", RECALL_MS, recalling);
}

static void emptying(struct xb_job *job);
static void parting(struct xb_job *job);

/* Lets the workers serve so many queues from now on. */
static void show_queues(struct xb_kernel_door *door, unsigned queues)
{
	door->base.queues = queues;
	door->base.change = xb_instance_publish(door->base.instance);
}

static bool has_lost_patience(const struct xb_kernel_door *door)
{
	return xb_now_ns() >= door->empty_by_ns;
}

/* No worker serves the queues any more: what is left in their rings can be seen. */
static void parting(struct xb_job *job)
{
	struct xb_kernel_door *door = door_of(job);
	bool unread;

	if (!xb_instance_is_quiet(door->base.instance, door->base.change)) {
		xb_job_again(job);
		return;
	}
	unread = door->moved && xb_kernel_port_unread(&door->kernel, door->wanted);
	if (unread && !has_lost_patience(door)) {
		show_queues(door, door->kernel.port->n_queues);
		door->times_empty = 0;
		xb_job_enter(job, &door->base.instance->loop, "emptying", XB_JOB_NO_LIMIT,
			     emptying);
		return;
	}
	if (unread)
		xb_log(XB_LOG_WARNING,
		       "%s: its queues from %u on have not run empty within %u ms; what lies in "
		       "them is lost",
		       door->kernel.port->name, door->wanted, EMPTY_MS);
	xb_job_enter(job, &door->base.instance->loop, "sending", SEND_MS, sending);
}

/* The queues that are to go run empty while their workers still serve them. A sender that had
 * chosen one before may put its packet there between two looks. */
static void emptying(struct xb_job *job)
{
	struct xb_kernel_door *door = door_of(job);
	bool waiting = !xb_instance_is_quiet(door->base.instance, door->base.change) ||
		       xb_kernel_port_waiting(&door->kernel, door->wanted);

	door->times_empty = waiting ? 0 : door->times_empty + 1;
	if (door->times_empty < 2 && !has_lost_patience(door)) {
		xb_job_again(job);
		return;
	}
	show_queues(door, door->wanted);
	xb_job_enter(job, &door->base.instance->loop, "parting", XB_JOB_NO_LIMIT, parting);
}

static void begin_fewer(struct xb_kernel_door *door)
{

	door->times_empty = 0;
	door->empty_by_ns = xb_now_ns() + EMPTY_MS * 1000000ull;
	door->moved = xb_kernel_port_retire(&door->kernel, door->wanted);
	if (door->moved) {
		xb_job_enter(&door->base.job, &door->base.instance->loop, "emptying",
			     XB_JOB_NO_LIMIT, emptying);
		return;
	}
	xb_log(XB_LOG_WARNING,
	       "%s: flows can't be moved off its queues first, so packets that wait there are lost",
	       door->kernel.port->name);
	show_queues(door, door->wanted);
	xb_job_enter(&door->base.job, &door->base.instance->loop, "parting", XB_JOB_NO_LIMIT,
		     parting);
}

static int set_queues(struct xb_door *base, unsigned queues, struct xb_change *change,
		      struct xb_error *err)
{
	struct xb_kernel_door *door = (struct xb_kernel_door *)base;
	const struct xb_port *port = door->kernel.port;

	if (xb_job_is_busy(&door->base.job))
		return xb_fail(err, -EAGAIN, "queues of %s: it is %s", port->name,
			       door->base.job.doing);
	if (!door->base.running)
		return xb_fail(err, -ENODEV, "queues of %s", port->name);
	if (!queues || queues > port->queues_max)
		return xb_refuse(err, -EINVAL,
				 "%u queues are too many for %s, which has at most %u", queues,
				 port->name, port->queues_max);
	door->wanted = queues;
	door->base.waiting = change;
	door->base.change = 0;
	if (queues < port->n_queues)
		begin_fewer(door);
	else if (queues > port->n_queues)
		resize(door);
	else
		finish_resize(door, 0, &(struct xb_error){0});
	return 0;
}

/* ---- other offloads ---- */

/* They are negotiated: the port stops for it. What waits in the TAP stays there. */
static int set_offload(struct xb_door *base, struct xb_offload_set offload,
		       struct xb_change *change, struct xb_error *err)
{
	struct xb_kernel_door *door = (struct xb_kernel_door *)base;

	if (xb_job_is_busy(&base->job))
		return xb_fail(err, -EAGAIN, "offloads of %s: it is %s", base->port->name,
			       base->job.doing);
	if (!base->running)
		return xb_fail(err, -ENODEV, "offloads of %s", base->port->name);
	door->config.offload = offload;
	xb_kernel_port_set_offload(&door->kernel, offload);
	base->waiting = change;
	restart(door, true);
	return 0;
}

/* ---- gone ---- */

static void closing(struct xb_job *job)
{
	struct xb_kernel_door *door = door_of(job);

	if (!is_stopped(door))
		return;
	xb_ports_closed(&door->base);
}

static void close_door(struct xb_door *base)
{
	xb_job_enter(&base->job, &base->instance->loop, "stopping", RECALL_MS, closing);
}

/* ---- looked after ---- */

static void look(struct xb_kernel_door *door)
{
	struct xb_kernel_port *kernel = &door->kernel;
	unsigned mtu = kernel->mtu;
	int ret;

	if (xb_job_is_busy(&door->base.job))
		return;
	if (!door->base.running) {
		if (xb_now_ns() >= door->base.again_ns)
			reopen(door);
		return;
	}
	ret = xb_kernel_port_check(kernel);
	if (ret < 0) {
		xb_log(XB_LOG_WARNING, "%s %s", kernel->port->name,
		       ret != -ENODEV ? "has failed; it is started anew"
		       : kernel->tap.handed_in
			       ? "was deleted; it was handed in, so that a restart is due"
			       : "was deleted; it is made again");
		restart(door, false);
	} else if (kernel->mtu != mtu) {
		xb_log(XB_LOG_NOTICE, "%s has MTU %u now", kernel->port->name, kernel->mtu);
		restart(door, true);
	}
}

static void check(struct xb_door *base, bool links)
{
	struct xb_kernel_door *door = (struct xb_kernel_door *)base;

	(void)links;
	xb_kernel_follow_tap(door);
	if (xb_kernel_has_moved_home(door)) {
		door->moves = true;
		restart(door, false);
	}
	look(door);
	note(door);
}

static void follow(struct xb_door *base)
{
	struct xb_kernel_door *door = (struct xb_kernel_door *)base;

	xb_kernel_follow_uplink(door);
	xb_kernel_follow_carrier(door);
}

/* ---- described ---- */

static void describe(const struct xb_door *base, struct json_object *to)
{
	const struct xb_kernel_door *door = (const struct xb_kernel_door *)base;
	const struct xb_kernel_config *config = &door->config;
	const struct xb_kernel_port *kernel = &door->kernel;
	char offload[XB_OFFLOAD_BYTES];

	xb_json_add_text(to, "backend", kernel->vhost ? "vhost-net" : "tap");
	xb_json_add_text(to, "why", kernel->why);
	xb_json_add_bool(to, "carrier", kernel->carrier);
	xb_json_add_u64(to, "queue_size", config->queue_size);
	xb_offload_text(config->offload, offload);
	xb_json_add_text(to, "offload", offload);
	xb_json_add_bool(to, "persist", config->persist);
	if (config->netns[0])
		xb_json_add_text(to, "netns", config->netns);
	if (kernel->vhost) {
		char features[24];

		snprintf(features, sizeof(features), "%#llx",
			 (unsigned long long)kernel->net.features);
		xb_json_add_text(to, "features", features);
	} else {
		xb_json_add_text(to, "io", xb_tap_io_name(kernel->tap_port.io));
	}
}

const struct xb_door_ops xb_kernel_door_ops = {
	.kind = "kernel",
	.check = check,
	.follow = follow,
	.describe = describe,
	.set_queues = set_queues,
	.set_offload = set_offload,
	.close = close_door,
	.free = free_door,
};
