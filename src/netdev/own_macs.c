/* SPDX-License-Identifier: BSD-2-Clause */
#include "netdev/own_macs.h"

#include "core/cleanup.h"
#include "netdev/netlink.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <netinet/in.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <netlink/route/addr.h>
#include <netlink/route/link.h>
#include <stdio.h>
#include <string.h>

/* Devices in a stack, the uplink first. */
#define MEMBERS_MAX 1024u

struct query {
	uint32_t ifindex;
	struct nl_sock *socket;
	struct nl_cache *links;
	struct nl_cache *addrs;
	uint32_t bridge; /* whose port the interface is; 0: none */
	unsigned n_members;
	uint32_t members[MEMBERS_MAX];
	struct xb_own_macs *stack;
};

static bool is_member(const struct query *query, uint32_t ifindex)
{
	for (unsigned i = 0; i < query->n_members; i++) {
		if (query->members[i] == ifindex)
			return true;
	}
	return false;
}

static void add_mac(struct xb_own_macs *stack, const uint8_t *mac, uint32_t ifindex)
{
	static const uint8_t none[6];

	if (mac[0] & 1 || !memcmp(mac, none, sizeof(none)))
		return;
	for (unsigned i = 0; i < stack->n_macs; i++) {
		if (!memcmp(stack->macs[i].mac, mac, 6))
			return;
	}
	if (stack->n_macs == XB_OWN_MACS_OF_ONE_MAX) {
		stack->macs_cut = true;
		return;
	}
	memcpy(stack->macs[stack->n_macs].mac, mac, 6);
	stack->macs[stack->n_macs++].ifindex = ifindex;
}

static void add_member(struct query *query, struct rtnl_link *link)
{
	struct nl_addr *addr = rtnl_link_get_addr(link);

	if (query->n_members == MEMBERS_MAX)
		return;
	query->members[query->n_members++] = (uint32_t)rtnl_link_get_ifindex(link);
	if (addr && nl_addr_get_len(addr) == 6)
		add_mac(query->stack, nl_addr_get_binary_addr(addr),
			(uint32_t)rtnl_link_get_ifindex(link));
}

/* IFLA_LINK of other types says other things: the peer of a veth, what a tunnel runs over. */
static bool passes_frames_down(struct rtnl_link *link)
{
	static const char *const types[] = {"vlan",   "macvlan", "macvtap",
					    "ipvlan", "ipvtap",  "macsec"};
	const char *type = rtnl_link_get_type(link);

	for (size_t i = 0; type && i < sizeof(types) / sizeof(types[0]); i++) {
		if (!strcmp(type, types[i]))
			return true;
	}
	return false;
}

/* Whether `link` stands directly on a member. */
static bool stands_on_member(const struct query *query, struct rtnl_link *link)
{
	int32_t netns;
	uint32_t below = (uint32_t)rtnl_link_get_link(link);

	/* what it stands on may be in another network namespace, where indices are others */
	if (below && rtnl_link_get_link_netnsid(link, &netns) < 0 && is_member(query, below) &&
	    passes_frames_down(link))
		return true;
	for (unsigned i = 0; i < query->n_members; i++) {
		struct rtnl_link *member = rtnl_link_get(query->links, (int)query->members[i]);
		int master = member ? rtnl_link_get_master(member) : 0;

		rtnl_link_put(member);
		if (master && master == rtnl_link_get_ifindex(link))
			return true;
	}
	return false;
}

static void collect_members(struct query *query)
{
	unsigned before;

	do {
		before = query->n_members;
		for (struct nl_object *object = nl_cache_get_first(query->links); object;
		     object = nl_cache_get_next(object)) {
			struct rtnl_link *link = (struct rtnl_link *)object;

			if (!is_member(query, (uint32_t)rtnl_link_get_ifindex(link)) &&
			    stands_on_member(query, link))
				add_member(query, link);
		}
	} while (query->n_members != before);
}

/* ---- addresses ---- */

static bool is_link_local(struct nl_addr *addr)
{
	const uint8_t *bytes = nl_addr_get_binary_addr(addr);

	if (nl_addr_get_family(addr) == AF_INET)
		return bytes[0] == 169 && bytes[1] == 254;
	return bytes[0] == 0xfe && (bytes[1] & 0xc0) == 0x80;
}

