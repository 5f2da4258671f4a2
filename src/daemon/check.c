/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What happens to interfaces while an instance runs: they are set down, deleted and made again,
 * moved to another network namespace and back, given another MTU or other queues.
 *
 * Theory. Nothing here trusts an event: each look asks how things are now, so that events which
 * were lost, or came together, do no harm. What is gone has no queues in the snapshot, so
 * that the other ports go on, and is tried again at each look; why it can't be used is said once
 * for each new reason. What has changed is stopped, and started as it is now.
 */
#include "daemon/instance.h"
#include "daemon/log.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* How long what has failed is left alone. */
#define RETRY_NS 1000000000u

/* Says why an interface can't be used, unless that was the last thing said about it. */
static void say_trouble(char said[XB_TROUBLE_BYTES], const char *ifname, const struct xb_error *err)
{
	char text[XB_TROUBLE_BYTES];

	xb_error_text(err, text, sizeof(text));
	if (!strcmp(text, said))
		return;
	memcpy(said, text, sizeof(text));
	xb_log(XB_LOG_WARNING, "%s can't be used: %s", ifname, text);
}

/* Whether to try again what failed before. Trying causes link events of its own (promiscuous mode
 * goes on and off), so that without a pause one look would lead to the next. */
static bool is_due(uint64_t again_ns)
{
	return xb_now_ns() >= again_ns;
}

/* ---- uplinks ---- */

static void take_out(struct xb_instance *instance, struct xb_instance_uplink *entry)
{
	xb_instance_unpublish(instance, &entry->uplink->port);
	xb_uplink_stop(entry->uplink, &instance->cache);
	entry->lost = true;
}

/* Uses the interface as it is now. Returns whether it can be. */
static bool bring_back(struct xb_instance *instance, struct xb_instance_uplink *entry)
{
	struct xb_error err = {0};

	if (xb_uplink_reopen(entry->uplink, &err) < 0 ||
	    xb_instance_start_uplink(instance, entry, &err) < 0) {
		if (err.code != -ENODEV)
			say_trouble(entry->trouble, entry->uplink->port.name, &err);
		atomic_store(&entry->uplink->port.up, false);
		entry->again_ns = xb_now_ns() + RETRY_NS;
		return false;
	}
	entry->lost = false;
	entry->trouble[0] = '\0';
	xb_instance_publish(instance);
	return true;
}

/* tap0's MTU is the uplink's, unless somebody has said otherwise. */
static void follow_mtu(struct xb_instance *instance)
{
	struct xb_kernel_port *kernel = &instance->kernel;
	unsigned before = instance->followed_mtu;
	unsigned mtu = xb_instance_lent_mtu(instance);
	int ret;

	if (!instance->kernel_running)
		return; /* it follows once it runs */
	instance->followed_mtu = mtu;
	if (mtu == before || kernel->mtu != before || instance->config.kernel.mtu ||
	    kernel->tap.handed_in || kernel->tap.found)
		return;
	ret = xb_tap_set_mtu(&kernel->tap, mtu);
	if (ret < 0)
		xb_log(XB_LOG_WARNING, "%s: its MTU can't follow the uplink's: %s",
		       kernel->port->name, strerror(-ret));
}

/* Says once that an uplink can't be looked at, or can be again. What it is and has is as it was. */
static void say_unseen(struct xb_instance_uplink *entry, int code)
{
	const char *name = entry->uplink->port.name;

	if (entry->unseen == (code != 0))
		return;
	entry->unseen = code;
	if (code)
		xb_log(XB_LOG_WARNING,
		       "uplink %s goes on, but changes of it are not noticed: %s; raise the limit "
		       "(LimitNOFILE=, ulimit -n)",
		       name, strerror(-code));
	else
		xb_log(XB_LOG_NOTICE, "changes of uplink %s are noticed again", name);
}

static void check_uplink(struct xb_instance *instance, struct xb_instance_uplink *entry)
{
	struct xb_uplink *uplink = entry->uplink;
	unsigned mtu = uplink->mtu;
	unsigned rx_queues = uplink->rx_queues;
	unsigned tx_queues = uplink->tx_queues;
	int ret;

	if (entry->lost) {
		if (is_due(entry->again_ns) && bring_back(instance, entry))
			xb_log(XB_LOG_NOTICE, "uplink %s is back", uplink->port.name);
		return;
	}
	ret = xb_uplink_refresh_link(uplink);
	say_unseen(entry, xb_is_shortage(ret) ? ret : 0);
	if (entry->unseen)
		return;
	if (ret < 0) {
		take_out(instance, entry);
		xb_log(XB_LOG_WARNING, "uplink %s %s", uplink->port.name,
		       ret == -ENOLINK ? "has lost its XDP program; it is attached again"
				       : "is gone; it is used again when it is back");
	} else if (uplink->mtu != mtu || uplink->rx_queues != rx_queues ||
		   uplink->tx_queues != tx_queues) {
		xb_log(XB_LOG_NOTICE, "uplink %s has MTU %u and %u queues now", uplink->port.name,
		       uplink->mtu, uplink->rx_queues);
		take_out(instance, entry);
		bring_back(instance, entry);
	}
}

