/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The devices below an interface (a VLAN device's, a macvlan's, a bridge's or bond's ports), and in
 * what state frames come from them: their senders may have left checksums open, and several frames
 * may arrive joined to one. And those upon it, whose XDP programs come after its own.
 */
#ifndef XB_NETDEV_BELOW_H
#define XB_NETDEV_BELOW_H

#include <net/if.h>
#include <stdbool.h>
#include <stdint.h>

/** Why frames come joined, where XDP runs in generic mode. */
enum xb_joined {
	XB_JOINED_NOT,
	XB_JOINED_PERHAPS, /* by the peer of a veth, in another network namespace */
	XB_JOINED_BY_PEER, /* the peer of a veth sends segments whole */
	XB_JOINED_BY_GRO,
};

struct xb_below {
	unsigned n; /* how many devices: always fewer than lie below one that stands on it */
	char open_at[IF_NAMESIZE];   /* a device whose senders leave checksums open; "": none */
	char joined_at[IF_NAMESIZE]; /* the device where frames come in joined; "": none */
	enum xb_joined joined;
};

/** Looks at an interface of this network namespace, and at all that lies below it. Returns 0 or
 *  -errno. Needs no capability. */
int xb_below_look(uint32_t ifindex, struct xb_below *ret_below);

/** A device that stands directly on another one, and has an XDP program. */
struct xb_upper {
	uint32_t ifindex;
	uint32_t prog_id;
	char ifname[IF_NAMESIZE];
};

/**
 * Lists the devices of this network namespace that stand directly on an interface and have an XDP
 * program. As long as there is one the kernel neither puts a program on the interface nor takes one
 * off, but for what goes by a bpf_link that is there.
 *
 * Returns how many, at most `max`, or -errno. Needs no capability.
 */
int xb_below_list_upon(uint32_t ifindex, struct xb_upper *ret_uppers, unsigned max);

/** The command that ends joining, as a person types it; "" where nothing is joined. */
void xb_below_remedy(const struct xb_below *below, char *buf, unsigned bytes);

#endif
