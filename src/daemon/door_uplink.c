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
#include "daemon/door_uplink.h"

#include "daemon/domains.h"
#include "daemon/doors.h"
#include "daemon/gate_views.h"
#include "daemon/json.h"
#include "daemon/log.h"
#include "daemon/ports.h"
#include "daemon/privileges.h"
#include "daemon/uplink_delivery.h"
#include "daemon/uplink_log.h"
#include "daemon/uplink_macs.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

/* How long a queue may stay taken, and the kernel hold frames of sockets that were closed. */
#define BIND_MS    2000u
#define RELEASE_MS 2000u

/* How long what has failed is left alone. Trying causes link events of its own (promiscuous mode
 * goes on and off), so that without a pause one look would lead to the next. */
#define RETRY_NS 1000000000u

static struct xb_uplink_door *door_of(struct xb_job *job)
{
	return (struct xb_uplink_door *)job;
}

static const struct xb_uplink *uplink_of(const struct xb_door *base)
{
	return ((const struct xb_uplink_door *)base)->uplink;
}

struct xb_uplink_door *xb_uplink_door_next(const struct xb_instance *instance, unsigned id)
{
	struct xb_door *door = xb_doors_from(instance, id);

	while (door && door->ops != &xb_uplink_door_ops)
		door = xb_doors_from(instance, door->id + 1u);
	return (struct xb_uplink_door *)door;
}

/* What the common part says of it. */
static void note(struct xb_uplink_door *door)
{
	const struct xb_uplink *uplink = door->uplink;

	memcpy(door->base.mac, uplink->mac, sizeof(door->base.mac));
	door->base.mtu = uplink->mtu;
	door->base.ifindex = uplink->ifindex;
	door->base.queues = uplink->port.n_queues;
	door->base.running = uplink->running;
	door->base.loses_tags = xb_tags_are_lost(&uplink->tags);
	door->base.of_vlan = uplink->tags.of_vlan;
	door->base.vlan = uplink->tags.vlan;
}

/* ---- what fails ---- */

/* It can't be used as yet: at the start that is the end, afterwards it is tried again. */
static void fail(struct xb_uplink_door *door, const struct xb_error *err)
{
	struct xb_instance *instance = door->base.instance;

	xb_job_rest(&door->base.job);
	if (door->base.coming) {
		xb_ports_failed(&door->base, err);
		return;
	}
	if (!instance->ready) {
		door->base.failed = *err;
		xb_job_poke(&instance->life);
		return;
	}
	if (err->code != -ENODEV)
		xb_log_trouble(door->base.trouble, sizeof(door->base.trouble),
			       door->uplink->port.name, err);
	atomic_store(&door->uplink->port.up, false);
	door->base.lost = true;
	door->base.again_ns = xb_now_ns() + RETRY_NS;
}

/* Stops the uplink, step by step. Returns whether that is done, or has taken too long; otherwise
 * the state is called again. */
static bool is_stopped(struct xb_uplink_door *door)
{
	int ret = xb_uplink_stop(door->uplink, &door->base.instance->cache);

	if (ret == -EAGAIN)
		xb_job_poke(&door->base.job);
	else if (ret == -EBUSY && !xb_job_is_late(&door->base.job))
		xb_job_again(&door->base.job);
	else
		return true;
	return false;
}

/* ---- attaching and binding ---- */

static void finish(struct xb_uplink_door *door)
{
	struct xb_instance *instance = door->base.instance;
	bool was_lost = door->base.lost;

	xb_job_rest(&door->base.job);
	xb_say_uplink(door->uplink);
	door->base.published = true;
	door->base.lost = false;
	note(door);
	door->base.trouble[0] = '\0';
	if (door->base.coming) {
		xb_ports_came(&door->base);
		return;
	}
	if (!instance->ready) {
		xb_job_poke(&instance->life);
		return;
	}
	xb_instance_publish(instance);
	if (was_lost)
		xb_log(XB_LOG_NOTICE, "uplink %s is back", door->uplink->port.name);
	xb_doors_check(instance, true); /* what has changed meanwhile, and what follows it */
}

/* What could not be bound is closed again. */
static void unbinding(struct xb_job *job)
{
	struct xb_uplink_door *door = door_of(job);
	struct xb_error err = door->base.failed;

	if (is_stopped(door)) {
		door->base.failed = (struct xb_error){0};
		fail(door, &err);
	}
}

