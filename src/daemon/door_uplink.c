/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The life of an uplink: its program is put on the interface by the doorman, its sockets are bound
 * one by one, and both again whenever the interface has changed or comes back.
 *
 *      (open) ─► attaching ─► rest, until all uplinks are attached ─► binding ─► running
 *
 *      running ─► leaving ─► releasing ─► reopened: attaching ─► binding ─► running
 *                                      └► lost: looked for each second
 *
 * Programs are put on from the bottom up and taken off from the top down, since the kernel refuses
 * the other order; one below that is put on anew takes those upon it off first (gate/gate.h).
 *
 * An uplink that only has to be taken anew (another MTU, other queues) counts as there meanwhile,
 * so that tap0 keeps its carrier.
 */
#include "daemon/instance.h"

#include "daemon/gate_views.h"
#include "daemon/log.h"
#include "daemon/privileges.h"
#include "daemon/uplink_log.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

/* How long a queue may stay taken, and the kernel hold frames of sockets that were closed. */
#define BIND_MS    2000u
#define RELEASE_MS 2000u

/* How long what has failed is left alone. Trying causes link events of its own (promiscuous mode
 * goes on and off), so that without a pause one look would lead to the next. */
#define RETRY_NS 1000000000u

static void end(struct xb_instance_uplink *entry);

static struct xb_instance_uplink *entry_of(struct xb_job *job)
{
	return (struct xb_instance_uplink *)job;
}

/* ---- what fails ---- */

/* It can't be used as yet: at the start that is the end, afterwards it is tried again. */
static void fail(struct xb_instance_uplink *entry, const struct xb_error *err)
{
	struct xb_instance *instance = entry->instance;

	xb_job_rest(&entry->job);
	if (!instance->ready) {
		entry->failed = *err;
		xb_job_poke(&instance->life);
		return;
	}
	if (err->code != -ENODEV)
		xb_log_trouble(entry->trouble, sizeof(entry->trouble), entry->uplink->port.name,
			       err);
	atomic_store(&entry->uplink->port.up, false);
	entry->lost = true;
	entry->again_ns = xb_now_ns() + RETRY_NS;
}

/* Stops the uplink, step by step. Returns whether that is done, or has taken too long; otherwise
 * the state is called again. */
static bool is_stopped(struct xb_instance_uplink *entry)
{
	int ret = xb_uplink_stop(entry->uplink, &entry->instance->cache);

	if (ret == -EAGAIN)
		xb_job_poke(&entry->job);
	else if (ret == -EBUSY && !xb_job_is_late(&entry->job))
		xb_job_again(&entry->job);
	else
		return true;
	return false;
}

/* ---- attaching and binding ---- */

static void finish(struct xb_instance_uplink *entry)
{
	struct xb_instance *instance = entry->instance;
	bool was_lost = entry->lost;

	xb_job_rest(&entry->job);
	xb_say_uplink(entry->uplink);
	entry->published = true;
	entry->lost = false;
	entry->trouble[0] = '\0';
	if (!instance->ready) {
		xb_job_poke(&instance->life);
		return;
	}
	xb_instance_publish(instance);
	if (was_lost)
		xb_log(XB_LOG_NOTICE, "uplink %s is back", entry->uplink->port.name);
	xb_instance_check(instance, true); /* what has changed meanwhile, and what follows it */
}

/* What could not be bound is closed again. */
static void unbinding(struct xb_job *job)
{
	struct xb_instance_uplink *entry = entry_of(job);
	struct xb_error err = entry->failed;

	if (is_stopped(entry)) {
		entry->failed = (struct xb_error){0};
		fail(entry, &err);
	}
}

