/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The gate's slots, and the program of each on its interface.
 *
 * Theory. Each time a program is put on an interface it is loaded anew, so that it has an id of its
 * own: old and new can be told apart, and a driver (veth) hears of the change, without which it
 * would leave queues that it got meanwhile without a program. What is new comes before what is old
 * goes: a link's program is replaced, and keeps its turn; behind a dispatcher both run for a
 * moment, of which the new one passes everything until it gets its turn, and the old one from then
 * on.
 *
 * Whose program is behind a dispatcher is told by the pins prog_<slot> and new_prog_<slot>, and,
 * where a start was killed before it could pin, by the maps that it uses.
 */
#include "core/cleanup.h"
#include "gate/attach.h"
#include "gate/dispatcher.h"
#include "gate/extension.h"
#include "gate/foreign.h"
#include "gate/gate_object.h"
#include "gate/pins.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- slots ---- */

static void forget_slot(struct xb_gate *gate, uint32_t slot)
{
	for (uint32_t queue = 0; queue < XB_QUEUES_MAX; queue++)
		__atomic_store_n(&gate->queues[XB_QUEUE_SLOT(slot, queue)].beat_ns, 0,
				 __ATOMIC_RELAXED);
	xb_gate_clear_stats(gate, slot);
}

int xb_gate_claim_slot(struct xb_gate *gate, uint32_t ifindex, const char *ifname,
		       uint32_t *ret_slot, struct xb_error *err)
{
	uint32_t unused = XB_UPLINKS_MAX;

	for (uint32_t slot = 0; slot < XB_UPLINKS_MAX; slot++) {
		struct xb_pin_record record = xb_pin_read(gate->instance, slot);
		bool claimed = gate->claimed & 1u << slot;

		if (record.here && record.ifindex == ifindex) {
			if (claimed)
				return xb_refuse(err, -EEXIST, "%s is an uplink already", ifname);
			gate->claimed |= 1u << slot;
			*ret_slot = slot;
			return 0;
		}
		if (!record.ifindex && !claimed && unused == XB_UPLINKS_MAX)
			unused = slot;
	}
	if (unused == XB_UPLINKS_MAX)
		return xb_refuse(err, -ENOSPC, "%s is one too many: there can be %u uplinks",
				 ifname, XB_UPLINKS_MAX);
	forget_slot(gate, unused);
	gate->claimed |= 1u << unused;
	*ret_slot = unused;
	return 0;
}

void xb_gate_release_slot(struct xb_gate *gate, uint32_t slot)
{
	gate->claimed &= ~(1u << slot);
}

/* Without a program it is nobody's. */
static void clear_slot(struct xb_gate *gate, uint32_t slot)
{
	struct xb_steer_config unused = {0};

	gate->prog_ids[slot] = 0;
	xb_gate_set_own_macs(gate, slot, NULL, 0, NULL);
	bpf_map_update_elem(gate->config_fd, &slot, &unused, BPF_ANY);
	forget_slot(gate, slot);
}

void xb_gate_abandon_slot(struct xb_gate *gate, uint32_t slot)
{
	if (!xb_pin_read(gate->instance, slot).prog_id)
		clear_slot(gate, slot);
	xb_gate_release_slot(gate, slot);
}

/* ---- what is there ---- */

/* Behind a dispatcher two instances would get on, but not with their sockets; and an instance's
 * name says more than a program's. */
static int refuse_instance(const struct xb_gate *gate, const char *ifname, struct xb_error *err)
{
	struct xb_gate_pin pins[64];
	int n = xb_gate_list(pins, 64);

	for (int i = 0; i < n && i < 64; i++) {
		if (strcmp(pins[i].ifname, ifname) != 0 ||
		    !strcmp(pins[i].instance, gate->instance))
			continue;
		xb_refuse(err, -EBUSY, "can't attach to %s: the instance '%s' of xbridge is on it",
			  ifname, pins[i].instance);
		xb_hint(err, "stop that one or, if it was killed, run `xbridge detach %s`", ifname);
		return -EBUSY;
	}
	return 0;
}

/* The slot's programs of before. */
struct old_programs {
	unsigned n;
	uint32_t ids[2 + 2 * XB_DISPATCHED_MAX];
};

