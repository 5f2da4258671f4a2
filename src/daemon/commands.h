/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The commands that a running instance answers: one table, each with the function that does it.
 */
#ifndef XB_DAEMON_COMMANDS_H
#define XB_DAEMON_COMMANDS_H

#include "daemon/instance.h"
#include "xbridge/control.h"

#include <json-c/json.h>

/** What a handler returns where the words are wrong, not the thing: exit status 2. */
#define XB_USAGE (-4096)

/** What a command returns that can't be run yet, or is not done: it is to be run again, or, where
 * it has left `resume`, that, in a moment. Its client waits. */
#define XB_LATER 1

/** What a command leaves behind for as long as its client stays connected. */
struct xb_hold {
	unsigned n_fds; /* handed to the client with the reply, and closed then */
	int fds[XB_CONTROL_FDS_MAX];
	/** Looks whether the command is done, and returns what xb_command_run would. */
	int (*resume)(struct xb_instance *instance, struct xb_hold *hold,
		      struct json_object **ret_result, struct xb_error *err);
	/** Takes it back; NULL: there is nothing. */
	void (*release)(struct xb_instance *instance, void *what);
	void *what;
};

/**
 * Runs a command.
 *
 * @argv: its words, as typed behind `xbridge`, without options of the client's own.
 *
 * @hold: empty; filled by a command that goes on.
 *
 * Never waits. Returns 0 with a new document in `ret_result` (the caller's), XB_LATER, XB_USAGE
 * with `err->what` set, or -errno.
 */
int xb_command_run(struct xb_instance *instance, int argc, const char *const *argv,
		   struct json_object **ret_result, struct xb_hold *hold, struct xb_error *err);

/** One that has left `resume` is done: to be told with its words, so that a change is logged.
 * `trial_before`: as xb_say_change has it (change_log.h). */
void xb_command_done(struct xb_instance *instance, int argc, const char *const *argv,
		     struct json_object *result, uint64_t trial_before);

/* The queries behind them (query.c). Each returns a new document. */
struct json_object *xb_query_status(struct xb_instance *instance);
struct json_object *xb_query_ports(struct xb_instance *instance);
struct json_object *xb_query_fdb(struct xb_instance *instance);
struct json_object *xb_query_rules(struct xb_instance *instance, const struct xb_port *port,
				   bool counters); /* NULL: whatever they name */
struct json_object *xb_query_rule(struct xb_instance *instance,
				  const struct xb_steered_rule *steered, bool counters);

/** Writes a verdict's word, or its port's name, into `buf` of at least XB_NAME_BYTES. */
void xb_verdict_text(const struct xb_instance *instance, uint16_t verdict, char *buf, size_t bytes);

#endif
