/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Which running instance has an interface as its uplink, as the instances say themselves: it need
 * not pin where we look.
 */
#ifndef XB_CLI_HOLDER_H
#define XB_CLI_HOLDER_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>

struct xb_holder {
	const char *instance; /* its name */
	const char *bpffs;    /* where it pins, in its mount namespace */
	bool lost; /* it has no program there now: the interface, or the program, went away */
	struct json_object *port;   /* the uplink in its status */
	struct json_object *status; /* all of it, which the others are parts of */
};

/** Finds the instance that has the interface of this network namespace. Returns false where none
 *  answers that has it, or its process can't be seen. xb_holder_fini after true. */
bool xb_holder_find(uint32_t ifindex, struct xb_holder *ret_holder);

void xb_holder_fini(struct xb_holder *holder);

#endif
