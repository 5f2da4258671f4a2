/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Seccomp: each kind of thread can make the system calls that its code names (core/calls.h), and no
 * others.
 *
 * A call that is refused fails with ENOSYS, as on a kernel that does not have it, and is told on
 * standard error with its name, once for each call: libraries have ways around many such calls, and
 * a person sees what is missing.
 */
#ifndef XB_DAEMON_FILTER_H
#define XB_DAEMON_FILTER_H

#include "core/error.h"

enum xb_filter_kind {
	XB_FILTER_WORKER,
	XB_FILTER_CONTROL,
	XB_FILTER_DOORMAN,
	XB_FILTER_READER,
	XB_FILTER_DEPUTY,
	XB_FILTER_KINDS
};

/** Calls that a filter can name. */
#define XB_FILTER_CALLS_MAX 256u

/** Makes the filters, and what tells of refused calls. Once, before any is used; forked processes
 *  have them, too. Returns 0, or why libseccomp can't. */
int xb_filter_init(struct xb_error *err);

/** Confines the calling thread for good, and what it forks. A thread that is confined already stays
 * as it is. Returns 0 or -errno: the kernel has no seccomp. Async-signal-safe. */
int xb_filter_use(enum xb_filter_kind kind);

/** The kind of that name; XB_FILTER_KINDS: there is none. */
enum xb_filter_kind xb_filter_kind_of(const char *name);

/** The names of the calls that a kind may make, each once: as far as the code that makes
 * them is linked. Returns how many. */
unsigned xb_filter_calls(enum xb_filter_kind kind, const char *ret_names[XB_FILTER_CALLS_MAX]);

#endif
