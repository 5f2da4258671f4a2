/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A netlink socket that never waits long for the kernel's answer.
 */
#ifndef XB_NETDEV_NETLINK_H
#define XB_NETDEV_NETLINK_H

#include <netlink/netlink.h>

/** Opens a socket of that protocol; nl_socket_free() closes it. An answer is waited for a second at
 * most: libnl's dumps go on to wait for one where the question could not be sent. Returns 0 or
 * libnl's error, with *ret_socket NULL. */
int xb_netlink_open(int protocol, struct nl_sock **ret_socket);

#endif
