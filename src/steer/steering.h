/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The steering table of an instance: its rules in their order, their ids and counters, the default
 * verdict, and the image that frames are judged by.
 *
 * Each change makes a whole new table, which is put in force at once or not at all: a rule that
 * both tables have keeps its id, its counters and its limit's state. A change can be on trial:
 * unless it is confirmed in time, the table from before comes back. Further changes may join the
 * trial; the table that comes back is the one from before the first.
 *
 * One thread. What workers see goes into the snapshots that the caller publishes after each
 * change (xb_steering_rules, xb_steering_verdict).
 */
#ifndef XB_STEER_STEERING_H
#define XB_STEER_STEERING_H

#include "core/rules.h"
#include "steer/doubts.h"
#include "steer/list.h"
#include "steer/names.h"
#include "steer/steered.h"
#include "steer/store.h"

#include <stdbool.h>
#include <stdint.h>

struct xb_steering {
	struct xb_rule_names names;
	struct xb_image_store store;
	struct xb_steered_list now;    /* in force */
	struct xb_steered_list before; /* comes back unless `now` is confirmed in time */
	uint64_t confirm_by_ns;        /* CLOCK_MONOTONIC; 0: nothing is on trial */
	struct xb_steered_counts counts;
	bool stands_back;         /* the confirmed table is in force while a trial is on, … */
	struct xb_in_force trial; /* … in place of this */
	struct xb_rules rules;    /* where the table lies */
	uint16_t verdict;
	/** Why the pinned map `rules` doesn't show these; code 0: it does. */
	struct xb_error unshown;
};

/**
 * Starts with no rules and `bridge` as the default verdict. What an earlier run has left in the
 * maps is in force until the first change.
 *
 * @maps:  copied; NULL: no program asks, and the table lies in memory of its own.
 * @names: copied; asked at each change.
 *
 * Returns 0 or -ENOMEM.
 */
int xb_steering_init(struct xb_steering *steering, const struct xb_steer_maps *maps,
		     const struct xb_rule_names *names, struct xb_error *err);
void xb_steering_fini(struct xb_steering *steering);

/*
 * Changes. Each takes `confirm_s`: 0, or within how many seconds xb_steering_confirm must follow;
 * otherwise the table from before comes back. Each returns 0 or why nothing has changed: -EINVAL (a
 * name that no port has, a verdict that makes no sense there, an id twice; the error names the
 * rule's line), -EBUSY (a change without `confirm_s` while another is on trial, or one with it
 * before xb_steering_stand_back), -ENOENT or -EEXIST (an id), or why the table could not be made.
 */

/** Replaces all rules and, if the list says so, the default verdict. A rule without an id gets that
 * of a rule in force that says the same, otherwise a new one. Without `confirm_s` it ends a trial.
 */
int xb_steering_load(struct xb_steering *steering, const struct xb_rule_list *wanted,
		     unsigned confirm_s, struct xb_error *err);

/** Says what xb_steering_load would say, and changes nothing. */
int xb_steering_check(const struct xb_steering *steering, const struct xb_rule_list *wanted,
		      struct xb_error *err);

/** Adds one rule; source.places say where its text names ports. */
int xb_steering_add(struct xb_steering *steering, const struct xb_rule *rule,
		    struct xb_rule_source source, unsigned confirm_s, uint32_t *ret_id,
		    struct xb_error *err);

/** Replaces a rule by another, which gets its id; the counters start at 0 unless it says the same.
 */
int xb_steering_replace(struct xb_steering *steering, uint32_t id, const struct xb_rule *rule,
			struct xb_rule_source source, unsigned confirm_s, struct xb_error *err);

/** Removes `n` rules: all of them or none. */
int xb_steering_del(struct xb_steering *steering, const uint32_t *ids, unsigned n,
		    unsigned confirm_s, struct xb_error *err);

/** Sets the default verdict: pass, bridge, drop or the name of a port. */
int xb_steering_set_default(struct xb_steering *steering, const char *word, unsigned confirm_s,
			    struct xb_error *err);

/** Makes the table in force again, as another generation. Not while one is on trial. Returns 0, or
 * why it could not. */
int xb_steering_renew(struct xb_steering *steering, struct xb_error *err);

/** The same where what its names mean has changed: the kernel port's address, and which ports are
 * uplinks; what is on trial waits for its end. Returns 1 where it did, 0 where there was nothing to
 * do, or why it could not. */
int xb_steering_refresh(struct xb_steering *steering, struct xb_error *err);

/** Keeps what is on trial. Returns -ENOENT where nothing is, -ETIME where it is too late at
 * `time_ns` (CLOCK_MONOTONIC). */
int xb_steering_confirm(struct xb_steering *steering, uint64_t time_ns, struct xb_error *err);

/** Takes back what is on trial. Returns -ENOENT where nothing is. */
int xb_steering_revert(struct xb_steering *steering, struct xb_error *err);

/**
 * While a table is on trial, one of the two images is that of the confirmed one and must not be
 * touched. A change that joins the trial needs the other one, which no worker may be looking at:
 * this puts the confirmed table in force for the moment. When the workers have seen it, make the
 * change, or xb_steering_resume.
 */
void xb_steering_stand_back(struct xb_steering *steering);

/** Whether a change must wait for that; `joins`: one with `confirm_s`. */
bool xb_steering_must_stand_back(const struct xb_steering *steering, bool joins);

/** Puts the table on trial in force again, if it stands back; returns whether it did. */
bool xb_steering_resume(struct xb_steering *steering);

/** Goes on with a trial: to be called once a second at least, or the programs end it, and at
 *  confirm_by_ns, when it takes back what was not confirmed. Returns 1 where it did, otherwise 0.
 */
int xb_steering_tick(struct xb_steering *steering, uint64_t time_ns);

/** What a rule in force has met since it was made, or since the last reset: in the programs and in
 *  userspace. Returns 0 or -errno. */
int xb_steering_read_stats(const struct xb_steering *steering,
			   const struct xb_steered_rule *steered, struct xb_rule_stats *ret_stats);

/** Lets the counters of all rules start at 0; when each was hit last is kept. Returns 0, or -errno
 * where the counters of some could not be read; those are not reset. */
int xb_steering_reset_stats(struct xb_steering *steering);

/** The rule in force of that id, or NULL. */
const struct xb_steered_rule *xb_steering_rule(const struct xb_steering *steering, uint32_t id);

/** Appends the table in force, with its rules' ids, to an empty list of the caller's. Returns 0 or
 *  -ENOMEM. */
int xb_steering_copy(const struct xb_steering *steering, struct xb_rule_list *ret_list,
		     struct xb_error *err);

/** What is doubtful about a rule (doubts.h), as the ports are now. */
unsigned xb_steering_doubts(const struct xb_steering *steering, const struct xb_rule *rule,
			    const char *ret_doubts[XB_RULE_DOUBTS_MAX]);

/** The ports that the table in force means, and the one that a trial may bring back: bits 1 << id.
 */
uint64_t xb_steering_ports(const struct xb_steering *steering);

/** A rule, in force or to come back, that names a port otherwise than as one of `uplink`; NULL:
 * none does. `ret_default`: then the default verdict does. */
const struct xb_rule *xb_steering_find_naming(const struct xb_steering *steering, unsigned port,
					      bool *ret_default);

/** The table for a snapshot. Good until the second change from now. */
struct xb_rules xb_steering_rules(const struct xb_steering *steering);

/** The default verdict for a snapshot. */
uint16_t xb_steering_verdict(const struct xb_steering *steering);

#endif
