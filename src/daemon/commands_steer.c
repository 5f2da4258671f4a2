/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The commands of `steer`. Each that changes the table may carry --confirm SECONDS, anywhere among
 * its words.
 */
#include "daemon/command.h"

#include "daemon/doors.h"
#include "daemon/json.h"
#include "steer/text.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define CONFIRM_S_MAX 86400u
#define WORDS_MAX     (XB_RULES_MAX + 8u) /* `steer del` may name each rule */

/* ---- words ---- */

/* A request without its --confirm. */
struct words {
	struct xb_request request;
	unsigned confirm_s;
	const char *argv[WORDS_MAX];
};

static int read_words(const struct xb_request *request, struct words *words)
{
	unsigned n = 0;

	words->request = *request;
	words->confirm_s = 0;
	for (int i = 0; i < request->argc; i++) {
		unsigned long seconds;
		int ret;

		if (strcmp(request->argv[i], "--confirm") != 0) {
			if (n == WORDS_MAX)
				return xb_usage(request->err, "steer: more than %u words",
						WORDS_MAX);
			words->argv[n++] = request->argv[i];
			continue;
		}
		if (++i == request->argc)
			return xb_usage(request->err, "--confirm: SECONDS are expected");
		ret = xb_read_count(request, "--confirm", request->argv[i], CONFIRM_S_MAX,
				    &seconds);
		if (ret < 0)
			return ret;
		words->confirm_s = (unsigned)seconds;
	}
	words->request.argc = (int)n;
	words->request.argv = words->argv;
	return 0;
}

/* The same, of a command that changes the table; XB_LATER where that can't be done yet. */
static int read_change(const struct xb_request *request, struct words *words)
{
	int ret = read_words(request, words);

	if (!ret && !xb_instance_may_steer(request->instance, words->confirm_s))
		ret = XB_LATER;
	return ret;
}

static int read_id(const struct xb_request *request, const char *word, uint32_t *ret_id)
{
	unsigned long id;
	int ret = xb_read_count(request, "a rule's number", word, UINT32_MAX, &id);

	if (!ret)
		*ret_id = (uint32_t)id;
	return ret;
}

/* What the words of a rule say; wrong words are wrong usage. */
static int read_rule(const struct xb_request *request, int from, struct xb_rule *ret_rule,
		     struct xb_rule_source *ret_source)
{
	char *text = xb_rule_join(request->argc - from, request->argv + from);
	int ret;

	if (!text)
		return xb_fail(request->err, -ENOMEM, "read the rule");
	ret = xb_rule_parse_places(text, ret_rule, &ret_source->places, request->err);
	free(text);
	return ret == -EINVAL ? XB_USAGE : ret;
}

/* ---- answers ---- */

/* What is doubtful about a rule goes with the answer. */
static void add_doubts(const struct xb_request *request, const struct xb_rule *rule, unsigned line,
		       struct json_object *list)
{
	const char *doubts[XB_RULE_DOUBTS_MAX];
	unsigned n = xb_steering_doubts(&request->instance->steering, rule, doubts);

	for (unsigned i = 0; i < n; i++) {
		char text[256];

		if (line)
			snprintf(text, sizeof(text), "line %u: %s", line, doubts[i]);
		else
			snprintf(text, sizeof(text), "%s", doubts[i]);
		xb_json_push(list, json_object_new_string(text));
	}
}

/* A change could not be made: what stood back for it is in force again. */
static int failed(const struct xb_request *request, int ret)
{
	if (ret != XB_LATER && xb_steering_resume(&request->instance->steering))
		xb_instance_steered(request->instance);
	return ret;
}

/* The change is done: now the workers see it. */
static int steered(const struct xb_request *request)
{
	xb_instance_steered(request->instance);
	return *request->ret_result ? 0 : xb_done(request);
}

static int steered_rule(const struct xb_request *request, uint32_t id, const struct xb_rule *rule)
{
	struct json_object *warnings = json_object_new_array();

	*request->ret_result = json_object_new_object();
	xb_json_add_u64(*request->ret_result, "id", id);
	add_doubts(request, rule, 0, warnings);
	xb_json_add(*request->ret_result, "warnings", warnings);
	return steered(request);
}

