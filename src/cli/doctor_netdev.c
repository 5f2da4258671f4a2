/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the kernel says of an interface beyond xsk/netdev.h: its features as ethtool names them, and
 * what its driver does for XDP.
 */
#include "cli/doctor_checks.h"
#include "core/cleanup.h"
#include "xsk/netlink.h"

#include <errno.h>
#include <linux/ethtool.h>
#include <linux/genetlink.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <netlink/attr.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

/* ---- ethtool ---- */

/* Requests that end in an array, with room for all the features there are in any kernel of today.
 */
#define FEATURES_MAX 256u
#define BLOCKS_MAX   (FEATURES_MAX / 32)

union strings {
	struct ethtool_gstrings head;
	uint8_t room[sizeof(struct ethtool_gstrings) + FEATURES_MAX * ETH_GSTRING_LEN];
};

union features {
	struct ethtool_gfeatures head;
	uint8_t room[sizeof(struct ethtool_gfeatures) +
		     BLOCKS_MAX * sizeof(struct ethtool_get_features_block)];
};

union set_info {
	struct ethtool_sset_info head;
	uint8_t room[sizeof(struct ethtool_sset_info) + sizeof(uint32_t)];
};

static int ethtool(int fd, const char *ifname, void *request)
{
	struct ifreq req = {.ifr_data = request};

	strncpy(req.ifr_name, ifname, sizeof(req.ifr_name) - 1);
	return ioctl(fd, SIOCETHTOOL, &req) < 0 ? -errno : 0;
}

/* The place of a feature among the kernel's, or -errno. */
static int find_feature(int fd, const char *ifname, const char *feature)
{
	union set_info info = {
		.head = {.cmd = ETHTOOL_GSSET_INFO, .sset_mask = 1ull << ETH_SS_FEATURES}};
	xb_auto_free union strings *strings = calloc(1, sizeof(*strings));
	uint32_t n;
	int ret;

	if (!strings)
		return -ENOMEM;
	ret = ethtool(fd, ifname, &info);
	if (ret < 0)
		return ret;
	memcpy(&n, info.room + sizeof(info.head), sizeof(n));
	if (!info.head.sset_mask || n > FEATURES_MAX)
		return -EOPNOTSUPP;
	strings->head.cmd = ETHTOOL_GSTRINGS;
	strings->head.string_set = ETH_SS_FEATURES;
	strings->head.len = n;
	ret = ethtool(fd, ifname, strings);
	if (ret < 0)
		return ret;
	for (uint32_t i = 0; i < n; i++)
		if (!strncmp((const char *)strings->head.data + i * ETH_GSTRING_LEN, feature,
			     ETH_GSTRING_LEN))
			return (int)i;
	return -ENOENT;
}

int xb_doctor_feature(const char *ifname, const char *feature, bool *ret_fixed)
{
	xb_auto_fd int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	union features features = {.head = {.cmd = ETHTOOL_GFEATURES, .size = BLOCKS_MAX}};
	const struct ethtool_get_features_block *block;
	uint32_t bit;
	int place, ret;

	if (fd < 0)
		return -errno;
	place = find_feature(fd, ifname, feature);
	if (place < 0)
		return place;
	ret = ethtool(fd, ifname, &features);
	if (ret < 0)
		return ret;
	block = &features.head.features[place / 32];
	bit = 1u << (place % 32);
	if (ret_fixed)
		*ret_fixed = block->never_changed & bit || !(block->available & bit);
	return block->active & bit ? 1 : 0;
}

/* ---- the netdev family of generic netlink ---- */

/* Younger than the UAPI headers that Debian 12 ships (Linux 6.3, <linux/netdev.h>). */
#define FAMILY_NAME               "netdev"
#define NETDEV_CMD_DEV_GET        1
#define NETDEV_A_DEV_IFINDEX      1
#define NETDEV_A_DEV_XDP_FEATURES 3

/* One request and its answer's attributes. */
struct question {
	struct nl_sock *socket;
	int attr; /* the one that is looked for */
	bool found;
	uint64_t value; /* an unsigned number, of whatever size */
};

static int take_answer(struct nl_msg *msg, void *arg)
{
	struct question *question = arg;
	struct nlattr *attr = nlmsg_find_attr(nlmsg_hdr(msg), GENL_HDRLEN, question->attr);
	uint64_t value = 0;
	int bytes = attr ? nla_len(attr) : 0;

	if (bytes == sizeof(uint16_t))
		value = nla_get_u16(attr);
	else if (bytes == sizeof(uint64_t))
		memcpy(&value, nla_data(attr), sizeof(value));
	else
		return NL_OK;
	question->value = value;
	question->found = true;
	return NL_OK;
}

static int ask(struct question *question, struct nl_msg *msg)
{
	int ret = nl_socket_modify_cb(question->socket, NL_CB_VALID, NL_CB_CUSTOM, take_answer,
				      question);

	if (!ret)
		ret = nl_send_auto(question->socket, msg);
	if (ret >= 0)
		ret = nl_recvmsgs_default(question->socket); /* an answer or an error, no more */
	return ret < 0 || !question->found ? -EOPNOTSUPP : 0;
}

static struct nl_msg *make_question(uint16_t family, uint8_t cmd)
{
	struct genlmsghdr head = {.cmd = cmd, .version = 1};
	struct nl_msg *msg = nlmsg_alloc_simple(family, NLM_F_REQUEST);

	if (msg && nlmsg_append(msg, &head, sizeof(head), NLMSG_ALIGNTO) < 0) {
		nlmsg_free(msg);
		return NULL;
	}
	return msg;
}

static int find_family(struct nl_sock *socket, uint16_t *ret_family)
{
	struct question question = {.socket = socket, .attr = CTRL_ATTR_FAMILY_ID};
	struct nl_msg *msg = make_question(GENL_ID_CTRL, CTRL_CMD_GETFAMILY);
	int ret;

	if (!msg)
		return -ENOMEM;
	ret = nla_put_string(msg, CTRL_ATTR_FAMILY_NAME, FAMILY_NAME);
	if (!ret)
		ret = ask(&question, msg);
	nlmsg_free(msg);
	if (ret < 0)
		return -EOPNOTSUPP;
	*ret_family = (uint16_t)question.value;
	return 0;
}

static int ask_features(struct nl_sock *socket, uint32_t ifindex, uint64_t *ret_features)
{
	struct question question = {.socket = socket, .attr = NETDEV_A_DEV_XDP_FEATURES};
	struct nl_msg *msg;
	uint16_t family;
	int ret;

	nl_socket_disable_auto_ack(socket);
	ret = find_family(socket, &family);
	if (ret < 0)
		return ret;
	msg = make_question(family, NETDEV_CMD_DEV_GET);
	if (!msg)
		return -ENOMEM;
	ret = nla_put_u32(msg, NETDEV_A_DEV_IFINDEX, ifindex);
	if (!ret)
		ret = ask(&question, msg);
	nlmsg_free(msg);
	if (ret < 0)
		return -EOPNOTSUPP;
	*ret_features = question.value;
	return 0;
}

int xb_doctor_xdp_features(uint32_t ifindex, uint64_t *ret_features)
{
	struct nl_sock *socket;
	int ret;

	if (xb_netlink_open(NETLINK_GENERIC, &socket) < 0)
		return -EOPNOTSUPP;
	ret = ask_features(socket, ifindex, ret_features);
	nl_socket_free(socket);
	return ret;
}