static void binding(struct xb_job *job)
{
	struct xb_instance_uplink *entry = entry_of(job);
	struct xb_instance *instance = entry->instance;
	struct xb_error err = {0};
	int ret;

	xb_privileges_lock_memory(true);
	ret = xb_uplink_start(entry->uplink, &instance->cache, &err);
	xb_privileges_lock_memory(false);
	if (ret == -EAGAIN) {
		xb_job_enter(job, &instance->loop, "binding", BIND_MS, binding);
	} else if (ret == -EBUSY && !xb_job_is_late(job)) {
		xb_job_again(job);
	} else if (ret < 0) {
		entry->failed = err;
		xb_job_enter(job, &instance->loop, "releasing", RELEASE_MS, unbinding);
	} else {
		finish(entry);
	}
}

void xb_uplink_door_bind(struct xb_instance_uplink *entry)
{
	xb_job_enter(&entry->job, &entry->instance->loop, "binding", BIND_MS, binding);
}

static void on_attached(struct xb_errand *errand)
{
	struct xb_instance_uplink *entry =
		(struct xb_instance_uplink *)((char *)errand -
					      offsetof(struct xb_instance_uplink, attach));
	struct xb_error *err = &errand->outcome.err;
	int ret = errand->outcome.code;

	if (!ret) {
		xb_gate_attached(&entry->instance->gate, &errand->order, &errand->outcome);
		xb_uplink_attached(entry->uplink, &errand->outcome.attachment);
		entry->attached = true;
	}
	if (entry->instance->ending) {
		entry->instance->n_detaching--;
		end(entry);
		return;
	}
	xb_uplink_doors_cleared(entry->instance, errand->outcome.cleared);
	if (ret < 0) {
		fail(entry, err);
		return;
	}
	if (entry->instance->ready) {
		xb_uplink_door_bind(entry);
		return;
	}
	xb_job_rest(&entry->job);
	xb_job_poke(&entry->instance->life);
}

/* The doorman sees to the deadline. */
static void attaching(struct xb_job *job)
{
	(void)job;
}

static void attach(struct xb_instance_uplink *entry)
{
	const struct xb_uplink *uplink = entry->uplink;
	struct xb_gate_order *order = &entry->attach.order;

	entry->cleared = false;
	*order = (struct xb_gate_order){.attach = true,
					.slot = uplink->slot,
					.ifindex = uplink->ifindex,
					.options = xb_uplink_how_to_attach(uplink)};
	memcpy(order->ifname, uplink->options.ifname, sizeof(order->ifname));
	xb_job_enter(&entry->job, &entry->instance->loop, "attaching", XB_JOB_NO_LIMIT, attaching);
	xb_doorman_give(&entry->instance->doorman, &entry->attach, on_attached);
}

/* A shared uplink's address stays its own stack's: tap0 would never get a frame. */
int xb_uplink_door_may_lend(const struct xb_uplink *uplink, struct xb_error *err)
{
	if (!uplink->shared)
		return 0;
	xb_fail(err, -EINVAL, "mac uplink: %s is shared (%s)", uplink->port.name,
		uplink->shared_reason);
	xb_hint(err, "--uplink %s,dedicated lets the address move to the kernel's interface",
		uplink->port.name);
	return -EINVAL;
}

int xb_uplink_door_open(struct xb_instance *instance, unsigned i, struct xb_error *err)
{
	struct xb_instance_uplink *entry = &instance->uplinks[i];
	struct xb_uplink_options *options = &instance->config.uplinks[i];
	const struct xb_program program = xb_gate_program(&instance->gate);
	struct xb_uplink *uplink;

	options->port_id = (uint16_t)(XB_KERNEL_PORT_ID + 1 + i);
	if (xb_uplink_new(options, &program, &instance->arena, &uplink, err) < 0)
		return err->code;
	*entry = (struct xb_instance_uplink){.instance = instance, .uplink = uplink};
	instance->n_uplinks++;
	atomic_store(&uplink->port.storm.pps, XB_STORM_PPS);
	xb_log(XB_LOG_INFO,
	       "uplink %s is %s (%s): %s; choose with --uplink %s,shared or %s,dedicated",
	       uplink->port.name, uplink->shared ? "shared" : "dedicated", uplink->shared_reason,
	       uplink->shared ? "its stack keeps its own and group frames"
			      : "xbridge takes all frames but those to its own addresses",
	       uplink->port.name, uplink->port.name);
	return options->lends_mac ? xb_uplink_door_may_lend(uplink, err) : 0;
}

