/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The devices below an interface (a VLAN device's, a macvlan's, a bridge's or bond's ports), and in
 * what state frames come from them: their senders may have left checksums open, and several frames
 * may arrive joined to one.
 */
#ifndef XB_XSK_BELOW_H
#define XB_XSK_BELOW_H

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
	char open_at[IF_NAMESIZE];   /* a device whose senders leave checksums open; "": none */
	char joined_at[IF_NAMESIZE]; /* the device where frames come in joined; "": none */
	enum xb_joined joined;
};

/** Looks at an interface of this network namespace, and at all that lies below it. Returns 0 or
 *  -errno. Needs no capability. */
int xb_below_look(uint32_t ifindex, struct xb_below *ret_below);

/** The command that ends joining, as a person types it; "" where nothing is joined. */
void xb_below_remedy(const struct xb_below *below, char *buf, unsigned bytes);

#endif
