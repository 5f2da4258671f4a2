/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What an interface says of itself (ioctls, this network namespace).
 */
#ifndef XB_NETDEV_NETDEV_H
#define XB_NETDEV_NETDEV_H

#include "core/error.h"

#include <net/if.h>
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
	bool tx_vlan;    /* it leaves VLAN tags beside the frames that it sends */
	bool gro;        /* it joins received frames (GRO) */
	char driver[32]; /* "" where it does not say */
};

/** Reads an interface. Returns 0, -ENODEV, -EINVAL where it is no Ethernet, or -errno. Needs no
 *  capability. */
int xb_netdev_read(const char *ifname, struct xb_netdev *ret_netdev, struct xb_error *err);

/** Whether the interface is made of others (a bond, a team), in whose drivers its native XDP
 * program runs: what that redirects belongs to a member's queue, not to the interface's, and the
 * kernel drops it. */
bool xb_netdev_is_aggregate(const struct xb_netdev *netdev);

/** The peer of a veth. Returns 0, -ENODEV where that lies in another network namespace, or another
 * -errno. */
int xb_netdev_peer(uint32_t ifindex, char ret_peer[IF_NAMESIZE]);

/** The bond, team or bridge that an interface is a member of. */
struct xb_netdev_master {
	char name[IF_NAMESIZE];
	bool aggregate; /* a bond or a team */
};

/** Finds it. Returns 0, -ENODEV where there is none, or another -errno. */
int xb_netdev_master(uint32_t ifindex, struct xb_netdev_master *ret_master);

/** Whether a feature of an interface (its ethtool name, as "rx-lro") is on: 1, 0, or -errno.
 *  `ret_fixed` (may be NULL): it can't be changed. features.c */
int xb_netdev_feature(const char *ifname, const char *feature, bool *ret_fixed);

/** Makes an interface promiscuous for as long as the returned socket is open; the kernel takes it
 *  back when the process dies. Returns the socket or -errno. Needs CAP_NET_RAW. */
int xb_netdev_promisc(uint32_t ifindex);

/** After a socket was refused: says whether the kernel lacks the family (as /proc/net/protocols has
 *  it: `protocol`), or a sandbox forbids it. */
void xb_netdev_hint_family(struct xb_error *err, const char *family, const char *protocol);

/** Whether the kernel has a family of sockets, as /proc/net/protocols names it. */
bool xb_netdev_has_protocol(const char *protocol);

#endif
