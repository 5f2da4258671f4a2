/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How a virtio driver reaches its device: the driver's side of virtio 1.2, 4. virtio_user
 * implements it in this process over a vhost backend; virtio-pci over VFIO does it on hardware.
 *
 * Addresses in rings and of rings are the device's (`map`), which need not be this process's. All
 * calls but `notify` come from the control thread, while no worker owns the queues concerned.
 */
#ifndef XB_VIRTIO_TRANSPORT_H
#define XB_VIRTIO_TRANSPORT_H

#include "core/error.h"
#include "virtio/virtqueue.h"

#include <stdbool.h>
#include <stdint.h>

struct xb_virtio_transport;

struct xb_virtio_transport_ops {
	/** The features that the device offers. */
	uint64_t (*features)(struct xb_virtio_transport *transport);
	/** Writes the driver's features; 0 or -errno. */
	int (*set_features)(struct xb_virtio_transport *transport, uint64_t features,
			    struct xb_error *err);
	uint8_t (*status)(struct xb_virtio_transport *transport);
	/** Writes the device status; 0 resets, and when it returns, the device touches no memory of
	 *  ours any more. 0 or -errno. */
	int (*set_status)(struct xb_virtio_transport *transport, uint8_t status,
			  struct xb_error *err);
	/** Reads `bytes` of the device-specific configuration at `offset`. 0 or -EINVAL. */
	int (*config)(struct xb_virtio_transport *transport, unsigned offset, void *ret_buf,
		      unsigned bytes);
	/** Tells the device where virtqueue `index` lies and where to begin in it, and enables it;
	 * not while it serves it. 0 or -errno. */
	int (*set_queue)(struct xb_virtio_transport *transport, unsigned index,
			 const struct xb_virtqueue *queue, struct xb_error *err);
	/** A virtqueue as it was told, and, of a pair that it serves no more, where it has got to
	 * in it, as far as whatever serves it can say. 0, or -EINVAL: there is no such virtqueue,
	 * or it was told of none since the reset. */
	int (*get_queue)(struct xb_virtio_transport *transport, unsigned index,
			 struct xb_virtqueue *ret_queue);
	/** Uses the first `pairs` queue pairs from now on, as VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET does.
	 * When it returns, the device touches the others' rings no more. 0 or -errno. */
	int (*set_pairs)(struct xb_virtio_transport *transport, unsigned pairs,
			 struct xb_error *err);
	/** Tells the device that virtqueue `index` has new buffers. Any thread; one system call. */
	void (*notify)(struct xb_virtio_transport *transport, unsigned index);
	/** A descriptor that is readable after the device called about virtqueue `index`; it stays
	 * the transport's. */
	int (*call_fd)(struct xb_virtio_transport *transport, unsigned index);
	/** A descriptor that is readable while packets for receive virtqueue `index` wait in the
	 * device, before it has used a buffer for them; it stays the transport's. Of a queue pair
	 * in use. -1, or no such operation: nobody tells. */
	int (*early_fd)(struct xb_virtio_transport *transport, unsigned index);
	/** Takes back calls that have come on `call_fd`. One system call. */
	void (*clear_calls)(struct xb_virtio_transport *transport, unsigned index);
	/** Whether a virtqueue has failed on the device's side since it was set up. */
	bool (*broken)(struct xb_virtio_transport *transport);
};

/** Embedded as the first member of an implementation. */
struct xb_virtio_transport {
	const struct xb_virtio_transport_ops *ops;
	unsigned pairs_max; /* queue pairs that the device has */
	unsigned queue_size_max;
	struct xb_iova_map map; /* fixed */
};

/** Virtqueue numbers of a network device (virtio 1.2, 5.1.2). */
#define XB_VQ_RX(pair) (2 * (pair))
#define XB_VQ_TX(pair) (2 * (pair) + 1)

#endif
