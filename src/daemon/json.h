/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Short words for json-c: fields of documents, for who writes them and who reads them.
 */
#ifndef XB_DAEMON_JSON_H
#define XB_DAEMON_JSON_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>

/** Adds a field to an object and takes `value`. Where memory was short, for the one or the other,
 * it is left out and xb_json_was_short() says so: nobody needs to look before that. */
void xb_json_add(struct json_object *to, const char *name, struct json_object *value);

/** The same at an array's end. */
void xb_json_push(struct json_object *to, struct json_object *value);

/** Adds a field that says null. */
void xb_json_add_null(struct json_object *to, const char *name);

/** Whether something was left out since this was asked last. Of this thread. */
bool xb_json_was_short(void);

static inline void xb_json_add_u64(struct json_object *to, const char *name, uint64_t value)
{
	xb_json_add(to, name, json_object_new_uint64(value));
}

static inline void xb_json_add_bool(struct json_object *to, const char *name, bool value)
{
	xb_json_add(to, name, json_object_new_boolean(value));
}

static inline void xb_json_add_text(struct json_object *to, const char *name, const char *value)
{
	xb_json_add(to, name, json_object_new_string(value));
}

/** A field, which stays the document's; NULL: there is none. */
static inline struct json_object *xb_json_field(struct json_object *of, const char *name)
{
	struct json_object *value = NULL;

	json_object_object_get_ex(of, name, &value);
	return value;
}

/** A field as text, good as long as the document; "" where there is none. */
static inline const char *xb_json_text(struct json_object *of, const char *name)
{
	struct json_object *value = xb_json_field(of, name);

	return value ? json_object_get_string(value) : "";
}

/** A field as a number; 0 where there is none. */
static inline uint64_t xb_json_u64(struct json_object *of, const char *name)
{
	return json_object_get_uint64(xb_json_field(of, name));
}

#endif
