/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Loops: two ports on one segment, between which a broadcast would go round for ever.
 *
 * Theory. Twice a second the signs that the workers have counted (core/loops.h) are read. Where an
 * address has moved between two ports, or a frame with an address of ours has come in, probes are
 * sent out of the uplinks concerned. A probe of one port that has come in on another proves a
 * loop: flooding between the two is suspended. So does, where something outside swallows probes, an
 * address that goes back and forth in several looks in a row. While a pair is cut a probe goes out
 * at each look, and when neither sign has been seen for a while the loop is taken to be gone. A
 * pair that loops again soon is cut for longer.
 *
 * What a guest can do by forging addresses is to have its own port cut from another one's floods.
 */
#ifndef XB_DAEMON_LOOPS_H
#define XB_DAEMON_LOOPS_H

#include "core/worker.h"

/** How long a pair stays cut without a sign: first, and at most; it doubles where a loop is back
 *  within XB_LOOP_RELAPSE_NS. */
#define XB_LOOP_QUIET_NS     3000000000ull
#define XB_LOOP_QUIET_MAX_NS 300000000000ull
#define XB_LOOP_RELAPSE_NS   60000000000ull

/** Two ports, and what is known about them. */
struct xb_loop_pair {
	uint32_t moved[2];    /* counters at the last look: from the lower id to the higher, back */
	uint32_t echoes;      /* both ways */
	uint64_t moved_ns[2]; /* when they moved last; 0: never */
	unsigned flaps;       /* looks in a row at which addresses went back and forth */
	uint64_t sign_ns;     /* when a loop was last seen */
	uint64_t healed_ns;   /* when the last one was gone; 0: there was none */
	uint64_t quiet_ns;    /* how long without a sign ends it; 0: no loop was seen yet */
};

struct xb_loop_watch {
	struct xb_loops signs;
	uint64_t cut[XB_PORTS_MAX]; /* by id, masks: what the snapshot gets */
	uint32_t strays[XB_PORTS_MAX];
	struct xb_loop_pair pairs[XB_PORTS_MAX][XB_PORTS_MAX]; /* [lower id][higher id] */
};

/** Probes to be sent: out of which port, with which tag (0: none). */
struct xb_probe_list {
	unsigned n;
	struct {
		uint16_t port, vlan;
	} list[2 * XB_PORTS_MAX];
};

/** Returns 0, or -errno where there is no randomness. */
int xb_loop_watch_init(struct xb_loop_watch *watch);

/** Reads the signs about the snapshot's ports, and sets `cut`. Returns whether that has changed. */
bool xb_loop_watch_look(struct xb_loop_watch *watch, const struct xb_fdb *fdb,
			const struct xb_snapshot *snapshot, uint64_t now_ns,
			struct xb_probe_list *ret_probes);

/** Forgets what is known of a port, which is about to go and which no worker serves. */
void xb_loop_watch_forget(struct xb_loop_watch *watch, const struct xb_fdb *fdb, unsigned port);

static inline bool xb_loop_is_cut(const struct xb_loop_watch *watch, unsigned a, unsigned b)
{
	return watch->cut[a] >> b & 1;
}

#endif
