/* SPDX-License-Identifier: BSD-2-Clause */
#include "daemon/command.h"

#include "core/word.h"
#include "daemon/capturing.h"
#include "daemon/change_log.h"
#include "daemon/config_value.h"
#include "daemon/domains.h"
#include "daemon/doors.h"
#include "daemon/explain.h"
#include "daemon/json.h"
#include "daemon/port_add.h"
#include "daemon/ports.h"
#include "daemon/stats.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* ---- queries ---- */

static int status(const struct xb_request *request)
{
	*request->ret_result = xb_query_status(request->instance);
	return 0;
}

static int stats(const struct xb_request *request)
{
	const struct xb_port *port;

	if (!request->argc) {
		*request->ret_result = xb_query_stats(request->instance);
		return 0;
	}
	port = xb_instance_port(request->instance, request->argv[0]);
	if (!port)
		return xb_no_port(request, request->argv[0]);
	*request->ret_result = xb_query_stats(request->instance);
	xb_stats_only(*request->ret_result, port->name);
	return 0;
}

static int stats_reset(const struct xb_request *request)
{
	int ret = xb_stats_reset(request->instance, request->err);

	return ret < 0 ? ret : xb_done(request);
}

static int port_list(const struct xb_request *request)
{
	*request->ret_result = xb_query_ports(request->instance);
	return 0;
}

static int fdb_list(const struct xb_request *request)
{
	*request->ret_result = xb_query_fdb(request->instance);
	return 0;
}

/* ---- ports ---- */

/* What `port set` changes; -1: not named. */
struct port_change {
	long queues, learn_max, storm_pps;
	bool sets_offload;
	struct xb_offload_set offload;
};

static int parse_port_change(const struct xb_request *request, struct port_change *ret_change)
{
	struct port_change change = {.queues = -1, .learn_max = -1, .storm_pps = -1};
	const struct {
		const char *name;
		long *value;
		uint64_t min, max;
	} options[] = {
		{"--queues", &change.queues, 1, XB_QUEUES_MAX},
		{"--learn-max", &change.learn_max, 0, XB_FDB_MAX},
		{"--storm", &change.storm_pps, 0, 1000000000},
	};
	const size_t n = sizeof(options) / sizeof(options[0]);

	if (request->argc < 3 || request->argc % 2 == 0)
		return xb_usage(request->err, "port set NAME [--queues N] [--offload LIST|none] "
					      "[--learn-max N] [--storm PPS]");
	for (int i = 1; i < request->argc; i += 2) {
		const char *value = request->argv[i + 1];
		size_t o = 0;
		uint64_t number;

		if (!strcmp(request->argv[i], "--offload")) {
			change.sets_offload = true;
			if (xb_value_offload(value, &change.offload, request->err) < 0)
				return XB_USAGE;
			continue;
		}
		while (o < n && strcmp(request->argv[i], options[o].name) != 0)
			o++;
		if (o == n)
			return xb_usage(request->err, "port set has no option '%.64s'",
					request->argv[i]);
		if (!xb_word_decimal(value, options[o].min, options[o].max, &number))
			return xb_usage(request->err,
					"%s '%.32s': a number from %" PRIu64 " to %" PRIu64
					" is expected",
					options[o].name, value, options[o].min, options[o].max);
		*options[o].value = (long)number;
	}
	*ret_change = change;
	return 0;
}

/* ---- changes that take their time ---- */

static void forget_change(struct xb_instance *instance, void *what)
{
	xb_doors_forget_change(instance, what);
	free(what);
}

static int resume_change(struct xb_instance *instance, struct xb_hold *hold,
			 struct json_object **ret_result, struct xb_error *err)
{
	const struct xb_change *change = hold->what;

	(void)instance;
	if (!change->is_done)
		return XB_LATER;
	*err = change->err;
	if (!change->code)
		*ret_result = json_object_new_object();
	return change->code;
}

/* Waits for a change that has been begun, where `ret` is 0. */
static int await_change(const struct xb_request *request, struct xb_change *change, int ret)
{
	if (ret < 0) {
		free(change);
		return ret == -EAGAIN ? XB_LATER : ret;
	}
	*request->hold =
		(struct xb_hold){.resume = resume_change, .release = forget_change, .what = change};
	return resume_change(request->instance, request->hold, request->ret_result, request->err);
}