/* What a text of rules comes to. */
static void answer_list(const struct xb_request *request, const struct xb_rule_list *list)
{
	struct json_object *to = json_object_new_object();
	struct json_object *warnings = json_object_new_array();
	const char *word = list->verdict[0] ? list->verdict : request->instance->steering.now.word;

	for (unsigned i = 0; i < list->n; i++)
		add_doubts(request, &list->rules[i], list->sources[i].line, warnings);
	xb_json_add_u64(to, "rules", list->n);
	xb_json_add_text(to, "default", word);
	xb_json_add_bool(to, "default_stays", !list->verdict[0]);
	xb_json_add(to, "warnings", warnings);
	*request->ret_result = to;
}

/* ---- rules ---- */

int xb_command_steer_add(const struct xb_request *given)
{
	struct words words;
	struct xb_rule_source source = {0};
	struct xb_rule rule;
	uint32_t id = 0;
	int ret = read_change(given, &words);

	if (!ret)
		ret = read_rule(&words.request, 0, &rule, &source);
	if (!ret)
		ret = xb_steering_add(&given->instance->steering, &rule, source, words.confirm_s,
				      &id, given->err);
	return ret ? failed(given, ret) : steered_rule(given, id, &rule);
}

int xb_command_steer_replace(const struct xb_request *given)
{
	struct words words;
	struct xb_rule_source source = {0};
	struct xb_rule rule;
	uint32_t id = 0;
	int ret = read_change(given, &words);

	if (!ret && words.request.argc < 2)
		ret = xb_usage(given->err, "steer replace ID RULE");
	if (!ret)
		ret = read_id(given, words.argv[0], &id);
	if (!ret)
		ret = read_rule(&words.request, 1, &rule, &source);
	if (!ret && rule.id && rule.id != id)
		ret = xb_usage(given->err, "steer replace %u: the rule itself says id %u", id,
			       rule.id);
	if (!ret)
		ret = xb_steering_replace(&given->instance->steering, id, &rule, source,
					  words.confirm_s, given->err);
	return ret ? failed(given, ret) : steered_rule(given, id, &rule);
}

int xb_command_steer_del(const struct xb_request *given)
{
	struct words words;
	uint32_t ids[XB_RULES_MAX];
	int n = 0;
	int ret = read_change(given, &words);

	if (!ret && (!words.request.argc || words.request.argc > (int)XB_RULES_MAX))
		ret = xb_usage(given->err, "steer del ID...");
	for (; !ret && n < words.request.argc; n++)
		ret = read_id(given, words.argv[n], &ids[n]);
	if (!ret)
		ret = xb_steering_del(&given->instance->steering, ids, (unsigned)n, words.confirm_s,
				      given->err);
	return ret ? failed(given, ret) : steered(given);
}

int xb_command_steer_show(const struct xb_request *request)
{
	const struct xb_steered_rule *steered;
	struct json_object *warnings = json_object_new_array();
	uint32_t id = 0;
	int ret = request->argc == 1 ? read_id(request, request->argv[0], &id)
				     : xb_usage(request->err, "steer show ID");

	if (ret < 0) {
		json_object_put(warnings);
		return ret;
	}
	steered = xb_steering_rule(&request->instance->steering, id);
	if (!steered) {
		json_object_put(warnings);
		xb_refuse(request->err, -ENOENT, "there is no rule %u", id);
		xb_hint(request->err, "`xbridge steer list` shows those that there are");
		return -ENOENT;
	}
	*request->ret_result = xb_query_rule(request->instance, steered, true);
	add_doubts(request, &steered->rule, 0, warnings);
	xb_json_add(*request->ret_result, "warnings", warnings);
	return 0;
}

