/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The steering table of an instance: its rules in their order, their ids and counters, and the
 * image that frames are judged by.
 *
 * Each change makes a whole new table, which is put in force at once or not at all: a rule that
 * both tables have keeps its id, its counters and its limit's state. With an uplink the table lies
 * in the gate's maps, for the XDP programs to see; else in memory of our own.
 *
 * Control thread. What workers see goes into the snapshots that the caller publishes after each
 * change (xb_steering_rules).
 */
#ifndef XB_DAEMON_STEERING_H
#define XB_DAEMON_STEERING_H

#include "core/rules.h"
#include "daemon/rule_list.h"
#include "daemon/rule_names.h"
#include "xsk/gate.h"

#include <stdbool.h>
#include <stdint.h>

/** A rule in force. */
struct xb_steered_rule {
	struct xb_rule rule;
	uint32_t slot; /* its element in the maps of rules, counters and limits */
	struct xb_rule_source source;
};

/** In the order in which they are asked. */
struct xb_steered_list {
	unsigned n;
	struct xb_steered_rule *rules; /* from the heap */
};

struct xb_steering {
	struct xb_rule_names names;
	struct xb_gate *gate;          /* NULL: no uplink */
	struct xb_steered_list now;    /* in force */
	struct xb_steered_list before; /* comes back unless `now` is confirmed in time */
	uint64_t confirm_by_ns;        /* CLOCK_MONOTONIC; 0: nothing is to be confirmed */
	uint32_t last_id;
	uint32_t next_slot; /* where the search for a free one starts */
	uint32_t generation;
	struct xb_rules rules;           /* where the table lies */
	struct xb_image *own[XB_IMAGES]; /* without a gate */
};

/** Starts with no rules. What an earlier run has left in the gate is in force until the first
 *  change. `names` is asked at each change. Returns 0 or -ENOMEM. */
int xb_steering_init(struct xb_steering *steering, struct xb_gate *gate,
		     const struct xb_rule_names *names, struct xb_error *err);
void xb_steering_fini(struct xb_steering *steering);

/**
 * Replaces all rules. One without an id gets that of a rule in force that says the same, else a new
 * one.
 *
 * @confirm_s: 0, or within how many seconds xb_steering_confirm must follow, or the rules of now
 *             come back.
 *
 * Returns 0, -EINVAL (a name that no port has, a verdict that makes no sense there, an id twice;
 * the error names the rule's line), or why the table could not be made; nothing has changed then.
 */
int xb_steering_load(struct xb_steering *steering, const struct xb_rule_list *rules,
		     unsigned confirm_s, struct xb_error *err);

/** Appends the rules in force, with their ids, to a list of the caller's. Returns 0 or -ENOMEM. */
int xb_steering_copy(const struct xb_steering *steering, struct xb_rule_list *ret_list,
		     struct xb_error *err);

/** Adds one rule, of a text in which its names stand at source.places. Errors as xb_steering_load,
 * -EEXIST where its id is taken, and -EBUSY while rules wait to be confirmed. */
int xb_steering_add(struct xb_steering *steering, const struct xb_rule *rule,
		    struct xb_rule_source source, uint32_t *ret_id, struct xb_error *err);

/** Removes one rule. Returns -ENOENT where there is none of that id, -EBUSY while rules wait to be
 * confirmed. */
int xb_steering_del(struct xb_steering *steering, uint32_t id, struct xb_error *err);

/** Keeps the rules that were loaded to be confirmed. Returns -ENOENT where there are none, -ETIME
 * where it is too late at `time_ns` (CLOCK_MONOTONIC). */
int xb_steering_confirm(struct xb_steering *steering, uint64_t time_ns, struct xb_error *err);

/** Takes the rules back that were not confirmed by `time_ns`. Returns 1 where it did, 0 where there
 * was nothing to do, or why it could not. */
int xb_steering_expire(struct xb_steering *steering, uint64_t time_ns, struct xb_error *err);

/** The table for a snapshot. Good until the second change from now. */
struct xb_rules xb_steering_rules(const struct xb_steering *steering);

#endif
