/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The map `rules`: what people see of the steering table.
 */
#include "gate/gate.h"

#include "core/cleanup.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <stdlib.h>

/* Takes out what lies at slots that no rule of the table has. This process alone writes the map, so
 * that the walk sees each key once. */
static int forget_rules(const struct xb_gate *gate, const bool *used)
{
	xb_auto_free __u32 *gone = calloc(XB_RULES_MAX, sizeof(*gone));
	__u32 slot, *last = NULL;
	unsigned n = 0;

	if (!gone)
		return -ENOMEM;
	while (n < XB_RULES_MAX && !bpf_map_get_next_key(gate->rules_fd, last, &slot)) {
		last = &slot;
		if (slot >= XB_RULES_MAX || !used[slot])
			gone[n++] = slot;
	}
	for (unsigned i = 0; i < n; i++)
		bpf_map_delete_elem(gate->rules_fd, &gone[i]);
	return 0;
}

int xb_gate_show_rules(struct xb_gate *gate, const uint32_t *slots, const struct xb_rule *rules,
		       unsigned n, struct xb_error *err)
{
	xb_auto_free bool *used = calloc(XB_RULES_MAX, sizeof(*used));
	__u32 count = n;
	int ret;

	if (!used)
		return xb_fail(err, -ENOMEM, "show %u rules", n);
	for (unsigned i = 0; i < n; i++)
		used[slots[i]] = true;
	ret = forget_rules(gate, used); /* first: there is room for XB_RULES_MAX */
	if (ret < 0)
		return xb_fail(err, ret, "show %u rules", n);
	if (n && bpf_map_update_batch(gate->rules_fd, slots, rules, &count, NULL) < 0)
		return xb_fail(err, -errno, "write the map `rules`");
	return 0;
}
