/* SPDX-License-Identifier: BSD-2-Clause */
#include "netdev/below.h"

#include "netdev/netdev.h"
#include "netdev/netlink.h"
#include "netdev/xdp.h"

#include <errno.h>
#include <netlink/netlink.h>
#include <netlink/route/link.h>
#include <stdio.h>
#include <string.h>

#define DEVICES_MAX 64u

struct stack_below {
	struct nl_cache *links;
	unsigned n;
	uint32_t ifindexes[DEVICES_MAX]; /* the interface first */
	bool has_lower[DEVICES_MAX];
};

static void add(struct stack_below *stack, uint32_t ifindex)
{
	for (unsigned i = 0; i < stack->n; i++)
		if (stack->ifindexes[i] == ifindex)
			return;
	if (stack->n < DEVICES_MAX)
		stack->ifindexes[stack->n++] = ifindex;
}

/* Types whose frames come from the device that IFLA_LINK names. */
static bool stands_on_its_link(struct rtnl_link *link)
{
	static const char *const types[] = {"vlan",   "macvlan", "macvtap",
					    "ipvlan", "ipvtap",  "macsec"};
	const char *type = rtnl_link_get_type(link);

	for (size_t i = 0; type && i < sizeof(types) / sizeof(types[0]); i++)
		if (!strcmp(type, types[i]))
			return true;
	return false;
}

/* Adds the devices directly below the i-th one. */
static void add_lower(struct stack_below *stack, unsigned i)
{
	const uint32_t ifindex = stack->ifindexes[i];
	struct rtnl_link *self = rtnl_link_get(stack->links, (int)ifindex);
	int32_t netns;

	if (self && stands_on_its_link(self)) {
		stack->has_lower[i] = true;
		/* one in another network namespace can't be looked at */
		if (rtnl_link_get_link_netnsid(self, &netns) < 0)
			add(stack, (uint32_t)rtnl_link_get_link(self));
	}
	rtnl_link_put(self);
	for (struct nl_object *object = nl_cache_get_first(stack->links); object;
	     object = nl_cache_get_next(object)) {
		struct rtnl_link *link = (struct rtnl_link *)object;

		if (rtnl_link_get_master(link) != (int)ifindex)
			continue;
		stack->has_lower[i] = true;
		add(stack, (uint32_t)rtnl_link_get_ifindex(link));
	}
}

/* Whoever sends to it in this host may leave a checksum to be finished by a NIC that there is not.
 */
static bool has_open_checksums(const struct xb_netdev *netdev)
{
	static const char *const drivers[] = {"veth", "tun", "macvlan"};

	for (size_t i = 0; i < sizeof(drivers) / sizeof(drivers[0]); i++)
		if (!strcmp(netdev->driver, drivers[i]))
			return true;
	return false;
}

/* Local senders leave a segment whole where the device says that it cuts it; a veth never does. */
static bool sends_whole(const char *ifname)
{
	static const char *const features[] = {"tx-tcp-segmentation", "tx-tcp6-segmentation",
					       "tx-udp-segmentation"};

	for (size_t i = 0; i < sizeof(features) / sizeof(features[0]); i++)
		if (xb_netdev_feature(ifname, features[i], NULL) == 1)
			return true;
	return false;
}

static enum xb_joined joined(const struct xb_netdev *netdev)
{
	char peer[IF_NAMESIZE];

	if (netdev->gro)
		return XB_JOINED_BY_GRO;
	if (strcmp(netdev->driver, "veth") != 0)
		return XB_JOINED_NOT;
	if (xb_netdev_peer(netdev->ifindex, peer) < 0)
		return XB_JOINED_PERHAPS;
	return sends_whole(peer) ? XB_JOINED_BY_PEER : XB_JOINED_NOT;
}

