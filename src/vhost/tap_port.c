/* SPDX-License-Identifier: BSD-2-Clause */
#include "vhost/tap_port.h"

#include "core/cleanup.h"
#include "vhost/tap_queue.h"

#include <errno.h>
#include <linux/if_ether.h>
#include <string.h>

#define VLAN_TAGS_BYTES 8u

/* Where the MTU can't be asked for (handed in from another namespace), nothing is too long. */
#define MTU_UNKNOWN 65535u

const char *xb_tap_io_name(enum xb_tap_io io)
{
	return io == XB_TAP_IO_URING ? "io_uring" : "readv";
}

int xb_tap_port_check(struct xb_tap_port *tap_port)
{
	int ret = xb_tap_check(tap_port->tap);

	if (ret < 0)
		xb_tap_give_up(tap_port);
	return ret;
}

/* ---- queues ---- */

static int start_queue(struct xb_tap_port *tap_port, unsigned q)
{
	struct xb_tap_queue *queue = &tap_port->queues[q];
	xb_auto_free struct xb_tap_read *reads = calloc(tap_port->depth, sizeof(*reads));
	xb_auto_free struct xb_tap_write *writes = calloc(XB_TAP_WRITES, sizeof(*writes));
	int ret;

	if (!reads || !writes)
		return -ENOMEM;
	for (unsigned i = 0; i < tap_port->depth; i++)
		reads[i].missing = tap_port->read_frames;
	*queue = (struct xb_tap_queue){
		.fd = xb_tap_queue_fd(tap_port->tap, q),
		.burst = 1,
		.n_free = XB_TAP_WRITES,
	};
	for (unsigned i = 0; i < XB_TAP_WRITES; i++)
		queue->free[i] = (uint8_t)i;
	ret = tap_port->io == XB_TAP_IO_URING ? xb_tap_uring_start(tap_port, queue) : 0;
	if (ret < 0) {
		queue->fd = -1;
		return ret;
	}
	queue->reads = XB_TAKE_PTR(reads);
	queue->writes = XB_TAKE_PTR(writes);
	tap_port->port.queues[q].wake_fd = queue->fd;
	return 0;
}

static void stop_queue(struct xb_tap_port *tap_port, unsigned q, struct xb_cache *cache)
{
	struct xb_tap_queue *queue = &tap_port->queues[q];

	tap_port->port.queues[q].wake_fd = -1;
	if (tap_port->io == XB_TAP_IO_URING)
		xb_tap_uring_stop(&tap_port->port, q, cache);
	for (unsigned i = 0; i < XB_TAP_WRITES; i++)
		if (queue->writes[i].pkt)
			xb_port_unsent(&tap_port->port, q, cache, queue->writes[i].pkt,
				       XB_DROP_TX_RESET);
	for (unsigned i = 0; i < tap_port->depth; i++) {
		struct xb_tap_read *read = &queue->reads[i];

		for (unsigned f = read->missing; f < tap_port->read_frames; f++) {
			xb_frame_give(read->frames[f], XB_OWNER_RX, XB_OWNER_WORKER);
			xb_packet_free(cache, read->frames[f]);
		}
	}
	free(queue->reads);
	free(queue->writes);
	*queue = (struct xb_tap_queue){.fd = -1};
}

bool xb_tap_port_recall(struct xb_tap_port *tap_port, unsigned first, struct xb_cache *cache)
{
	struct xb_port *port = &tap_port->port;
	bool idle = true;

	/* all queues that are to stop are called before the first is waited for */
	for (unsigned q = first; q < port->n_queues && tap_port->io == XB_TAP_IO_URING; q++)
		idle = xb_tap_uring_recall(port, q, cache) && idle;
	return idle;
}

bool xb_tap_port_unread(const struct xb_tap_port *tap_port, unsigned first)
{
	for (unsigned q = first; q < tap_port->port.n_queues; q++)
		if (tap_port->queues[q].n_posted)
			return true;
	return xb_tap_pending(tap_port->tap, first);
}

/* Stops the queues from `first` on. */
static void stop_queues(struct xb_tap_port *tap_port, unsigned first, struct xb_cache *cache)
{
	struct xb_port *port = &tap_port->port;

	xb_tap_port_recall(tap_port, first, cache);
	while (port->n_queues > first)
		stop_queue(tap_port, --port->n_queues, cache);
}

int xb_tap_port_resize(struct xb_tap_port *tap_port, unsigned pairs, struct xb_cache *cache,
		       struct xb_error *err)
{
	struct xb_port *port = &tap_port->port;
	unsigned before = port->n_queues;
	int ret = 0;

