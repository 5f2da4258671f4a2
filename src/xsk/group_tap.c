/* SPDX-License-Identifier: BSD-2-Clause */
#include "xsk/group_tap.h"

#include "core/calls.h"
#include "core/cleanup.h"
#include "netdev/netdev.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/virtio_net.h>
#include <string.h>
#include <sys/socket.h>

XB_CALL(worker, recvmmsg);
XB_CALL(control, recvmmsg);
XB_CALL(control, bind);
XB_CALL(control, ioctl);
XB_CALL(control, setsockopt);
XB_CALL(control, getsockopt);
XB_CALL(control, socket);

#define VLAN_BYTES   4u
#define VNET_BYTES   ((uint32_t)sizeof(struct virtio_net_hdr))
#define SOCKET_BYTES (4 << 20)

/* What the kernel says about one frame, beside its bytes. */
struct note {
	struct virtio_net_hdr vnet;
	alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(struct tpacket_auxdata))];
};

static int set_option(int fd, int level, int option, int value)
{
	return setsockopt(fd, level, option, &value, sizeof(value));
}

int xb_group_tap_open(struct xb_group_tap *tap, uint32_t ifindex, const char *ifname,
		      struct xb_error *err)
{
	/* the group bit: the lowest of the first byte */
	struct sock_filter group_only[] = {
		BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 0),
		BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, 1, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, XB_PACKET_BYTES_MAX),
		BPF_STMT(BPF_RET | BPF_K, 0),
	};
	struct sock_fprog filter = {.len = sizeof(group_only) / sizeof(group_only[0]),
				    .filter = group_only};
	struct sockaddr_ll addr = {.sll_family = AF_PACKET,
				   .sll_protocol = htons(ETH_P_ALL),
				   .sll_ifindex = (int)ifindex};
	/* protocol 0: nothing comes in before the filter stands */
	xb_auto_fd int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0) {
		int ret = xb_fail(err, -errno, "open a packet socket for %s", ifname);

		xb_netdev_hint_family(err, "AF_PACKET", "PACKET");
		return ret;
	}
	if (setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof(filter)) < 0 ||
	    set_option(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, 1) < 0 ||
	    set_option(fd, SOL_PACKET, PACKET_AUXDATA, 1) < 0 ||
	    set_option(fd, SOL_PACKET, PACKET_VNET_HDR, 1) < 0)
		return xb_fail(err, -errno, "set up the packet socket for %s", ifname);
	/* failing that, bursts are missed sooner */
	set_option(fd, SOL_SOCKET, SO_RCVBUFFORCE, SOCKET_BYTES);
	if (bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
		return xb_fail(err, -errno, "bind a packet socket to %s", ifname);
	*tap = (struct xb_group_tap){.fd = XB_TAKE_FD(fd)};
	return 0;
}

void xb_group_tap_close(struct xb_group_tap *tap, struct xb_cache *cache)
{
	if (tap->fd < 0)
		return;
	close(tap->fd);
	tap->fd = -1;
	while (tap->n_spare) {
		struct xb_frame *frame = tap->spare[--tap->n_spare];

		xb_frame_give(frame, XB_OWNER_RX, XB_OWNER_WORKER);
		xb_packet_free(cache, frame);
	}
}

static void restock(struct xb_group_tap *tap, struct xb_cache *cache)
{
	while (tap->n_spare < XB_GROUP_TAP_BATCH) {
		struct xb_frame *frame = xb_frame_alloc(cache);

		if (!frame)
			return;
		xb_frame_give(frame, XB_OWNER_WORKER, XB_OWNER_RX);
		tap->spare[tap->n_spare++] = frame;
	}
}

/* Puts the VLAN tag back that the kernel keeps beside the frame; returns the bytes added. */
static uint32_t restore_tag(struct xb_frame *frame, struct msghdr *msg)
{
	struct cmsghdr *control = CMSG_FIRSTHDR(msg);
	struct tpacket_auxdata aux;
	uint16_t tag[2];
	uint8_t *data;

	if (!control || control->cmsg_level != SOL_PACKET || control->cmsg_type != PACKET_AUXDATA)
		return 0;
	memcpy(&aux, CMSG_DATA(control), sizeof(aux));
	if (!(aux.tp_status & TP_STATUS_VLAN_VALID))
		return 0;
	tag[0] = htons(aux.tp_status & TP_STATUS_VLAN_TPID_VALID ? aux.tp_vlan_tpid : ETH_P_8021Q);
	tag[1] = htons(aux.tp_vlan_tci);
	data = xb_frame_data(frame);
	memmove(data - VLAN_BYTES, data, 2 * ETH_ALEN);
	memcpy(data - VLAN_BYTES + 2 * ETH_ALEN, tag, sizeof(tag));
	xb_packet_init(frame, frame->head - VLAN_BYTES, frame->len + VLAN_BYTES);
	return VLAN_BYTES;
}

