/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * An interface that is to be an uplink: its state, its queues, and what its offloads do to frames
 * before XDP sees them.
 */
#include "cli/doctor_checks.h"
#include "core/cleanup.h"
#include "core/frame.h"
#include "netdev/below.h"
#include "xsk/uplink.h"

#include <errno.h>
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

/* ---- is it there, is it up ---- */

/* Whether it is administratively up; netdev.up asks for a carrier too. */
static bool is_set_up(const char *ifname)
{
	xb_auto_fd int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq req = {0};

	strncpy(req.ifr_name, ifname, sizeof(req.ifr_name) - 1);
	return fd >= 0 && ioctl(fd, SIOCGIFFLAGS, &req) == 0 && req.ifr_flags & IFF_UP;
}

static void check_mtu(struct xb_checkup *checkup)
{
	if (checkup->netdev.mtu <= XB_UPLINK_MTU_MAX)
		return;
	xb_found(
		checkup, XB_FINDING_WARN,
		"MTU %u: a frame of it is longer than the %u bytes that xbridge receives, and native XDP "
		"may be refused",
		checkup->netdev.mtu, XB_UPLINK_BYTES_MAX);
	xb_remedy(checkup, "ip link set dev %s mtu %u", checkup->ifname, XB_UPLINK_MTU_MAX);
}

void xb_check_interface(struct xb_checkup *checkup)
{
	struct xb_netdev *netdev = &checkup->netdev;
	struct xb_error err = {0};
	int ret = xb_netdev_read(checkup->ifname, netdev, &err);

	if (ret < 0) {
		netdev->ifindex = 0;
		xb_found(checkup, XB_FINDING_FAIL, "%s: %s", err.what, strerror(-ret));
		xb_remedy(checkup, "%s",
			  ret == -EINVAL
				  ? "choose an Ethernet interface"
				  : "ip link shows those there are; uplinks are looked for in the "
				    "network namespace that xbridge starts in");
		return;
	}
	if (netdev->up) {
		xb_found(checkup, XB_FINDING_OK, "%s (%s): up, MTU %u", checkup->ifname,
			 netdev->driver[0] ? netdev->driver : "driver not known", netdev->mtu);
	} else if (is_set_up(checkup->ifname)) {
		xb_found(checkup, XB_FINDING_WARN, "%s has no carrier", checkup->ifname);
		xb_remedy(checkup, "see to its cable, or to its peer: ip link set dev PEER up");
	} else {
		xb_found(checkup, XB_FINDING_WARN, "%s is down", checkup->ifname);
		xb_remedy(checkup, "ip link set dev %s up", checkup->ifname);
	}
	check_mtu(checkup);
}

/* ---- queues ---- */

/* The queues that RSS spreads over: the highest one + 1; 0 where the driver does not say. */
static unsigned rss_queues(const char *ifname)
{
	xb_auto_fd int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ethtool_rxfh_indir ask = {.cmd = ETHTOOL_GRXFHINDIR};
	xb_auto_free struct ethtool_rxfh_indir *table = NULL;
	struct ifreq req = {.ifr_data = (void *)&ask};
	unsigned most = 0;

	strncpy(req.ifr_name, ifname, sizeof(req.ifr_name) - 1);
	if (fd < 0 || ioctl(fd, SIOCETHTOOL, &req) < 0 || !ask.size || ask.size > 65536)
		return 0;
	table = calloc(1, sizeof(*table) + ask.size * sizeof(table->ring_index[0]));
	if (!table)
		return 0;
	*table = ask;
	req.ifr_data = (void *)table;
	if (ioctl(fd, SIOCETHTOOL, &req) < 0)
		return 0;
	for (uint32_t i = 0; i < ask.size; i++)
		if (table->ring_index[i] >= most)
			most = table->ring_index[i] + 1;
	return most;
}

