/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How a command says that it failed: a line on standard error, or, with --json, a document on
 * standard output, where the result would be: {"error": TEXT, "exit": STATUS}.
 */
#ifndef XB_CLI_SAY_H
#define XB_CLI_SAY_H

#include <stdbool.h>

struct json_object;

/** Failures are documents from now on. */
void xb_say_as_json(void);

/** Says what failed, and returns `status`, the exit status. */
int xb_say_failure(int status, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/** Prints one document; returns the exit status: 0, or 1 where it couldn't be written. */
int xb_say_document(struct json_object *document);

#endif
