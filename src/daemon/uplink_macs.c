/* SPDX-License-Identifier: BSD-2-Clause */
#include "daemon/uplink_macs.h"

#include "daemon/doors.h"
#include "daemon/log.h"

#include <errno.h>
#include <string.h>

void xb_uplink_macs_refresh(struct xb_uplink_door *door)
{
	struct xb_instance *instance = door->base.instance;
	struct xb_error err = {0};
	int ret = xb_uplink_refresh_macs(door->uplink, &err);

	door->macs_due = xb_is_shortage(ret);
	if (door->macs_due)
		return; /* the look at the uplink says why */
	if (ret < 0 && err.code != -ENODEV)
		xb_log_error(XB_LOG_WARNING, "own addresses", &err);
	if (ret > 0 && instance->workers.worker) /* it is published in due course at the start */
		xb_instance_publish(instance);
}

void xb_uplink_macs_look(struct xb_uplink_door *door)
{
	uint64_t digest;

	if (door->base.lost || xb_own_macs_digest(door->uplink->ifindex, &digest) < 0 ||
	    digest == door->digest)
		return;
	door->digest = digest;
	door->macs_due = true;
}

static void say_lent(const struct xb_uplink *uplink, const char *to, bool lent)
{
	const char *name = uplink->port.name;

	if (uplink->shared && lent)
		xb_log(XB_LOG_WARNING,
		       "%s has the address of the shared uplink %s: frames to it stay with the stack "
		       "of %s; give %s another address, or start with --uplink %s,dedicated",
		       to, name, name, to, name);
	else if (lent)
		xb_log(XB_LOG_NOTICE,
		       "%s has the address of uplink %s: frames to it go to %s, not to the stack of %s",
		       to, name, to, name);
	else
		xb_log(XB_LOG_NOTICE,
		       "%s has another address than uplink %s now: frames to that of %s go to its own "
		       "stack again",
		       to, name, name);
}

/* The id of the port that has taken the uplink's address; -1: none has. */
static int find_borrower(const struct xb_uplink_door *uplink_door)
{
	xb_for_each_door(uplink_door->base.instance, door)
	{
		if (!door->port->caps.uplink && !memcmp(door->mac, uplink_door->uplink->mac, 6))
			return door->port->id;
	}
	return -1;
}

void xb_uplink_macs_lend(struct xb_uplink_door *door)
{
	struct xb_uplink_options *options = &door->uplink->options;
	int borrower = find_borrower(door);
	bool lends = borrower >= 0;

	if (lends)
		door->borrower = (uint16_t)borrower;
	if (lends == options->lends_mac)
		return;
	options->lends_mac = lends;
	if (door->base.lost || xb_job_is_busy(&door->base.job))
		door->macs_due = true;
	else
		xb_uplink_macs_refresh(door);
	say_lent(door->uplink, xb_port_name(door->base.instance, door->borrower), lends);
}
