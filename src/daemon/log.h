/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the daemon says, on standard error, one line each. Where systemd reads it, each line starts
 * with its level (sd-daemon(3)).
 */
#ifndef XB_DAEMON_LOG_H
#define XB_DAEMON_LOG_H

#include "core/error.h"

enum xb_level {
	XB_LOG_ERROR = 3,
	XB_LOG_WARNING = 4,
	XB_LOG_NOTICE = 5,
	XB_LOG_INFO = 6,
};

/** Each line is a JSON document from now on, {"time","level","message"}, or no longer. */
void xb_log_use_json(bool json);

/** Says a line on standard error. Never waits: what nobody reads is lost, and how much is said
 * later.
 */
void xb_log(enum xb_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/** Says a recorded failure: "PREFIX: WHAT: REASON; HINT". */
void xb_log_error(enum xb_level level, const char *prefix, const struct xb_error *err);

/** Says why `name` can't be used, unless that is what was said last: `said`, of so many bytes. */
void xb_log_trouble(char *said, unsigned long bytes, const char *name, const struct xb_error *err);

#endif