static int resize(const struct xb_request *request, struct xb_door *door, unsigned queues)
{
	struct xb_change *change = calloc(1, sizeof(*change));

	if (!change)
		return xb_fail(request->err, -ENOMEM, "change the queues");
	return await_change(request, change,
			    door->ops->set_queues(door, queues, change, request->err));
}

static int renegotiate(const struct xb_request *request, struct xb_door *door,
		       struct xb_offload_set offload)
{
	struct xb_change *change;

	if (!door->ops->set_offload)
		return xb_refuse(request->err, -EOPNOTSUPP, "%s has no offloads to choose from",
				 door->port->name);
	change = calloc(1, sizeof(*change));
	if (!change)
		return xb_fail(request->err, -ENOMEM, "change the offloads");
	return await_change(request, change,
			    door->ops->set_offload(door, offload, change, request->err));
}

static int port_add(const struct xb_request *request)
{
	struct xb_change *change = calloc(1, sizeof(*change));
	int ret;

	if (!change)
		return xb_fail(request->err, -ENOMEM, "add a port");
	ret = xb_ports_add(request->instance, request->argc, request->argv, change, request->err);
	return await_change(request, change, ret);
}

static int port_del(const struct xb_request *request)
{
	struct xb_change *change;
	struct xb_door *door;

	if (request->argc != 1)
		return xb_usage(request->err, "port del NAME");
	door = xb_doors_find(request->instance, request->argv[0]);
	if (!door)
		return xb_no_port(request, request->argv[0]);
	change = calloc(1, sizeof(*change));
	if (!change)
		return xb_fail(request->err, -ENOMEM, "remove a port");
	return await_change(request, change, xb_ports_remove(door, change, request->err));
}

static int port_set(const struct xb_request *request)
{
	struct port_change change;
	struct xb_door *door;
	int ret = parse_port_change(request, &change);

	if (ret < 0)
		return ret;
	door = xb_doors_find(request->instance, request->argv[0]);
	if (!door)
		return xb_no_port(request, request->argv[0]);
	if (change.learn_max >= 0)
		atomic_store(&request->instance->fdb->learn_max[door->id],
			     (uint32_t)change.learn_max);
	if (change.storm_pps >= 0)
		atomic_store(&door->port->storm.pps, (uint32_t)change.storm_pps);
	if (change.sets_offload && change.queues >= 0)
		return xb_usage(request->err,
				"port set: --queues and --offload one after the other");
	/* last: it goes on when all the rest is done */
	if (change.sets_offload)
		return renegotiate(request, door, change.offload);
	return change.queues >= 0 ? resize(request, door, (unsigned)change.queues)
				  : xb_done(request);
}

/* ---- forwarding table ---- */

/* MAC [vlan ID] [port NAME], in any order behind the MAC. */
struct fdb_words {
	uint8_t mac[6];
	uint16_t vlan;
	const char *port;
	const char *domain;
};

static int parse_fdb(const struct xb_request *request, struct fdb_words *ret_words)
{
	struct fdb_words words = {0};

	if (request->argc < 1 || !xb_word_mac(request->argv[0], words.mac))
		return xb_usage(request->err,
				"a MAC address like 02:00:00:00:00:01 is expected first");
	if (words.mac[0] & 1)
		return xb_usage(request->err, "'%.32s' is a group address", request->argv[0]);
	for (int i = 1; i < request->argc; i += 2) {
		const char *value = i + 1 < request->argc ? request->argv[i + 1] : NULL;
		uint64_t id;

		if (value && !strcmp(request->argv[i], "port")) {
			words.port = value;
		} else if (value && !strcmp(request->argv[i], "domain")) {
			words.domain = value;
		} else if (value && !strcmp(request->argv[i], "vlan")) {
			if (!xb_word_decimal(value, 0, XB_FDB_VLAN_ANY - 1, &id))
				return xb_usage(request->err, "vlan '%.32s': 0 to 4094 is expected",
						value);
			words.vlan = (uint16_t)id;
		} else {
			return xb_usage(
				request->err,
				"'%.32s': 'port NAME' or 'vlan ID' is expected after the MAC",
				request->argv[i]);
		}
	}
	*ret_words = words;
	return 0;
}

