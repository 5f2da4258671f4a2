/* SPDX-License-Identifier: BSD-2-Clause */
#include "xsk/packet_tx.h"

#include "core/calls.h"
#include "core/cleanup.h"
#include "netdev/netdev.h"
#include "xbridge/bytes.h"

#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/virtio_net.h>
#include <sys/socket.h>

XB_CALL(worker, sendmmsg);
XB_CALL(control, sendmmsg);
XB_CALL(control, bind);
XB_CALL(control, setsockopt);
XB_CALL(control, socket);
XB_CALL(control, close);

#define SOCKET_BYTES      (4 << 20)
#define VLAN_HEADER_BYTES 4u

/* Pieces of memory that one system call sends: some ten segments of 64 KB, or a batch of frames. */
#define PARTS_MAX 512u
static_assert(PARTS_MAX >= 2 * XB_BATCH && PARTS_MAX > XB_PACKET_FRAMES_MAX,
	      "a batch of single frames goes in one call, the longest packet in any");

/* What one system call is told. */
struct batch {
	struct mmsghdr messages[XB_BATCH];
	struct virtio_net_hdr headers[XB_BATCH];
	struct iovec parts[PARTS_MAX];
};

int xb_packet_tx_open(struct xb_packet_tx *tx, uint32_t ifindex, const char *ifname, uint32_t mtu,
		      struct xb_error *err)
{
	/* protocol 0: nothing comes in */
	struct sockaddr_ll addr = {.sll_family = AF_PACKET, .sll_ifindex = (int)ifindex};
	xb_auto_fd int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	const int on = 1, bytes = SOCKET_BYTES;

	if (fd < 0) {
		int ret = xb_fail(err, -errno, "open a packet socket for %s", ifname);

		xb_netdev_hint_family(err, "AF_PACKET", "PACKET");
		return ret;
	}
	if (setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, &on, sizeof(on)) < 0)
		return xb_fail(err, -errno, "set up the packet socket for %s", ifname);
	/* failing that, a slow interface refuses packets sooner */
	setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof(bytes));
	if (bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
		return xb_fail(err, -errno, "bind a packet socket to %s", ifname);
	tx->fd = XB_TAKE_FD(fd);
	tx->mtu = mtu;
	return 0;
}

void xb_packet_tx_close(struct xb_packet_tx *tx)
{
	xb_cleanup_close(&tx->fd);
	tx->fd = -1;
}

bool xb_packet_tx_refuses(const struct xb_packet_tx *tx, const struct xb_frame *pkt)
{
	const uint32_t whole = tx->mtu + ETH_HLEN;

	if (pkt->offload.gso != XB_GSO_NONE || pkt->bytes <= whole)
		return false;
	return pkt->bytes > whole + VLAN_HEADER_BYTES ||
	       xb_get_be16(xb_frame_data(pkt) + 2 * ETH_ALEN) != ETH_P_8021Q;
}

/* The header that packet(7) reads: in host byte order, without the number of buffers. */
static void write_header(const struct xb_frame *pkt, struct virtio_net_hdr *hdr)
{
	const struct xb_offload *offload = &pkt->offload;

	*hdr = (struct virtio_net_hdr){0};
	if (offload->csum != XB_CSUM_PARTIAL)
		return;
	hdr->flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
	hdr->csum_start = offload->csum_start;
	hdr->csum_offset = offload->csum_offset;
	if (offload->gso == XB_GSO_NONE)
		return;
	hdr->gso_type = offload->gso == XB_GSO_TCP4 ? VIRTIO_NET_HDR_GSO_TCPV4
						    : VIRTIO_NET_HDR_GSO_TCPV6;
	if (offload->ecn)
		hdr->gso_type |= VIRTIO_NET_HDR_GSO_ECN;
	hdr->hdr_len = offload->hdr_bytes;
	hdr->gso_size = offload->gso_size;
}

/* Lays out as many packets as fit, header first; returns their number. */
static unsigned lay_out(struct batch *batch, struct xb_frame *const *pkts, unsigned n)
{
	unsigned n_parts = 0;
	unsigned i;

	for (i = 0; i < n && n_parts + 1 + pkts[i]->count <= PARTS_MAX; i++) {
		struct iovec *first = &batch->parts[n_parts];

		write_header(pkts[i], &batch->headers[i]);
		batch->parts[n_parts++] = (struct iovec){&batch->headers[i],
							 sizeof(batch->headers[i])};
		for (const struct xb_frame *frame = pkts[i]; frame; frame = frame->next)
			batch->parts[n_parts++] = (struct iovec){xb_frame_data(frame), frame->len};
		batch->messages[i].msg_hdr = (struct msghdr){.msg_iov = first,
							     .msg_iovlen = 1u + pkts[i]->count};
	}
	return i;
}

unsigned xb_packet_tx_send(const struct xb_packet_tx *tx, struct xb_port *port, unsigned q,
			   struct xb_cache *cache, struct xb_frame **pkts, unsigned n)
{
	struct batch batch;
	unsigned done = 0;

	while (done < n) {
		unsigned ready = lay_out(&batch, pkts + done, n - done);
		int sent = sendmmsg(tx->fd, batch.messages, ready, MSG_DONTWAIT);

		if (sent < 0 && errno == EAGAIN)
			break;
		if (sent < 0 && errno == EINTR)
			continue;
		if (sent < 0) { /* the first one's fault; the next may go */
			xb_port_drop(port, q, cache, pkts[done++],
				     errno == ENOBUFS ? XB_DROP_TX_FULL : XB_DROP_TX_ERROR);
			continue;
		}
		for (; sent; sent--, done++) {
			xb_frame_give(pkts[done], XB_OWNER_WORKER, XB_OWNER_TX);
			xb_port_sent(port, q, cache, pkts[done]);
		}
	}
	return done;
}
