/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What becomes of a frame's VLAN tags before XDP sees it. A frame whose tag is taken off passes for
 * an untagged one, with rules and with whoever gets it.
 *
 * A NIC may take tags off, and the peer of a veth may leave them beside the frame: either can be
 * told not to. Where an interface stands on others (a bond on its members, a bridge on its ports)
 * the kernel itself has taken the tag off before a frame gets there, whatever offload is on.
 */
#ifndef XB_NETDEV_TAGS_H
#define XB_NETDEV_TAGS_H

#include "netdev/netdev.h"

enum xb_tags_fate {
	XB_TAGS_STAY,
	XB_TAGS_UNKNOWN, /* a veth whose peer is in another network namespace */
	XB_TAGS_OFF_IN_NIC,
	XB_TAGS_LEFT_BY_PEER,
	XB_TAGS_OFF_BELOW, /* by the kernel, in a device below the interface */
};

struct xb_tags {
	enum xb_tags_fate fate;
	char at[IF_NAMESIZE]; /* the NIC, the peer or the interface itself; "": does not matter */
	bool of_vlan;         /* a VLAN device: its own tag is gone, those within it are there */
	uint16_t vlan;        /* its VLAN */
};

/** Finds out what becomes of them. Returns 0, or -errno where it could not look. Needs no
 *  capability. */
int xb_tags_look(const char *ifname, const struct xb_netdev *netdev, struct xb_tags *ret_tags);

bool xb_tags_are_lost(const struct xb_tags *tags);

/** What helps where they are lost, as a person types it; otherwise "". */
void xb_tags_remedy(const struct xb_tags *tags, char *buf, unsigned bytes);

#endif
