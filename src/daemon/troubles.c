/* SPDX-License-Identifier: BSD-2-Clause */
#include "daemon/troubles.h"

#include "daemon/doors.h"
#include "daemon/json.h"
#include "daemon/log.h"
#include "netdev/probe.h"

#include <stdio.h>
#include <string.h>

/* A storm that goes on is said once in this time. */
#define STORM_PAUSE_NS 60000000000ull

/* ---- in words ---- */

/* The ports that one is cut from, as "vb and tap0". */
static void cut_text(const struct xb_instance *instance, uint64_t cut, char *buf, size_t bytes)
{
	unsigned left = (unsigned)__builtin_popcountll(cut);
	size_t at = 0;

	buf[0] = '\0';
	for (unsigned id = 0; id < XB_PORTS_MAX && at < bytes; id++) {
		if (!(cut >> id & 1))
			continue;
		left--;
		at += (size_t)snprintf(buf + at, bytes - at, "%s%s", xb_port_name(instance, id),
				       left > 1    ? ", "
				       : left == 1 ? " and "
						   : "");
	}
}

bool xb_trouble_loop(const struct xb_instance *instance, const struct xb_port *port,
		     struct xb_trouble *ret_trouble)
{
	const uint64_t cut = instance->loops.cut[port->id];
	char others[128];

	if (!cut)
		return false;
	cut_text(instance, cut, others, sizeof(others));
	snprintf(ret_trouble->text, sizeof(ret_trouble->text),
		 "lies on one segment with %s (a loop): flooding between them is suspended until "
		 "that ends",
		 others);
	snprintf(ret_trouble->remedy, sizeof(ret_trouble->remedy),
		 "use one port for the segment, or a bond of both; otherwise look for the cable or "
		 "the bridge that joins them");
	return true;
}

static void add_json(struct json_object *list, const struct xb_trouble *trouble)
{
	struct json_object *one = json_object_new_object();

	xb_json_add_text(one, "text", trouble->text);
	xb_json_add_text(one, "remedy", trouble->remedy);
	xb_json_push(list, one);
}

struct json_object *xb_troubles_json(const struct xb_door *door)
{
	struct json_object *list = json_object_new_array();
	struct xb_trouble trouble;

	if (door->ops->trouble && door->ops->trouble(door, &trouble))
		add_json(list, &trouble);
	if (xb_trouble_loop(door->instance, door->port, &trouble))
		add_json(list, &trouble);
	return list;
}

/* ---- when they begin and end ---- */

static void say_loops(const struct xb_instance *instance, const uint64_t before[XB_PORTS_MAX])
{
	for (unsigned a = 0; a < XB_PORTS_MAX; a++) {
		uint64_t changed = instance->loops.cut[a] ^ before[a];

		for (unsigned b = a + 1; changed && b < XB_PORTS_MAX; b++) {
			if (!(changed >> b & 1))
				continue;
			if (xb_loop_is_cut(&instance->loops, a, b))
				xb_log(XB_LOG_WARNING,
				       "a loop: %s and %s lie on one segment; flooding between them "
				       "is suspended until that ends",
				       xb_port_name(instance, a), xb_port_name(instance, b));
			else
				xb_log(XB_LOG_NOTICE,
				       "the loop is gone: %s and %s are flooded to each other again",
				       xb_port_name(instance, a), xb_port_name(instance, b));
		}
	}
}

static void send_probes(const struct xb_instance *instance, const struct xb_probe_list *probes)
{
	for (unsigned p = 0; p < probes->n; p++) {
		const struct xb_door *door = instance->doors[probes->list[p].port];
		uint8_t frame[XB_PROBE_BYTES_MAX];
		unsigned bytes;

		if (!door || !door->port->caps.uplink)
			continue;
		bytes = xb_probe_write(&instance->loops.signs, door->port->id, door->mac,
				       probes->list[p].vlan, frame);
		/* one that can't be sent finds nothing, as one that is lost */
		xb_probe_send(door->ifindex, frame, bytes);
	}
}

static void watch_loops(struct xb_instance *instance, uint64_t now_ns)
{
	uint64_t before[XB_PORTS_MAX];
	struct xb_probe_list probes;

	memcpy(before, instance->loops.cut, sizeof(before));
	if (xb_loop_watch_look(&instance->loops, instance->fdb, xb_instance_snapshot(instance),
			       now_ns, &probes)) {
		xb_instance_publish(instance);
		say_loops(instance, before);
	}
	send_probes(instance, &probes);
}

/* Says, but not again and again, that a port's storm limit was met. */
static void watch_storm(struct xb_instance *instance, const struct xb_port *port, uint64_t now_ns)
{
	uint64_t *said_ns = &instance->storm_said_ns[port->id];
	uint64_t dropped = 0, before = instance->storms[port->id];

	for (unsigned q = 0; q < port->queues_max; q++)
		dropped += xb_counted(&port->queues[q].drops[XB_DROP_STORM]);
	instance->storms[port->id] = dropped;
	if (dropped == before || (*said_ns && now_ns - *said_ns < STORM_PAUSE_NS))
		return;
	*said_ns = now_ns;
	xb_log(XB_LOG_WARNING,
	       "%s: more than %u group frames a second came in, %llu were dropped (storm); xbridge "
	       "port set %s --storm PPS changes the limit",
	       port->name, atomic_load(&port->storm.pps), (unsigned long long)(dropped - before),
	       port->name);
}

void xb_instance_watch(struct xb_instance *instance)
{
	const struct xb_snapshot *snapshot = xb_instance_snapshot(instance);
	uint64_t now_ns = xb_now_ns();

	xb_for_each_door(instance, door)
	{
		if (door->ops->watch)
			door->ops->watch(door, now_ns);
	}
	for (unsigned i = 0; i < snapshot->n_ports; i++)
		watch_storm(instance, snapshot->port_list[i], now_ns);
	watch_loops(instance, now_ns);
}
