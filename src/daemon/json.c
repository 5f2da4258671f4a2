/* SPDX-License-Identifier: BSD-2-Clause */
#include "daemon/json.h"

static _Thread_local bool was_short;

/* json-c asserts that there is an object; there is none where its memory could not be had. */
void xb_json_add(struct json_object *to, const char *name, struct json_object *value)
{
	if (to && value && json_object_object_add(to, name, value) == 0)
		return;
	was_short = true;
	json_object_put(value);
}

void xb_json_push(struct json_object *to, struct json_object *value)
{
	if (to && value && json_object_array_add(to, value) == 0)
		return;
	was_short = true;
	json_object_put(value);
}

void xb_json_add_null(struct json_object *to, const char *name)
{
	if (!to || json_object_object_add(to, name, NULL) != 0)
		was_short = true;
}

bool xb_json_was_short(void)
{
	bool was = was_short;

	was_short = false;
	return was;
}
