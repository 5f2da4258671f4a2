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
#include "daemon/instance.h"

#include "daemon/arp.h"
#include "daemon/log.h"

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

static struct xb_instance *instance_of(struct xb_job *job)
{
	return (struct xb_instance *)((char *)job - offsetof(struct xb_instance, kernel_door.job));
}

static const struct xb_uplink *first_uplink(const struct xb_instance *instance)
{
	return instance->n_uplinks ? instance->uplinks[0].uplink : NULL;
}

unsigned xb_instance_lent_mtu(const struct xb_instance *instance)
{
	unsigned mtu = instance->n_uplinks ? instance->uplinks[0].uplink->mtu : 0;

	return mtu < XB_UPLINK_MTU_MAX ? mtu : XB_UPLINK_MTU_MAX;
}

/* ---- started ---- */

/* Beside a shared uplink both interfaces would answer ARP for each other's address. */
static void confine_arp(struct xb_instance *instance)
{
	const char *ifname = instance->kernel.port->name;
	struct xb_error err = {0};

	for (unsigned i = 0; i < instance->n_uplinks; i++) {
		const struct xb_uplink *uplink = instance->uplinks[i].uplink;

		if (!uplink->shared || !xb_kernel_port_is_here(&instance->kernel))
			continue;
		if (xb_arp_confine(ifname, &err) < 0)
			xb_log_error(XB_LOG_WARNING, "ARP", &err);
		if (instance->arp_said)
			return;
		instance->arp_said = true;
		xb_log(XB_LOG_WARNING,
		       "%s lies beside the shared uplink %s: %s answers for no address but its own "
		       "(arp_ignore=1 arp_announce=2), but %s still answers ARP for %s's address; "
		       "a network namespace of its own (--netns) avoids that",
		       ifname, uplink->port.name, ifname, uplink->port.name, ifname);
		return;
	}
}

static void show(struct xb_instance *instance)
{
	instance->kernel_door.published = true;
	instance->kernel_door.queues = instance->kernel.port->n_queues;
}

/* Starts the port, which is open. The caller publishes it. */
static int start(struct xb_instance *instance, struct xb_error *err)
{
	int ret;

	confine_arp(instance);
	xb_instance_follow_carrier(instance);
	ret = xb_kernel_port_start(&instance->kernel, instance->config.kernel.queues,
				   &instance->cache, err);
	if (ret < 0)
		return ret;
	instance->kernel_running = true;
	show(instance);
	if (!atomic_load(&instance->kernel.port->up))
		xb_log(XB_LOG_NOTICE, "%s is down: bring it up (ip link set %s up)",
		       instance->kernel.port->name, instance->kernel.port->name);
	return 0;
}

static void finish_opening(struct xb_instance *instance, int ret, const struct xb_error *err)
{
	const struct xb_uplink *first = first_uplink(instance);

	xb_job_rest(&instance->kernel_door.job);
	if (ret < 0) {
		instance->kernel_door.failed = *err;
	} else {
		instance->followed_mtu = first ? first->mtu : 0;
		if (first)
			memcpy(instance->followed_mac, first->mac, sizeof(first->mac));
		xb_log(XB_LOG_INFO, "%s: %s", instance->kernel.port->name, instance->kernel.why);
	}
	xb_job_poke(&instance->life);
}

/* The kernel may let go of a killed daemon's TAP some time after that process is gone. */
static void opening(struct xb_job *job)
{
	struct xb_instance *instance = instance_of(job);
	const struct xb_uplink *first = first_uplink(instance);
	struct xb_error err = {0};
	int ret = xb_kernel_port_open(&instance->kernel, &instance->config,
				      first ? first->mac : NULL, xb_instance_lent_mtu(instance),
				      &instance->arena, &err);

	if (ret == -EBUSY && !xb_job_is_late(job)) {
		xb_job_again(job);
		return;
	}
	if (!ret)
		atomic_store(&instance->kernel.port->storm.pps, XB_STORM_PPS);
	if (!ret)
		ret = start(instance, &err);
	finish_opening(instance, ret, &err);
}

void xb_kernel_door_open(struct xb_instance *instance)
{
	xb_job_enter(&instance->kernel_door.job, &instance->loop, "opening", HELD_MS, opening);
}

/* ---- stopped, and started again ---- */

static void try_again_later(struct xb_instance *instance, const struct xb_error *err)
{
	xb_log_trouble(instance->kernel_trouble, sizeof(instance->kernel_trouble),
		       instance->kernel.port->name, err);
	instance->kernel_again_ns = xb_now_ns() + RETRY_NS;
}

static bool start_again(struct xb_instance *instance)
{
	struct xb_error err = {0};

	if (start(instance, &err) < 0) {
		try_again_later(instance, &err);
		return false;
	}
	instance->kernel_trouble[0] = '\0';
	xb_instance_publish(instance);
	return true;
}