static void judge(const struct stack_below *stack, unsigned i, struct xb_below *below)
{
	struct xb_netdev netdev;
	char name[IF_NAMESIZE];
	enum xb_joined how;

	if (!if_indextoname(stack->ifindexes[i], name) || xb_netdev_read(name, &netdev, NULL) < 0)
		return;
	if (!below->open_at[0] && has_open_checksums(&netdev))
		snprintf(below->open_at, sizeof(below->open_at), "%s", name);
	/* GRO joins where frames come into the stack, not in devices upon others. */
	how = stack->has_lower[i] ? XB_JOINED_NOT : joined(&netdev);
	if (how <= below->joined)
		return;
	below->joined = how;
	snprintf(below->joined_at, sizeof(below->joined_at), "%s", name);
}

static int read_links(struct nl_cache **ret_links)
{
	struct nl_sock *socket;
	int ret = xb_netlink_open(NETLINK_ROUTE, &socket);

	*ret_links = NULL;
	if (!ret)
		ret = rtnl_link_alloc_cache(socket, AF_UNSPEC, ret_links);
	nl_socket_free(socket);
	if (ret < 0)
		return ret == -NLE_NOMEM ? -ENOMEM : -EIO;
	return 0;
}

int xb_below_look(uint32_t ifindex, struct xb_below *ret_below)
{
	struct stack_below stack = {.n = 1, .ifindexes = {ifindex}};
	struct xb_below below = {0};
	int ret = read_links(&stack.links);

	for (unsigned i = 0; !ret && i < stack.n; i++)
		add_lower(&stack, i);
	for (unsigned i = 0; !ret && i < stack.n; i++)
		judge(&stack, i, &below);
	nl_cache_free(stack.links);
	below.n = stack.n - 1;
	if (!ret)
		*ret_below = below;
	return ret;
}

/* ---- what stands on it ---- */

static bool stands_on(struct nl_cache *links, struct rtnl_link *link, uint32_t ifindex)
{
	struct rtnl_link *below = rtnl_link_get(links, (int)ifindex);
	int master = below ? rtnl_link_get_master(below) : 0;
	int32_t netns;

	rtnl_link_put(below);
	if (master && master == rtnl_link_get_ifindex(link))
		return true;
	return stands_on_its_link(link) && rtnl_link_get_link(link) == (int)ifindex &&
	       rtnl_link_get_link_netnsid(link, &netns) < 0;
}

int xb_below_list_upon(uint32_t ifindex, struct xb_upper *ret_uppers, unsigned max)
{
	struct nl_cache *links;
	unsigned n = 0;
	int ret = read_links(&links);

	if (ret < 0)
		return ret;
	for (struct nl_object *object = nl_cache_get_first(links); object && n < max;
	     object = nl_cache_get_next(object)) {
		struct rtnl_link *link = (struct rtnl_link *)object;
		struct xb_upper upper = {.ifindex = (uint32_t)rtnl_link_get_ifindex(link)};

		if (!stands_on(links, link, ifindex))
			continue;
		upper.prog_id = xb_attached_prog(upper.ifindex);
		snprintf(upper.ifname, sizeof(upper.ifname), "%s", rtnl_link_get_name(link));
		if (upper.prog_id)
			ret_uppers[n++] = upper;
	}
	nl_cache_free(links);
	return (int)n;
}

/* ---- a remedy ---- */

void xb_below_remedy(const struct xb_below *below, char *buf, unsigned bytes)
{
	const char *at = below->joined_at;
	char peer[IF_NAMESIZE];

	buf[0] = '\0';
	if (below->joined == XB_JOINED_BY_GRO)
		snprintf(buf, bytes, "ethtool -K %s gro off", at);
	else if (below->joined && !xb_netdev_peer(if_nametoindex(at), peer))
		snprintf(buf, bytes, "ethtool -K %s tso off tx-udp-segmentation off", peer);
	else if (below->joined)
		snprintf(
			buf, bytes,
			"ip netns exec NETNS ethtool -K PEER tso off tx-udp-segmentation off, at the "
			"peer of %s",
			at);
}
