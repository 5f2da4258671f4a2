/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A sorting room without threads: a sorter that the test drives round by round, its arena, its
 * table, and memory ports; and the accounting equation (the design, 6) over any set of ports and
 * sorters.
 */
#ifndef XB_TESTS_ROOM_H
#define XB_TESTS_ROOM_H

#include "core/sorter.h"
#include "support/memory_port.h"

#define ROOM_PORTS 8u

struct room {
	struct xb_arena arena;
	struct xb_sorter *sorter; /* of worker 0 of 1; on the heap */
	struct xb_snapshot snapshot;
	unsigned n_mem;
	struct mem_port mem[ROOM_PORTS];
};

/** A room with `ports` memory ports of `queues` queues, named p0, p1…, all of them published. */
void room_init(struct room *room, uint32_t frames, unsigned ports, unsigned queues,
	       unsigned ring_size);
/** Resets all ports; every frame must be free then. */
void room_fini(struct room *room);

/** Adds a port that isn't a memory port. */
void room_add(struct room *room, struct xb_port *port);

/** One round of the sorter: each queue read once, sorted, sent, kicked. Returns packets taken in.
 */
unsigned room_round(struct room *room);

/** Rounds until nothing comes in any more. */
void room_run(struct room *room);

/** Takes what was sent; returns the memory ports that something came out of, a bit each. */
unsigned room_came_out(struct room *room);

/** The sum of one drop reason over all queues of a port. */
uint64_t port_drops(const struct xb_port *port, enum xb_drop reason);

/** A port's counters over all its queues. */
struct port_sums {
	uint64_t rx, tx, drops, missed;
};
struct port_sums port_sums(const struct xb_port *port);

/** Aborts unless, exactly, with the counts of all sorters: Σrx + copies + segments_added = Σtx +
 * Σdrops + frames_joined + in_flight. Traffic rests. */
void must_balance(const struct xb_arena *arena, struct xb_port *const *ports, unsigned n_ports,
		  struct xb_sorter_counts counts);
/** The same for a room. */
void room_must_balance(struct room *room);

/** Aborts unless all frames are free. */
void must_be_free(const struct xb_arena *arena);

#endif
