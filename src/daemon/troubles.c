/* SPDX-License-Identifier: BSD-2-Clause */
#include "daemon/troubles.h"

#include "daemon/json.h"
#include "daemon/log.h"

#include <stdio.h>
#include <string.h>

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

static void add_json(struct json_object *list, const struct xb_trouble *trouble)
{
	struct json_object *one = json_object_new_object();

	xb_json_add_text(one, "text", trouble->text);
	xb_json_add_text(one, "remedy", trouble->remedy);
	json_object_array_add(list, one);
}

struct json_object *xb_troubles_json(const struct xb_instance *instance,
				     const struct xb_instance_uplink *entry)
{
	struct json_object *list = json_object_new_array();
	struct xb_trouble trouble;

	(void)instance;
	if (xb_trouble_undelivered(entry->uplink, &trouble))
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

void xb_instance_watch(struct xb_instance *instance)
{
	uint64_t now_ns = xb_now_ns();

	for (unsigned i = 0; i < instance->n_uplinks; i++)
		watch_delivery(instance->uplinks[i].uplink, now_ns);
}
