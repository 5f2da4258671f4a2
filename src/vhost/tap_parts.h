/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the files of the TAP (tap_*.c) know of each other, and nobody besides.
 */
#ifndef XB_VHOST_TAP_PARTS_H
#define XB_VHOST_TAP_PARTS_H

#include "vhost/tap.h"

/** A request that carries the TAP's name as it is now (it can be renamed), by TUNGETIFF, with the
 *  flags that this returns. 0, or -EBADFD where it was deleted. */
int xb_tap_request(const struct xb_tap *tap, struct ifreq *ret_req);

/** Opens tap->ctl_fd where the TAP lies, as far as that is known and reached. For one that was
 * handed in: `netns_fd` or the TAP itself tells where. */
void xb_tap_reach(struct xb_tap *tap);

/** Notes that tap->ctl_fd was opened in the namespace `netns_fd` (-1: this one). */
void xb_tap_note_netns(struct xb_tap *tap, int netns_fd);

/** Whether the TAP lies, as far as the kernel says, where tap->ctl_fd was opened. */
bool xb_tap_is_reached(const struct xb_tap *tap);

/** Gives an interface that was opened by name its MAC and MTU, and notes what a found one had. */
int xb_tap_set_up_as(struct xb_tap *tap, const struct xb_tap_options *options,
		     struct xb_error *err);

/** Gives a found one back what it had. */
void xb_tap_give_back(struct xb_tap *tap);

/** Finds out what offloads the kernel can do on the TAP (`takes`), and switches all of them off. */
int xb_tap_learn_offload(struct xb_tap *tap);

#endif
