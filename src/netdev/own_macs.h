/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the kernel has stacked on an interface: whose addresses are its own, and whether the host
 * itself is reached through it.
 *
 * A device is stacked on another where its frames go through it: VLAN, macvlan, macvtap, ipvlan and
 * MACsec devices (IFLA_LINK), and the bridge, bond, team or VRF that it is enslaved to
 * (IFLA_MASTER); and so on upwards.
 */
#ifndef XB_NETDEV_OWN_MACS_H
#define XB_NETDEV_OWN_MACS_H

#include "core/error.h"

#include <stdbool.h>
#include <stdint.h>

/** An address that belongs to an interface's stack, and the device whose address it is. */
struct xb_own_mac_entry {
	uint8_t mac[6];
	uint32_t ifindex;
};

#define XB_OWN_MACS_OF_ONE_MAX 1024u

struct xb_own_macs {
	/** Someone in the stack has an IPv4 or IPv6 address that is not link-local: the host is
	 *  reached through this interface. */
	bool addressed;
	char reason[128]; /* for the log: "eth0.5 has 192.0.2.1/24", or "no address but link-local
			     ones" */
	unsigned n_macs;
	bool macs_cut; /* there were more than fit */
	/** Each once: the interface's own, those of devices on it, and the secondary unicast
	 * addresses that it listens to (which also shows macvlans in other network namespaces). */
	struct xb_own_mac_entry macs[XB_OWN_MACS_OF_ONE_MAX];
	unsigned n_bridged; /* the last of them: where the interface is a bridge's port, addresses
			       that the bridge has learned on its other ports */
};

/** Asks the kernel (rtnetlink, this network namespace). Returns 0, -ENODEV or -errno. Needs no
 *  capability; blocks for a few requests. Control thread. */
int xb_own_macs_read(uint32_t ifindex, struct xb_own_macs *ret_stack, struct xb_error *err);

/** A number that changes with the addresses which may change without an event in this network
 * namespace: those that the interface listens to (a macvlan in another namespace), and those that
 * its bridge has. Two requests at most. Returns 0 or -errno. */
int xb_own_macs_digest(uint32_t ifindex, uint64_t *ret_digest);

#endif