static int fdb_add(const struct xb_request *request)
{
	struct fdb_words words;
	struct xb_port *port;
	int ret = parse_fdb(request, &words);

	if (ret < 0)
		return ret;
	if (!words.port)
		return xb_usage(request->err, "fdb add MAC port NAME [vlan ID]");
	port = xb_instance_port(request->instance, words.port);
	if (!port)
		return xb_no_port(request, words.port);
	ret = xb_fdb_set(request->instance->fdb, xb_fdb_key(port->domain, words.mac, words.vlan),
			 port->id, XB_FDB_STATIC);
	if (ret < 0) {
		xb_refuse(request->err, ret,
			  ret == -EEXIST ? "another port has the address %.32s"
					 : "there is no room for a static entry of %.32s",
			  request->argv[0]);
		xb_hint(request->err, ret == -EEXIST ? "delete it there first (`xbridge fdb del`)"
						     : "its place in the table is full of them");
		return ret;
	}
	return xb_done(request);
}

static int fdb_del(const struct xb_request *request)
{
	struct xb_fdb *fdb = request->instance->fdb;
	struct fdb_words words;
	struct xb_fdb_key key;
	int domain;
	int ret = parse_fdb(request, &words);

	if (ret < 0)
		return ret;
	domain = xb_domains_find(request->instance, words.domain ? words.domain : "");
	if (domain < 0)
		return xb_refuse(request->err, -ENOENT, "there is no domain '%.64s'", words.domain);
	key = xb_fdb_key((uint8_t)domain, words.mac, words.vlan);
	if (xb_fdb_del(fdb, key, XB_FDB_STATIC) < 0 && xb_fdb_del(fdb, key, XB_FDB_LEARNED) < 0) {
		xb_refuse(request->err, -ENOENT, "there is no entry for %.32s in VLAN %u",
			  request->argv[0], words.vlan);
		xb_hint(request->err, "`xbridge fdb list` shows what is there; a port's own "
				      "address stays");
		return -ENOENT;
	}
	return xb_done(request);
}

struct flush {
	int port; /* -1: any */
	unsigned n;
};

static bool stays(const struct xb_fdb_row *row, void *arg)
{
	struct flush *flush = arg;

	if (row->kind != XB_FDB_LEARNED || (flush->port >= 0 && row->port != flush->port))
		return true;
	flush->n++;
	return false;
}

static int fdb_flush(const struct xb_request *request)
{
	struct flush flush = {.port = -1};

	if (request->argc > 1)
		return xb_usage(request->err, "fdb flush [PORT]");
	if (request->argc == 1) {
		struct xb_port *port = xb_instance_port(request->instance, request->argv[0]);

		if (!port)
			return xb_no_port(request, request->argv[0]);
		flush.port = port->id;
	}
	xb_fdb_sweep(request->instance->fdb, stays, &flush);
	*request->ret_result = json_object_new_object();
	xb_json_add(*request->ret_result, "flushed", json_object_new_int((int)flush.n));
	return 0;
}

/* ---- packets ---- */

/* NAME: the port of any of its names; for clients that look for it in a reply. */
static int port_find(const struct xb_request *request)
{
	const struct xb_port *port;

	if (request->argc != 1)
		return xb_usage(request->err, "port find NAME");
	port = xb_instance_port(request->instance, request->argv[0]);
	if (!port)
		return xb_no_port(request, request->argv[0]);
	*request->ret_result = json_object_new_object();
	xb_json_add_text(*request->ret_result, "name", port->name);
	return 0;
}

/* PORT FRAME…: what the client has parsed, made or read from a file; see daemon/explain.h. */
static int explain(const struct xb_request *request)
{
	const struct xb_port *port;

	if (request->argc < 2)
		return xb_usage(request->err, "explain PORT FRAME...");
	port = xb_instance_port(request->instance, request->argv[0]);
	if (!port)
		return xb_no_port(request, request->argv[0]);
	*request->ret_result = xb_explain_frames(request->instance, port, request->argc - 1,
						 request->argv + 1, request->err);
	return *request->ret_result ? 0 : XB_USAGE;
}

