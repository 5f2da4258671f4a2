/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the files of the TAP share among each other.
 */
#ifndef XB_VHOST_TAP_OWN_H
#define XB_VHOST_TAP_OWN_H

#include "vhost/tap.h"

/** A request that carries the TAP's name as it is now (it can be renamed), by TUNGETIFF, with the
 *  flags that this returns. 0, or -EBADFD where it was deleted. */
int xb_tap_request(const struct xb_tap *tap, struct ifreq *ret_req);

/** Finds out what offloads the kernel can do on the TAP (`takes`), and switches all of them off. */
int xb_tap_learn_offload(struct xb_tap *tap);

#endif
