/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Makes the list to be put in force from the rules that somebody wants: gives out ids, slots and
 * order.
 */
#ifndef XB_STEER_ADOPT_H
#define XB_STEER_ADOPT_H

#include "core/error.h"
#include "steer/list.h"
#include "steer/steered.h"
#include "steer/store.h"

#include <stdbool.h>

/** What a new list may take over from. */
struct xb_adoptable {
	const struct xb_steered_list *now;    /* in force */
	const struct xb_steered_list *before; /* comes back unless `now` is confirmed */
	const struct xb_image_store *store;
	struct xb_steered_counts counts;
};

/**
 * Makes the list: gives each wanted rule its id and its slot, and sorts them into the order in
 * which they are asked. Changes nothing else.
 *
 * @ret_list:   its rules are from the heap; the verdict is the caller's to set.
 * @ret_counts: what was given out last, for the next time.
 *
 * Returns 0, -ENOMEM, or -EINVAL for an id that is there twice.
 */
int xb_steered_adopt(const struct xb_adoptable *from, const struct xb_rule_list *wanted,
		     struct xb_steered_list *ret_list, struct xb_steered_counts *ret_counts,
		     struct xb_error *err);

/** Whether no rule has that id, in force or to come back. */
bool xb_steered_is_id_free(const struct xb_adoptable *from, uint32_t id);

/** Notes the slots of an image, whose bytes may be those that an earlier run has left. */
void xb_steered_note_slots(const struct xb_image *image, bool *slots);

#endif