void xb_check_queues(struct xb_checkup *checkup)
{
	const struct xb_netdev *netdev = &checkup->netdev;
	unsigned rss = rss_queues(checkup->ifname);
	unsigned reached = rss ? rss : netdev->rx_queues;
	cpu_set_t cpus;
	unsigned n_cpus = sched_getaffinity(0, sizeof(cpus), &cpus) ? 1
								    : (unsigned)CPU_COUNT(&cpus);

	if (reached > XB_QUEUES_MAX) {
		xb_found(
			checkup, XB_FINDING_WARN,
			"RSS spreads over %u RX queues, xbridge reads %u: what arrives on the others "
			"passes",
			reached, XB_QUEUES_MAX);
		xb_remedy(checkup, "ethtool -L %s combined %u, or ethtool -X %s equal %u",
			  checkup->ifname, XB_QUEUES_MAX, checkup->ifname, XB_QUEUES_MAX);
		return;
	}
	if (netdev->tx_queues < netdev->rx_queues) {
		xb_found(checkup, XB_FINDING_NOTE,
			 "%u RX queues, each with a socket, share %u TX queues", netdev->rx_queues,
			 netdev->tx_queues);
		xb_remedy(checkup, "ethtool -L %s rx %u (or: ip link add … numtxqueues %u)",
			  checkup->ifname, netdev->tx_queues, netdev->rx_queues);
		return;
	}
	xb_found(checkup, XB_FINDING_OK, "%u RX queue%s, each with a socket; %u CPU%s for workers",
		 netdev->rx_queues, netdev->rx_queues == 1 ? "" : "s", n_cpus,
		 n_cpus == 1 ? "" : "s");
}

/* ---- what happens to frames before XDP sees them ---- */

/* Returns whether the interface is a veth. `ret_peer` is its peer's name, "" where that is in
 * another network namespace. */
static bool find_peer(const struct xb_checkup *checkup, char ret_peer[IF_NAMESIZE])
{
	ret_peer[0] = '\0';
	if (strcmp(checkup->netdev.driver, "veth") != 0)
		return false;
	if (xb_netdev_peer(checkup->netdev.ifindex, ret_peer) < 0)
		ret_peer[0] = '\0';
	return true;
}

static void say_tags_lost(struct xb_checkup *checkup, const struct xb_tags *tags)
{
	char remedy[192];
	bool fixed = false;

	if (tags->fate == XB_TAGS_OFF_IN_NIC)
		xb_netdev_feature(checkup->ifname, "rx-vlan-hw-parse", &fixed);
	if (tags->fate == XB_TAGS_LEFT_BY_PEER)
		xb_found(checkup, XB_FINDING_WARN,
			 "tags of VLAN devices on the peer %s are not seen by XDP, and are lost",
			 tags->at);
	else if (tags->fate == XB_TAGS_OFF_BELOW)
		xb_found(
			checkup, XB_FINDING_WARN,
			"the kernel takes VLAN tags off in the devices below %s, before XDP sees a "
			"frame, and they are lost; no offload has a say in that",
			checkup->ifname);
	else
		xb_found(checkup, XB_FINDING_WARN,
			 "VLAN tags are taken off before XDP sees a frame, and are lost (rxvlan is "
			 "on%s)",
			 fixed ? ", and can't be changed" : "");
	xb_tags_remedy(tags, remedy, sizeof(remedy));
	xb_remedy(checkup, "%s", remedy);
}

void xb_check_vlan(struct xb_checkup *checkup)
{
	struct xb_tags tags;

	if (xb_tags_look(checkup->ifname, &checkup->netdev, &tags) < 0)
		tags = (struct xb_tags){.fate = XB_TAGS_UNKNOWN};
	if (xb_tags_are_lost(&tags)) {
		say_tags_lost(checkup, &tags);
	} else if (tags.fate == XB_TAGS_UNKNOWN) {
		xb_found(checkup, XB_FINDING_NOTE,
			 "the peer is in another network namespace, and not looked at: if its "
			 "txvlan offload is on, tags of VLAN devices on it are lost");
		xb_remedy(checkup, "ip netns exec NETNS ethtool -K PEER txvlan off");
	} else if (!strcmp(checkup->netdev.driver, "veth")) {
		xb_found(checkup, XB_FINDING_OK, "VLAN tags are seen (%s puts them into frames)",
			 tags.at);
	} else if (tags.of_vlan) {
		xb_found(checkup, XB_FINDING_OK,
			 "it carries VLAN %u alone: that tag is gone, for rules, too, and tags "
			 "within it stay",
			 tags.vlan);
	} else {
		xb_found(checkup, XB_FINDING_OK, "VLAN tags stay in frames (rxvlan is off)");
	}
}

