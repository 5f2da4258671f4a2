/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the kernel says of an interface beyond netdev/netdev.h: what its driver does for XDP.
 */
#include "cli/doctor_checks.h"
#include "netdev/netlink.h"

#include <errno.h>
#include <linux/genetlink.h>
#include <netlink/attr.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <string.h>

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
