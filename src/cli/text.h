/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Results of queries, for a person.
 */
#ifndef XB_CLI_TEXT_H
#define XB_CLI_TEXT_H

#include <json-c/json.h>

void xb_text_status(struct json_object *result);
void xb_text_stats(struct json_object *result);
void xb_text_ports(struct json_object *result);
void xb_text_fdb(struct json_object *result);
void xb_text_rules(struct json_object *result);
void xb_text_rule(struct json_object *result);
void xb_text_id(struct json_object *result);
void xb_text_default(struct json_object *result);
void xb_text_checked(struct json_object *result);

/** Prints the warnings that come with a result, to stderr. */
void xb_text_warnings(struct json_object *result);

/** One packet that `explain` explains; `count` says which, from 1 on. */
void xb_text_packet(struct json_object *packet, const char *port, unsigned count);

#endif
