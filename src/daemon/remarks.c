/* SPDX-License-Identifier: BSD-2-Clause */
#include "daemon/remarks.h"

#include "daemon/door_kernel.h"
#include "daemon/doors.h"
#include "daemon/log.h"
#include "xsk/uplink.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#define COMMAND_BYTES 512u

static_assert(XB_UPLINK_MTU_MAX == 3818, "docs/getting-started.md says so");

/* `ip` where the kernel's interface is, as a person would type it. */
static const char *ip_there(const struct xb_kernel_door *kernel, char buf[COMMAND_BYTES])
{
	const char *netns = kernel->config.netns;

	if (!netns[0])
		snprintf(buf, COMMAND_BYTES, "ip");
	else if (strchr(netns, '/'))
		snprintf(buf, COMMAND_BYTES, "nsenter --net=%s ip", netns);
	else
		snprintf(buf, COMMAND_BYTES, "ip -n %s", netns);
	return buf;
}

/* ---- MTUs ---- */

static void remark_too_large(struct xb_door *door)
{
	unsigned too_large = door->mtu > XB_UPLINK_MTU_MAX ? door->mtu : 0;

	if (too_large && too_large != door->mtus.too_large)
		xb_log(XB_LOG_WARNING,
		       "uplink %s has MTU %u, but a frame holds %u at most: what is longer passes to "
		       "its own stack (pass_long); ip link set %s mtu %u",
		       door->port->name, door->mtu, XB_UPLINK_MTU_MAX, door->port->name,
		       XB_UPLINK_MTU_MAX);
	door->mtus.too_large = too_large;
}

static bool is_same(const struct xb_mtu_pair *a, const struct xb_mtu_pair *b)
{
	return a->uplink == b->uplink && a->kernel == b->kernel;
}

static void say_differ(const struct xb_kernel_door *kernel, const char *uplink,
		       const struct xb_mtu_pair *now)
{
	const char *ifname = kernel->kernel.tap.name;
	char ip[COMMAND_BYTES];

	xb_log(XB_LOG_WARNING,
	       "%s has MTU %u and uplink %s %u: longer packets are dropped on the way to %s "
	       "(tx_too_long); %s link set %s mtu %u",
	       ifname, now->kernel, uplink, now->uplink,
	       now->kernel < now->uplink ? ifname : uplink, ip_there(kernel, ip), ifname,
	       now->uplink);
}

static void remark_differ(const struct xb_kernel_door *kernel, struct xb_door *door)
{
	struct xb_mtu_pair now = {.uplink = door->mtu, .kernel = kernel->base.mtu};
	struct xb_mtu_remarks *mtus = &door->mtus;
	bool settled;

	if (!kernel->base.running || door->lost)
		return;
	if (now.uplink > XB_UPLINK_MTU_MAX)
		now.uplink = XB_UPLINK_MTU_MAX;
	settled = is_same(&now, &mtus->seen);
	mtus->seen = now;
	if (!settled || is_same(&now, &mtus->differ))
		return;
	if (now.uplink != now.kernel)
		say_differ(kernel, door->port->name, &now);
	mtus->differ = now;
}

/* The kernel port that an uplink's packets come to: of its domain, the first that does not follow
 * another uplink. */
static const struct xb_kernel_door *beside(const struct xb_door *uplink)
{
	xb_for_each_kernel_door(uplink->instance, kernel)
	{
		const char *follows = kernel->config.carrier;

		if (kernel->base.port->domain == uplink->port->domain &&
		    (!*follows || xb_doors_find(uplink->instance, follows) == uplink))
			return kernel;
	}
	return NULL;
}

void xb_remark_mtus(struct xb_instance *instance)
{
	const struct xb_kernel_door *kernel;

	xb_for_each_door(instance, door)
	{
		if (!door->port->caps.uplink)
			continue;
		remark_too_large(door);
		kernel = beside(door);
		if (kernel)
			remark_differ(kernel, door);
	}
}

/* ---- a TAP that stays ---- */

void xb_remark_not_persistent(const struct xb_instance *instance)
{
	const struct xb_kernel_door *kernel = xb_kernel_door_first(instance);
	const char *ifname = kernel->kernel.tap.name;
	char ip[COMMAND_BYTES];

	xb_log(XB_LOG_WARNING,
	       "persist is not in the file any more, but %s was made to stay: it does when xbridge "
	       "ends, and a restart without persist uses it and leaves it, too; to remove it then: "
	       "%s link del %s",
	       ifname, ip_there(kernel, ip), ifname);
}

static void remark_stays(const struct xb_kernel_door *kernel)
{
	const struct xb_tap *tap = &kernel->kernel.tap;
	char ip[COMMAND_BYTES];

	if (tap->made || tap->handed_in || kernel->config.persist)
		return;
	xb_log(XB_LOG_NOTICE,
	       "%s was there before%s, and stays when xbridge ends; to remove it then: %s link del %s",
	       tap->name,
	       tap->found ? ", keeps its address and MTU unless options name others" : "",
	       ip_there(kernel, ip), tap->name);
}

void xb_remark_start(struct xb_instance *instance)
{
	xb_remark_mtus(instance);
	xb_for_each_kernel_door(instance, kernel)
	{
		remark_stays(kernel);
	}
}
