/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The uplink among the host's other interfaces: whose traffic it carries, who else answers on its
 * segment, and which interfaces could be uplinks at all.
 */
#include "cli/doctor_checks.h"
#include "core/cleanup.h"
#include "netdev/netlink.h"
#include "netdev/own_macs.h"
#include "netdev/xdp.h"

#include <linux/if_arp.h>
#include <net/if.h>
#include <netlink/netlink.h>
#include <netlink/route/link.h>
#include <stdio.h>
#include <string.h>

/* ---- shared or dedicated ---- */

/* A member of a bond, or a bridge's port, whose frames a dedicated uplink takes. */
static void check_master(struct xb_checkup *checkup)
{
	struct xb_netdev_master master;

	if (xb_netdev_master(checkup->netdev.ifindex, &master) < 0)
		return;
	xb_found(checkup, checkup->dedicated ? XB_FINDING_WARN : XB_FINDING_NOTE,
		 "it is a %s of %s, which %s no group frames%s from %s uplink",
		 master.aggregate ? "member" : "port", master.name,
		 checkup->dedicated ? "gets" : "would get",
		 master.aggregate ? " and no LACP (802.3ad)" : "",
		 checkup->dedicated ? "this dedicated" : "a dedicated");
	if (master.aggregate)
		xb_remedy(checkup,
			  "leave out dedicated; or, for LACP alone: xbridge steer add in uplink "
			  "ethertype 0x8809 to pass");
	else
		xb_remedy(checkup, "leave out dedicated");
}

void xb_check_sharing(struct xb_checkup *checkup)
{
	xb_auto_free struct xb_own_macs *stack = calloc(1, sizeof(*stack));
	struct xb_error err = {0};
	int ret;

	if (!stack)
		return;
	ret = xb_own_macs_read(checkup->netdev.ifindex, stack, &err);
	if (ret < 0) {
		xb_found(checkup, XB_FINDING_NOTE,
			 "not known whether the host is reached through it: %s", strerror(-ret));
		xb_remedy(checkup, "ip addr show dev %s", checkup->ifname);
		return;
	}
	xb_found(checkup, XB_FINDING_OK,
		 "shared unless --uplink %s,dedicated is given (%s): the host keeps its own "
		 "traffic, rules need `dmac own` to take it",
		 checkup->ifname, stack->reason);
	if (stack->addressed) {
		xb_found(
			checkup, XB_FINDING_NOTE,
			"its own stack and xbridge's ports don't meet through it (as with macvlan)");
		xb_remedy(checkup,
			  "give the host an address on the kernel port too, where it is to reach "
			  "the other ports");
	}
	check_master(checkup);
	if (stack->macs_cut) {
		xb_found(checkup, XB_FINDING_WARN,
			 "more than %u own MACs are stacked on it: the rest "
			 "would be bridged",
			 XB_OWN_MACS_OF_ONE_MAX);
		xb_remedy(checkup, "fewer macvlans on %s, or a rule `dmac MAC to pass` for each",
			  checkup->ifname);
	}
}

/* ---- links of this network namespace ---- */

struct links {
	struct nl_sock *socket;
	struct nl_cache *cache;
};

static void cleanup_links(struct links *links)
{
	nl_cache_free(links->cache);
	nl_socket_free(links->socket);
}

static int read_links(struct links *links)
{
	int ret = xb_netlink_open(NETLINK_ROUTE, &links->socket);

	if (ret < 0)
		return ret;
	return rtnl_link_alloc_cache(links->socket, AF_UNSPEC, &links->cache);
}

#define auto_links __attribute__((cleanup(cleanup_links)))

#define for_each_link(links, link)                                                            \
	for (struct rtnl_link *link = (struct rtnl_link *)nl_cache_get_first((links)->cache); \
	     link; link = (struct rtnl_link *)nl_cache_get_next((struct nl_object *)link))

static bool is_type(struct rtnl_link *link, const char *type)
{
	const char *is = rtnl_link_get_type(link);

	return is && !strcmp(is, type);
}

/* ---- two stacks on one segment ---- */

/* An ARP setting in force: the larger of the interface's own and the one for all
 * (Documentation/networking/ip-sysctl.rst). */
static long arp_setting(const char *ifname, const char *name)
{
	char path[96];
	long all = 0;
	long own = 0;

	snprintf(path, sizeof(path), "/proc/sys/net/ipv4/conf/all/%s", name);
	xb_doctor_number(path, &all);
	snprintf(path, sizeof(path), "/proc/sys/net/ipv4/conf/%s/%s", ifname, name);
	xb_doctor_number(path, &own);
	return all > own ? all : own;
}