/* Starts it again, on its interface, or on a new one where that was deleted. */
static void reopen(struct xb_instance *instance)
{
	const struct xb_uplink *first = first_uplink(instance);
	struct xb_error err = {0};

	if (xb_kernel_port_reopen(&instance->kernel, &instance->config, first ? first->mac : NULL,
				  xb_instance_lent_mtu(instance), &err) < 0)
		try_again_later(instance, &err);
	else if (start_again(instance))
		xb_log(XB_LOG_NOTICE, "%s is back", instance->kernel.port->name);
}

static void stopping(struct xb_job *job)
{
	struct xb_instance *instance = instance_of(job);

	if (!xb_kernel_port_recall(&instance->kernel, 0, &instance->cache) &&
	    !xb_job_is_late(job)) {
		xb_job_again(job);
		return;
	}
	xb_kernel_port_stop(&instance->kernel, &instance->cache);
	xb_job_rest(job);
	if (instance->kernel_door.moves)
		xb_kernel_port_leave(&instance->kernel);
	instance->kernel_door.moves = false;
	if (instance->kernel_door.is_whole)
		start_again(instance);
	else
		reopen(instance);
}

static void leaving(struct xb_job *job)
{
	struct xb_instance *instance = instance_of(job);

	if (xb_instance_is_quiet(instance, instance->kernel_door.change))
		xb_job_enter(job, &instance->loop, "stopping", RECALL_MS, stopping);
	else
		xb_job_again(job);
}

/* Stops it and starts it again; `is_whole`: nothing but what it has negotiated is to be renewed. */
static void restart(struct xb_instance *instance, bool is_whole)
{
	struct xb_kernel_door *door = &instance->kernel_door;

	door->is_whole = is_whole;
	door->published = false;
	instance->kernel_running = false;
	door->change = xb_instance_publish(instance);
	xb_job_enter(&door->job, &instance->loop, "leaving", XB_JOB_NO_LIMIT, leaving);
}

void xb_kernel_door_move(struct xb_instance *instance)
{
	instance->kernel_door.moves = true;
	restart(instance, false);
}

/* ---- more queues, or fewer ---- */

static void finish_resize(struct xb_instance *instance, int code, const struct xb_error *err)
{
	struct xb_kernel_door *door = &instance->kernel_door;
	struct xb_change *change = door->resize;

	xb_job_rest(&door->job);
	if (!code)
		instance->config.kernel.queues = door->wanted;
	show(instance); /* all that it has, whatever came of it */
	xb_instance_publish(instance);
	door->resize = NULL;
	if (!change)
		return;
	change->code = code;
	change->err = *err;
	change->is_done = true;
	if (change->done)
		change->done(change);
}

static void resize(struct xb_instance *instance)
{
	struct xb_error err = {0};
	int ret = xb_kernel_port_resize(&instance->kernel, instance->kernel_door.wanted,
					&instance->cache, &err);

	finish_resize(instance, ret, &err);
}

static void recalling(struct xb_job *job)
{
	struct xb_instance *instance = instance_of(job);

	if (!xb_kernel_port_recall(&instance->kernel, instance->kernel_door.wanted,
				   &instance->cache) &&
	    !xb_job_is_late(job))
		xb_job_again(job);
	else
		resize(instance);
}

/* What is posted for sending on queues to which nobody sends any more is sent. */
static void sending(struct xb_job *job)
{
	struct xb_instance *instance = instance_of(job);
	struct xb_port *port = instance->kernel.port;
	unsigned left = 0;

	for (unsigned q = instance->kernel_door.wanted; q < port->n_queues; q++)
		left += port->ops->kick(port, q, &instance->cache);
	if (left && !xb_job_is_late(job))
		xb_job_again(job);
	else
		xb_job_enter(job, &instance->loop, "recalling", RECALL_MS, recalling);
}

static void emptying(struct xb_job *job);
static void parting(struct xb_job *job);

/* Lets the workers serve so many queues from now on. */
static void show_queues(struct xb_instance *instance, unsigned queues)
{
	instance->kernel_door.queues = queues;
	instance->kernel_door.change = xb_instance_publish(instance);
}

static bool has_lost_patience(const struct xb_instance *instance)
{
	return xb_now_ns() >= instance->kernel_door.empty_by_ns;
}

/* No worker serves the queues any more: what is left in their rings can be seen. */
static void parting(struct xb_job *job)
{
	struct xb_instance *instance = instance_of(job);
	struct xb_kernel_door *door = &instance->kernel_door;
	bool unread;

	if (!xb_instance_is_quiet(instance, door->change)) {
		xb_job_again(job);
		return;
	}
	unread = door->moved && xb_kernel_port_unread(&instance->kernel, door->wanted);
	if (unread && !has_lost_patience(instance)) {
		show_queues(instance, instance->kernel.port->n_queues);
		door->times_empty = 0;
		xb_job_enter(job, &instance->loop, "emptying", XB_JOB_NO_LIMIT, emptying);
		return;
	}
	if (unread)
		xb_log(XB_LOG_WARNING,
		       "%s: its queues from %u on have not run empty within %u ms; what lies in "
		       "them is lost",
		       instance->kernel.port->name, door->wanted, EMPTY_MS);
	xb_job_enter(job, &instance->loop, "sending", SEND_MS, sending);
}

