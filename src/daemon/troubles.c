/* SPDX-License-Identifier: BSD-2-Clause */
#include "daemon/troubles.h"

#include "daemon/commands.h"
#include "daemon/json.h"
#include "daemon/log.h"
#include "netdev/probe.h"

#include <stdio.h>
#include <string.h>

/* A storm that goes on is said once in this time. */
#define STORM_PAUSE_NS 60000000000ull

/* ---- in words ---- */

/* "queue 3", "queues 0, 1 and 2"; of many the first ones. */
static void queues_text(uint64_t queues, char *buf, size_t bytes)
{
	const unsigned n = (unsigned)__builtin_popcountll(queues);
	unsigned said = 0;
	size_t at = (size_t)snprintf(buf, bytes, "queue%s", n == 1 ? "" : "s");

	for (unsigned q = 0; q < XB_QUEUES_MAX && said < 8; q++) {
		if (!(queues >> q & 1))
			continue;
		said++;
		at += (size_t)snprintf(buf + at, bytes - at, "%s %u",
				       said == 1   ? ""
				       : said == n ? " and"
						   : ",",
				       q);
	}
	if (said < n)
		snprintf(buf + at, bytes - at, " and %u more", n - said);
}

bool xb_trouble_undelivered(const struct xb_uplink *uplink, struct xb_trouble *ret_trouble)
{
	const bool native_aggregate = uplink->aggregate && uplink->attachment.mode == XB_XDP_NATIVE;
	char queues[96];

	if (!uplink->running || !uplink->undelivered)
		return false;
	queues_text(uplink->undelivered, queues, sizeof(queues));
	snprintf(ret_trouble->text, sizeof(ret_trouble->text),
		 "what XDP redirects from %s does not arrive in xbridge; such frames pass to the "
		 "interface's own stack (pass_undelivered), and redirecting is tried again later",
		 queues);
	if (native_aggregate)
		snprintf(ret_trouble->remedy, sizeof(ret_trouble->remedy),
			 "leave out xdp=native: on a bond xbridge then runs XDP in generic mode");
	else
		snprintf(ret_trouble->remedy, sizeof(ret_trouble->remedy),
			 "try --uplink %s,xdp=generic; see what else runs there: bpftool net show "
			 "dev %s",
			 uplink->port.name, uplink->port.name);
	return true;
}

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

struct json_object *xb_troubles_json(const struct xb_instance *instance,
				     const struct xb_instance_uplink *entry)
{
	struct json_object *list = json_object_new_array();
	struct xb_trouble trouble;

	if (xb_trouble_undelivered(entry->uplink, &trouble))
		add_json(list, &trouble);
	if (xb_trouble_loop(instance, &entry->uplink->port, &trouble))
		add_json(list, &trouble);
	return list;
}

/* ---- when they begin and end ---- */

static void watch_delivery(struct xb_uplink *uplink, uint64_t now_ns)
{
	uint64_t before = uplink->undelivered;
	struct xb_trouble trouble;
	char queues[96];

	xb_uplink_check_delivery(uplink, now_ns);
	if (uplink->undelivered & ~before && xb_trouble_undelivered(uplink, &trouble))
		xb_log(XB_LOG_WARNING, "uplink %s: %s; %s", uplink->port.name, trouble.text,
		       trouble.remedy);
	if (before & ~uplink->undelivered) {
		queues_text(before & ~uplink->undelivered, queues, sizeof(queues));
		xb_log(XB_LOG_NOTICE, "uplink %s: what XDP redirects from %s arrives again",
		       uplink->port.name, queues);
	}
}

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

static void send_probes(struct xb_instance *instance, const struct xb_probe_list *probes)
{
	for (unsigned i = 0; i < instance->n_uplinks; i++) {
		const struct xb_uplink *uplink = instance->uplinks[i].uplink;

		for (unsigned p = 0; p < probes->n; p++) {
			uint8_t frame[XB_PROBE_BYTES_MAX];
			unsigned bytes;

			if (probes->list[p].port != uplink->port.id)
				continue;
			bytes = xb_probe_write(&instance->loops.signs, uplink->port.id, uplink->mac,
					       probes->list[p].vlan, frame);
			/* one that can't be sent finds nothing, as one that is lost */
			xb_probe_send(uplink->ifindex, frame, bytes);
		}
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

	for (unsigned i = 0; i < instance->n_uplinks; i++)
		watch_delivery(instance->uplinks[i].uplink, now_ns);
	for (unsigned i = 0; i < snapshot->n_ports; i++)
		watch_storm(instance, snapshot->port_list[i], now_ns);
	watch_loops(instance, now_ns);
}
