/* SPDX-License-Identifier: BSD-2-Clause */
#include "netdev/netlink.h"

#include <netlink/errno.h>
#include <netlink/socket.h>
#include <sys/socket.h>
#include <sys/time.h>

#define ANSWER_S 1

int xb_netlink_open(int protocol, struct nl_sock **ret_socket)
{
	static const struct timeval longest = {.tv_sec = ANSWER_S};
	struct nl_sock *socket = nl_socket_alloc();
	int ret;

	*ret_socket = NULL;
	if (!socket)
		return -NLE_NOMEM;
	ret = nl_connect(socket, protocol);
	if (!ret && setsockopt(nl_socket_get_fd(socket), SOL_SOCKET, SO_RCVTIMEO, &longest,
			       sizeof(longest)) < 0)
		ret = -NLE_FAILURE;
	if (ret < 0) {
		nl_socket_free(socket);
		return ret;
	}
	*ret_socket = socket;
	return 0;
}
