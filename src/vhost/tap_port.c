/* SPDX-License-Identifier: BSD-2-Clause */
#include "vhost/tap_port.h"

#include "core/checksum.h"
#include "core/cleanup.h"
#include "vhost/tap_queue.h"
#include "virtio/net_hdr.h"

#include <assert.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <string.h>

#define HDR_BYTES ((uint32_t)sizeof(struct virtio_net_hdr_v1))

#define VLAN_TAGS_BYTES 8u

/* Where the MTU can't be asked for (handed in from another namespace), nothing is too long. */
#define MTU_UNKNOWN 65535u

static_assert(sizeof(struct virtio_net_hdr_v1) == XB_TAP_HDR_BYTES, "the TAP's header");

const char *xb_tap_io_name(enum xb_tap_io io)
{
	return io == XB_TAP_IO_URING ? "io_uring" : "readv";
}

void xb_tap_give_up(struct xb_tap_port *tap_port)
{
	atomic_store_explicit(&tap_port->broken, -ENODEV, memory_order_relaxed);
	atomic_store_explicit(&tap_port->port.up, false, memory_order_relaxed);
}

int xb_tap_port_check(struct xb_tap_port *tap_port)
{
	int ret = xb_tap_check(tap_port->tap);

	if (ret < 0)
		xb_tap_give_up(tap_port);
	return ret;
}

/* ---- reading ---- */

bool xb_tap_slot_fill(struct xb_tap_slot *slot, struct xb_cache *cache)
{
	struct xb_frame *fresh[XB_TAP_READ_FRAMES_MAX];

	if (!slot->missing)
		return true;
	if (!xb_frame_alloc_many(cache, fresh, slot->missing))
		return false;
	for (unsigned i = 0; i < slot->missing; i++) {
		uint32_t head = i ? 0 : XB_FRAME_HEADROOM - HDR_BYTES;

		xb_frame_give(fresh[i], XB_OWNER_WORKER, XB_OWNER_RX);
		slot->frames[i] = fresh[i];
		slot->iov[i] = (struct iovec){fresh[i]->base + head, XB_FRAME_BYTES - head};
	}
	slot->missing = 0;
	return true;
}

static uint32_t slot_room(const struct xb_tap_port *tap_port)
{
	return tap_port->read_frames * XB_FRAME_BYTES - XB_FRAME_HEADROOM;
}

/* Takes the frames that hold `bytes` of a packet out of a slot. */
static struct xb_frame *take_packet(struct xb_tap_slot *slot, uint32_t bytes)
{
	struct xb_frame *first = slot->frames[0];
	struct xb_frame *last = first;
	uint32_t part = bytes < XB_FRAME_ROOM ? bytes : XB_FRAME_ROOM;

	xb_frame_give(first, XB_OWNER_RX, XB_OWNER_WORKER);
	xb_packet_init(first, XB_FRAME_HEADROOM, part);
	slot->missing = 1;
	for (bytes -= part; bytes; bytes -= part) {
		struct xb_frame *frame = slot->frames[slot->missing++];

		part = bytes < XB_FRAME_BYTES ? bytes : XB_FRAME_BYTES;
		xb_frame_give(frame, XB_OWNER_RX, XB_OWNER_WORKER);
		xb_packet_init(frame, 0, part);
		xb_packet_append(first, last, frame);
		last = frame;
	}
	return first;
}