static struct old_programs find_old(const struct xb_gate *gate, uint32_t slot, uint32_t ifindex)
{
	const unsigned max = sizeof(((struct old_programs *)0)->ids) / sizeof(uint32_t);
	struct old_programs old = {
		.n = 2,
		.ids = {xb_pin_prog_id(gate->instance, "prog", slot),
			xb_pin_prog_id(gate->instance, "new_prog", slot)},
	};
	struct bpf_map_info info = {0};
	__u32 info_bytes = sizeof(info);

	if (bpf_obj_get_info_by_fd(gate->config_fd, &info, &info_bytes) == 0)
		old.n += xb_dispatcher_find_users(ifindex, info.id, old.ids + old.n, max - old.n);
	return old;
}

static bool is_old(const struct old_programs *old, uint32_t prog_id)
{
	for (unsigned i = 0; i < old->n; i++)
		if (old->ids[i] == prog_id)
			return true;
	return false;
}

static int remove_old(const struct old_programs *old, struct xb_error *err)
{
	int ret = 0;

	for (unsigned i = 0; !ret && i < old->n; i++)
		ret = xb_dispatcher_remove(old->ids[i], err);
	return ret;
}

/* What is behind the interface's dispatcher. */
struct company {
	int n; /* programs; 0: nothing is attached; -ENOENT: something that is no dispatcher */
	int n_ours;
};

static struct company look_behind(uint32_t ifindex, const struct old_programs *old)
{
	struct xb_dispatched list[XB_DISPATCHED_MAX];
	uint32_t id = xb_attached_prog(ifindex);
	struct company company = {.n = id ? xb_dispatcher_list(ifindex, id, list) : 0};

	for (int i = 0; i < company.n; i++)
		company.n_ours += is_old(old, list[i].prog_id);
	return company;
}

/* ---- putting a program there ---- */

/* What attach_here has to do, and what came of it. */
struct task {
	struct xb_gate *gate;
	const struct xb_gate_order *order;
	struct old_programs old;
	struct xb_gate_outcome *outcome;
};

/* Whose turn it is in the slot. */
static __u32 *turn_of(const struct task *task)
{
	return &task->gate->table->turns[task->order->slot];
}

static int open_program(const struct task *task, struct steer_bpf **ret_skeleton,
			struct xb_error *err)
{
	int ret = xb_gate_open_object(task->gate, ret_skeleton, err);

	if (ret < 0)
		return ret;
	(*ret_skeleton)->rodata->slot = task->order->slot;
	(*ret_skeleton)->rodata->turn = *turn_of(task);
	return 0;
}

static int pin_new(const struct task *task, int prog_fd, struct xb_error *err)
{
	struct xb_pin_path path = xb_pin_slot_path(task->gate->instance, "new_prog",
						   task->order->slot);
	struct bpf_prog_info info = {0};
	__u32 info_bytes = sizeof(info);

	/* what a start that was killed here left behind */
	unlink(path.text);
	if (bpf_obj_get_info_by_fd(prog_fd, &info, &info_bytes) < 0)
		return xb_fail(err, -errno, "ask for the XDP program's id");
	task->outcome->prog_id = info.id;
	if (bpf_obj_pin(prog_fd, path.text) < 0)
		return xb_fail(err, -errno, "pin the XDP program at %s", path.text);
	return 0;
}

/* What stands on the interface comes after it. */
static int clear_upon(const struct task *task, struct xb_error *err)
{
	return xb_pin_clear_upon(task->gate->instance, task->order->ifindex, true,
				 &task->outcome->cleared, err);
}

static int by_link(const struct task *task, struct xb_error *err)
{
	const struct xb_gate_order *order = task->order;
	const char *instance = task->gate->instance;
	auto_skeleton struct steer_bpf *skeleton = NULL;
	struct xb_attachment *made = &task->outcome->attachment;
	struct company company = look_behind(order->ifindex, &task->old);
	struct xb_pin_path link = xb_pin_slot_path(instance, "link", order->slot);
	struct xb_attachment linked;
	int ret = 0;

	if (company.n > company.n_ours)
		return xb_refuse_foreign(order->ifindex, order->ifname, err);
	if (!xb_link_may_stay(order->ifindex, &order->options, link.text))
		ret = clear_upon(task, err);
	if (!ret)
		ret = open_program(task, &skeleton, err);
	if (!ret)
		ret = xb_gate_load_object(skeleton, "the XDP program", err);
	if (!ret)
		ret = pin_new(task, bpf_program__fd(skeleton->progs.steer), err);
	if (!ret)
		ret = remove_old(&task->old, err);
	if (!ret)
		ret = xb_attach(order->ifindex, order->ifname,
				bpf_program__fd(skeleton->progs.steer), &order->options, link.text,
				&linked, err);
	if (ret < 0)
		return ret;
	made->way = XB_ATTACHED_LINK;
	made->mode = linked.mode;
	made->taken_over = linked.taken_over;
	made->native_code = linked.native_code;
	return 0;
}

