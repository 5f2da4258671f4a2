/* SPDX-License-Identifier: BSD-2-Clause */
#include "daemon/gate_views.h"

/* ---- its maps ---- */

static int wait_grace(void *gate, struct xb_error *err)
{
	return xb_gate_wait_grace(gate, err);
}

static int map_image(void *gate, unsigned place, size_t bytes, struct xb_error *err)
{
	return xb_gate_map_image(gate, place, bytes, err);
}

static int read_stats(void *gate, uint32_t slot, struct xb_rule_stats *ret_stats)
{
	return xb_gate_read_rule_stats(gate, slot, ret_stats);
}

static int clear_stats(void *gate, const uint32_t *slots, unsigned n)
{
	return xb_gate_clear_rule_stats(gate, slots, n);
}

static int show(void *gate, const uint32_t *slots, const struct xb_rule *rules, unsigned n,
		struct xb_error *err)
{
	return xb_gate_show_rules(gate, slots, rules, n, err);
}

struct xb_steer_maps xb_gate_maps(struct xb_gate *gate)
{
	return (struct xb_steer_maps){
		.table = gate->table,
		.images = gate->images,
		.stats = gate->rule_user_stats,
		.limits = gate->rule_limits,
		.wait_grace = wait_grace,
		.map_image = map_image,
		.read_stats = read_stats,
		.clear_stats = clear_stats,
		.show = show,
		.arg = gate,
	};
}

/* ---- its program ---- */

static int claim(void *gate, uint32_t ifindex, const char *ifname, uint32_t *ret_slot,
		 struct xb_error *err)
{
	return xb_gate_claim_slot(gate, ifindex, ifname, ret_slot, err);
}

static void release(void *gate, uint32_t slot, bool was_attached)
{
	if (was_attached)
		xb_gate_release_slot(gate, slot);
	else
		xb_gate_abandon_slot(gate, slot);
}

static int set_config(void *gate, uint32_t slot, const struct xb_steer_config *config,
		      struct xb_error *err)
{
	return xb_gate_set_config(gate, slot, config, err);
}

static int set_own_macs(void *gate, uint32_t slot, const struct xb_own_mac_entry *macs, unsigned n,
			struct xb_error *err)
{
	return xb_gate_set_own_macs(gate, slot, macs, n, err);
}

static int set_socket(void *gate, uint32_t slot, uint32_t queue, int socket_fd,
		      struct xb_error *err)
{
	return xb_gate_set_socket(gate, slot, queue, socket_fd, err);
}

static int is_attached(void *gate, uint32_t slot, uint32_t ifindex)
{
	return xb_gate_is_attached(gate, slot, ifindex);
}

struct xb_program xb_gate_program(struct xb_gate *gate)
{
	static const struct xb_program_ops ops = {
		.claim = claim,
		.release = release,
		.set_config = set_config,
		.set_own_macs = set_own_macs,
		.set_socket = set_socket,
		.is_attached = is_attached,
	};

	return (struct xb_program){&ops, gate, gate->queues, &gate->table->in_force};
}