/* ---- in order ---- */

/* The uplinks from the bottom up: one that others stand on comes before them. */
static void sort_upwards(struct xb_instance *instance, struct xb_instance_uplink **ret_sorted)
{
	for (unsigned i = 0; i < instance->n_uplinks; i++) {
		struct xb_instance_uplink *entry = &instance->uplinks[i];
		unsigned at = i;

		for (; at && ret_sorted[at - 1]->uplink->below.n > entry->uplink->below.n; at--)
			ret_sorted[at] = ret_sorted[at - 1];
		ret_sorted[at] = entry;
	}
}

void xb_uplink_doors_attach(struct xb_instance *instance)
{
	struct xb_instance_uplink *sorted[XB_UPLINKS_MAX];

	sort_upwards(instance, sorted);
	for (unsigned i = 0; i < instance->n_uplinks; i++)
		attach(sorted[i]);
}

void xb_uplink_doors_cleared(struct xb_instance *instance, uint32_t slots)
{
	for (unsigned i = 0; i < instance->n_uplinks; i++) {
		struct xb_instance_uplink *entry = &instance->uplinks[i];

		/* orders are carried out in turn: one on its way comes after that */
		if (!(slots & 1u << entry->uplink->slot) || !entry->attached ||
		    entry->attach.on_its_way)
			continue;
		entry->cleared = true;
		if (instance->ready)
			xb_uplink_door_check(entry);
	}
}

/* ---- taken out, and taken anew ---- */

/* Uses the interface as it is now. */
static void reopen(struct xb_instance_uplink *entry)
{
	struct xb_error err = {0};

	if (xb_uplink_reopen(entry->uplink, &err) < 0)
		fail(entry, &err);
	else
		attach(entry);
}

static void releasing(struct xb_job *job)
{
	struct xb_instance_uplink *entry = entry_of(job);

	if (!is_stopped(entry))
		return;
	if (entry->lost)
		xb_job_rest(job); /* the next look takes it back */
	else
		reopen(entry);
}

static void leaving(struct xb_job *job)
{
	struct xb_instance_uplink *entry = entry_of(job);

	if (xb_instance_is_quiet(entry->instance, entry->change))
		xb_job_enter(job, &entry->instance->loop, "releasing", RELEASE_MS, releasing);
	else
		xb_job_again(job);
}

static void take_out(struct xb_instance_uplink *entry, bool lost)
{
	entry->lost = lost;
	entry->again_ns = 0;
	entry->published = false;
	entry->change = xb_instance_publish(entry->instance);
	xb_job_enter(&entry->job, &entry->instance->loop, "leaving", XB_JOB_NO_LIMIT, leaving);
}

/* Says once that an uplink can't be looked at, or can be again. What it is and has is as it was. */
static void say_unseen(struct xb_instance_uplink *entry, int code)
{
	const char *name = entry->uplink->port.name;

	if (entry->unseen == (code != 0))
		return;
	entry->unseen = code;
	if (code)
		xb_log(XB_LOG_WARNING,
		       "uplink %s goes on, but changes of it are not noticed: %s; raise the limit "
		       "(LimitNOFILE=, ulimit -n)",
		       name, strerror(-code));
	else
		xb_log(XB_LOG_NOTICE, "changes of uplink %s are noticed again", name);
}

static void say_renamed(const struct xb_uplink *uplink, const char *before)
{
	if (strcmp(uplink->port.name, before) != 0)
		xb_log(XB_LOG_NOTICE,
		       "uplink %s is called %s now; rules and commands know it by both names",
		       before, uplink->port.name);
}

