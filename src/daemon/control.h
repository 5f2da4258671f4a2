/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The control socket: clients come, ask one line, get one line (xbridge/control.h).
 *
 * All of it runs in the control thread and never blocks on a client: a line that is too long, no
 * JSON, or never ends, and a reply that nobody reads, cost that client its connection. A command
 * that takes long makes its client wait, and nobody else; the reply to one that has changed what
 * the workers see goes out when they see it.
 */
#ifndef XB_DAEMON_CONTROL_H
#define XB_DAEMON_CONTROL_H

#include "daemon/commands.h"
#include "xbridge/control.h"

struct xb_control;

/** A client. */
struct xb_control_client {
	struct xb_watch watch; /* fd -1: free */
	struct xb_control *control;
	char *in; /* XB_CONTROL_LINE_MAX bytes */
	size_t in_bytes;
	char *out; /* what is still to be written; NULL: nothing */
	size_t out_bytes, out_done;
	bool closing; /* hang up when `out` is written */
	struct xb_hold hold;
	bool waits;                /* its request is not done: the line is still in `in` */
	struct json_object *reply; /* done: it goes out when the workers see … */
	uint64_t change;           /* … this */
	unsigned idle_s;
};

struct xb_control {
	struct xb_instance *instance;
	struct xb_watch watch;
	struct xb_job waiting; /* for clients that wait */
	struct xb_control_client clients[XB_CONTROL_CLIENTS_MAX];
};

/** Before all else; what is ready can be closed. */
void xb_control_init(struct xb_control *control);

/** Binds the socket, replacing one that a killed daemon left, and serves it from `instance`'s loop.
 */
int xb_control_open(struct xb_control *control, struct xb_instance *instance, struct xb_error *err);

/** Hangs up on silent clients. Once a second. */
void xb_control_tick(struct xb_control *control);

/** Hangs up on all, those that wait with an answer, and removes the socket: the end has begun. */
void xb_control_hang_up(struct xb_control *control);

#endif
