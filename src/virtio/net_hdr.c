/* SPDX-License-Identifier: BSD-2-Clause */
#include "virtio/net_hdr.h"

#include "core/checksum.h"
#include "core/l4.h"

#include <endian.h>
#include <errno.h>
#include <linux/in.h>
#include <linux/tcp.h>
#include <linux/udp.h>

#define TCP_DOFF_AT 12u /* data offset, in the upper half of this byte, in units of 4 bytes */

static const uint8_t gso_types[] = {
	[XB_GSO_NONE] = VIRTIO_NET_HDR_GSO_NONE,
	[XB_GSO_TCP4] = VIRTIO_NET_HDR_GSO_TCPV4,
	[XB_GSO_TCP6] = VIRTIO_NET_HDR_GSO_TCPV6,
	[XB_GSO_UDP_L4] = VIRTIO_NET_HDR_GSO_UDP_L4,
};

/* Is the checksum that is left open TCP's or UDP's, in its place? */
static bool is_usual(const struct xb_headers *l4, uint16_t start, uint16_t offset)
{
	if (start != l4->l4)
		return false;
	if (l4->proto == IPPROTO_TCP)
		return offset == offsetof(struct tcphdr, check);
	return l4->proto == IPPROTO_UDP && offset == offsetof(struct udphdr, check);
}

/* Bytes of all headers before the payload, 0 where they are not all there. */
static uint32_t header_bytes(const uint8_t *data, uint32_t len, const struct xb_headers *l4)
{
	uint32_t l4_bytes = sizeof(struct udphdr);

	if (l4->proto == IPPROTO_TCP) {
		if (len < l4->l4 + sizeof(struct tcphdr))
			return 0;
		l4_bytes = (data[l4->l4 + TCP_DOFF_AT] >> 4) * 4u;
		if (l4_bytes < sizeof(struct tcphdr))
			return 0;
	}
	return l4->l4 + l4_bytes <= len ? l4->l4 + l4_bytes : 0;
}

/* The kind of GSO that a packet with these headers can be. */
static enum xb_gso gso_of(const struct xb_headers *l4)
{
	if (l4->proto == IPPROTO_UDP)
		return XB_GSO_UDP_L4;
	return xb_l4_is_v4(l4) ? XB_GSO_TCP4 : XB_GSO_TCP6;
}

/* Adds the segmentation that `hdr` asks for to `offload`. `l4` holds TCP or UDP. */
static int accept_gso(const struct virtio_net_hdr_v1 *hdr, const struct xb_frame *pkt,
		      const uint8_t *data, uint32_t len, const struct xb_headers *l4,
		      struct xb_offload *offload)
{
	uint8_t type = hdr->gso_type & (uint8_t)~VIRTIO_NET_HDR_GSO_ECN;
	uint16_t gso_size = le16toh(hdr->gso_size);
	bool ecn = hdr->gso_type & VIRTIO_NET_HDR_GSO_ECN;
	enum xb_gso gso = gso_of(l4);
	uint32_t hdr_bytes = header_bytes(data, len, l4);

	if (type != gso_types[gso] || (ecn && gso == XB_GSO_UDP_L4))
		return -EINVAL;
	if (!gso_size || !hdr_bytes || le16toh(hdr->hdr_len) > pkt->bytes)
		return -EINVAL;
	if (pkt->bytes - hdr_bytes <= gso_size)
		return 0;
	offload->gso = (uint8_t)gso;
	offload->ecn = ecn;
	offload->gso_size = gso_size;
	offload->hdr_bytes = (uint16_t)hdr_bytes;
	return 0;
}

/* A checksum in a place of its own: finished now, before anybody looks at the packet. */
static int finish(struct xb_frame *pkt, const struct xb_offload *partial)
{
	const struct xb_offload before = pkt->offload;
	int ret;

	pkt->offload = *partial;
	ret = xb_csum_finish(pkt);
	if (ret < 0)
		pkt->offload = before;
	return ret;
}

static int accept_partial(const struct virtio_net_hdr_v1 *hdr, struct xb_frame *pkt)
{
	struct xb_offload offload = {
		.csum = XB_CSUM_PARTIAL,
		.csum_start = le16toh(hdr->csum_start),
		.csum_offset = le16toh(hdr->csum_offset),
	};
	uint8_t buf[XB_HEADERS_BYTES];
	const uint8_t *data;
	const struct xb_headers *l4;
	uint32_t len;
	int ret;

	if ((uint32_t)offload.csum_start + offload.csum_offset + sizeof(uint16_t) > pkt->bytes)
		return -EINVAL;
	data = xb_packet_headers(pkt, buf, &len);
	l4 = xb_packet_parse(pkt, data, len);
	if (xb_l4_found(l4) != XB_L4_FOUND ||
	    !is_usual(l4, offload.csum_start, offload.csum_offset))
		return hdr->gso_type == VIRTIO_NET_HDR_GSO_NONE ? finish(pkt, &offload) : -EINVAL;
	if (hdr->gso_type != VIRTIO_NET_HDR_GSO_NONE) {
		ret = accept_gso(hdr, pkt, data, len, l4, &offload);
		if (ret < 0)
			return ret;
	}
	pkt->offload = offload;
	return 0;
}

int xb_net_hdr_read(const struct virtio_net_hdr_v1 *hdr, struct xb_frame *pkt)
{
	if (hdr->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM)
		return accept_partial(hdr, pkt);
	if (hdr->gso_type != VIRTIO_NET_HDR_GSO_NONE)
		return -EINVAL;
	pkt->offload = (struct xb_offload){
		.csum = hdr->flags & VIRTIO_NET_HDR_F_DATA_VALID ? XB_CSUM_TRUSTED
								 : XB_CSUM_COMPLETE,
	};
	return 0;
}

void xb_net_hdr_write(const struct xb_frame *pkt, struct virtio_net_hdr_v1 *ret_hdr)
{
	const struct xb_offload *offload = &pkt->offload;

	*ret_hdr = (struct virtio_net_hdr_v1){0};
	if (offload->csum == XB_CSUM_TRUSTED)
		ret_hdr->flags = VIRTIO_NET_HDR_F_DATA_VALID;
	if (offload->csum != XB_CSUM_PARTIAL)
		return;
	ret_hdr->flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
	ret_hdr->csum_start = htole16(offload->csum_start);
	ret_hdr->csum_offset = htole16(offload->csum_offset);
	if (offload->gso == XB_GSO_NONE)
		return;
	ret_hdr->gso_type = gso_types[offload->gso];
	if (offload->ecn)
		ret_hdr->gso_type |= VIRTIO_NET_HDR_GSO_ECN;
	ret_hdr->hdr_len = htole16(offload->hdr_bytes);
	ret_hdr->gso_size = htole16(offload->gso_size);
}
