/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What happens to interfaces while an instance runs: they are set down, deleted and made again,
 * moved to another network namespace and back, given another MTU or other queues.
 *
 * Theory. Nothing here trusts an event: each look asks how things are now, so that events which
 * were lost, or came together, do no harm. What is gone has no queues in the snapshot, so
 * that the other ports go on, and is tried again at each look; why it can't be used is said once
 * for each new reason. What has changed is stopped, and started as it is now. Both take time
 * (door_uplink.c, door_kernel.c): a port that is at it is not looked at.
 */
#include "daemon/instance.h"
#include "daemon/log.h"

#include <errno.h>
#include <string.h>

/* Somebody has moved the interface, and its queues with it. */
static void follow_tap(struct xb_instance *instance)
{
	struct xb_tap *tap = &instance->kernel.tap;

	if (!instance->kernel_running || !xb_tap_follow(tap))
		return;
	if (tap->ctl_fd >= 0)
		xb_log(XB_LOG_NOTICE, "%s lies in another network namespace now", tap->name);
	else
		xb_log(XB_LOG_NOTICE,
		       "%s lies in another network namespace now, where xbridge can't go: it goes "
		       "on, but its MTU is not seen, and more queues can't be opened; with --netns "
		       "at the start it could",
		       tap->name);
}

static void miss_home(struct xb_kernel_port *kernel, const char *netns)
{
	if (kernel->home.missed)
		return;
	kernel->home.missed = true;
	if (kernel->home.ended)
		xb_log(XB_LOG_WARNING,
		       "the process of --netns %s has ended: %s stays where it is, for as long as "
		       "xbridge runs; restart xbridge with the namespace of another, or name it "
		       "(ip netns attach NAME PID) and use --netns NAME",
		       netns, kernel->port->name);
	else
		xb_log(XB_LOG_WARNING,
		       "the network namespace %s is gone: %s stays in what it was, for as long as "
		       "xbridge runs; when there is one of that name again, it is made there",
		       netns, kernel->port->name);
}

/* The interface is made again where --netns leads now; one that was moved elsewhere stays there. */
static void follow_home(struct xb_instance *instance)
{
	const char *netns = instance->config.kernel.netns;
	struct xb_kernel_port *kernel = &instance->kernel;

	if (!netns[0] || !instance->kernel_running || xb_job_is_busy(&instance->kernel_door.job) ||
	    !xb_netns_id_same(&kernel->tap.netns, &kernel->home.made_in))
		return;
	switch (xb_tap_home_look(&kernel->home, netns)) {
	case XB_HOME_SAME:
		break;
	case XB_HOME_GONE:
		miss_home(kernel, netns);
		break;
	case XB_HOME_ANOTHER:
		xb_log(XB_LOG_WARNING,
		       "the network namespace %s is another one now: %s is made there again, and "
		       "wants its addresses and routes again",
		       netns, kernel->port->name);
		xb_kernel_door_move(instance);
	}
}

/* Those that route through it see a line that is cut, as they would on the uplink itself. An uplink
 * that is lost carries nothing, whatever its interface says. */
static bool any_carrier(const struct xb_instance *instance)
{
	for (unsigned i = 0; i < instance->n_uplinks; i++)
		if (!instance->uplinks[i].lost &&
		    atomic_load(&instance->uplinks[i].uplink->port.up))
			return true;
	return !instance->n_uplinks;
}

void xb_instance_follow_carrier(struct xb_instance *instance)
{
	struct xb_kernel_port *kernel = &instance->kernel;
	bool before = kernel->carrier;
	int ret = xb_kernel_port_set_carrier(kernel, any_carrier(instance));

	if (ret < 0 && ret != -ENODEV && !instance->carrier_said) {
		instance->carrier_said = true;
		xb_log(XB_LOG_WARNING, "%s: its carrier can't follow the uplinks': %s",
		       kernel->tap.name, strerror(-ret));
	} else if (kernel->carrier != before) {
		xb_log(XB_LOG_NOTICE, "%s has %s", kernel->tap.name,
		       before ? "no carrier: no uplink has one" : "a carrier again");
	}
}

void xb_instance_check(struct xb_instance *instance, bool links_changed)
{
	for (unsigned i = 0; i < instance->n_uplinks; i++) {
		struct xb_instance_uplink *entry = &instance->uplinks[i];

		entry->macs_due = entry->macs_due || links_changed;
		xb_instance_look_for_macs(entry);
		xb_uplink_door_check(entry);
		if (entry->macs_due && !entry->lost && !xb_job_is_busy(&entry->job))
			xb_instance_refresh_macs(instance, entry);
	}
	if (instance->n_uplinks)
		xb_kernel_door_follow_mtu(instance);
	xb_instance_follow_carrier(instance);
	follow_tap(instance);
	follow_home(instance);
	xb_kernel_door_check(instance);
	xb_instance_refresh_own(instance);
}