/* ---- the kernel port ---- */

static void take_out_kernel(struct xb_instance *instance)
{
	xb_instance_unpublish(instance, instance->kernel.port);
	xb_kernel_port_stop(&instance->kernel, &instance->cache);
	instance->kernel_running = false;
}

static bool start_kernel(struct xb_instance *instance, struct xb_error *err)
{
	if (xb_instance_start_kernel(instance, err) < 0) {
		say_trouble(instance->kernel_trouble, instance->kernel.port->name, err);
		instance->kernel_again_ns = xb_now_ns() + RETRY_NS;
		return false;
	}
	instance->kernel_trouble[0] = '\0';
	xb_instance_publish(instance);
	return true;
}

/* Starts it again, on its interface, or on a new one where that was deleted. */
static void reopen_kernel(struct xb_instance *instance)
{
	const struct xb_uplink *first = instance->n_uplinks ? instance->uplinks[0].uplink : NULL;
	struct xb_error err = {0};

	if (xb_kernel_port_reopen(&instance->kernel, &instance->config, first ? first->mac : NULL,
				  xb_instance_lent_mtu(instance), &err) < 0) {
		say_trouble(instance->kernel_trouble, instance->kernel.port->name, &err);
		instance->kernel_again_ns = xb_now_ns() + RETRY_NS;
		return;
	}
	if (start_kernel(instance, &err))
		xb_log(XB_LOG_NOTICE, "%s is back", instance->kernel.port->name);
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

	if (!netns[0] || !instance->kernel_running ||
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
		take_out_kernel(instance);
		xb_kernel_port_leave(kernel);
		reopen_kernel(instance);
	}
}

static void check_kernel(struct xb_instance *instance)
{
	struct xb_kernel_port *kernel = &instance->kernel;
	struct xb_error err = {0};
	unsigned mtu = kernel->mtu;
	int ret;

	if (!instance->kernel_running) {
		if (is_due(instance->kernel_again_ns))
			reopen_kernel(instance);
		return;
	}
	ret = xb_kernel_port_check(kernel);
	if (ret < 0) {
		take_out_kernel(instance);
		xb_log(XB_LOG_WARNING, "%s %s", kernel->port->name,
		       ret != -ENODEV ? "has failed; it is started anew"
		       : kernel->tap.handed_in
			       ? "was deleted; it was handed in, so that a restart is due"
			       : "was deleted; it is made again");
		reopen_kernel(instance);
	} else if (kernel->mtu != mtu) {
		xb_log(XB_LOG_NOTICE, "%s has MTU %u now", kernel->port->name, kernel->mtu);
		take_out_kernel(instance);
		start_kernel(instance, &err);
	}
}

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

/* ---- all of them ---- */

static void check_macs(struct xb_instance *instance, struct xb_instance_uplink *entry)
{
	struct xb_error err = {0};
	int ret = xb_uplink_refresh_macs(entry->uplink, &err);

	if (xb_is_shortage(ret))
		return; /* they are still due, and check_uplink says why */
	entry->macs_due = false;
	if (ret < 0 && err.code != -ENODEV)
		xb_log_error(XB_LOG_WARNING, "own addresses", &err);
	if (ret > 0)
		xb_instance_publish(instance);
}

void xb_instance_check(struct xb_instance *instance, bool links_changed)
{
	for (unsigned i = 0; i < instance->n_uplinks; i++) {
		struct xb_instance_uplink *entry = &instance->uplinks[i];

		entry->macs_due = entry->macs_due || links_changed;
		check_uplink(instance, entry);
		if (entry->macs_due && !entry->lost)
			check_macs(instance, entry);
	}
	if (instance->n_uplinks)
		follow_mtu(instance);
	xb_instance_follow_carrier(instance);
	follow_tap(instance);
	follow_home(instance);
	check_kernel(instance);
	xb_instance_refresh_own(instance);
}
