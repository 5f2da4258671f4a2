/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Errors of the control path.
 *
 * A function that can fail returns 0 or -errno. Where the number alone would not tell an operator
 * enough, it also takes a `struct xb_error *` and leaves there what failed, on what, and what to do
 * about it. The rooms below the daemon never log: the daemon or the client says the error, once.
 */
#ifndef XB_CORE_ERROR_H
#define XB_CORE_ERROR_H

#include <stdbool.h>

/** What failed, for a person. Storage belongs to the caller; start with `{0}`. */
struct xb_error {
	int code;       /* -errno */
	bool whole;     /* `what` is a sentence that says it all: the reason is not added */
	char what[512]; /* the step and its object: "VHOST_SET_OWNER on /dev/vhost-net" */
	char hint[192]; /* what to do about it, or "" */
};

/**
 * Records a failure and returns `code`, so that a caller can write `return xb_fail(…)`.
 *
 * @err:  where to record it; NULL is allowed.
 * @code: -errno.
 * @fmt:  what failed and on what, without the reason (strerror gives that).
 */
int xb_fail(struct xb_error *err, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/**
 * As xb_fail, for what we refuse ourselves: the text is a whole sentence, as "interface 'x' does
 * not exist", to which the words of an errno would add nothing.
 */
int xb_refuse(struct xb_error *err, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/** Adds what to do about a recorded failure. The first hint stands. */
void xb_hint(struct xb_error *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/** Whether a code says that this process or host is short of something (descriptors, memory), which
 *  says nothing about what was asked for. */
bool xb_is_shortage(int code);

/** Writes "WHAT: REASON; HINT", or "WHAT; HINT" where it is whole, into `buf` (always terminated)
 * and returns `buf`. */
const char *xb_error_text(const struct xb_error *err, char *buf, unsigned long buf_bytes);

#endif
