/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Any line on the control socket: refused with a reason, or words, each of them whole. What it
 * allocates it gives back.
 *
 * json-c is not instrumented, so that the fuzzer finds no way into it by itself: a byte of the
 * input below N_PIECES stands for a piece of a request, any other for itself.
 */
#include "daemon/request.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define PIECE_BYTES 16u
#define N_PIECES    (sizeof(pieces) / sizeof(pieces[0]))

static const char *const pieces[] = {
	"{\"argv\":[", "]}",  "\"status\"", "\"steer\",\"add\"",
	",",           "\"",  "\\u0000",    "[",
	"]",           "{",   "}",          "\"argv\":",
	"\xc3\x28",    ":",   "null",       "1e999",
	"\\ud800",     "// ",
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The line that the input stands for, with nothing behind it; NULL: no memory. */
static char *make_line(const uint8_t *data, size_t size, size_t *ret_bytes)
{
	char *line = malloc(size * PIECE_BYTES + 1), *whole;
	size_t n = 0;

	for (size_t i = 0; line && i < size; i++) {
		if (data[i] < N_PIECES) {
			memcpy(line + n, pieces[data[i]], strlen(pieces[data[i]]));
			n += strlen(pieces[data[i]]);
		} else {
			line[n++] = (char)data[i];
		}
	}
	whole = line ? realloc(line, n ? n : 1) : NULL;
	*ret_bytes = n;
	return whole;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct xb_request request;
	size_t bytes;
	char *line = make_line(data, size, &bytes);
	const char *wrong;

	if (!line)
		return 0;
	wrong = xb_request_parse(&request, line, bytes);
	if (wrong ? !*wrong : request.argc < 1 || request.argc > (int)XB_REQUEST_WORDS_MAX)
		abort();
	for (int i = 0; !wrong && i < request.argc; i++)
		if (strlen(request.argv[i]) > bytes)
			abort();
	xb_request_fini(&request);
	free(line);
	return 0;
}