/* [PORT] [--drops] [--snap BYTES]; goes on until the client hangs up. */
static int capture(const struct xb_request *request)
{
	struct xb_capture_filter filter = {.port = -1, .snap = XB_CAPTURE_SNAP_MAX};

	for (int i = 0; i < request->argc; i++) {
		const char *word = request->argv[i];
		const struct xb_port *port;
		unsigned long snap;
		int ret;

		if (!strcmp(word, "--drops")) {
			filter.drops = true;
		} else if (!strcmp(word, "--snap") && i + 1 < request->argc) {
			ret = xb_read_count(request, word, request->argv[++i], XB_CAPTURE_SNAP_MAX,
					    &snap);
			if (ret < 0)
				return ret;
			filter.snap = (uint32_t)snap;
		} else if (*word == '-' || filter.port >= 0) {
			return xb_usage(request->err, "capture: unexpected '%.64s'", word);
		} else {
			port = xb_instance_port(request->instance, word);
			if (!port)
				return xb_no_port(request, word);
			filter.port = port->id;
		}
	}
	return xb_capturing_start(request->instance, &filter, request->ret_result, request->hold,
				  request->err);
}

/* ---- the table ---- */

#define WORDS_MAX 64 /* of a rule */

static const struct command {
	const char *word[2]; /* the second NULL: a single word */
	int (*run)(const struct xb_request *request);
	int argc_max;
	bool changes; /* something, which is logged */
} commands[] = {
	{{"status"}, status, 0, false},
	{{"stats", "reset"}, stats_reset, 0, true},
	{{"stats"}, stats, 1, false},
	{{"port", "add"}, port_add, 16, true},
	{{"port", "del"}, port_del, 1, true},
	{{"port", "find"}, port_find, 1, false},
	{{"port", "list"}, port_list, 0, false},
	{{"port", "set"}, port_set, 16, true},
	{{"fdb", "list"}, fdb_list, 0, false},
	{{"fdb", "add"}, fdb_add, 5, true},
	{{"fdb", "del"}, fdb_del, 5, true},
	{{"fdb", "flush"}, fdb_flush, 1, true},
	{{"steer", "add"}, xb_command_steer_add, WORDS_MAX, true},
	{{"steer", "replace"}, xb_command_steer_replace, WORDS_MAX, true},
	{{"steer", "del"}, xb_command_steer_del, XB_RULES_MAX + 2, true},
	{{"steer", "show"}, xb_command_steer_show, 1, false},
	{{"steer", "list"}, xb_command_steer_list, 2, false},
	{{"steer", "check"}, xb_command_steer_check, 1, false},
	{{"steer", "load"}, xb_command_steer_load, 4, true},
	{{"steer", "confirm"}, xb_command_steer_confirm, 0, true},
	{{"steer", "revert"}, xb_command_steer_revert, 0, true},
	{{"steer", "flush"}, xb_command_steer_flush, 2, true},
	{{"steer", "default"}, xb_command_steer_default, 3, true},
	{{"capture"}, capture, 4, false},
	{{"explain"}, explain, 1 + XB_EXPLAIN_FRAMES_MAX, false},
};

static bool names(const struct command *command, int argc, const char *const *argv)
{
	return !strcmp(argv[0], command->word[0]) &&
	       (!command->word[1] || (argc > 1 && !strcmp(argv[1], command->word[1])));
}

static const struct command *find_command(int argc, const char *const *argv)
{
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		if (names(&commands[i], argc, argv))
			return &commands[i];
	return NULL;
}

void xb_command_done(struct xb_instance *instance, int argc, const char *const *argv,
		     struct json_object *result, uint64_t trial_before)
{
	const struct command *command = find_command(argc, argv);
	/* without a verdict `steer default` only asks */
	bool asks = command && command->run == xb_command_steer_default && argc % 2 == 0;

	if (command && command->changes && !asks)
		xb_say_change(instance, argc, argv, result, trial_before);
}

int xb_command_run(struct xb_instance *instance, int argc, const char *const *argv,
		   struct json_object **ret_result, struct xb_hold *hold, struct xb_error *err)
{
	const struct command *command = find_command(argc, argv);
	int words = command && command->word[1] ? 2 : 1;
	struct xb_request request = {instance, argc - words, argv + words, ret_result, hold, err};
	uint64_t trial_before = instance->steering.confirm_by_ns;
	int ret;

	if (!command)
		return xb_usage(err, "there is no command '%.64s%s%.64s'", argv[0],
				argc > 1 ? " " : "", argc > 1 ? argv[1] : "");
	if (request.argc > command->argc_max)
		return xb_usage(err, "%s: unexpected '%.64s'", command->word[words - 1],
				argv[words + command->argc_max]);
	ret = command->run(&request);
	if (!ret)
		xb_command_done(instance, argc, argv, *ret_result, trial_before);
	return ret;
}
