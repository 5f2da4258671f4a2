/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a client sends over the control socket: one line, a JSON document with the words of a
 * command.
 */
#ifndef XB_DAEMON_REQUEST_H
#define XB_DAEMON_REQUEST_H

#include <stddef.h>

#define XB_REQUEST_WORDS_MAX 256u

struct json_object;

struct xb_request {
	struct json_object *document; /* holds the words */
	int argc;
	const char *argv[XB_REQUEST_WORDS_MAX];
};

/** Reads the `bytes` of a line, which may be anything. Returns NULL, or what is wrong with it;
 *  xb_request_fini() is due either way. */
const char *xb_request_parse(struct xb_request *ret_request, const char *line, size_t bytes);
void xb_request_fini(struct xb_request *request);

#endif
