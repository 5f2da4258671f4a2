/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A change of a port that takes time, for whatever waits for it.
 */
#ifndef XB_DAEMON_CHANGE_H
#define XB_DAEMON_CHANGE_H

#include "core/error.h"

#include <stdbool.h>
#include <stddef.h>

struct xb_change {
	bool is_done;
	int code; /* 0 or -errno, then with `err` */
	struct xb_error err;
	void (*done)(struct xb_change *change); /* called then; NULL: nobody */
};

/** Says that the change is done. `*waiting` is NULL afterwards; it may be NULL: nobody waits. */
static inline void xb_change_finish(struct xb_change **waiting, int code,
				    const struct xb_error *err)
{
	struct xb_change *change = *waiting;

	*waiting = NULL;
	if (!change)
		return;
	change->code = code;
	if (code)
		change->err = *err;
	change->is_done = true;
	if (change->done)
		change->done(change);
}

#endif