static void find_address(const struct query *query)
{
	struct xb_own_macs *stack = query->stack;
	char text[INET6_ADDRSTRLEN + 5];
	char name[64] = "?";

	for (struct nl_object *object = nl_cache_get_first(query->addrs); object;
	     object = nl_cache_get_next(object)) {
		struct rtnl_addr *addr = (struct rtnl_addr *)object;
		struct nl_addr *local = rtnl_addr_get_local(addr);
		int family = local ? nl_addr_get_family(local) : AF_UNSPEC;
		uint32_t ifindex = (uint32_t)rtnl_addr_get_ifindex(addr);

		if ((family != AF_INET && family != AF_INET6) || is_link_local(local) ||
		    !is_member(query, ifindex))
			continue;
		stack->addressed = true;
		rtnl_link_i2name(query->links, (int)ifindex, name, sizeof(name));
		snprintf(stack->reason, sizeof(stack->reason), "%s has %s", name,
			 nl_addr2str(local, text, sizeof(text)));
		return;
	}
	snprintf(stack->reason, sizeof(stack->reason), "no address but link-local ones");
}

/* ---- secondary unicast addresses ---- */

static int read_neighbour(struct nl_msg *msg, void *arg)
{
	struct query *query = arg;
	struct nlmsghdr *header = nlmsg_hdr(msg);
	struct ndmsg *neighbour = nlmsg_data(header);
	struct nlattr *mac;

	if (header->nlmsg_type != RTM_NEWNEIGH || nlmsg_datalen(header) < (int)sizeof(*neighbour) ||
	    neighbour->ndm_ifindex != (int)query->ifindex)
		return NL_OK;
	/* SELF: the device's own list, not what a bridge above has learned */
	if (!(neighbour->ndm_flags & NTF_SELF) || !(neighbour->ndm_state & NUD_PERMANENT))
		return NL_OK;
	mac = nlmsg_find_attr(header, sizeof(*neighbour), NDA_LLADDR);
	if (mac && nla_len(mac) == 6)
		add_mac(query->stack, nla_data(mac), query->ifindex);
	return NL_OK;
}

/* ---- what a bridge has behind its other ports ---- */

static int read_bridged(struct nl_msg *msg, void *arg)
{
	struct query *query = arg;
	struct nlmsghdr *header = nlmsg_hdr(msg);
	struct ndmsg *neighbour = nlmsg_data(header);
	unsigned before = query->stack->n_macs;
	struct nlattr *mac;

	if (header->nlmsg_type != RTM_NEWNEIGH || nlmsg_datalen(header) < (int)sizeof(*neighbour) ||
	    neighbour->ndm_flags & NTF_SELF || neighbour->ndm_ifindex == (int)query->ifindex)
		return NL_OK;
	mac = nlmsg_find_attr(header, sizeof(*neighbour), NDA_LLADDR);
	if (mac && nla_len(mac) == 6)
		add_mac(query->stack, nla_data(mac), (uint32_t)neighbour->ndm_ifindex);
	query->stack->n_bridged += query->stack->n_macs - before;
	return NL_OK;
}

static int ask_bridge(struct nl_sock *socket, uint32_t bridge)
{
	struct ifinfomsg info = {.ifi_family = AF_BRIDGE};
	struct nl_msg *msg = nlmsg_alloc_simple(RTM_GETNEIGH, NLM_F_REQUEST | NLM_F_DUMP);
	int ret = msg ? nlmsg_append(msg, &info, sizeof(info), NLMSG_ALIGNTO) : -NLE_NOMEM;

	if (!ret)
		ret = nla_put_u32(msg, IFLA_MASTER, bridge);
	if (!ret)
		ret = nl_send_auto(socket, msg);
	nlmsg_free(msg);
	return ret < 0 ? ret : nl_recvmsgs_default(socket);
}

static int read_bridge(struct query *query)
{
	if (!query->bridge)
		return 0;
	nl_socket_modify_cb(query->socket, NL_CB_VALID, NL_CB_CUSTOM, read_bridged, query);
	return ask_bridge(query->socket, query->bridge);
}

/* The bridge that a link is a port of; 0: none. */
static uint32_t bridge_of(struct nl_cache *links, struct rtnl_link *link)
{
	int master = rtnl_link_get_master(link);
	struct rtnl_link *bridge = master ? rtnl_link_get(links, master) : NULL;
	const char *type = bridge ? rtnl_link_get_type(bridge) : NULL;
	bool is_bridge = type && !strcmp(type, "bridge");

	rtnl_link_put(bridge);
	return is_bridge ? (uint32_t)master : 0;
}

static int read_unicast_list(struct query *query)
{
	struct ifinfomsg request = {.ifi_family = AF_BRIDGE, .ifi_index = (int)query->ifindex};
	int ret;

	nl_socket_modify_cb(query->socket, NL_CB_VALID, NL_CB_CUSTOM, read_neighbour, query);
	ret = nl_send_simple(query->socket, RTM_GETNEIGH, NLM_F_DUMP, &request, sizeof(request));
	return ret < 0 ? ret : nl_recvmsgs_default(query->socket);
}

/* ---- all of it ---- */