/* The queues that are to go run empty while their workers still serve them. A sender that had
 * chosen one before may put its packet there between two looks. */
static void emptying(struct xb_job *job)
{
	struct xb_instance *instance = instance_of(job);
	struct xb_kernel_door *door = &instance->kernel_door;
	bool waiting = !xb_instance_is_quiet(instance, door->change) ||
		       xb_kernel_port_waiting(&instance->kernel, door->wanted);

	door->times_empty = waiting ? 0 : door->times_empty + 1;
	if (door->times_empty < 2 && !has_lost_patience(instance)) {
		xb_job_again(job);
		return;
	}
	show_queues(instance, door->wanted);
	xb_job_enter(job, &instance->loop, "parting", XB_JOB_NO_LIMIT, parting);
}

static void begin_fewer(struct xb_instance *instance)
{
	struct xb_kernel_door *door = &instance->kernel_door;

	door->times_empty = 0;
	door->empty_by_ns = xb_now_ns() + EMPTY_MS * 1000000ull;
	door->moved = xb_kernel_port_retire(&instance->kernel, door->wanted);
	if (door->moved) {
		xb_job_enter(&door->job, &instance->loop, "emptying", XB_JOB_NO_LIMIT, emptying);
		return;
	}
	xb_log(XB_LOG_WARNING,
	       "%s: flows can't be moved off its queues first, so packets that wait there are lost",
	       instance->kernel.port->name);
	show_queues(instance, door->wanted);
	xb_job_enter(&door->job, &instance->loop, "parting", XB_JOB_NO_LIMIT, parting);
}

int xb_instance_set_queues(struct xb_instance *instance, unsigned queues, struct xb_change *change,
			   struct xb_error *err)
{
	struct xb_kernel_door *door = &instance->kernel_door;
	const struct xb_port *port = instance->kernel.port;

	if (xb_job_is_busy(&door->job))
		return xb_fail(err, -EAGAIN, "queues of %s: it is %s", port->name, door->job.doing);
	if (!instance->kernel_running)
		return xb_fail(err, -ENODEV, "queues of %s", port->name);
	if (!queues || queues > port->queues_max)
		return xb_refuse(err, -EINVAL,
				 "%u queues are too many for %s, which has at most %u", queues,
				 port->name, port->queues_max);
	door->wanted = queues;
	door->resize = change;
	door->change = 0;
	if (queues < port->n_queues)
		begin_fewer(instance);
	else if (queues > port->n_queues)
		resize(instance);
	else
		finish_resize(instance, 0, &(struct xb_error){0});
	return 0;
}

void xb_instance_forget_change(struct xb_instance *instance, const struct xb_change *change)
{
	if (instance->kernel_door.resize == change)
		instance->kernel_door.resize = NULL;
}

/* ---- looked after ---- */

void xb_kernel_door_check(struct xb_instance *instance)
{
	struct xb_kernel_port *kernel = &instance->kernel;
	unsigned mtu = kernel->mtu;
	int ret;

	if (xb_job_is_busy(&instance->kernel_door.job))
		return;
	if (!instance->kernel_running) {
		if (xb_now_ns() >= instance->kernel_again_ns)
			reopen(instance);
		return;
	}
	ret = xb_kernel_port_check(kernel);
	if (ret < 0) {
		xb_log(XB_LOG_WARNING, "%s %s", kernel->port->name,
		       ret != -ENODEV ? "has failed; it is started anew"
		       : kernel->tap.handed_in
			       ? "was deleted; it was handed in, so that a restart is due"
			       : "was deleted; it is made again");
		restart(instance, false);
	} else if (kernel->mtu != mtu) {
		xb_log(XB_LOG_NOTICE, "%s has MTU %u now", kernel->port->name, kernel->mtu);
		restart(instance, true);
	}
}

/* tap0's MTU is the uplink's, unless somebody has said otherwise. */
void xb_kernel_door_follow_mtu(struct xb_instance *instance)
{
	struct xb_kernel_port *kernel = &instance->kernel;
	unsigned before = instance->followed_mtu;
	unsigned mtu = xb_instance_lent_mtu(instance);
	int ret;

	if (!instance->kernel_running)
		return; /* it follows once it runs */
	instance->followed_mtu = mtu;
	if (mtu == before || kernel->mtu != before || instance->config.kernel.mtu ||
	    kernel->tap.handed_in || kernel->tap.found)
		return;
	ret = xb_tap_set_mtu(&kernel->tap, mtu);
	if (ret < 0)
		xb_log(XB_LOG_WARNING, "%s: its MTU can't follow the uplink's: %s",
		       kernel->port->name, strerror(-ret));
}
