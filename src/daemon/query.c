/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What `status`, `stats`, `port list` and `fdb list` say. Field names are stable.
 */
#include "daemon/commands.h"

#include "core/word.h"
#include "daemon/change_log.h"
#include "daemon/doors.h"
#include "daemon/json.h"
#include "daemon/limits.h"
#include "daemon/troubles.h"
#include "gate/bpffs.h"
#include "steer/text.h"
#include "steer/verdict.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static void add_mac(struct json_object *to, const char *name, const uint8_t mac[6])
{
	char text[XB_MAC_TEXT_BYTES];

	xb_json_add_text(to, name, xb_mac_text(mac, text));
}

void xb_verdict_text(const struct xb_instance *instance, uint16_t verdict, char *buf, size_t bytes)
{
	snprintf(buf, bytes, "%s",
		 verdict >= XB_VERDICT_PORT0 ? xb_port_name(instance, verdict - XB_VERDICT_PORT0)
					     : xb_verdict_word(verdict));
}

static uint64_t seconds_since(uint64_t then_ns)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec - then_ns / 1000000000u;
}

/* ---- ports ---- */

static struct json_object *takes_list(uint32_t takes)
{
	static const struct {
		uint32_t bit;
		const char *name;
	} names[] = {{XB_TAKES_CSUM, "csum"},
		     {XB_TAKES_TSO4, "tso4"},
		     {XB_TAKES_TSO6, "tso6"},
		     {XB_TAKES_ECN, "ecn"},
		     {XB_TAKES_USO, "uso"}};
	struct json_object *list = json_object_new_array();

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (takes & names[i].bit)
			xb_json_push(list, json_object_new_string(names[i].name));
	return list;
}

static struct json_object *port_json(const struct xb_door *door)
{
	const struct xb_fdb *fdb = door->instance->fdb;
	struct json_object *to = json_object_new_object();
	const struct xb_port *port = door->port;
	bool running = xb_door_queues(door);

	xb_json_add_text(to, "name", port->name);
	if (door->alias)
		xb_json_add_text(to, "alias", door->alias);
	xb_json_add_u64(to, "id", port->id);
	xb_json_add_text(to, "type", door->ops->kind);
	add_mac(to, "mac", door->mac);
	xb_json_add_u64(to, "mtu", door->mtu);
	xb_json_add_bool(to, "running", running);
	xb_json_add_bool(to, "up",
			 running && atomic_load_explicit(&port->up, memory_order_relaxed));
	/* what it waits for, where its state is about to change */
	if (door->job.doing)
		xb_json_add_text(to, "doing", door->job.doing);
	else
		xb_json_add_null(to, "doing");
	xb_json_add_text(to, "domain", door->instance->domains[port->domain]);
	xb_json_add_u64(to, "queues", port->n_queues);
	xb_json_add_u64(to, "queues_max", port->queues_max);
	xb_json_add_u64(to, "learn_max", atomic_load(&fdb->learn_max[port->id]));
	xb_json_add_u64(to, "storm_pps", atomic_load(&port->storm.pps));
	xb_json_add(to, "takes", takes_list(port->caps.takes));
	if (door->ops->describe)
		door->ops->describe(door, to);
	xb_json_add(to, "troubles", xb_troubles_json(door));
	return to;
}

struct json_object *xb_query_ports(struct xb_instance *instance)
{
	struct json_object *list = json_object_new_array();
	struct json_object *to = json_object_new_object();

	xb_for_each_door(instance, door)
	{
		xb_json_push(list, port_json(door));
	}
	xb_json_add(to, "ports", list);
	return to;
}

/* ---- status ---- */

static struct json_object *worker_list(const struct xb_instance *instance)
{
	struct json_object *list = json_object_new_array();

	for (unsigned w = 0; w < instance->workers.n; w++) {
		struct xb_worker *worker = &instance->workers.worker[w];
		struct json_object *to = json_object_new_object();
		char cpus[XB_CPUS_BYTES];

		xb_cpus_of_thread(worker->thread, cpus);
		xb_json_add_u64(to, "worker", w);
		xb_json_add_text(to, "cpus", cpus);
		xb_json_add_bool(to, "asleep", atomic_load(&worker->idle.asleep));
		xb_json_add_u64(to, "sleeps", xb_counted(&worker->idle.sleeps));
		xb_json_add_u64(to, "wake_ns", atomic_load(&worker->idle.wake_ns));
		xb_json_push(list, to);
	}
	return list;
}

