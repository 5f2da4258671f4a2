/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/checksum.h"

#include "core/cover.h"
#include "core/crc32c.h"
#include "core/l4.h"

#include <endian.h>
#include <errno.h>
#include <linux/in.h>
#include <linux/udp.h>
#include <string.h>

#define UDP_CHECK offsetof(struct udphdr, check)

uint64_t xb_csum_packet(const struct xb_frame *pkt, uint32_t from, uint32_t len)
{
	uint64_t sum = 0;
	bool odd = false;

	for (; pkt && len; pkt = pkt->next) {
		uint64_t piece;
		uint32_t part;

		if (from >= pkt->len) {
			from -= pkt->len;
			continue;
		}
		part = pkt->len - from < len ? pkt->len - from : len;
		piece = xb_csum_add(0, xb_frame_data(pkt) + from, part);
		sum = odd ? xb_csum_join_odd(sum, piece) : xb_csum_join(sum, piece);
		odd ^= part & 1;
		len -= part;
		from = 0;
	}
	return sum;
}

static uint32_t crc_packet(const struct xb_frame *pkt, uint32_t from, uint32_t len)
{
	uint32_t crc = UINT32_MAX;

	for (; pkt && len; pkt = pkt->next) {
		uint32_t part;

		if (from >= pkt->len) {
			from -= pkt->len;
			continue;
		}
		part = pkt->len - from < len ? pkt->len - from : len;
		crc = xb_crc32c_add(crc, xb_frame_data(pkt) + from, part);
		len -= part;
		from = 0;
	}
	return ~crc;
}

static void set_complete(struct xb_frame *pkt)
{
	pkt->offload.csum = XB_CSUM_COMPLETE;
	pkt->offload.csum_start = 0;
	pkt->offload.csum_offset = 0;
}

static void write_anew(struct xb_frame *pkt, const uint8_t *data, const struct xb_cover *cover)
{
	uint32_t at = cover->l4.l4 + cover->check;
	bool crc = cover->l4.proto == IPPROTO_SCTP;
	uint32_t value = 0;
	uint64_t sum;

	xb_packet_write(pkt, at, &value, crc ? 4 : 2);
	if (crc) {
		value = htole32(crc_packet(pkt, cover->l4.l4, cover->len));
		xb_packet_write(pkt, at, &value, 4);
	} else {
		uint16_t check;

		sum = xb_cover_pseudo(data, cover);
		sum = xb_csum_join(sum, xb_csum_packet(pkt, cover->l4.l4, cover->len));
		check = (uint16_t)~xb_csum_fold(sum);
		if (!check && cover->l4.proto == IPPROTO_UDP)
			check = UINT16_MAX;
		xb_packet_write(pkt, at, &check, 2);
	}
}

/* The packet's first bytes in one piece: the whole first frame if it holds XB_HEADERS_BYTES or is
 * the only one, otherwise a copy of so many. */
static const uint8_t *first_bytes(const struct xb_frame *pkt, uint8_t buf[XB_HEADERS_BYTES],
				  uint32_t *ret_len)
{
	const uint8_t *data = xb_packet_headers(pkt, buf, ret_len);

	if (data != buf)
		*ret_len = pkt->len;
	return data;
}

/* The innermost first: what surrounds a packet sums up its finished checksum. Only those that were
 * left open are written: the port vouches for no others. An outer
 * checksum that the sender completed around an open one (local checksum offload) is right once that
 * one is finished: the bytes from an open checksum's start on then sum up to the complement of its
 * pseudo header, which the sender knew. */
static void finish_tunnel(struct xb_frame *pkt, const uint8_t *data, uint32_t len,
			  const struct xb_covers *covers)
{
	for (unsigned i = covers->n; i-- > 0;)
		if (xb_cover_is_open(data, len, &covers->cover[i]))
			write_anew(pkt, data, &covers->cover[i]);
}

static void finish_trusted(struct xb_frame *pkt)
{
	uint8_t buf[XB_HEADERS_BYTES];
	struct xb_covers covers;
	uint32_t len;
	const uint8_t *data = first_bytes(pkt, buf, &len);

	xb_covers_find(data, len, pkt->bytes, xb_packet_parse(pkt, data, len), &covers);
	if (covers.tunnel)
		finish_tunnel(pkt, data, len, &covers);
	else if (covers.n)
		write_anew(pkt, data, &covers.cover[0]);
	set_complete(pkt);
}

static int finish_partial(struct xb_frame *pkt)
{
	uint32_t start = pkt->offload.csum_start;
	uint32_t at = start + pkt->offload.csum_offset;
	uint16_t check;

	if (at + sizeof(check) > pkt->bytes)
		return -EINVAL;
	check = (uint16_t)~xb_csum_fold(xb_csum_packet(pkt, start, pkt->bytes - start));
	if (!check && pkt->offload.csum_offset == UDP_CHECK)
		check = UINT16_MAX;
	xb_packet_write(pkt, at, &check, sizeof(check));
	xb_packet_forget(pkt); /* it need not be where a checksum belongs */
	set_complete(pkt);
	return 0;
}

int xb_csum_finish(struct xb_frame *pkt)
{
	switch (pkt->offload.csum) {
	case XB_CSUM_PARTIAL:
		return finish_partial(pkt);
	case XB_CSUM_TRUSTED:
		finish_trusted(pkt);
		return 0;
	default:
		return 0;
	}
}

void xb_csum_make_partial(struct xb_frame *pkt)
{
	uint8_t buf[XB_HEADERS_BYTES];
	struct xb_covers covers;
	const struct xb_cover *cover = &covers.cover[0];
	const uint8_t *data;
	uint32_t len, after;
	uint16_t check;

	if (pkt->offload.csum != XB_CSUM_TRUSTED)
		return;
	data = first_bytes(pkt, buf, &len);
	xb_covers_find(data, len, pkt->bytes, xb_packet_parse(pkt, data, len), &covers);
	if (!covers.n || covers.tunnel) {
		finish_tunnel(pkt, data, len, &covers);
		set_complete(pkt);
		return;
	}
	/* A PARTIAL checksum runs to the packet's end: padding must not count. */
	after = cover->l4.l4 + cover->len;
	if (cover->l4.proto == IPPROTO_SCTP || cover->l4.proto == IPPROTO_GRE ||
	    xb_csum_packet(pkt, after, pkt->bytes - after) != 0) {
		write_anew(pkt, data, cover);
		set_complete(pkt);
		return;
	}
	check = xb_csum_fold(xb_cover_pseudo(data, cover));
	xb_packet_write(pkt, cover->l4.l4 + cover->check, &check, sizeof(check));
	pkt->offload.csum = XB_CSUM_PARTIAL;
	pkt->offload.csum_start = cover->l4.l4;
	pkt->offload.csum_offset = (uint16_t)cover->check;
}
