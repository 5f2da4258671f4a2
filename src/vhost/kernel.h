/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The kernel's vhost-net as a backend: one /dev/vhost-net, and so one worker thread of the kernel,
 * for each queue pair, bound to one queue of a TAP.
 *
 * The virtio-net header is the TAP's (VHOST_NET_F_VIRTIO_NET_HDR is not taken): vhost-net carries
 * it through, and the TAP does the offloads. So the backend's features are vhost-net's for the ring
 * and the TAP's for the packets.
 */
#ifndef XB_VHOST_KERNEL_H
#define XB_VHOST_KERNEL_H

#include "vhost/backend.h"
#include "vhost/tap.h"

#define XB_VHOST_NET_PATH "/dev/vhost-net"

struct xb_vhost_kernel {
	struct xb_vhost_backend backend;
	struct xb_tap *tap;
	uint64_t vhost_features;         /* what the module can do */
	uint64_t features;               /* negotiated */
	uint64_t tap_features;           /* offloads that the TAP can do, either way */
	unsigned regions_max;            /* the module's max_mem_regions */
	struct xb_vhost_region *regions; /* negotiated too; joined, by address */
	unsigned n_regions;
	int *fds;    /* pairs_max, -1: pair not started */
	int *spares; /* descriptors that were handed in and are not in use */
	unsigned n_spares;
	unsigned n_handed_in;
};

/**
 * Probes vhost-net and readies a backend on a TAP.
 *
 * @tap:  open; outlives the backend. Queue pair p uses its queue p; more queues are attached as
 *        pairs start.
 * @fds:  vhost-net descriptors opened by somebody else, `n_fds` of them, ours on success; none:
 * open XB_VHOST_NET_PATH.
 *
 * Returns 0, -ENOENT (no such device: module not loaded), -EACCES, -EPERM, -ENOTTY (a descriptor of
 * something else), -ENOMEM, or what its worker's thread failed for (-EAGAIN).
 */
int xb_vhost_kernel_init(struct xb_vhost_kernel *kernel, struct xb_tap *tap, const int *fds,
			 unsigned n_fds, unsigned pairs_max, struct xb_error *err);
void xb_vhost_kernel_fini(struct xb_vhost_kernel *kernel);

/** As xb_tap_pending of its TAP, which it reads: whether packets wait that only pairs from `pairs`
 * on can take, in the TAP or in vhost-net, and not yet in a ring. */
bool xb_vhost_kernel_pending(struct xb_vhost_kernel *kernel, unsigned pairs);

/** Sorts regions by address and joins those that touch, in place: vhost-net reads by address alone,
 * whatever file is behind it. Returns how many are left. */
unsigned xb_vhost_regions_join(struct xb_vhost_region *regions, unsigned n);

#endif