/* libnl's errors as ours. */
static int nl_code(int ret)
{
	switch (-ret) {
	case NLE_NODEV:
	case NLE_OBJ_NOTFOUND:
		return -ENODEV;
	case NLE_NOMEM:
		return -ENOMEM;
	case NLE_FAILURE: /* what libnl has no code for: a system call has said why */
		return errno ? -errno : -EIO;
	case NLE_PERM:
		return -EPERM;
	case NLE_INTR:
	case NLE_DUMP_INTR:
		return -EAGAIN;
	case NLE_AGAIN:
		return -ETIMEDOUT;
	default:
		return -EIO;
	}
}

static int run_query(struct query *query)
{
	struct rtnl_link *uplink;
	int ret;

	ret = xb_netlink_open(NETLINK_ROUTE, &query->socket);
	if (!ret)
		ret = rtnl_link_alloc_cache(query->socket, AF_UNSPEC, &query->links);
	if (!ret)
		ret = rtnl_addr_alloc_cache(query->socket, &query->addrs);
	if (ret)
		return ret;
	uplink = rtnl_link_get(query->links, (int)query->ifindex);
	if (!uplink)
		return -NLE_NODEV;
	add_member(query, uplink);
	query->bridge = bridge_of(query->links, uplink);
	rtnl_link_put(uplink);
	collect_members(query);
	find_address(query);
	ret = read_unicast_list(query);
	return ret < 0 ? ret : read_bridge(query);
}

int xb_own_macs_read(uint32_t ifindex, struct xb_own_macs *ret_stack, struct xb_error *err)
{
	xb_auto_free struct query *query = calloc(1, sizeof(*query));
	xb_auto_free struct xb_own_macs *stack = calloc(1, sizeof(*stack));
	int ret, code;

	if (!query || !stack)
		return xb_fail(err, -ENOMEM, "read what is stacked on interface %u", ifindex);
	query->ifindex = ifindex;
	query->stack = stack;
	errno = 0;
	ret = run_query(query);
	code = ret < 0 ? nl_code(ret) : 0;
	nl_cache_free(query->links);
	nl_cache_free(query->addrs);
	nl_socket_free(query->socket);
	if (ret < 0)
		return xb_fail(err, code, "read what is stacked on interface %u (%s)", ifindex,
			       nl_geterror(ret));
	*ret_stack = *stack;
	return 0;
}

/* ---- the short form ---- */

struct digest {
	uint64_t sum;
};

/* The order of entries does not matter. */
static int add_to_digest(struct nl_msg *msg, void *arg)
{
	struct digest *digest = arg;
	struct nlmsghdr *header = nlmsg_hdr(msg);
	const struct ndmsg *neighbour = nlmsg_data(header);
	struct nlattr *mac;
	uint64_t bits = 0;

	if (header->nlmsg_type != RTM_NEWNEIGH || nlmsg_datalen(header) < (int)sizeof(*neighbour))
		return NL_OK;
	mac = nlmsg_find_attr(header, sizeof(*neighbour), NDA_LLADDR);
	if (!mac || nla_len(mac) != 6)
		return NL_OK;
	memcpy(&bits, nla_data(mac), 6);
	bits = (bits ^ (uint64_t)neighbour->ndm_ifindex << 48) * 0x9e3779b97f4a7c15u;
	digest->sum += bits ^ bits >> 29;
	return NL_OK;
}

static int run_digest(struct nl_sock *socket, uint32_t ifindex, struct digest *digest)
{
	struct ifinfomsg request = {.ifi_family = AF_BRIDGE, .ifi_index = (int)ifindex};
	struct rtnl_link *link = NULL;
	uint32_t master = 0;
	int ret = rtnl_link_get_kernel(socket, (int)ifindex, NULL, &link);

	if (ret < 0)
		return ret;
	master = (uint32_t)rtnl_link_get_master(link);
	rtnl_link_put(link);
	nl_socket_modify_cb(socket, NL_CB_VALID, NL_CB_CUSTOM, add_to_digest, digest);
	ret = nl_send_simple(socket, RTM_GETNEIGH, NLM_F_DUMP, &request, sizeof(request));
	ret = ret < 0 ? ret : nl_recvmsgs_default(socket);
	return ret < 0 || !master ? ret : ask_bridge(socket, master);
}

int xb_own_macs_digest(uint32_t ifindex, uint64_t *ret_digest)
{
	struct nl_sock *socket;
	struct digest digest = {0};
	int ret = xb_netlink_open(NETLINK_ROUTE, &socket);

	if (!ret)
		ret = run_digest(socket, ifindex, &digest);
	nl_socket_free(socket);
	if (ret < 0)
		return nl_code(ret);
	*ret_digest = digest.sum;
	return 0;
}