static void binding(struct xb_job *job)
{
	struct xb_uplink_door *door = door_of(job);
	struct xb_instance *instance = door->base.instance;
	struct xb_error err = {0};
	int ret;

	xb_privileges_lock_memory(true);
	ret = xb_uplink_start(door->uplink, &instance->cache, &err);
	xb_privileges_lock_memory(false);
	if (ret == -EAGAIN) {
		xb_job_enter(job, &instance->loop, "binding", BIND_MS, binding);
	} else if (ret == -EBUSY && !xb_job_is_late(job)) {
		xb_job_again(job);
	} else if (ret < 0) {
		door->base.failed = err;
		xb_job_enter(job, &instance->loop, "releasing", RELEASE_MS, unbinding);
	} else {
		finish(door);
	}
}

void xb_uplink_door_bind(struct xb_uplink_door *door)
{
	xb_job_enter(&door->base.job, &door->base.instance->loop, "binding", BIND_MS, binding);
}

static void on_attached(struct xb_errand *errand)
{
	struct xb_uplink_door *door =
		(struct xb_uplink_door *)((char *)errand - offsetof(struct xb_uplink_door, attach));
	struct xb_error *err = &errand->outcome.err;
	int ret = errand->outcome.code;

	if (!ret) {
		xb_gate_attached(&door->base.instance->gate, &errand->order, &errand->outcome);
		xb_uplink_attached(door->uplink, &errand->outcome.attachment);
		door->attached = true;
	}
	if (door->base.instance->ending) {
		door->base.instance->n_detaching--;
		xb_uplink_door_end(door);
		return;
	}
	xb_uplink_doors_cleared(door->base.instance, errand->outcome.cleared);
	if (ret < 0) {
		fail(door, err);
		return;
	}
	if (door->base.instance->ready) {
		xb_uplink_door_bind(door);
		return;
	}
	xb_job_rest(&door->base.job);
	xb_job_poke(&door->base.instance->life);
}

/* The doorman sees to the deadline. */
static void attaching(struct xb_job *job)
{
	(void)job;
}

void xb_uplink_door_attach(struct xb_uplink_door *door)
{
	const struct xb_uplink *uplink = door->uplink;
	struct xb_gate_order *order = &door->attach.order;

	door->cleared = false;
	*order = (struct xb_gate_order){.attach = true,
					.slot = uplink->slot,
					.ifindex = uplink->ifindex,
					.options = xb_uplink_how_to_attach(uplink)};
	memcpy(order->ifname, uplink->options.ifname, sizeof(order->ifname));
	xb_job_enter(&door->base.job, &door->base.instance->loop, "attaching", XB_JOB_NO_LIMIT,
		     attaching);
	xb_doorman_give(&door->base.instance->doorman, &door->attach, on_attached);
}

/* A shared uplink's address stays its own stack's: tap0 would never get a frame. */
int xb_uplink_door_may_lend(const struct xb_door *base, struct xb_error *err)
{
	const struct xb_uplink *uplink = uplink_of(base);

	if (!uplink->shared)
		return 0;
	xb_fail(err, -EINVAL, "mac uplink: %s is shared (%s)", uplink->port.name,
		uplink->shared_reason);
	xb_hint(err, "--uplink %s,dedicated lets the address move to the kernel's interface",
		uplink->port.name);
	return -EINVAL;
}

static int open_door(struct xb_instance *instance, const struct xb_uplink_config *wanted,
		     struct xb_uplink_door **ret_door, struct xb_error *err)
{
	const struct xb_program program = xb_gate_program(&instance->gate);
	struct xb_uplink_door *door = calloc(1, sizeof(*door));
	struct xb_uplink_options options = wanted->options;
	struct xb_uplink *uplink;
	int domain;

	if (!door)
		return xb_fail(err, -ENOMEM, "make the uplink %s", wanted->options.ifname);
	options.port_id = xb_port_ids_take(instance);
	if (options.port_id == XB_PORT_ID_NONE) {
		free(door);
		return xb_port_ids_refuse(err);
	}
	if (xb_uplink_new(&options, &program, &instance->arena, &uplink, err) < 0) {
		free(door);
		return err->code;
	}
	domain = xb_domains_take(instance, wanted->domain, err);
	if (domain < 0) {
		xb_uplink_free(uplink, NULL);
		free(door);
		return domain;
	}
	uplink->port.domain = (uint8_t)domain;
	*door = (struct xb_uplink_door){
		.base = {.ops = &xb_uplink_door_ops,
			 .instance = instance,
			 .id = uplink->port.id,
			 .port = &uplink->port},
		.uplink = uplink,
	};
	note(door);
	xb_doors_add(&door->base);
	instance->n_uplinks++;
	atomic_store(&uplink->port.storm.pps, XB_STORM_PPS);
	xb_log(XB_LOG_INFO,
	       "uplink %s is %s (%s): %s; choose with --uplink %s,shared or %s,dedicated",
	       uplink->port.name, uplink->shared ? "shared" : "dedicated", uplink->shared_reason,
	       uplink->shared ? "its stack keeps its own and group frames"
			      : "xbridge takes all frames but those to its own addresses",
	       uplink->port.name, uplink->port.name);
	*ret_door = door;
	return 0;
}