struct xb_frame *xb_tap_slot_harvest(struct xb_port *port, unsigned q, struct xb_tap_slot *slot,
				     ssize_t got, struct xb_cache *cache)
{
	struct xb_tap_port *tap_port = xb_tap_port_of(port);
	struct virtio_net_hdr_v1 hdr;
	struct xb_frame *pkt;
	uint32_t bytes;

	if (got < 0) {
		if (got == -EBADFD)
			xb_tap_give_up(tap_port);
		else
			xb_count(&port->queues[q].rx_missed, 1);
		return NULL;
	}
	if (got < (ssize_t)HDR_BYTES) {
		xb_port_refuse(port, q, cache, NULL, 0, XB_DROP_BAD_HEADER);
		return NULL;
	}
	bytes = (uint32_t)got - HDR_BYTES;
	/* A packet that fills the slot to the last byte may have been cut there. */
	if (bytes > XB_PACKET_BYTES_MAX || bytes >= slot_room(tap_port)) {
		xb_port_refuse(port, q, cache, NULL, bytes, XB_DROP_TOO_LONG);
		return NULL;
	}
	memcpy(&hdr, slot->iov[0].iov_base, sizeof(hdr));
	pkt = take_packet(slot, bytes);
	if (xb_net_hdr_read(&hdr, pkt) < 0) {
		xb_port_refuse(port, q, cache, pkt, bytes, XB_DROP_BAD_HEADER);
		xb_packet_free(cache, pkt);
		return NULL;
	}
	return pkt;
}

/* ---- sending ---- */

void xb_tap_write_prepare(struct xb_tap_write *write, struct xb_frame *pkt)
{
	const struct xb_frame *frame = pkt;
	uint8_t *data;

	if (pkt->offload.csum == XB_CSUM_TRUSTED)
		xb_csum_make_partial(pkt); /* the TAP takes no checksum on trust */
	xb_net_hdr_write(pkt, &write->hdr);
	data = xb_frame_data(pkt);
	write->pkt = pkt;
	write->bytes = pkt->bytes + HDR_BYTES;
	if (pkt->head >= HDR_BYTES) {
		memcpy(data - HDR_BYTES, &write->hdr, HDR_BYTES);
		write->iov[0] = (struct iovec){data - HDR_BYTES, pkt->len + HDR_BYTES};
		frame = pkt->next;
	} else {
		write->iov[0] = (struct iovec){&write->hdr, HDR_BYTES};
	}
	write->n = 1;
	for (; frame; frame = frame->next)
		write->iov[write->n++] = (struct iovec){xb_frame_data(frame), frame->len};
	xb_frame_give(pkt, XB_OWNER_WORKER, XB_OWNER_TX);
}

void xb_tap_write_done(struct xb_port *port, unsigned q, struct xb_tap_write *write, ssize_t ret,
		       struct xb_cache *cache)
{
	struct xb_frame *pkt = write->pkt;

	write->pkt = NULL;
	if (ret == (ssize_t)write->bytes) {
		xb_port_sent(port, q, cache, pkt);
		return;
	}
	if (ret == -EBADFD)
		xb_tap_give_up(xb_tap_port_of(port));
	/* EAGAIN: beyond the send buffer. EIO: the interface is down. EINVAL: it doesn't like it.
	 */
	xb_port_unsent(port, q, cache, pkt, ret == -EAGAIN ? XB_DROP_TX_FULL : XB_DROP_TX_ERROR);
}

/* ---- queues ---- */

static int start_queue(struct xb_tap_port *tap_port, unsigned q)
{
	struct xb_tap_queue *queue = &tap_port->queues[q];
	xb_auto_free struct xb_tap_slot *slots = calloc(tap_port->depth, sizeof(*slots));
	xb_auto_free struct xb_tap_write *writes = calloc(XB_TAP_WRITES, sizeof(*writes));
	int ret;

	if (!slots || !writes)
		return -ENOMEM;
	for (unsigned i = 0; i < tap_port->depth; i++)
		slots[i].missing = tap_port->read_frames;
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
	queue->slots = XB_TAKE_PTR(slots);
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
		struct xb_tap_slot *slot = &queue->slots[i];

		for (unsigned f = slot->missing; f < tap_port->read_frames; f++) {
			xb_frame_give(slot->frames[f], XB_OWNER_RX, XB_OWNER_WORKER);
			xb_packet_free(cache, slot->frames[f]);
		}
	}
	free(queue->slots);
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
		if (tap_port->queues[q].reads)
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
		.takes = tap_port->offload ? tap->takes : 0,
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
		ret = xb_tap_set_offload(tap, tap_port->offload ? tap->takes : 0);
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
