/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What an interface says of itself (ioctls, this network namespace).
 */
#ifndef XB_XSK_NETDEV_H
#define XB_XSK_NETDEV_H

#include "core/error.h"

#include <stdbool.h>
#include <stdint.h>

struct xb_netdev {
	uint32_t ifindex;
	uint8_t mac[6];
	uint32_t mtu;
	unsigned rx_queues;     /* in use now */
	unsigned rx_queues_max; /* that it can be given */
	unsigned tx_queues;
	bool up;         /* administratively up, and has a carrier */
	bool rx_vlan;    /* it takes VLAN tags off received frames before XDP sees them */
	char driver[32]; /* "" where it does not say */
};

/** Reads an interface. Returns 0, -ENODEV, -EINVAL where it is no Ethernet, or -errno. Needs no
 *  capability. */
int xb_netdev_read(const char *ifname, struct xb_netdev *ret_netdev, struct xb_error *err);

/** Makes an interface promiscuous for as long as the returned socket is open; the kernel takes it
 *  back when the process dies. Returns the socket or -errno. Needs CAP_NET_RAW. */
int xb_netdev_promisc(uint32_t ifindex);

#endif