static void add_trial(struct json_object *to, const struct xb_steering *steering)
{
	if (steering->confirm_by_ns)
		xb_json_add_u64(to, "confirm_within_s", xb_trial_left_s(steering));
}

/* What holds memory, in bytes. */
static struct json_object *memory_json(const struct xb_instance *instance)
{
	const struct xb_arena *arena = &instance->arena;
	const struct xb_steering *steering = &instance->steering;
	struct json_object *to = json_object_new_object();
	uint64_t ports = 0;

	xb_for_each_door(instance, door)
	{
		ports += door->port->queues_max * sizeof(struct xb_port_queue);
	}
	xb_json_add_u64(to, "frames", (uint64_t)arena->n_frames * XB_FRAME_BYTES);
	xb_json_add_u64(to, "frame_records", (uint64_t)arena->n_frames * sizeof(struct xb_frame));
	xb_json_add_u64(to, "rings", xb_arena_ring_bytes(arena));
	xb_json_add_u64(to, "rule_images", xb_image_store_bytes(&steering->store));
	xb_json_add_u64(to, "forwarding_table", sizeof(struct xb_fdb));
	xb_json_add_u64(to, "workers", instance->workers.n * sizeof(struct xb_worker));
	xb_json_add_u64(to, "port_queues", ports);
	xb_json_add_u64(to, "resident", xb_limits_resident());
	return to;
}

struct json_object *xb_query_status(struct xb_instance *instance)
{
	struct json_object *to = xb_query_ports(instance);
	uint32_t owners[XB_OWNER_COUNT];
	struct json_object *arena = json_object_new_object();
	char verdict[XB_NAME_BYTES];

	xb_verdict_text(instance, xb_steering_verdict(&instance->steering), verdict,
			sizeof(verdict));
	xb_json_add_text(to, "name", instance->config.name);
	xb_json_add_text(to, "version", XB_VERSION);
	xb_json_add_u64(to, "pid", (uint64_t)getpid());
	xb_json_add_u64(to, "uptime_s", seconds_since(instance->started_ns));
	xb_json_add_text(to, "default", verdict);
	add_trial(to, &instance->steering);
	xb_json_add_u64(to, "stall_ms", instance->config.stall_ms);
	if (instance->gate_open)
		xb_json_add_text(to, "bpffs", xb_bpffs());
	else
		xb_json_add_null(to, "bpffs");
	xb_json_add_bool(to, "bpffs_private", instance->bpffs_private);
	xb_arena_count(&instance->arena, owners);
	xb_json_add_u64(arena, "frames", instance->arena.n_frames);
	xb_json_add_u64(arena, "free", owners[XB_OWNER_POOL]);
	xb_json_add_bool(arena, "huge_pages", instance->arena.huge);
	xb_json_add(to, "arena", arena);
	xb_json_add(to, "memory", memory_json(instance));
	xb_json_add(to, "workers", worker_list(instance));
	return to;
}

/* ---- rules ---- */

/* The rule as `steer add` takes it, and `steer list` prints it behind the id. */
static struct json_object *rule_text(const struct xb_rule *rule)
{
	struct json_object *to;
	struct xb_rule bare = *rule;
	char *text = NULL;
	size_t bytes;
	FILE *out = open_memstream(&text, &bytes);

	if (!out)
		return NULL;
	bare.id = 0;
	xb_rule_print(&bare, out);
	to = fclose(out) ? NULL : json_object_new_string(text);
	free(text);
	return to;
}