static uint32_t packet_bytes(const struct mmsghdr *message)
{
	uint32_t bytes = message->msg_len;

	return bytes < VNET_BYTES ? 0 : bytes - VNET_BYTES;
}

/* Makes a packet of what was read into `frame`; returns the reason where it is none. */
static enum xb_drop make_packet(struct xb_frame *frame, struct mmsghdr *message,
				const struct virtio_net_hdr *vnet, bool trusted)
{
	uint32_t bytes = packet_bytes(message);
	uint32_t start = vnet->csum_start;

	if (bytes < ETH_HLEN)
		return XB_DROP_RUNT;
	if (message->msg_hdr.msg_flags & MSG_TRUNC || vnet->gso_type != VIRTIO_NET_HDR_GSO_NONE)
		return XB_DROP_TOO_LONG;
	xb_packet_init(frame, XB_FRAME_HEADROOM, bytes);
	start += restore_tag(frame, &message->msg_hdr);
	if (vnet->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) {
		if (start + vnet->csum_offset + 2u > frame->len)
			return XB_DROP_BAD_HEADER;
		frame->offload.csum = XB_CSUM_PARTIAL;
		frame->offload.csum_start = (uint16_t)start;
		frame->offload.csum_offset = vnet->csum_offset;
	} else if (trusted) {
		frame->offload.csum = XB_CSUM_TRUSTED;
	}
	return XB_DROP_COUNT;
}

unsigned xb_group_tap_rx(struct xb_group_tap *tap, struct xb_port *port, unsigned q,
			 struct xb_cache *cache, struct xb_frame **pkts, unsigned max)
{
	struct mmsghdr messages[XB_GROUP_TAP_BATCH];
	struct iovec parts[XB_GROUP_TAP_BATCH][2];
	struct note notes[XB_GROUP_TAP_BATCH];
	unsigned got = 0;
	int n;

	restock(tap, cache);
	if (max > tap->n_spare)
		max = tap->n_spare;
	for (unsigned i = 0; i < max; i++) {
		parts[i][0] = (struct iovec){&notes[i].vnet, sizeof(notes[i].vnet)};
		parts[i][1] = (struct iovec){tap->spare[i]->base + XB_FRAME_HEADROOM,
					     XB_FRAME_ROOM};
		messages[i].msg_hdr = (struct msghdr){.msg_iov = parts[i],
						      .msg_iovlen = 2,
						      .msg_control = notes[i].control,
						      .msg_controllen = sizeof(notes[i].control)};
		messages[i].msg_len = 0;
	}
	/* An error (the link went down, the interface is gone) is taken off the socket by this. */
	n = max ? recvmmsg(tap->fd, messages, max, MSG_DONTWAIT, NULL) : 0;
	/* Kernels before 6.2 lose a packet of UDP segments here, whose length nobody knows then. */
	if (n < 0 && errno == EINVAL)
		xb_port_refuse(port, q, cache, NULL, 0, XB_DROP_TOO_LONG);
	if (n <= 0)
		return 0;
	for (int i = 0; i < n; i++) {
		struct xb_frame *frame = tap->spare[i];
		enum xb_drop reason;

		xb_frame_give(frame, XB_OWNER_RX, XB_OWNER_WORKER);
		reason = make_packet(frame, &messages[i], &notes[i].vnet, port->caps.trusts_csum);
		if (reason == XB_DROP_COUNT) {
			pkts[got++] = frame;
			continue;
		}
		xb_port_refuse(port, q, cache, NULL, packet_bytes(&messages[i]), reason);
		xb_packet_free(cache, frame);
	}
	tap->n_spare -= (unsigned)n;
	memmove(tap->spare, tap->spare + n, tap->n_spare * sizeof(tap->spare[0]));
	return got;
}

uint64_t xb_group_tap_missed(const struct xb_group_tap *tap)
{
	struct tpacket_stats stats = {0};
	socklen_t bytes = sizeof(stats);

	if (tap->fd < 0 || getsockopt(tap->fd, SOL_PACKET, PACKET_STATISTICS, &stats, &bytes) < 0)
		return 0;
	return stats.tp_drops;
}
