/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Captures of an instance: made for a client of the control socket, which gets the memory that they
 * are written to, and gone when it hangs up.
 */
#ifndef XB_DAEMON_CAPTURING_H
#define XB_DAEMON_CAPTURING_H

#include "core/capture.h"
#include "daemon/commands.h"

/**
 * Starts a capture.
 *
 * @ret_result: {"rings", "ring_bytes", "ports": [{"id", "name"}]}.
 * @hold:       the memory's descriptors, and the end of the capture.
 *
 * Returns 0, -EBUSY where XB_CAPTURES_MAX run, or why there is no memory.
 */
int xb_capturing_start(struct xb_instance *instance, const struct xb_capture_filter *filter,
		       struct json_object **ret_result, struct xb_hold *hold, struct xb_error *err);

/** Frees captures that have ended and that no thread writes to any more; at the end, all of them.
 */
void xb_capturing_free_left(struct xb_instance *instance);

/** Stops watching what the XDP programs drop: before the gate closes. Captures themselves end with
 *  their clients. */
void xb_capturing_unwatch(struct xb_instance *instance);

#endif