int xb_uplink_door_open(struct xb_instance *instance, const struct xb_uplink_config *wanted,
			struct xb_error *err)
{
	struct xb_uplink_door *door;
	int ret = open_door(instance, wanted, &door, err);

	return ret || !wanted->options.lends_mac ? ret : xb_uplink_door_may_lend(&door->base, err);
}

static void free_door(struct xb_door *base)
{
	struct xb_uplink_door *door = (struct xb_uplink_door *)base;

	base->instance->n_uplinks--;
	xb_uplink_free(door->uplink, NULL);
	free(door);
}

/* ---- taken out, and taken anew ---- */

/* Uses the interface as it is now. */
static void reopen(struct xb_uplink_door *door)
{
	struct xb_error err = {0};

	if (xb_uplink_reopen(door->uplink, &err) < 0)
		fail(door, &err);
	else
		xb_uplink_door_attach(door);
}

static void releasing(struct xb_job *job)
{
	struct xb_uplink_door *door = door_of(job);

	if (!is_stopped(door))
		return;
	if (door->base.lost)
		xb_job_rest(job); /* the next look takes it back */
	else
		reopen(door);
}

static void leaving(struct xb_job *job)
{
	struct xb_uplink_door *door = door_of(job);

	if (xb_instance_is_quiet(door->base.instance, door->base.change))
		xb_job_enter(job, &door->base.instance->loop, "releasing", RELEASE_MS, releasing);
	else
		xb_job_again(job);
}

static void take_out(struct xb_uplink_door *door, bool lost)
{
	door->base.lost = lost;
	door->base.again_ns = 0;
	door->base.published = false;
	door->base.change = xb_instance_publish(door->base.instance);
	xb_job_enter(&door->base.job, &door->base.instance->loop, "leaving", XB_JOB_NO_LIMIT,
		     leaving);
}

