/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Where the steering table in force lies: in maps, for XDP programs to see, or, where there are
 * none, in memory of our own.
 *
 * A table is two things: an image, in one of two places, and a word (struct xb_in_force) that names
 * the place and holds the default verdict. Replacing the word replaces the whole table.
 * While a table is on trial the place of the confirmed one is left alone, so that its word is
 * enough to bring it back: the programs do that by themselves when the time is up, or when nobody
 * extends the trial.
 *
 * One thread.
 */
#ifndef XB_STEER_STORE_H
#define XB_STEER_STORE_H

#include "core/error.h"
#include "xbridge/image.h"
#include "xbridge/steer.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** The maps that XDP programs share with a table, mapped, and what to do about those programs. They
 *  outlive the store. */
struct xb_steer_maps {
	struct xb_table *table;           /* one */
	struct xb_image *images;          /* XB_IMAGES; see map_image */
	struct xb_rule_user_stats *stats; /* XB_RULES_MAX: what userspace has counted */
	uint64_t *limits;                 /* XB_RULES_MAX, see xbridge/gcra.h */
	/** Waits until no program looks at an image that is not in force any more. Returns 0 or
	 * -errno. */
	int (*wait_grace)(void *arg, struct xb_error *err);
	/** Makes an image's first `bytes` writable. Returns 0 or -errno. */
	int (*map_image)(void *arg, unsigned place, size_t bytes, struct xb_error *err);
	/** What a rule's slot has met in the programs. Returns 0 or -errno. */
	int (*read_stats)(void *arg, uint32_t slot, struct xb_rule_stats *ret_stats);
	/** Lets what the programs have counted start at 0, at `n` slots. Returns 0 or -errno. */
	int (*clear_stats)(void *arg, const uint32_t *slots, unsigned n);
	/** Shows these rules to people, each at its slot, and no other. Returns 0 or -errno. */
	int (*show)(void *arg, const uint32_t *slots, const struct xb_rule *rules, unsigned n,
		    struct xb_error *err);
	void *arg;
};

struct xb_image_store {
	struct xb_steer_maps maps; /* all 0: memory of our own */
	struct xb_table *table;    /* one */
	struct xb_image *images;   /* XB_IMAGES */
	uint32_t generation;       /* the last that an image has got */
};

/**
 * Opens the store: in `maps`, with the table of an earlier run in force (a trial that it did not
 * live to end is over), or, where that is NULL, an empty one of our own. Returns 0 or -ENOMEM.
 */
int xb_image_store_init(struct xb_image_store *store, const struct xb_steer_maps *maps);

/** Closes the store; a table in maps stays in force. */
void xb_image_store_fini(struct xb_image_store *store);

/** The image in force; its bytes stay until the second flip from now. */
const struct xb_image *xb_image_store_now(const struct xb_image_store *store);

/**
 * Puts a table in force: from one frame to the next, each meets the old one or the new one whole.
 *
 * Waits, if need be, until no program looks at the image that the new one overwrites: the one
 * before that in force. The caller has made sure that no worker does. Returns 0, or -errno if
 * nothing has changed.
 *
 * @image: its head.generation is filled in.
 */
int xb_image_store_flip(struct xb_image_store *store, struct xb_image *image, uint16_t verdict,
			struct xb_error *err);

/** Starts a trial: what is put in force from now on ends at `by_ns` (CLOCK_MONOTONIC), and the
 * table in force now comes back, whether this process lives then or not. */
void xb_image_store_start_trial(struct xb_image_store *store, uint64_t by_ns);

/** The trial ends at `by_ns` instead. */
void xb_image_store_extend_trial(struct xb_image_store *store, uint64_t by_ns);

/** Bytes of this process's memory that the images take. */
size_t xb_image_store_bytes(const struct xb_image_store *store);

bool xb_image_store_on_trial(const struct xb_image_store *store);

/** Puts the confirmed table in force again; the trial goes on. Returns what was in force before. */
struct xb_in_force xb_image_store_stand_back(struct xb_image_store *store);

/** Puts what xb_image_store_stand_back has returned in force again. */
void xb_image_store_resume(struct xb_image_store *store, struct xb_in_force in_force);

/** Ends the trial: what is in force now stays. */
void xb_image_store_end_trial(struct xb_image_store *store);

#endif