/* Whether a program is being put on below it: its own may have had to go for that. */
static bool waits_for_lower(const struct xb_instance_uplink *entry)
{
	const struct xb_instance *instance = entry->instance;

	for (unsigned i = 0; i < instance->n_uplinks; i++)
		if (instance->uplinks[i].attach.on_its_way &&
		    instance->uplinks[i].uplink->below.n < entry->uplink->below.n)
			return true;
	return false;
}

void xb_uplink_door_check(struct xb_instance_uplink *entry)
{
	struct xb_uplink *uplink = entry->uplink;
	const struct xb_tags tags = uplink->tags;
	char before[IF_NAMESIZE];
	unsigned mtu = uplink->mtu;
	unsigned rx_queues = uplink->rx_queues;
	unsigned tx_queues = uplink->tx_queues;
	int ret;

	if (xb_job_is_busy(&entry->job))
		return;
	if (entry->lost) {
		if (xb_now_ns() >= entry->again_ns)
			reopen(entry);
		return;
	}
	if (entry->cleared) {
		xb_log(XB_LOG_INFO,
		       "uplink %s: its XDP program had to go for one below it, and is put on again",
		       uplink->port.name);
		take_out(entry, false);
		return;
	}
	memcpy(before, uplink->port.name, sizeof(before));
	ret = xb_uplink_refresh_link(uplink);
	say_renamed(uplink, before);
	xb_say_tags(uplink, &tags);
	say_unseen(entry, xb_is_shortage(ret) ? ret : 0);
	if (entry->unseen || (ret == -ENOLINK && waits_for_lower(entry)))
		return;
	if (ret < 0) {
		xb_log(XB_LOG_WARNING, "uplink %s %s", uplink->port.name,
		       ret == -ENOLINK ? "has lost its XDP program; it is attached again"
				       : "is gone; it is used again when it is back");
		take_out(entry, true);
	} else if (uplink->mtu != mtu || uplink->rx_queues != rx_queues ||
		   uplink->tx_queues != tx_queues) {
		xb_log(XB_LOG_NOTICE, "uplink %s has MTU %u and %u queues now", uplink->port.name,
		       uplink->mtu, uplink->rx_queues);
		take_out(entry, false);
	}
}

/* ---- the end ---- */

static void on_detached(struct xb_errand *errand)
{
	struct xb_instance_uplink *entry =
		(struct xb_instance_uplink *)((char *)errand -
					      offsetof(struct xb_instance_uplink, detach));
	struct xb_instance *instance = entry->instance;

	if (errand->outcome.code) {
		instance->programs_left = true;
		xb_log_error(XB_LOG_WARNING, entry->uplink->port.name, &errand->outcome.err);
	} else {
		xb_gate_detached(&instance->gate, entry->uplink->slot);
	}
	instance->n_detaching--;
	xb_job_poke(&instance->life);
}

static void end(struct xb_instance_uplink *entry)
{
	struct xb_instance *instance = entry->instance;

	xb_job_rest(&entry->job);
	if (entry->attach.on_its_way) {
		instance->n_detaching++;
	} else if (entry->attached && instance->keep_programs &&
		   entry->uplink->attachment.taken_over) {
		instance->programs_left = true;
	} else if (entry->attached) {
		instance->n_detaching++;
		entry->detach.order = (struct xb_gate_order){.slot = entry->uplink->slot};
		xb_doorman_give(&instance->doorman, &entry->detach, on_detached);
	}
	xb_job_poke(&instance->life);
}

void xb_uplink_doors_end(struct xb_instance *instance)
{
	struct xb_instance_uplink *sorted[XB_UPLINKS_MAX];

	sort_upwards(instance, sorted);
	for (unsigned i = instance->n_uplinks; i; i--)
		end(sorted[i - 1]);
}

void xb_uplink_door_give_up(struct xb_instance_uplink *entry)
{
	const char *name = entry->uplink->port.name;
	struct xb_error err = {0};

	if (!entry->detach.on_its_way && !entry->attach.on_its_way)
		return;
	entry->instance->programs_left = true;
	if (entry->instance->left) {
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
