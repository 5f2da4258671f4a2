/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The TAP as a port, without vhost-net: packets are read from and written to the queues'
 * descriptors (virtio-net header in front), by io_uring in batches, or one by one where io_uring is
 * refused.
 *
 * The kernel copies each packet once, between its buffers and the frames: that is the price of
 * doing without vhost-net. Segments of 64 KB cross whole in both directions where offload is on.
 *
 * Threads: init, start, resize, stop and fini are the control thread's, while the queues concerned
 * are not published.
 */
#ifndef XB_VHOST_TAP_PORT_H
#define XB_VHOST_TAP_PORT_H

#include "core/port.h"
#include "vhost/tap.h"

enum xb_tap_io {
	XB_TAP_IO_AUTO,  /* io_uring, else readv */
	XB_TAP_IO_URING, /* a batch is one system call */
	XB_TAP_IO_READV, /* a packet is one system call */
};

/** Reads that are tried at once, where the user says nothing else. */
#define XB_TAP_DEPTH 32u

struct xb_tap_port_options {
	const char *name;
	struct xb_offload_set offload; /* as far as the TAP can */
	unsigned depth;    /* most reads tried at once, at most XB_BATCH; 0: XB_TAP_DEPTH */
	enum xb_tap_io io; /* URING: fail where it is refused */
};

struct xb_tap_queue;

struct xb_tap_port {
	struct xb_port port;
	struct xb_tap *tap;
	struct xb_offload_set offload; /* from the next start on; the caller's to set */
	unsigned depth;
	enum xb_tap_io io;    /* in use: URING or READV; for `status` */
	bool nowait;          /* URING: reads go in batches too (Linux 6.4), not one by one */
	int uring_error;      /* -errno with which io_uring was refused, else 0; for `status` */
	unsigned read_frames; /* frames that one read takes; valid while started */
	_Atomic int broken;   /* -ENODEV once the interface turned out to be deleted, else 0 */
	struct xb_tap_queue *queues; /* queues_max of the port */
};

/** "io_uring" or "readv". */
const char *xb_tap_io_name(enum xb_tap_io io);

/**
 * Readies a stopped port on an open TAP, which outlives it and is used by nobody else.
 *
 * Returns 0, or with `err` filled -EINVAL (options), -ENOMEM, or why io_uring is refused where it
 * was insisted on: -ENOSYS, -EPERM (sysctl kernel.io_uring_disabled, seccomp), -EINVAL (Linux
 * before 5.19).
 */
int xb_tap_port_init(struct xb_tap_port *tap_port, struct xb_tap *tap,
		     const struct xb_tap_port_options *options, struct xb_error *err);
/** The port is stopped. */
void xb_tap_port_fini(struct xb_tap_port *tap_port);

/**
 * Starts `pairs` queue pairs, opening queues of the TAP as needed. Settles `caps` (the TAP's MTU
 * and offloads as they are now) and `up` (the interface's; after that it is the caller's to keep).
 * An MTU that changes later takes effect at the next start; longer packets are dropped until then
 * (too_long).
 *
 * Each pair holds up to depth × read_frames frames for reading, taken by the worker as traffic
 * needs them: depth × 17 with offload, which is 2.1 MiB.
 *
 * Returns 0 or, with `err` filled and the port stopped, -errno; -ENODEV where the TAP was deleted.
 */
int xb_tap_port_start(struct xb_tap_port *tap_port, unsigned pairs, struct xb_error *err);

/** Calls back what the kernel has been asked to do on queues from `first` on, which are not
 * published, and doesn't wait. True: nothing is left, so that stop and resize wait for nothing
 * either; false: ask again. Such a queue can't be published again. */
bool xb_tap_port_recall(struct xb_tap_port *tap_port, unsigned first, struct xb_cache *cache);

/** Whether packets wait for us on queues from `first` on, which are not published. */
bool xb_tap_port_unread(const struct xb_tap_port *tap_port, unsigned first);

/** Stops all queues. Every frame comes back to `cache`; what was posted and not yet sent is counted
 *  as tx_reset. What the kernel has queued for us waits for the next start. */
void xb_tap_port_stop(struct xb_tap_port *tap_port, struct xb_cache *cache);

/**
 * Changes how many pairs are in use while the port is started. More come ready to be published.
 * Fewer are unpublished before, and nothing is lost where the caller went through the steps at
 * xb_tap_set_queues: steer off, read until nothing is pending, unpublish, this, steer back.
 * Returns 0 or, with `err` filled and the port as before, -errno.
 */
int xb_tap_port_resize(struct xb_tap_port *tap_port, unsigned pairs, struct xb_cache *cache,
		       struct xb_error *err);

/** Asks whether the interface is still there, and sets `broken` and clears `up` where it isn't; for
 *  the control thread when netlink tells of a deletion. Workers notice by themselves with a TAP,
 * but not with a macvtap. A broken port is silent: nothing arrives, what is sent is dropped. Stop
 * it. */
int xb_tap_port_check(struct xb_tap_port *tap_port);

#endif
