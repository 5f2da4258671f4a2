/* SPDX-License-Identifier: BSD-2-Clause */
#include "netdev/ifname.h"

#include "core/cleanup.h"
#include "netdev/netlink.h"

#include <errno.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

/* Longest name that the kernel takes for an altname (ALTIFNAMSIZ), its end included. */
#define ALTNAME_BYTES 128u

static int read_index(struct nl_msg *msg, void *arg)
{
	const struct ifinfomsg *info = nlmsg_data(nlmsg_hdr(msg));

	*(uint32_t *)arg = (uint32_t)info->ifi_index;
	return NL_OK;
}

static int ask(struct nl_sock *socket, struct nl_msg *msg, const char *name)
{
	struct ifinfomsg info = {.ifi_family = AF_UNSPEC};
	int ret = nlmsg_append(msg, &info, sizeof(info), NLMSG_ALIGNTO);

	if (!ret)
		ret = nla_put_string(msg, IFLA_ALT_IFNAME, name);
	if (!ret)
		ret = nl_send_auto(socket, msg);
	return ret < 0 ? ret : nl_recvmsgs_default(socket);
}

/* The requests by name take no longer ones than an interface itself may have. */
static uint32_t ask_for_long(const char *name)
{
	struct nl_sock *socket;
	struct nl_msg *msg = nlmsg_alloc_simple(RTM_GETLINK, NLM_F_REQUEST);
	uint32_t index = 0;

	if (xb_netlink_open(NETLINK_ROUTE, &socket) == 0 && msg) {
		nl_socket_modify_cb(socket, NL_CB_VALID, NL_CB_CUSTOM, read_index, &index);
		if (ask(socket, msg, name) < 0)
			index = 0;
	}
	nlmsg_free(msg);
	nl_socket_free(socket);
	return index;
}

uint32_t xb_ifname_index(const char *name)
{
	size_t len = strlen(name);

	if (!len || len >= ALTNAME_BYTES)
		return 0;
	return len < IF_NAMESIZE ? if_nametoindex(name) : ask_for_long(name);
}

/* if_indextoname would not tell a lack of descriptors from a lack of an interface. */
int xb_ifname_read(uint32_t ifindex, char ret_name[IF_NAMESIZE])
{
	xb_auto_fd int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq req = {.ifr_ifindex = (int)ifindex};

	if (fd < 0 || ioctl(fd, SIOCGIFNAME, &req) < 0)
		return -errno;
	memcpy(ret_name, req.ifr_name, IF_NAMESIZE);
	return 0;
}
