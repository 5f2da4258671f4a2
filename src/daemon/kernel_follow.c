/* SPDX-License-Identifier: BSD-2-Clause */
#include "daemon/kernel_follow.h"

#include "core/word.h"
#include "daemon/doors.h"
#include "daemon/log.h"
#include "daemon/mac.h"
#include "xsk/uplink.h"

#include <errno.h>
#include <string.h>

/* ---- the first uplink's MTU and address ---- */

/* The uplink that the interface follows: the one that is named, otherwise the first. */
static const struct xb_door *followed(const struct xb_kernel_door *door)
{
	const struct xb_instance *instance = door->base.instance;
	const struct xb_door *named;

	if (!door->config.carrier[0])
		return xb_doors_first_uplink(instance);
	named = xb_doors_find(instance, door->config.carrier);
	return named && named->port->caps.uplink ? named : NULL;
}

struct xb_kernel_lent xb_kernel_lent(const struct xb_kernel_door *door)
{
	const struct xb_door *first = followed(door);
	struct xb_kernel_lent lent = {0};

	xb_mac_stable(door->name, lent.stable_mac);
	if (!first)
		return lent;
	lent.uplink_mac = first->mac;
	lent.mtu = first->mtu < XB_UPLINK_MTU_MAX ? first->mtu : XB_UPLINK_MTU_MAX;
	return lent;
}

static void follow_mtu(struct xb_kernel_door *door)
{
	struct xb_kernel_port *kernel = &door->kernel;
	unsigned before = door->followed_mtu;
	unsigned mtu = xb_kernel_lent(door).mtu;
	int ret;

	door->followed_mtu = mtu;
	if (mtu == before || kernel->mtu != before || door->config.mtu || kernel->tap.handed_in ||
	    kernel->tap.found)
		return;
	ret = xb_tap_set_mtu(&kernel->tap, mtu);
	if (ret < 0)
		xb_log(XB_LOG_WARNING, "%s: its MTU can't follow the uplink's: %s",
		       kernel->port->name, strerror(-ret));
}

static void follow_mac(struct xb_kernel_door *door, const struct xb_door *first)
{
	struct xb_kernel_port *kernel = &door->kernel;
	bool follows = !memcmp(kernel->mac, door->followed_mac, sizeof(kernel->mac));
	char address[XB_MAC_TEXT_BYTES];
	int ret;

	if (door->config.mac_source != XB_MAC_UPLINK ||
	    !memcmp(first->mac, door->followed_mac, sizeof(first->mac)))
		return;
	memcpy(door->followed_mac, first->mac, sizeof(door->followed_mac));
	if (!follows)
		return;
	ret = xb_tap_set_mac(&kernel->tap, first->mac);
	if (ret < 0) {
		xb_log(XB_LOG_WARNING, "%s: its address can't follow the uplink's: %s",
		       kernel->port->name, strerror(-ret));
		return;
	}
	memcpy(kernel->mac, first->mac, sizeof(kernel->mac));
	memcpy(door->base.mac, first->mac, sizeof(door->base.mac));
	xb_log(XB_LOG_NOTICE, "%s has the address of uplink %s, which is %s now",
	       kernel->port->name, first->port->name, xb_mac_text(first->mac, address));
}

void xb_kernel_follow_uplink(struct xb_kernel_door *door)
{
	const struct xb_door *first = followed(door);

	/* it follows once it runs */
	if (!door->base.running || !first)
		return;
	follow_mtu(door);
	follow_mac(door, first);
}

/* ---- carrier ---- */

/* Whatever routes through the interface sees a line that is cut, as it would on the uplink itself.
 * An uplink that is lost carries nothing, whatever its interface says. */
static bool any_carrier(const struct xb_kernel_door *kernel_door)
{
	const struct xb_instance *instance = kernel_door->base.instance;
	const struct xb_door *named = kernel_door->config.carrier[0] ? followed(kernel_door) : NULL;

	if (kernel_door->config.carrier[0])
		return named && !named->lost && atomic_load(&named->port->up);
	xb_for_each_door(instance, door)
	{
		if (door->port->caps.uplink && !door->lost && atomic_load(&door->port->up))
			return true;
	}
	return !xb_doors_first_uplink(instance);
}

void xb_kernel_follow_carrier(struct xb_kernel_door *door)
{
	struct xb_kernel_port *kernel = &door->kernel;
	bool before = kernel->carrier;
	int ret = xb_kernel_port_set_carrier(kernel, any_carrier(door));

	if (ret < 0 && ret != -ENODEV && !door->carrier_said) {
		door->carrier_said = true;
		xb_log(XB_LOG_WARNING, "%s: its carrier can't follow the uplinks': %s",
		       kernel->tap.name, strerror(-ret));
	} else if (kernel->carrier != before) {
		xb_log(XB_LOG_NOTICE, "%s has %s", kernel->tap.name,
		       before ? door->config.carrier[0] ? "no carrier: its uplink has none"
							: "no carrier: no uplink has one"
			      : "a carrier again");
	}
}

/* ---- its network namespace ---- */

/* Somebody has moved the interface, and its queues with it. */
void xb_kernel_follow_tap(struct xb_kernel_door *door)
{
	struct xb_tap *tap = &door->kernel.tap;

	if (!door->base.running || !xb_tap_follow(tap))
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

/* One that was moved elsewhere stays there. */
bool xb_kernel_has_moved_home(struct xb_kernel_door *door)
{
	const char *netns = door->config.netns;
	struct xb_kernel_port *kernel = &door->kernel;

	if (!netns[0] || !door->base.running || xb_job_is_busy(&door->base.job) ||
	    !xb_netns_id_same(&kernel->tap.netns, &kernel->home.made_in))
		return false;
	switch (xb_tap_home_look(&kernel->home, netns)) {
	case XB_HOME_SAME:
		return false;
	case XB_HOME_GONE:
		miss_home(kernel, netns);
		return false;
	case XB_HOME_ANOTHER:
		break;
	}
	xb_log(XB_LOG_WARNING,
	       "the network namespace %s is another one now: %s is made there again, and wants its "
	       "addresses and routes again",
	       netns, kernel->port->name);
	return true;
}