/* [PORT] [-s] */
int xb_command_steer_list(const struct xb_request *request)
{
	const struct xb_port *port = NULL;
	bool counters = false;

	for (int i = 0; i < request->argc; i++) {
		const char *word = request->argv[i];

		if (!strcmp(word, "-s")) {
			counters = true;
		} else if (*word == '-' || port) {
			return xb_usage(request->err, "steer list: unexpected '%.64s'", word);
		} else {
			port = xb_instance_port(request->instance, word);
			if (!port)
				return xb_no_port(request, word);
		}
	}
	*request->ret_result = xb_query_rules(request->instance, port, counters);
	return 0;
}

/* ---- the table ---- */

/* An empty file is more often a mistake than a wish. */
static int refuse_empty(const struct xb_request *request, const struct xb_rule_list *list)
{
	if (list->n || list->verdict[0])
		return 0;
	xb_refuse(request->err, -EINVAL, "load: there is neither a rule nor a default in it");
	xb_hint(request->err, "--empty removes all rules, as `xbridge steer flush` does");
	return -EINVAL;
}

/* TEXT [--empty] [--confirm SECONDS]; the client has read the file. */
int xb_command_steer_load(const struct xb_request *given)
{
	struct xb_rule_list list = {0};
	struct words words;
	bool empty = false;
	int ret = read_change(given, &words);

	if (!ret && words.request.argc == 2)
		empty = !strcmp(words.argv[1], "--empty");
	if (!ret && words.request.argc != 1 + empty)
		ret = xb_usage(given->err, "steer load FILE|- [--empty] [--confirm SECONDS]");
	if (!ret)
		ret = xb_rule_list_parse(&list, words.argv[0], given->err);
	if (!ret && !empty)
		ret = refuse_empty(given, &list);
	if (!ret)
		ret = xb_steering_load(&given->instance->steering, &list, words.confirm_s,
				       given->err);
	if (!ret)
		answer_list(given, &list);
	xb_rule_list_free(&list);
	return ret ? failed(given, ret) : steered(given);
}

/* TEXT */
int xb_command_steer_check(const struct xb_request *request)
{
	struct xb_rule_list list = {0};
	int ret = request->argc == 1 ? xb_rule_list_parse(&list, request->argv[0], request->err)
				     : xb_usage(request->err, "steer check FILE|-");

	if (!ret)
		ret = refuse_empty(request, &list);
	if (!ret)
		ret = xb_steering_check(&request->instance->steering, &list, request->err);
	if (!ret)
		answer_list(request, &list);
	xb_rule_list_free(&list);
	return ret;
}

int xb_command_steer_flush(const struct xb_request *given)
{
	struct xb_rule_list none = {0};
	struct words words;
	int ret = read_change(given, &words);

	if (!ret && words.request.argc)
		ret = xb_usage(given->err, "steer flush [--confirm SECONDS]");
	if (!ret)
		ret = xb_steering_load(&given->instance->steering, &none, words.confirm_s,
				       given->err);
	return ret ? failed(given, ret) : steered(given);
}

int xb_command_steer_default(const struct xb_request *given)
{
	struct xb_steering *steering = &given->instance->steering;
	struct words words;
	int ret = given->argc ? read_change(given, &words) : read_words(given, &words);

	if (!ret && words.request.argc > 1)
		ret = xb_usage(given->err, "steer default [VERDICT] [--confirm SECONDS]");
	if (!ret && words.request.argc)
		ret = xb_steering_set_default(steering, words.argv[0], words.confirm_s, given->err);
	if (ret)
		return failed(given, ret);
	*given->ret_result = json_object_new_object();
	xb_json_add_text(*given->ret_result, "default", steering->now.word);
	return words.request.argc ? steered(given) : 0;
}

/* ---- trials ---- */

int xb_command_steer_confirm(const struct xb_request *request)
{
	int ret = xb_steering_confirm(&request->instance->steering, xb_now_ns(), request->err);

	return ret < 0 ? ret : steered(request);
}

int xb_command_steer_revert(const struct xb_request *request)
{
	int ret = xb_steering_revert(&request->instance->steering, request->err);

	return ret < 0 ? ret : steered(request);
}
