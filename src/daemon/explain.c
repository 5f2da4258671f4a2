/* SPDX-License-Identifier: BSD-2-Clause */
#include "daemon/explain.h"

#include "core/bridge.h"
#include "core/word.h"
#include "daemon/commands.h"
#include "daemon/instance.h"
#include "daemon/json.h"
#include "steer/field.h"
#include "steer/text.h"
#include "xbridge/parse.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- frames as they are handed over ---- */

struct sample {
	uint32_t bytes; /* of the whole frame */
	uint32_t n;     /* of these */
	uint8_t data[XB_PARSE_BYTES];
};

static int digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return -1;
}

static int parse_sample(const char *text, struct sample *ret_sample, struct xb_error *err)
{
	struct sample sample = {0};
	const char *hex = strchr(text, ':');
	char length[16];
	uint64_t bytes;
	size_t len = hex ? strlen(hex) : 0;

	snprintf(length, sizeof(length), "%.*s", hex ? (int)(hex - text) : 0, text);
	if (!xb_word_decimal(length, 0, UINT32_MAX, &bytes) || len % 2 == 0 ||
	    len / 2 > sizeof(sample.data))
		return xb_fail(err, -EINVAL, "a frame is LEN:HEX, of at most %zu bytes",
			       sizeof(sample.data));
	sample.bytes = (uint32_t)bytes;
	for (hex++; *hex; hex += 2) {
		int upper = digit(hex[0]), lower = digit(hex[1]);

		if (upper < 0 || lower < 0)
			return xb_fail(err, -EINVAL, "'%.2s' is no byte of a frame", hex);
		sample.data[sample.n++] = (uint8_t)(upper << 4 | lower);
	}
	*ret_sample = sample;
	return 0;
}

/* ---- what was parsed ---- */

static void say_match(void *to, const char *keyword, const char *value)
{
	xb_json_add_text(to, keyword, value);
}

static struct json_object *parsed(const struct xb_port *port, const struct sample *sample)
{
	struct xb_origin origin = {.in = (uint8_t)port->id};
	struct json_object *to = json_object_new_object();
	const uint8_t *end = sample->data + sample->n;
	struct xb_rule rule;
	struct xb_key key;

	if (xb_parse_key(sample->data, end, &origin, &key))
		return to;
	rule = xb_rule_of_key(&key, port->name);
	xb_rule_each_match(&rule, say_match, to);
	return to;
}

/* ---- what becomes of it ---- */

const char *xb_stage_name(unsigned stage)
{
	static const char *const names[] = {
		[XB_STAGE_NONE] = "none",       [XB_STAGE_RULE] = "rule",
		[XB_STAGE_OWN_MAC] = "own_mac", [XB_STAGE_GROUP] = "group",
		[XB_STAGE_DEFAULT] = "default", [XB_STAGE_UNTOLD] = "untold",
	};

	return stage < sizeof(names) / sizeof(names[0]) ? names[stage] : "?";
}

static void add_decision(const struct xb_instance *instance, struct json_object *to,
			 const struct xb_decision *decision)
{
	char verdict[XB_NAME_BYTES];

	xb_verdict_text(instance, decision->verdict, verdict, sizeof(verdict));
	xb_json_add_text(to, "verdict", verdict);
	xb_json_add_u64(to, "verdict_id", decision->verdict);
	xb_json_add_text(to, "stage", xb_stage_name(decision->stage));
	if (decision->rule)
		xb_json_add_u64(to, "rule", decision->rule);
}

static void add_route(struct json_object *to, const struct xb_route *route)
{
	switch (route->kind) {
	case XB_ROUTE_DROP:
		xb_json_add_text(to, "drop", xb_drop_name(route->reason));
		break;
	case XB_ROUTE_PORT:
		xb_json_add_text(to, "to", route->to->name);
		break;
	case XB_ROUTE_FLOOD:
		xb_json_add_text(to, "to", "all");
	}
}

static struct json_object *explain(const struct xb_instance *instance, const struct xb_port *port,
				   const struct sample *sample)
{
	struct json_object *to = json_object_new_object();
	struct xb_explanation told = {0};

	xb_json_add_u64(to, "bytes", sample->bytes);
	if (sample->n < ETH_HLEN) {
		xb_json_add_text(to, "verdict", port->caps.uplink ? "pass" : "drop");
		xb_json_add_text(to, "stage", "runt");
		return to;
	}
	xb_bridge_explain(xb_instance_snapshot(instance), port, sample->data, sample->n, &told);
	add_decision(instance, to, &told.decision);
	xb_json_add(to, "parsed", parsed(port, sample));
	if (told.copied) {
		struct json_object *copy = json_object_new_object();

		add_decision(instance, copy, &told.copy);
		if (told.routed)
			add_route(copy, &told.route);
		xb_json_add(to, "copy", copy);
	} else if (told.routed && port->caps.uplink && sample->bytes > XB_REDIRECT_BYTES_MAX) {
		xb_json_add_text(to, "passes", "longer than an AF_XDP frame");
	} else if (told.routed) {
		add_route(to, &told.route);
	}
	return to;
}

struct json_object *xb_explain_frames(const struct xb_instance *instance,
				      const struct xb_port *port, int n, const char *const *frames,
				      struct xb_error *err)
{
	struct json_object *to = json_object_new_object();
	struct json_object *list = json_object_new_array();

	xb_json_add(to, "packets", list);
	for (int i = 0; i < n; i++) {
		struct sample sample;

		if (parse_sample(frames[i], &sample, err) < 0) {
			json_object_put(to);
			return NULL;
		}
		xb_json_push(list, explain(instance, port, &sample));
	}
	return to;
}
