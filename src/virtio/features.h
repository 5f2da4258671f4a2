/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Feature negotiation (virtio 1.2, 2.2 and 5.1.3): what is negotiated is what driver, device and
 * backend can all do, less what depends on something that is missing.
 */
#ifndef XB_VIRTIO_FEATURES_H
#define XB_VIRTIO_FEATURES_H

#include "core/offload.h"

#include <linux/virtio_config.h>
#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>
#include <stdbool.h>
#include <stdint.h>

#define XB_F(bit) (1ull << (bit))

/* Younger than the UAPI headers that Debian 12 ships. */
#ifndef VIRTIO_NET_F_GUEST_USO4
#define VIRTIO_NET_F_GUEST_USO4 54
#define VIRTIO_NET_F_GUEST_USO6 55
#define VIRTIO_NET_F_HOST_USO   56
#endif

/** All offload features. */
#define XB_F_OFFLOADS                                                                              \
	(XB_F(VIRTIO_NET_F_CSUM) | XB_F(VIRTIO_NET_F_GUEST_CSUM) | XB_F(VIRTIO_NET_F_GUEST_TSO4) | \
	 XB_F(VIRTIO_NET_F_GUEST_TSO6) | XB_F(VIRTIO_NET_F_GUEST_ECN) |                            \
	 XB_F(VIRTIO_NET_F_GUEST_USO4) | XB_F(VIRTIO_NET_F_GUEST_USO6) |                           \
	 XB_F(VIRTIO_NET_F_HOST_TSO4) | XB_F(VIRTIO_NET_F_HOST_TSO6) |                             \
	 XB_F(VIRTIO_NET_F_HOST_ECN) | XB_F(VIRTIO_NET_F_HOST_USO))

static inline bool xb_has(uint64_t features, unsigned bit)
{
	return features >> bit & 1;
}

/** The features that remain of `features` when each that needs another one that is not there is
 *  gone (virtio 1.2, 5.1.3.1). */
uint64_t xb_features_consistent(uint64_t features);

/** The offload features that stand for a set, seen from the driver. */
uint64_t xb_features_of_offload(struct xb_offload_set set);

/** XB_TAKES_… that a driver may leave to a device with these features. */
uint32_t xb_features_takes(uint64_t features);

#endif
