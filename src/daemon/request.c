/* SPDX-License-Identifier: BSD-2-Clause */
#include "daemon/request.h"

#include <json-c/json.h>
#include <stdbool.h>
#include <string.h>

/* Documents within documents. */
#define DEPTH_MAX 8

/* The words, or false where there are none. */
static bool read_words(struct xb_request *request)
{
	struct json_object *list;
	size_t n;

	if (!json_object_object_get_ex(request->document, "argv", &list) ||
	    !json_object_is_type(list, json_type_array))
		return false;
	n = json_object_array_length(list);
	if (!n || n > XB_REQUEST_WORDS_MAX)
		return false;
	for (size_t i = 0; i < n; i++) {
		struct json_object *word = json_object_array_get_idx(list, i);

		if (!json_object_is_type(word, json_type_string))
			return false;
		request->argv[i] = json_object_get_string(word);
		if (strlen(request->argv[i]) != (size_t)json_object_get_string_len(word))
			return false; /* a NUL would cut it off */
	}
	request->argc = (int)n;
	return true;
}

const char *xb_request_parse(struct xb_request *ret_request, const char *line, size_t bytes)
{
	struct json_tokener *tokener = json_tokener_new_ex(DEPTH_MAX);
	bool whole;

	ret_request->document = NULL;
	ret_request->argc = 0;
	if (!tokener)
		return "out of memory";
	json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
	ret_request->document = json_tokener_parse_ex(tokener, line, (int)bytes);
	whole = ret_request->document && json_tokener_get_parse_end(tokener) == bytes;
	json_tokener_free(tokener);
	if (!whole)
		return "the request is not one JSON document in UTF-8 on one line";
	if (!read_words(ret_request))
		return "the request has no \"argv\", an array of strings without NUL";
	return NULL;
}

void xb_request_fini(struct xb_request *request)
{
	json_object_put(request->document);
	request->document = NULL;
}
