/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The sorting room: packets come in from the queues of one worker, each is judged and routed
 * (core/bridge.h), and leaves by the port that it is for (core/send.h).
 *
 * It has no thread, file descriptor or clock of its own: its owner (a worker, a test or a
 * benchmark) calls xb_sorter_round in a loop. One thread at a time, except for the counters,
 * which any thread may read.
 */
#ifndef XB_CORE_SORTER_H
#define XB_CORE_SORTER_H

#include "core/send.h"
#include "core/snapshot.h"

struct xb_sorter {
	struct xb_sender sender; /* the way out */
	struct xb_cache cache;
	uint64_t now_ns;            /* coarse monotonic clock; set by the caller before a round */
	struct xb_fdb_key last_key; /* the sender seen last, known to be fine */
	uint16_t last_port;
	uint32_t last_seen_s;
	xb_counter copies; /* packets made by flooding */
	struct xb_rules_cache rules_cache;
};

/** What a sorter has added to the packets that came in, or taken from them. */
struct xb_sorter_counts {
	uint64_t copies;         /* made by flooding */
	uint64_t segments_added; /* cut off larger packets */
	uint64_t frames_joined;  /* packets that became part of another */
};

/** Readies the sorter of worker `worker`, which takes its frames from `arena`. It is large: on the
 *  heap, or static. */
void xb_sorter_init(struct xb_sorter *sorter, struct xb_arena *arena, unsigned worker);

/** Gives all frames in its cache back to the arena. */
void xb_sorter_fini(struct xb_sorter *sorter);

/** From the next round on the sorter is called with `snapshot` (NULL: with none for now): forgets
 *  what it remembers of the one before, which it then holds no reference to. */
void xb_sorter_adopt(struct xb_sorter *sorter, const struct xb_snapshot *snapshot);

struct xb_round {
	unsigned packets; /* taken in */
	unsigned pending; /* posted for sending and not completed */
};

/** Does one round: each queue of `snapshot` that belongs to the worker is read once, and what came
 *  in is sorted and sent. The snapshot is the one that was adopted. */
struct xb_round xb_sorter_round(struct xb_sorter *sorter, const struct xb_snapshot *snapshot);

/** Any thread. */
struct xb_sorter_counts xb_sorter_counts(const struct xb_sorter *sorter);

#endif
