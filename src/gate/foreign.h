/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * An XDP program on an interface that is not ours, as far as the pins here tell.
 */
#ifndef XB_GATE_FOREIGN_H
#define XB_GATE_FOREIGN_H

#include "core/error.h"

#include <stdint.h>

/** What a program is that is on an interface, and that no pin here says to be ours. */
enum xb_foreign_kind {
	XB_FOREIGN_OTHER,      /* nothing is known of it */
	XB_FOREIGN_DISPATCHER, /* libxdp's; what it calls is pinned here */
	XB_FOREIGN_ORPHAN,     /* libxdp's, without pins here */
	XB_FOREIGN_OURS,       /* by its name xbridge's: it is pinned elsewhere */
};

struct xb_foreign {
	uint32_t prog_id; /* 0: there is none */
	char name[16];    /* "" where it can't be read */
	enum xb_foreign_kind kind;
	const char *what; /* the kind in words, "" for the first */
	char remedy[96];  /* what takes it off, to be typed */
};

/** Looks at the program on an interface of this network namespace. */
void xb_foreign_look(uint32_t ifindex, const char *ifname, struct xb_foreign *ret_foreign);

/** Refuses an interface whose program is somebody else's: -EBUSY, with its id and name and what to
 *  do; 0 where there is none. */
int xb_refuse_foreign(uint32_t ifindex, const char *ifname, struct xb_error *err);

#endif
