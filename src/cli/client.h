/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Asking a running instance (xbridge/control.h).
 */
#ifndef XB_CLI_CLIENT_H
#define XB_CLI_CLIENT_H

#include "core/error.h"
#include "xbridge/control.h"

#include <json-c/json.h>
#include <stdbool.h>

/** Descriptors that came with a reply. */
struct xb_passed {
	unsigned n;
	int fds[XB_CONTROL_FDS_MAX];
};

void xb_passed_close(struct xb_passed *passed);

/** A local of this kind closes what it holds when its scope ends. */
#define xb_auto_passed __attribute__((cleanup(xb_passed_close)))

/**
 * Sends one command to an instance and waits for its reply.
 *
 * @name: of the instance; NULL: the one that runs.
 * @argv: the command's words.
 *
 * Returns 0 with the result in `ret_result` (the caller's), 1 or 2 (the exit status) with
 * `err->what` saying why, as one whole sentence.
 */
int xb_client_ask(const char *name, int argc, char *const *argv, struct json_object **ret_result,
		  struct xb_error *err);

/**
 * As xb_client_ask, for a command that goes on until we hang up.
 *
 * @ret_socket: the connection. The instance hangs up, too, when it ends, or after we have shut our
 *              side down and it has done what was left to do.
 * @ret_passed: what the instance handed over.
 *
 * Both are the caller's, where 0 is returned.
 */
int xb_client_hold(const char *name, int argc, char *const *argv, struct json_object **ret_result,
		   int *ret_socket, struct xb_passed *ret_passed, struct xb_error *err);

/** Asks for the status of an instance, as xb_client_ask does. `ret_pid` is its process as it is
 * seen from here; 0: it can't be. */
int xb_client_status(const char *name, struct json_object **ret_status, pid_t *ret_pid,
		     struct xb_error *err);

/** Whether an instance of that name runs (and lets us in). */
bool xb_client_runs(const char *name);

#endif
