/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * virtio_user: a virtio-net device in this process, whose rings a vhost backend serves.
 *
 * Three layers, each with a feature set of its own: the driver (virtio/net.c) wants, the device
 * (here) offers, the backend can. What the device offers to the driver is what it knows itself,
 * without whatever the backend would have to do and can't.
 *
 * The device is a status byte, a configuration space, and for each virtqueue its place and its
 * eventfds. Writing DRIVER_OK starts the pairs in use, writing 0 stops them all.
 */
#ifndef XB_VHOST_VIRTIO_USER_H
#define XB_VHOST_VIRTIO_USER_H

#include "vhost/backend.h"
#include "virtio/transport.h"

#include <linux/virtio_net.h>

struct xb_virtio_user_pair {
	struct xb_virtqueue queue[2]; /* receive, transmit; size 0: not set */
	int kick_fd[2];
	int call_fd; /* of the receive queue: nobody waits for transmissions */
	int err_fd[2];
	bool started;
};

struct xb_virtio_user {
	struct xb_virtio_transport transport;
	struct xb_vhost_backend *backend;
	struct xb_vhost_region *regions;
	unsigned n_regions;
	uint8_t status;
	uint64_t features; /* the driver's */
	unsigned pairs;    /* in use */
	int err_epoll_fd;  /* readable when a virtqueue's err_fd is */
	struct virtio_net_config config;
	struct xb_virtio_user_pair *pair; /* transport.pairs_max */
};

/**
 * Makes a device on a backend.
 *
 * @regions: all memory that rings and buffers will lie in; copied.
 * @mac:     6 bytes for the configuration space.
 *
 * Returns 0, -EMFILE or -ENOMEM. How many regions there can be is the backend's to say. The backend
 * outlives the device.
 */
int xb_virtio_user_init(struct xb_virtio_user *user, struct xb_vhost_backend *backend,
			const struct xb_vhost_region *regions, unsigned n_regions,
			const uint8_t mac[6], unsigned mtu, struct xb_error *err);
/** Resets the device and closes its eventfds. */
void xb_virtio_user_fini(struct xb_virtio_user *user);

#endif
