/* SPDX-License-Identifier: BSD-2-Clause */
#include "daemon/uplink_delivery.h"

#include "daemon/log.h"

#include <stdio.h>

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

bool xb_uplink_delivery_trouble(const struct xb_uplink *uplink, struct xb_trouble *ret_trouble)
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

void xb_uplink_delivery_watch(struct xb_uplink *uplink, uint64_t now_ns)
{
	uint64_t before = uplink->undelivered;
	struct xb_trouble trouble;
	char queues[96];

	xb_uplink_check_delivery(uplink, now_ns);
	if (uplink->undelivered & ~before && xb_uplink_delivery_trouble(uplink, &trouble))
		xb_log(XB_LOG_WARNING, "uplink %s: %s; %s", uplink->port.name, trouble.text,
		       trouble.remedy);
	if (before & ~uplink->undelivered) {
		queues_text(before & ~uplink->undelivered, queues, sizeof(queues));
		xb_log(XB_LOG_NOTICE, "uplink %s: what XDP redirects from %s arrives again",
		       uplink->port.name, queues);
	}
}
