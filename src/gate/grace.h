/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A grace period: waits until every run of a BPF program that has begun is over, so that memory
 * which only those may still read can be written.
 *
 * A program runs inside of an RCU read-side section, and membarrier(2) waits for those. It is
 * refused where CPUs are to run undisturbed (nohz_full) and by some sandboxes; there a map that
 * holds a map is updated, for which bpf(2) waits likewise.
 */
#ifndef XB_GATE_GRACE_H
#define XB_GATE_GRACE_H

#include "core/error.h"

struct xb_grace {
	int outer_fd, inner_fd; /* the map in a map; -1: membarrier is there */
};

/** Finds out what there is. Needs CAP_BPF where membarrier is refused. Returns 0 or -errno. */
int xb_grace_init(struct xb_grace *grace, struct xb_error *err);
void xb_grace_fini(struct xb_grace *grace);

/** Waits: some milliseconds to some tens of them. Returns 0 or -errno. */
int xb_grace_wait(const struct xb_grace *grace, struct xb_error *err);

#endif
