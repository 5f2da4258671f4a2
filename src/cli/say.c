/* SPDX-License-Identifier: BSD-2-Clause */
#include "cli/say.h"
#include "daemon/json.h"

#include <json-c/json.h>
#include <stdarg.h>
#include <stdio.h>

#define LAYOUT (JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED | JSON_C_TO_STRING_NOSLASHESCAPE)

static bool as_json;

void xb_say_as_json(void)
{
	as_json = true;
}

int xb_say_document(struct json_object *document)
{
	puts(json_object_to_json_string_ext(document, LAYOUT));
	return fflush(stdout) ? 1 : 0;
}

int xb_say_failure(int status, const char *fmt, ...)
{
	struct json_object *document;
	char text[1024];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	if (!as_json) {
		fprintf(stderr, "xbridge: %s\n", text);
		return status;
	}
	document = json_object_new_object();
	xb_json_add(document, "error", json_object_new_string(text));
	xb_json_add(document, "exit", json_object_new_int(status));
	xb_say_document(document);
	json_object_put(document);
	return status;
}
