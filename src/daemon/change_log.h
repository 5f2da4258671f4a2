/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What clients have changed, one line each in the log.
 */
#ifndef XB_DAEMON_CHANGE_LOG_H
#define XB_DAEMON_CHANGE_LOG_H

#include "daemon/instance.h"

#include <json-c/json.h>

/**
 * A command that changes something has been done: logs it, in its own words.
 *
 * @argv:   its words; a text that `steer load` was given is left out.
 * @result: its answer, to which a trial that it has begun is added; NULL: it has none.
 * @before: confirm_by_ns of the steering table before it.
 */
void xb_say_change(struct xb_instance *instance, int argc, const char *const *argv,
		   struct json_object *result, uint64_t before);

/** In how many seconds a trial is over, begun ones counted; 0: none is on. */
uint64_t xb_trial_left_s(const struct xb_steering *steering);

#endif
