/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * An interface by any of its names: the one that it has, and those that it is also known by
 * (`ip link property add dev eth0 altname NAME`).
 */
#ifndef XB_NETDEV_IFNAME_H
#define XB_NETDEV_IFNAME_H

#include <net/if.h>
#include <stdint.h>

/** The index of the interface of that name in this network namespace; 0: there is none, or it can't
 *  be found out. Needs no capability. */
uint32_t xb_ifname_index(const char *name);

/** The name of the interface of that index. Returns 0, -ENODEV, or what keeps us from asking. */
int xb_ifname_read(uint32_t ifindex, char ret_name[IF_NAMESIZE]);

#endif
