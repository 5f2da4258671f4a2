/* SPDX-License-Identifier: BSD-2-Clause */
#include "daemon/gate_maps.h"

static int wait_grace(void *gate, struct xb_error *err)
{
	return xb_gate_wait_grace(gate, err);
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
		.read_stats = read_stats,
		.clear_stats = clear_stats,
		.show = show,
		.arg = gate,
	};
}