	if (pairs)
		stop_queues(tap_port, pairs, cache);
	ret = xb_tap_set_queues(tap_port->tap, pairs, err);
	if (ret < 0)
		return ret;
	while (port->n_queues < pairs) {
		ret = start_queue(tap_port, port->n_queues);
		if (ret < 0)
			break;
		port->n_queues++;
	}
	if (ret == 0)
		return 0;
	xb_fail(err, ret, "start queue %u of the TAP %s", port->n_queues, tap_port->tap->name);
	if (ret == -EMFILE)
		xb_hint(err, "each queue needs 3 descriptors: raise `ulimit -n`");
	stop_queues(tap_port, before, cache);
	if (before)
		xb_tap_set_queues(tap_port->tap, before, NULL);
	return ret;
}

/* ---- life ---- */

static void settle_caps(struct xb_tap_port *tap_port)
{
	struct xb_tap *tap = tap_port->tap;
	struct xb_port *port = &tap_port->port;
	unsigned mtu = MTU_UNKNOWN;
	uint32_t longest;
	bool up = true;

	xb_tap_get_mtu(tap, &mtu);
	xb_tap_get_up(tap, &up);
	port->caps = (struct xb_port_caps){
		.takes = tap->takes & tap_port->offload.takes,
		.bytes_max = mtu + ETH_HLEN + VLAN_TAGS_BYTES,
		.frames_max = XB_PACKET_FRAMES_MAX,
	};
	atomic_store_explicit(&port->up, up, memory_order_relaxed);

	longest = port->caps.bytes_max;
	if (tap->gives & (XB_TAKES_TSO4 | XB_TAKES_TSO6 | XB_TAKES_USO) ||
	    longest > XB_PACKET_BYTES_MAX)
		longest = XB_PACKET_BYTES_MAX;
	/* one byte more, so that a packet which is longer shows */
	tap_port->read_frames = (longest + XB_FRAME_HEADROOM) / XB_FRAME_BYTES + 1;
}

int xb_tap_port_start(struct xb_tap_port *tap_port, unsigned pairs, struct xb_error *err)
{
	struct xb_tap *tap = tap_port->tap;
	int ret = xb_tap_check(tap);

	if (ret == 0)
		ret = xb_tap_set_offload(tap, tap->takes & tap_port->offload.gives);
	if (ret < 0)
		return xb_fail(err, -ENODEV, "start the TAP %s", tap->name);
	atomic_store_explicit(&tap_port->broken, 0, memory_order_relaxed);
	settle_caps(tap_port);
	return xb_tap_port_resize(tap_port, pairs, NULL, err);
}

void xb_tap_port_stop(struct xb_tap_port *tap_port, struct xb_cache *cache)
{
	stop_queues(tap_port, 0, cache);
}

static int choose_io(struct xb_tap_port *tap_port, enum xb_tap_io wanted, struct xb_error *err)
{
	int ret = wanted == XB_TAP_IO_READV
			  ? 0
			  : xb_tap_uring_probe(tap_port->tap->fds[0], &tap_port->nowait);

	tap_port->uring_error = ret;
	tap_port->io = ret < 0 || wanted == XB_TAP_IO_READV ? XB_TAP_IO_READV : XB_TAP_IO_URING;
	if (wanted != XB_TAP_IO_URING || ret == 0)
		return 0;
	xb_fail(err, ret, "use io_uring on the TAP %s", tap_port->tap->name);
	if (ret == -EPERM)
		xb_hint(err, "sysctl kernel.io_uring_disabled, or a seccomp filter, forbids it");
	return ret;
}

int xb_tap_port_init(struct xb_tap_port *tap_port, struct xb_tap *tap,
		     const struct xb_tap_port_options *options, struct xb_error *err)
{
	struct xb_tap_port made = {.tap = tap, .offload = options->offload};
	const struct xb_port_ops *ops;
	int ret;

	made.depth = options->depth ? options->depth : XB_TAP_DEPTH;
	if (made.depth > XB_BATCH)
		return xb_fail(err, -EINVAL, "%u reads at once on a TAP (1 to %u)", made.depth,
			       XB_BATCH);
	ret = choose_io(&made, options->io, err);
	if (ret < 0)
		return ret;
	ops = made.io == XB_TAP_IO_URING ? &xb_tap_uring_ops : &xb_tap_readv_ops;
	ret = xb_port_init(&made.port, ops, options->name, tap->queues_max);
	if (ret < 0)
		return xb_fail(err, ret, "make a port named '%s'", options->name);
	made.queues = aligned_alloc(64, tap->queues_max * sizeof(*made.queues));
	if (!made.queues) {
		xb_port_fini(&made.port);
		return xb_fail(err, -ENOMEM, "allocate %u TAP queues", tap->queues_max);
	}
	for (unsigned q = 0; q < tap->queues_max; q++)
		made.queues[q] = (struct xb_tap_queue){.fd = -1};
	*tap_port = made;
	return 0;
}

void xb_tap_port_fini(struct xb_tap_port *tap_port)
{
	xb_port_fini(&tap_port->port);
	free(tap_port->queues);
	tap_port->queues = NULL;
}
