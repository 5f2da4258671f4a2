/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What serves the rings of a virtio_user device: vhost-net in the kernel, a vhost-user back-end in
 * another process, a vDPA device.
 *
 * A backend has features of its own. It serves queue pairs one by one: a pair that was not started,
 * or was stopped, is not touched. Control thread.
 */
#ifndef XB_VHOST_BACKEND_H
#define XB_VHOST_BACKEND_H

#include "core/error.h"
#include "virtio/virtqueue.h"

#include <stdbool.h>
#include <stdint.h>

struct xb_vhost_backend;

/** A piece of memory that rings and buffers lie in. The device's address of it ("guest physical",
 * struct xb_iova) is the address in this process. */
struct xb_vhost_region {
	uint8_t *addr;
	uint64_t bytes;
	int fd; /* what backs it, from offset 0 on; for backends in another process */
};

/** One virtqueue as the backend gets it. The descriptors are eventfds and stay the caller's. */
struct xb_vhost_vring {
	struct xb_virtqueue queue;
	int kick_fd; /* we write: new buffers */
	int call_fd; /* it writes: used buffers; -1: never */
	int err_fd;  /* it writes: it can't go on */
};

struct xb_vhost_backend_ops {
	/** The virtio features that it can do, ring and network. */
	uint64_t (*features)(struct xb_vhost_backend *backend);
	/** What was negotiated, and the memory. No pair is started. 0 or -errno. */
	int (*configure)(struct xb_vhost_backend *backend, uint64_t features,
			 const struct xb_vhost_region *regions, unsigned n_regions,
			 struct xb_error *err);
	/** Starts to serve a pair { receive, transmit }, from the base of each queue on. 0 or
	 * -errno, the pair stopped. */
	int (*start_pair)(struct xb_vhost_backend *backend, unsigned pair,
			  const struct xb_vhost_vring vrings[2], struct xb_error *err);
	/** When it returns, the pair's rings and buffers are touched no more. Returns 0 with the
	 * base from which each queue can be gone on with, or -errno where it can't tell, with
	 * `ret_bases` untouched. */
	int (*stop_pair)(struct xb_vhost_backend *backend, unsigned pair, uint32_t ret_bases[2]);
	/** A descriptor that is readable while packets wait that a started pair is going to
	 * receive; it stays the backend's. NULL: there is none. */
	int (*early_fd)(struct xb_vhost_backend *backend, unsigned pair);
};

/** Embedded as the first member of an implementation. */
struct xb_vhost_backend {
	const struct xb_vhost_backend_ops *ops;
	unsigned pairs_max;
};

#endif