/* Adds a program to the dispatcher, in one mode. */
static int join(const struct task *task, enum xb_xdp_mode mode, bool mute, struct xb_error *err)
{
	const struct xb_gate_order *order = task->order;
	auto_skeleton struct steer_bpf *skeleton = NULL;
	struct bpf_program *program;
	struct xb_error none = {0};
	int ret = open_program(task, &skeleton, err);

	if (ret < 0)
		return ret;
	skeleton->rodata->turn++;
	program = mute ? skeleton->progs.steer_mute : skeleton->progs.steer;
	ret = xb_dispatcher_add(order->ifindex, order->ifname, skeleton->obj,
				bpf_program__name(program), mode, err);
	if (!ret)
		ret = pin_new(task, bpf_program__fd(program), err);
	if (ret < 0 && task->outcome->prog_id)
		xb_dispatcher_remove(task->outcome->prog_id, &none);
	return ret;
}

/* Makes room where the mode or the way changes: our program of before can't stay until the new one
 * is there. */
static int make_room(const struct task *task, enum xb_xdp_mode *ret_mode, struct xb_error *err)
{
	const struct xb_gate_order *order = task->order;
	enum xb_xdp_mode now = xb_attached_mode(order->ifindex);
	enum xb_xdp_mode wanted = order->options.mode;
	struct company company = look_behind(order->ifindex, &task->old);

	*ret_mode = wanted;
	if (company.n > 0 && wanted == XB_XDP_AUTO &&
	    (company.n > company.n_ours || xb_mode_may_stay(&order->options, now)))
		*ret_mode = now;
	if (company.n < 0) {
		struct xb_pin_record record = xb_pin_read(task->gate->instance, order->slot);

		if (record.way != XB_ATTACHED_LINK || !record.here ||
		    record.ifindex != order->ifindex)
			return xb_refuse_foreign(order->ifindex, order->ifname, err);
	}
	if (company.n > 0 && *ret_mode != now) {
		if (company.n > company.n_ours) {
			xb_refuse(
				err, -EBUSY,
				"can't attach to %s in %s mode: other XDP programs run there in %s mode",
				order->ifname, wanted == XB_XDP_NATIVE ? "native" : "generic",
				now == XB_XDP_NATIVE ? "native" : "generic");
			xb_hint(err, "xdp=auto joins them; 'xdp-loader unload %s --all' ends them",
				order->ifname);
			return -EBUSY;
		}
		return remove_old(&task->old, err);
	}
	return xb_detach(xb_pin_slot_path(task->gate->instance, "link", order->slot).text, err);
}

static int by_dispatcher(const struct task *task, bool mute, struct xb_error *err)
{
	struct xb_attachment *made = &task->outcome->attachment;
	enum xb_xdp_mode mode = XB_XDP_AUTO;
	int ret = clear_upon(task, err);

	if (!ret)
		ret = make_room(task, &mode, err);
	if (ret < 0)
		return ret;
	made->way = XB_ATTACHED_DISPATCHER;
	made->taken_over = look_behind(task->order->ifindex, &task->old).n_ours;
	made->mode = mode == XB_XDP_GENERIC ? XB_XDP_GENERIC : XB_XDP_NATIVE;
	ret = join(task, made->mode, mute, err);
	if (ret < 0 && mode == XB_XDP_AUTO && xb_is_driver_refusal(ret)) {
		made->mode = XB_XDP_GENERIC;
		made->native_code = ret;
		*err = (struct xb_error){0};
		ret = join(task, made->mode, mute, err);
	}
	if (ret < 0)
		return ret;
	__atomic_fetch_add(turn_of(task), 1, __ATOMIC_RELAXED);
	return remove_old(&task->old, err);
}

