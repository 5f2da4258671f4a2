/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Frames that the programs of a gate drop, as they drop them: for who watches. While a feed is
 * open each drop costs a copy of the frame.
 *
 * Control thread.
 */
#ifndef XB_GATE_DROP_FEED_H
#define XB_GATE_DROP_FEED_H

#include "gate/gate.h"

struct xb_drop_feed;

/**
 * Opens the feed; one at a time for each gate.
 *
 * @on_drop: called for each frame, in xb_drop_feed_read and xb_drop_feed_close.
 *
 * Returns 0 or -errno.
 */
int xb_drop_feed_open(struct xb_gate *gate,
		      void (*on_drop)(void *arg, const struct xb_dropped *frame), void *arg,
		      struct xb_drop_feed **ret_feed, struct xb_error *err);

/** Nobody watches: at the start, over the maps of an earlier run that was killed while somebody
 * did. */
void xb_drop_feed_reset(struct xb_gate *gate);

/** A descriptor that is readable while frames wait. */
int xb_drop_feed_fd(const struct xb_drop_feed *feed);

/** Takes the frames that wait; under a flood some stay, and the descriptor readable. Returns how
 * many were lost since the last time. */
uint64_t xb_drop_feed_read(struct xb_drop_feed *feed);

/** Ends the feed, after the frames that wait. Returns how many were lost since the last time. */
uint64_t xb_drop_feed_close(struct xb_drop_feed *feed);

#endif