static void check_merger(struct xb_checkup *checkup, const char *feature, const char *option,
			 const char *title)
{
	bool fixed = false;

	if (xb_netdev_feature(checkup->ifname, feature, &fixed) != 1)
		return;
	xb_found(
		checkup, XB_FINDING_WARN,
		"%s joins frames before XDP sees them%s: the result may be longer than a frame, and "
		"native XDP may be refused",
		title, fixed ? ", and can't be turned off" : "");
	if (fixed)
		xb_remedy(checkup, "use another interface as the uplink");
	else
		xb_remedy(checkup, "ethtool -K %s %s off", checkup->ifname, option);
}

/* In generic mode XDP runs after GRO. */
static void check_joined(struct xb_checkup *checkup)
{
	struct xb_below below;
	char remedy[128];

	if (!strncmp(xb_doctor_xdp_words(&checkup->netdev), "native", 6) ||
	    xb_below_look(checkup->netdev.ifindex, &below) < 0 || !below.joined)
		return;
	if (below.joined == XB_JOINED_PERHAPS)
		xb_found(checkup, XB_FINDING_NOTE,
			 "XDP runs in generic mode here; if the peer of %s, in another network "
			 "namespace and not looked at, sends segments whole, those of more than %u "
			 "bytes pass",
			 below.joined_at, XB_REDIRECT_BYTES_MAX);
	else
		xb_found(checkup, XB_FINDING_WARN,
			 "%s: XDP runs in generic mode here and sees joined frames; those of more "
			 "than %u bytes pass",
			 below.joined == XB_JOINED_BY_PEER
				 ? "the peer of a veth sends segments whole"
				 : "GRO joins frames",
			 XB_REDIRECT_BYTES_MAX);
	xb_below_remedy(&below, remedy, sizeof(remedy));
	xb_remedy(checkup, "%s", remedy);
}

void xb_check_merging(struct xb_checkup *checkup)
{
	/* there the kernel turns off whatever joins before XDP, when a program comes */
	const bool generic = !strncmp(xb_doctor_xdp_words(&checkup->netdev), "generic", 7);
	unsigned before = checkup->n;

	if (!generic) {
		check_merger(checkup, "rx-lro", "lro", "LRO");
		check_merger(checkup, "rx-gro-hw", "rx-gro-hw", "hardware GRO");
	}
	check_joined(checkup);
	if (checkup->n == before)
		xb_found(checkup, XB_FINDING_OK, "frames arrive as they were sent (%s)",
			 generic ? "a program in generic mode turns LRO and hardware GRO off"
				 : "no LRO, no hardware GRO");
}

#define COMPUTED_ANEW                                                                          \
	"they are computed anew, also inside IPIP, SIT, GRE, MPLS, VXLAN and Geneve, but not " \
	"inside FOU, GUE, ERSPAN or NSH"

/* What csum=auto makes of an interface that is no veth. */
static void check_checksum_below(struct xb_checkup *checkup)
{
	struct xb_below below;

	if (xb_below_look(checkup->netdev.ifindex, &below) < 0 || !below.open_at[0]) {
		xb_found(checkup, XB_FINDING_OK,
			 "received checksums are taken as they stand (csum=auto means verify)");
		return;
	}
	xb_found(
		checkup, XB_FINDING_NOTE,
		"senders on %s may leave checksums open: csum=auto means trust here, and " COMPUTED_ANEW,
		below.open_at);
	xb_remedy(
		checkup,
		"nothing to do; with one of those four, or csum=verify: ethtool -K DEV tx off, of "
		"the senders' interface");
}

void xb_check_checksum(struct xb_checkup *checkup)
{
	char peer[IF_NAMESIZE];
	int on;

	if (!find_peer(checkup, peer)) {
		check_checksum_below(checkup);
		return;
	}
	on = *peer ? xb_netdev_feature(peer, "tx-checksum-ip-generic", NULL) : -ENODEV;
	if (on == 0) {
		xb_found(checkup, XB_FINDING_OK, "the peer %s finishes its checksums", peer);
		return;
	}
	xb_found(
		checkup, XB_FINDING_NOTE,
		"veth: the peer%s%s %s its checksums to be finished; csum=trust is the default here: " COMPUTED_ANEW,
		*peer ? " " : "", peer, on > 0 ? "leaves" : "may leave");
	xb_remedy(checkup,
		  "nothing to do; with one of those four, or csum=verify: ethtool -K %s tx off",
		  *peer ? peer : "PEER");
}
