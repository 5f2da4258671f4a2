/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the files of commands share: the request, and how to answer it.
 */
#ifndef XB_DAEMON_COMMAND_H
#define XB_DAEMON_COMMAND_H

#include "daemon/commands.h"

struct xb_request {
	struct xb_instance *instance;
	int argc; /* words that follow the command */
	const char *const *argv;
	struct json_object **ret_result;
	struct xb_hold *hold;
	struct xb_error *err;
};

/** Wrong usage: fills the error, and is what a handler returns then. */
#define xb_usage(err, ...) (xb_fail(err, -EINVAL, __VA_ARGS__), XB_USAGE)

/** Answers with an empty document. */
int xb_done(const struct xb_request *request);

/** Says that there is no port of that name. */
int xb_no_port(const struct xb_request *request, const char *name);

/** Reads a number from 1 to `max`. Returns 0 or XB_USAGE. */
int xb_read_count(const struct xb_request *request, const char *what, const char *word,
		  unsigned long max, unsigned long *ret_count);

/* commands_steer.c */
int xb_command_steer_add(const struct xb_request *given);
int xb_command_steer_replace(const struct xb_request *given);
int xb_command_steer_del(const struct xb_request *given);
int xb_command_steer_show(const struct xb_request *request);
int xb_command_steer_list(const struct xb_request *request);
int xb_command_steer_check(const struct xb_request *request);
int xb_command_steer_load(const struct xb_request *given);
int xb_command_steer_flush(const struct xb_request *given);
int xb_command_steer_default(const struct xb_request *given);
int xb_command_steer_confirm(const struct xb_request *request);
int xb_command_steer_revert(const struct xb_request *request);

#endif