/* Whether libxdp has found that it can't do it at all, so that a link of our own may do. */
static bool is_refusal(int code)
{
	return code == -EOPNOTSUPP || code == -EPERM || code == -EINVAL || code == -ENOENT;
}

static int attach_program(const struct task *task, struct xb_error *err)
{
	struct xb_attachment *made = &task->outcome->attachment;
	struct xb_extensions extensions;
	int ret;

	if (task->order->options.exclusive)
		return by_link(task, err);
	xb_extensions_try(&extensions);
	if (!extensions.code) {
		ret = by_dispatcher(task, !extensions.may_change_data, err);
		/* where others have a dispatcher there is no place for a link */
		if (!is_refusal(ret) || look_behind(task->order->ifindex, &task->old).n > 0)
			return ret;
		*made = (struct xb_attachment){.dispatcher_code = ret};
		snprintf(made->dispatcher_why, sizeof(made->dispatcher_why), "%s",
			 err->hint[0] ? err->hint : "libxdp");
		*err = (struct xb_error){0};
	} else {
		made->dispatcher_code = extensions.code;
		snprintf(made->dispatcher_why, sizeof(made->dispatcher_why),
			 "extension programs, %s", extensions.step);
	}
	return by_link(task, err);
}

static int attach_here(struct xb_gate *gate, const struct xb_gate_order *order,
		       struct xb_gate_outcome *outcome)
{
	struct xb_pin_path pin = xb_pin_slot_path(gate->instance, "prog", order->slot);
	struct xb_pin_path new_pin = xb_pin_slot_path(gate->instance, "new_prog", order->slot);
	struct task task = {.gate = gate, .order = order, .outcome = outcome};
	struct xb_error *err = &outcome->err;
	int ret = refuse_instance(gate, order->ifname, err);

	if (ret < 0)
		return ret;
	task.old = find_old(gate, order->slot, order->ifindex);
	ret = attach_program(&task, err);
	if (ret < 0) {
		unlink(new_pin.text);
		return ret;
	}
	if (rename(new_pin.text, pin.text) < 0)
		return xb_fail(err, -errno, "rename the pin %s", new_pin.text);
	return 0;
}

void xb_gate_carry_out(struct xb_gate *gate, const struct xb_gate_order *order,
		       struct xb_gate_outcome *ret_outcome)
{
	*ret_outcome = (struct xb_gate_outcome){0};
	ret_outcome->code = order->attach
				    ? attach_here(gate, order, ret_outcome)
				    : xb_pin_take_off(gate->instance, order->slot,
						      &ret_outcome->cleared, &ret_outcome->err);
}

void xb_gate_attached(struct xb_gate *gate, const struct xb_gate_order *order,
		      const struct xb_gate_outcome *outcome)
{
	gate->prog_ids[order->slot] = outcome->prog_id;
}

int xb_gate_attach(struct xb_gate *gate, uint32_t slot, uint32_t ifindex, const char *ifname,
		   const struct xb_attach_options *options, struct xb_attachment *ret_attachment,
		   struct xb_error *err)
{
	struct xb_gate_order order = {
		.attach = true, .slot = slot, .ifindex = ifindex, .options = *options};
	struct xb_gate_outcome outcome;

	snprintf(order.ifname, sizeof(order.ifname), "%s", ifname);
	xb_gate_carry_out(gate, &order, &outcome);
	if (outcome.code) {
		if (err)
			*err = outcome.err;
		return outcome.code;
	}
	xb_gate_attached(gate, &order, &outcome);
	*ret_attachment = outcome.attachment;
	return 0;
}

int xb_gate_is_attached(const struct xb_gate *gate, uint32_t slot, uint32_t ifindex)
{
	return xb_program_is_on(gate->prog_ids[slot], ifindex);
}

void xb_gate_detached(struct xb_gate *gate, uint32_t slot)
{
	clear_slot(gate, slot);
	xb_gate_release_slot(gate, slot);
}

int xb_gate_detach_slot(struct xb_gate *gate, uint32_t slot, struct xb_error *err)
{
	uint32_t gone = 0;
	int ret = xb_pin_take_off(gate->instance, slot, &gone, err);

	if (!ret)
		xb_gate_detached(gate, slot);
	return ret;
}
