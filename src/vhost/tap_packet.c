/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How a packet is read from the TAP into frames, and written from them: for both forms of the port.
 */
#include "core/checksum.h"
#include "vhost/tap_queue.h"
#include "virtio/net_hdr.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#define HDR_BYTES ((uint32_t)sizeof(struct virtio_net_hdr_v1))

static_assert(sizeof(struct virtio_net_hdr_v1) == XB_TAP_HDR_BYTES, "the TAP's header");

void xb_tap_give_up(struct xb_tap_port *tap_port)
{
	atomic_store_explicit(&tap_port->broken, -ENODEV, memory_order_relaxed);
	atomic_store_explicit(&tap_port->port.up, false, memory_order_relaxed);
}

/* ---- reading ---- */

bool xb_tap_read_fill(struct xb_tap_read *read, struct xb_cache *cache)
{
	struct xb_frame *fresh[XB_TAP_READ_FRAMES_MAX];

	if (!read->missing)
		return true;
	if (!xb_frame_alloc_many(cache, fresh, read->missing))
		return false;
	for (unsigned i = 0; i < read->missing; i++) {
		uint32_t head = i ? 0 : XB_FRAME_HEADROOM - HDR_BYTES;

		xb_frame_give(fresh[i], XB_OWNER_WORKER, XB_OWNER_RX);
		read->frames[i] = fresh[i];
		read->iov[i] = (struct iovec){fresh[i]->base + head, XB_FRAME_BYTES - head};
	}
	read->missing = 0;
	return true;
}

static uint32_t room_of_read(const struct xb_tap_port *tap_port)
{
	return tap_port->read_frames * XB_FRAME_BYTES - XB_FRAME_HEADROOM;
}

/* Takes the frames that hold `bytes` of a packet out of a read. */
static struct xb_frame *take_packet(struct xb_tap_read *read, uint32_t bytes)
{
	struct xb_frame *first = read->frames[0];
	struct xb_frame *last = first;
	uint32_t part = bytes < XB_FRAME_ROOM ? bytes : XB_FRAME_ROOM;

	xb_frame_give(first, XB_OWNER_RX, XB_OWNER_WORKER);
	xb_packet_init(first, XB_FRAME_HEADROOM, part);
	read->missing = 1;
	for (bytes -= part; bytes; bytes -= part) {
		struct xb_frame *frame = read->frames[read->missing++];

		part = bytes < XB_FRAME_BYTES ? bytes : XB_FRAME_BYTES;
		xb_frame_give(frame, XB_OWNER_RX, XB_OWNER_WORKER);
		xb_packet_init(frame, 0, part);
		xb_packet_append(first, last, frame);
		last = frame;
	}
	return first;
}

struct xb_frame *xb_tap_read_done(struct xb_port *port, unsigned q, struct xb_tap_read *read,
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
	/* A packet that fills the read to the last byte may have been cut there. */
	if (bytes > XB_PACKET_BYTES_MAX || bytes >= room_of_read(tap_port)) {
		xb_port_refuse(port, q, cache, NULL, bytes, XB_DROP_TOO_LONG);
		return NULL;
	}
	memcpy(&hdr, read->iov[0].iov_base, sizeof(hdr));
	pkt = take_packet(read, bytes);
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