/* Those that can't be read are null. */
static void add_counters(struct json_object *to, const struct xb_steering *steering,
			 const struct xb_steered_rule *steered)
{
	struct xb_rule_stats stats;
	uint64_t now_ns = xb_now_ns();

	if (xb_steering_read_stats(steering, steered, &stats) < 0) {
		xb_json_add_null(to, "packets");
		xb_json_add_null(to, "bytes");
		xb_json_add_null(to, "last_hit_ms");
		return;
	}
	xb_json_add_u64(to, "packets", stats.packets);
	xb_json_add_u64(to, "bytes", stats.bytes);
	if (stats.last_ns)
		xb_json_add_u64(to, "last_hit_ms",
				stats.last_ns < now_ns ? (now_ns - stats.last_ns) / 1000000u : 0);
	else
		xb_json_add_null(to, "last_hit_ms");
}

struct json_object *xb_query_rule(struct xb_instance *instance,
				  const struct xb_steered_rule *steered, bool counters)
{
	struct json_object *to = json_object_new_object();

	xb_json_add_u64(to, "id", steered->rule.id);
	xb_json_add_u64(to, "prio", steered->rule.prio);
	xb_json_add(to, "rule", rule_text(&steered->rule));
	xb_json_add_text(to, "verdict", steered->rule.verdict);
	if (steered->rule.comment[0])
		xb_json_add_text(to, "comment", steered->rule.comment);
	xb_json_add_u64(to, "slot", steered->slot);
	if (counters)
		add_counters(to, &instance->steering, steered);
	return to;
}

/* What says that a list is not the whole table. */
static void add_part(struct json_object *to, const struct xb_steering *steering,
		     const struct xb_port *port)
{
	xb_json_add_text(to, "port", port->name);
	xb_json_add_u64(to, "of", steering->now.n);
	xb_json_add_bool(to, "default_names_port",
			 xb_steering_verdict(steering) == XB_VERDICT_PORT(port->id));
}

struct json_object *xb_query_rules(struct xb_instance *instance, const struct xb_port *port,
				   bool counters)
{
	const struct xb_steering *steering = &instance->steering;
	struct json_object *to = json_object_new_object();
	struct json_object *list = json_object_new_array();

	for (unsigned rank = 0; rank < steering->now.n; rank++) {
		const struct xb_steered_rule *steered = &steering->now.rules[rank];

		if (!port || xb_rule_names_port(&steering->names, &steered->rule, port->id, true))
			xb_json_push(list, xb_query_rule(instance, steered, counters));
	}
	xb_json_add(to, "rules", list);
	xb_json_add_text(to, "default", steering->now.word);
	if (port)
		add_part(to, steering, port);
	add_trial(to, steering);
	return to;
}

/* ---- forwarding table ---- */

struct walk {
	const struct xb_instance *instance;
	struct json_object *list;
	uint32_t now_s;
};

static void add_row(const struct xb_fdb_row *row, void *arg)
{
	static const char *const kinds[] = {
		[XB_FDB_LEARNED] = "learned", [XB_FDB_STATIC] = "static", [XB_FDB_OWN] = "own"};
	struct walk *walk = arg;
	struct json_object *to = json_object_new_object();
	uint16_t vlan = row->key.bits & 0xfff;
	uint8_t mac[6];

	for (unsigned i = 0; i < 6; i++)
		mac[i] = (uint8_t)(row->key.bits >> (52 - 8 * i));
	add_mac(to, "mac", mac);
	if (vlan == XB_FDB_VLAN_ANY)
		xb_json_add_text(to, "vlan", "any");
	else
		xb_json_add_u64(to, "vlan", vlan);
	xb_json_add_text(to, "domain", walk->instance->domains[xb_fdb_key_domain(row->key)]);
	xb_json_add_text(to, "port", xb_port_name(walk->instance, row->port));
	xb_json_add_text(to, "kind", kinds[row->kind]);
	if (row->kind == XB_FDB_LEARNED)
		xb_json_add_u64(to, "age_s",
				walk->now_s > row->seen_s ? walk->now_s - row->seen_s : 0);
	xb_json_push(walk->list, to);
}

struct json_object *xb_query_fdb(struct xb_instance *instance)
{
	struct walk walk = {
		.instance = instance,
		.list = json_object_new_array(),
		.now_s = (uint32_t)seconds_since(0),
	};
	struct json_object *to = json_object_new_object();

	xb_fdb_walk(instance->fdb, add_row, &walk);
	xb_json_add(to, "fdb", walk.list);
	return to;
}
