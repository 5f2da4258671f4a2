/* SPDX-License-Identifier: BSD-2-Clause */
#include "netdev/tags.h"

#include "core/cleanup.h"

#include <errno.h>
#include <linux/if_vlan.h>
#include <linux/sockios.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

/* Drivers of interfaces that get their frames from other devices after the kernel has untagged them
 * there. A VLAN or MACsec device is none of them: tags within its own are still in the frame. */
static bool stands_on_untagged(const struct xb_netdev *netdev)
{
	static const char *const drivers[] = {"bonding", "team",   "bridge",
					      "macvlan", "ipvlan", "openvswitch"};

	for (size_t i = 0; i < sizeof(drivers) / sizeof(drivers[0]); i++)
		if (!strcmp(netdev->driver, drivers[i]))
			return true;
	return false;
}

/* Finds a VLAN device's VLAN. */
static bool has_vlan(const char *ifname, const struct xb_netdev *netdev, uint16_t *ret_vlan)
{
	xb_auto_fd int fd = -1;
	struct vlan_ioctl_args args = {.cmd = GET_VLAN_VID_CMD};

	if (strcmp(netdev->driver, "802.1Q VLAN Support") != 0)
		return false;
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	snprintf(args.device1, sizeof(args.device1), "%s", ifname);
	if (fd < 0 || ioctl(fd, SIOCGIFVLAN, &args) < 0)
		return false;
	*ret_vlan = (uint16_t)args.u.VID;
	return true;
}

/* On a veth it is the sender who leaves the tag beside the frame. */
static int look_at_peer(const struct xb_netdev *netdev, struct xb_tags *ret_tags)
{
	struct xb_tags tags = {.fate = XB_TAGS_STAY};
	struct xb_netdev peer;
	int ret = xb_netdev_peer(netdev->ifindex, tags.at);

	if (!ret)
		ret = xb_netdev_read(tags.at, &peer, NULL);
	if (ret == -ENODEV)
		tags = (struct xb_tags){.fate = XB_TAGS_UNKNOWN};
	else if (ret < 0)
		return ret;
	else if (peer.tx_vlan)
		tags.fate = XB_TAGS_LEFT_BY_PEER;
	*ret_tags = tags;
	return 0;
}

int xb_tags_look(const char *ifname, const struct xb_netdev *netdev, struct xb_tags *ret_tags)
{
	struct xb_tags tags = {.fate = XB_TAGS_STAY};

	if (!strcmp(netdev->driver, "veth"))
		return look_at_peer(netdev, ret_tags);
	if (stands_on_untagged(netdev))
		tags.fate = XB_TAGS_OFF_BELOW;
	else if (netdev->rx_vlan)
		tags.fate = XB_TAGS_OFF_IN_NIC;
	snprintf(tags.at, sizeof(tags.at), "%s", ifname);
	tags.of_vlan = has_vlan(ifname, netdev, &tags.vlan);
	*ret_tags = tags;
	return 0;
}

bool xb_tags_are_lost(const struct xb_tags *tags)
{
	return tags->fate > XB_TAGS_UNKNOWN;
}

void xb_tags_remedy(const struct xb_tags *tags, char *buf, unsigned bytes)
{
	const char *at = tags->at;
	bool fixed = false;

	buf[0] = '\0';
	if (tags->fate == XB_TAGS_OFF_BELOW)
		snprintf(
			buf, bytes,
			"use what lies below %s as the uplink, or for one VLAN, as 10: ip link add "
			"link %s name %s.10 type vlan id 10",
			at, at, at);
	else if (tags->fate == XB_TAGS_LEFT_BY_PEER)
		snprintf(buf, bytes, "ethtool -K %s txvlan off", at);
	else if (tags->fate == XB_TAGS_OFF_IN_NIC &&
		 xb_netdev_feature(at, "rx-vlan-hw-parse", &fixed) == 1 && fixed)
		snprintf(buf, bytes,
			 "use %s for untagged traffic only, or a VLAN device on it as the uplink",
			 at);
	else if (tags->fate == XB_TAGS_OFF_IN_NIC)
		snprintf(buf, bytes, "ethtool -K %s rxvlan off", at);
}
