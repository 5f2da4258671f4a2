/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The XDP program on an interface: how it is to sit there, how it does, and which one it is.
 */
#ifndef XB_NETDEV_XDP_H
#define XB_NETDEV_XDP_H

#include <stdbool.h>
#include <stdint.h>

enum xb_xdp_mode {
	XB_XDP_AUTO,    /* native, else generic */
	XB_XDP_NATIVE,  /* in the driver, or fail */
	XB_XDP_GENERIC, /* on skbs, or fail */
};

/** How a program is to be put on an interface. */
struct xb_attach_options {
	enum xb_xdp_mode mode;
	bool exclusive; /* alone, by a link; else behind libxdp's dispatcher where that works */
	bool keep_mode; /* AUTO: ours that is there is not tried natively again */
};

enum xb_attach_way {
	XB_ATTACHED_LINK,       /* alone */
	XB_ATTACHED_DISPATCHER, /* beside others */
};

/** How a program sits on its interface. */
struct xb_attachment {
	enum xb_xdp_mode mode; /* native or generic */
	enum xb_attach_way way;
	bool taken_over;     /* one of an earlier run was there, and in force until this one was */
	int native_code;     /* where AUTO became generic: why native was refused, -errno; else 0 */
	int dispatcher_code; /* where it is alone and was not to be: why, -errno; else 0 */
	char dispatcher_why[192]; /* and what was refused, for a person */
};

/** The id of the XDP program on an interface, whoever attached it; 0: none, or no such interface.
 */
uint32_t xb_attached_prog(uint32_t ifindex);

/** As xb_attached_prog, into `ret_prog_id`. Returns 0 or why the kernel could not be asked. */
int xb_attached_read(uint32_t ifindex, uint32_t *ret_prog_id);

/** The mode that the interface's program runs in; XB_XDP_AUTO: none, or no such interface. */
enum xb_xdp_mode xb_attached_mode(uint32_t ifindex);

#endif
