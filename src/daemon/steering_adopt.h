/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * From the rules that somebody wants to the list that is to be in force: ids, slots and order.
 */
#ifndef XB_DAEMON_STEERING_ADOPT_H
#define XB_DAEMON_STEERING_ADOPT_H

#include "daemon/steering.h"

/**
 * Makes the list: gives each wanted rule its id and its slot, and sorts them into the order in
 * which they are asked. Nothing of the steering's own state changes.
 *
 * @ret_list:   its rules are from the heap; the verdict is the caller's to set.
 * @ret_counts: what the steering is to go on with once the list is in force.
 *
 * Returns 0, -ENOMEM, or -EINVAL for an id that is there twice.
 */
int xb_steered_adopt(const struct xb_steering *steering, const struct xb_rule_list *wanted,
		     struct xb_steered_list *ret_list, struct xb_steered_counts *ret_counts,
		     struct xb_error *err);

/** Whether two rules are the same but for their ids. */
bool xb_steered_same(const struct xb_rule *a, const struct xb_rule *b);

/** The rule of that id, or NULL. */
const struct xb_rule *xb_steered_find(const struct xb_steered_list *list, uint32_t id);

/** Whether no rule has that id, in force or to come back. */
bool xb_steered_is_id_free(const struct xb_steering *steering, uint32_t id);

/** Notes the slots of an image, whose bytes may be those that an earlier run has left. */
void xb_steered_note_slots(const struct xb_image *image, bool *slots);

/** Says of an error where the rule stands that it is about. Returns `code`. */
int xb_steered_at(struct xb_error *err, int code, const struct xb_rule_source *source);

#endif