static void check_tap(struct xb_checkup *checkup, const char *tap)
{
	if (arp_setting(tap, "arp_ignore") >= 1 && arp_setting(tap, "arp_announce") >= 2) {
		xb_found(
			checkup, XB_FINDING_NOTE,
			"%s is in this network namespace: it answers for its own addresses only, but %s "
			"answers for those of %s too",
			tap, checkup->ifname, tap);
		xb_remedy(checkup, "xbridge run --netns NAME puts %s into a namespace of its own",
			  tap);
		return;
	}
	xb_found(
		checkup, XB_FINDING_WARN,
		"%s, in this network namespace, answers ARP for the addresses of %s: peers may send to "
		"the wrong one",
		tap, checkup->ifname);
	xb_remedy(checkup,
		  "sysctl -w net.ipv4.conf.%s.arp_ignore=1 net.ipv4.conf.%s.arp_announce=2", tap,
		  tap);
}

void xb_check_segment(struct xb_checkup *checkup)
{
	auto_links struct links links = {0};
	xb_auto_free struct xb_own_macs *stack = calloc(1, sizeof(*stack));
	unsigned before = checkup->n;

	if (!stack || xb_own_macs_read(checkup->netdev.ifindex, stack, NULL) < 0 ||
	    !stack->addressed) {
		xb_found(checkup, XB_FINDING_OK,
			 "no other stack answers on this segment: %s has no "
			 "address",
			 checkup->ifname);
		return;
	}
	if (xb_doctor_any_running() && read_links(&links) == 0) {
		/* A TAP that is enslaved (to a virtual machine's bridge) has no stack of its own.
		 */
		for_each_link(&links, link) if (is_type(link, "tun") &&
						rtnl_link_get_arptype(link) == ARPHRD_ETHER &&
						rtnl_link_get_flags(link) & IFF_UP &&
						!rtnl_link_get_master(link))
			check_tap(checkup, rtnl_link_get_name(link));
	}
	if (checkup->n == before)
		xb_found(checkup, XB_FINDING_OK,
			 "no TAP of a running instance answers beside %s; with --netns none will",
			 checkup->ifname);
}

/* ---- interfaces that could be uplinks ---- */

static bool could_be_uplink(struct rtnl_link *link)
{
	static const char *const others[] = {"tun", "bridge", "dummy", "ifb", "vrf"};

	if (rtnl_link_get_arptype(link) != ARPHRD_ETHER || rtnl_link_get_flags(link) & IFF_LOOPBACK)
		return false;
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		if (is_type(link, others[i]))
			return false;
	return true;
}

static void say_interface(struct xb_checkup *checkup, const char *ifname)
{
	xb_auto_free struct xb_own_macs *stack = calloc(1, sizeof(*stack));
	struct xb_netdev netdev;
	uint32_t prog_id;

	if (!stack || xb_netdev_read(ifname, &netdev, NULL) < 0 ||
	    xb_own_macs_read(netdev.ifindex, stack, NULL) < 0)
		return; /* it has just gone */
	prog_id = xb_attached_prog(netdev.ifindex);
	xb_found(checkup, netdev.up ? XB_FINDING_OK : XB_FINDING_NOTE,
		 "%s: %s, %s, %u RX queue%s, MTU %u, %s%s; %s", ifname,
		 netdev.driver[0] ? netdev.driver : "driver not known", netdev.up ? "up" : "not up",
		 netdev.rx_queues, netdev.rx_queues == 1 ? "" : "s", netdev.mtu,
		 xb_doctor_xdp_words(&netdev), prog_id ? ", an XDP program is there" : "",
		 stack->reason);
	if (!netdev.up)
		xb_remedy(checkup, "ip link set dev %s up", ifname);
}

void xb_check_interfaces(struct xb_checkup *checkup)
{
	auto_links struct links links = {0};
	unsigned before = checkup->n;

	if (read_links(&links) < 0) {
		xb_found(checkup, XB_FINDING_WARN, "the interfaces can't be listed");
		xb_remedy(checkup, "ip link; then xbridge doctor IFACE");
		return;
	}
	for_each_link(&links, link) if (could_be_uplink(link))
		say_interface(checkup, rtnl_link_get_name(link));
	if (checkup->n == before) {
		xb_found(checkup, XB_FINDING_NOTE, "no interface here could be an uplink");
		xb_remedy(checkup, "xbridge run needs none; uplinks are looked for in the network "
				   "namespace that it starts in");
	}
}