/* Says once that an uplink can't be looked at, or can be again. What it is and has is as it was. */
static void say_unseen(struct xb_uplink_door *door, int code)
{
	const char *name = door->uplink->port.name;

	if (door->unseen == (code != 0))
		return;
	door->unseen = code;
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
static bool waits_for_lower(const struct xb_uplink_door *door)
{
	xb_for_each_uplink(door->base.instance, other)
	{
		if (other->attach.on_its_way && other->uplink->below.n < door->uplink->below.n)
			return true;
	}
	return false;
}

static void look(struct xb_uplink_door *door)
{
	struct xb_uplink *uplink = door->uplink;
	const struct xb_tags tags = uplink->tags;
	char before[IF_NAMESIZE];
	unsigned mtu = uplink->mtu;
	unsigned rx_queues = uplink->rx_queues;
	unsigned tx_queues = uplink->tx_queues;
	int ret;

	if (xb_job_is_busy(&door->base.job))
		return;
	if (door->base.lost) {
		if (xb_now_ns() >= door->base.again_ns)
			reopen(door);
		return;
	}
	if (door->cleared) {
		xb_log(XB_LOG_INFO,
		       "uplink %s: its XDP program had to go for one below it, and is put on again",
		       uplink->port.name);
		take_out(door, false);
		return;
	}
	memcpy(before, uplink->port.name, sizeof(before));
	ret = xb_uplink_refresh_link(uplink);
	say_renamed(uplink, before);
	xb_say_tags(uplink, &tags);
	say_unseen(door, xb_is_shortage(ret) ? ret : 0);
	if (door->unseen || (ret == -ENOLINK && waits_for_lower(door)))
		return;
	if (ret < 0) {
		xb_log(XB_LOG_WARNING, "uplink %s %s", uplink->port.name,
		       ret == -ENOLINK ? "has lost its XDP program; it is attached again"
				       : "is gone; it is used again when it is back");
		take_out(door, true);
	} else if (uplink->mtu != mtu || uplink->rx_queues != rx_queues ||
		   uplink->tx_queues != tx_queues) {
		xb_log(XB_LOG_NOTICE, "uplink %s has MTU %u and %u queues now", uplink->port.name,
		       uplink->mtu, uplink->rx_queues);
		take_out(door, false);
	}
}

void xb_uplink_doors_cleared(struct xb_instance *instance, uint32_t slots)
{
	xb_for_each_uplink(instance, door)
	{
		/* orders are carried out in turn: one on its way comes after that */
		if (!(slots & 1u << door->uplink->slot) || !door->attached ||
		    door->attach.on_its_way)
			continue;
		door->cleared = true;
		if (instance->ready)
			look(door);
	}
}

static void check(struct xb_door *base, bool links)
{
	struct xb_uplink_door *door = (struct xb_uplink_door *)base;

	door->macs_due = door->macs_due || links;
	xb_uplink_macs_look(door);
	look(door);
	note(door);
	if (door->macs_due && !base->lost && !xb_job_is_busy(&base->job))
		xb_uplink_macs_refresh(door);
}

static void follow(struct xb_door *base)
{
	xb_uplink_macs_lend((struct xb_uplink_door *)base);
}

/* ---- coming and going while the instance runs ---- */

/* `in uplink` holds for it from its first frame on. */
static void ruling(struct xb_job *job)
{
	struct xb_uplink_door *door = door_of(job);
	struct xb_error err = {0};
	int ret = xb_instance_refresh_steering(door->base.instance, &err);

	if (ret == -EAGAIN)
		xb_job_again(job);
	else if (ret < 0)
		fail(door, &err);
	else
		xb_uplink_door_attach(door);
}

static int refuse_on_trial(struct xb_error *err)
{
	xb_refuse(err, -EBUSY, "an uplink can't be added while a change of the rules is on trial");
	xb_hint(err, "`xbridge steer confirm` or `xbridge steer revert` first");
	return -EBUSY;
}

int xb_uplink_door_add(struct xb_instance *instance, const struct xb_uplink_config *wanted,
		       struct xb_change *change, struct xb_error *err)
{
	struct xb_uplink_door *door;
	int ret;

	if (!instance->gate_open) {
		xb_refuse(err, -EPERM,
			  "uplink %s can't be added: xbridge was started without one, "
			  "and has given up the rights that it takes",
			  wanted->options.ifname);
		xb_hint(err, "start xbridge with an --uplink; further ones can then come and go");
		return -EPERM;
	}
	if (xb_doors_find(instance, wanted->options.ifname))
		return xb_refuse(err, -EEXIST, "there is a port %s already",
				 wanted->options.ifname);
	if (instance->steering.confirm_by_ns)
		return refuse_on_trial(err);
	ret = open_door(instance, wanted, &door, err);
	if (ret < 0)
		return ret;
	door->base.coming = true;
	door->base.waiting = change;
	xb_doorman_tell(&instance->doorman, wanted->options.ifname, true);
	xb_job_enter(&door->base.job, &instance->loop, "waiting", XB_JOB_NO_LIMIT, ruling);
	return 0;
}

static void on_gone(struct xb_errand *errand)
{
	struct xb_uplink_door *door =
		(struct xb_uplink_door *)((char *)errand - offsetof(struct xb_uplink_door, detach));
	struct xb_instance *instance = door->base.instance;

	if (errand->outcome.code)
		xb_log_error(XB_LOG_WARNING, door->uplink->port.name, &errand->outcome.err);
	else
		xb_gate_detached(&instance->gate, door->uplink->slot);
	xb_uplink_doors_cleared(instance, errand->outcome.cleared);
	xb_doorman_tell(&instance->doorman, door->uplink->options.ifname, false);
	xb_ports_closed(&door->base);
}

static void closing(struct xb_job *job)
{
	struct xb_uplink_door *door = door_of(job);

	if (!is_stopped(door))
		return;
	note(door);
	xb_job_enter(job, &door->base.instance->loop, "detaching", XB_JOB_NO_LIMIT, attaching);
	door->detach.order = (struct xb_gate_order){.slot = door->uplink->slot};
	xb_doorman_give(&door->base.instance->doorman, &door->detach, on_gone);
}

static void close_door(struct xb_door *base)
{
	xb_job_enter(&base->job, &base->instance->loop, "releasing", RELEASE_MS, closing);
}

/* ---- told to others ---- */

static int set_queues(struct xb_door *base, unsigned queues, struct xb_change *change,
		      struct xb_error *err)
{
	(void)queues, (void)change;
	xb_refuse(err, -EOPNOTSUPP, "the queues of the uplink %s can't be set here",
		  base->port->name);
	xb_hint(err,
		"for more: ethtool -L %s combined N, and xbridge follows; for fewer stop xbridge first, since the kernel refuses while sockets are bound",
		base->port->name);
	return -EOPNOTSUPP;
}

static void refresh_stats(struct xb_door *base)
{
	xb_uplink_refresh_stats(((struct xb_uplink_door *)base)->uplink);
}

static void read_xdp(const struct xb_door *base, struct xb_xdp_stats *ret_stats)
{
	xb_gate_read_stats(&base->instance->gate, uplink_of(base)->slot, ret_stats);
}

static void watch(struct xb_door *base, uint64_t now_ns)
{
	xb_uplink_delivery_watch(((struct xb_uplink_door *)base)->uplink, now_ns);
}

static bool trouble(const struct xb_door *base, struct xb_trouble *ret_trouble)
{
	return xb_uplink_delivery_trouble(uplink_of(base), ret_trouble);
}

static void publish(const struct xb_door *base, struct xb_snapshot *snapshot)
{
	const struct xb_uplink *uplink = uplink_of(base);

	for (unsigned i = 0; i < uplink->n_own_macs; i++)
		xb_snapshot_add_own(snapshot, &uplink->port, uplink->own_macs[i].mac);
}

static void mark(struct xb_door *base)
{
	xb_uplink_mark(((struct xb_uplink_door *)base)->uplink);
}

static bool has_passed(const struct xb_door *base)
{
	return xb_uplink_has_passed(uplink_of(base));
}

static bool was_called(const struct xb_door *base, const char *name)
{
	return xb_uplink_has_name(uplink_of(base), name);
}

static void describe(const struct xb_door *base, struct json_object *to)
{
	const struct xb_uplink *uplink = uplink_of(base);

	xb_json_add_u64(to, "rx_queues", uplink->rx_queues);
	xb_json_add_u64(to, "ifindex", uplink->ifindex);
	xb_json_add_u64(to, "slot", uplink->slot); /* in the pinned maps */
	xb_json_add_bool(to, "shared", uplink->shared);
	xb_json_add_text(to, "shared_reason", uplink->shared_reason);
	xb_json_add_text(to, "xdp",
			 uplink->attachment.mode == XB_XDP_NATIVE ? "native" : "generic");
	xb_json_add_text(to, "attached",
			 uplink->attachment.way == XB_ATTACHED_DISPATCHER ? "dispatcher" : "link");
	xb_json_add_text(to, "mode", uplink->zerocopy ? "zerocopy" : "copy");
	xb_json_add_text(to, "tx", uplink->tx == XB_UPLINK_TX_PACKET ? "packet" : "xdp");
	xb_json_add_text(to, "tx_why", uplink->tx_why);
	xb_json_add_text(to, "csum", uplink->port.caps.trusts_csum ? "trust" : "verify");
	xb_json_add_bool(to, "loses_vlan_tags", base->loses_tags);
	xb_json_add_bool(to, "lost", base->lost);
}

const struct xb_door_ops xb_uplink_door_ops = {
	.kind = "uplink",
	.check = check,
	.follow = follow,
	.refresh_stats = refresh_stats,
	.read_xdp = read_xdp,
	.watch = watch,
	.trouble = trouble,
	.publish = publish,
	.was_called = was_called,
	.describe = describe,
	.mark = mark,
	.has_passed = has_passed,
	.set_queues = set_queues,
	.close = close_door,
	.free = free_door,
};

/* ---- the end ---- */

static void on_detached(struct xb_errand *errand)
{
	struct xb_uplink_door *door =
		(struct xb_uplink_door *)((char *)errand - offsetof(struct xb_uplink_door, detach));
	struct xb_instance *instance = door->base.instance;

	if (errand->outcome.code) {
		instance->programs_left = true;
		xb_log_error(XB_LOG_WARNING, door->uplink->port.name, &errand->outcome.err);
	} else {
		xb_gate_detached(&instance->gate, door->uplink->slot);
	}
	instance->n_detaching--;
	xb_job_poke(&instance->life);
}

void xb_uplink_door_end(struct xb_uplink_door *door)
{
	struct xb_instance *instance = door->base.instance;

	xb_job_rest(&door->base.job);
	if (door->detach.on_its_way) { /* it was about to go */
		instance->n_detaching++;
		door->detach.done = on_detached;
	} else if (door->attach.on_its_way) {
		instance->n_detaching++;
	} else if (door->attached && instance->keep_programs &&
		   door->uplink->attachment.taken_over) {
		instance->programs_left = true;
	} else if (door->attached) {
		instance->n_detaching++;
		door->detach.order = (struct xb_gate_order){.slot = door->uplink->slot};
		xb_doorman_give(&instance->doorman, &door->detach, on_detached);
	}
	xb_job_poke(&instance->life);
}
