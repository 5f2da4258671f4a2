/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory. The headers are copied out of the packet once, checked there, and serve as the template
 * of every segment. All frames are taken before the first byte is written, so that what can fail
 * has failed before anything changed. Payload is copied and summed in one pass. Each segment is
 * built as a packet with a PARTIAL checksum; the sum of its payload then makes it COMPLETE for a
 * port that can't finish it.
 */
#include "core/segment.h"

#include "core/checksum.h"
#include "core/l4.h"

#include <endian.h>
#include <errno.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <string.h>

#define IP_BYTES_MAX 65535u

#define TCP_FLAGS 13u /* the byte of the TCP header that holds them */
#define TCP_FIN   0x01u
#define TCP_SYN   0x02u
#define TCP_RST   0x04u
#define TCP_PSH   0x08u
#define TCP_URG   0x20u
#define TCP_CWR   0x80u

/* How a packet will be cut. */
struct plan {
	uint8_t headers[XB_HEADERS_BYTES]; /* the template */
	struct xb_headers l4;
	uint32_t hdr_bytes;
	uint32_t payload;  /* bytes of it, all segments together */
	uint32_t size;     /* bytes of it in each segment but the last */
	uint32_t n;        /* segments */
	uint64_t ip_sum;   /* IPv4: of the header but for length, id and checksum */
	uint64_t l4_sum;   /* of the pseudo header but for the length */
	uint32_t sequence; /* TCP: of the first */
	uint16_t id;       /* IPv4: of the first */
	uint8_t flags;     /* TCP */
	bool finish;       /* checksums, too */
};

/* Where in the packet the next byte of payload lies, and the sum of what was taken. */
struct cursor {
	const struct xb_frame *frame;
	uint32_t at;
	bool odd; /* an odd number of bytes was summed */
	uint64_t sum;
};

static int plan_tcp(struct plan *plan, uint32_t len)
{
	const uint8_t *tcp = plan->headers + plan->l4.l4;
	uint32_t tcp_bytes;

	if (len < plan->l4.l4 + sizeof(struct tcphdr))
		return -EINVAL;
	tcp_bytes = (tcp[12] >> 4) * 4u;
	if (tcp_bytes < sizeof(struct tcphdr))
		return -EINVAL;
	plan->hdr_bytes = plan->l4.l4 + tcp_bytes;
	plan->sequence = xb_get_be32(tcp + offsetof(struct tcphdr, seq));
	plan->flags = tcp[TCP_FLAGS];
	return 0;
}

static void plan_ipv4(struct plan *plan)
{
	uint8_t *ip = plan->headers + plan->l4.l3;

	plan->id = xb_get_be16(ip + offsetof(struct iphdr, id));
	xb_put_be16(ip + offsetof(struct iphdr, tot_len), 0);
	xb_put_be16(ip + offsetof(struct iphdr, id), 0);
	xb_put_be16(ip + offsetof(struct iphdr, check), 0);
	plan->ip_sum = xb_csum_add(0, ip, plan->l4.l4 - plan->l4.l3);
}

/* The headers that the packet must have, given what its offload says. */
static int plan_headers(struct plan *plan, struct xb_frame *pkt)
{
	const struct xb_offload *offload = &pkt->offload;
	uint32_t len = xb_packet_read(pkt, plan->headers, sizeof(plan->headers));
	bool tcp = offload->gso == XB_GSO_TCP4 || offload->gso == XB_GSO_TCP6;
	size_t check = tcp ? offsetof(struct tcphdr, check) : offsetof(struct udphdr, check);

	if (!tcp && offload->gso != XB_GSO_UDP_L4)
		return -EINVAL;
	plan->l4 = *xb_packet_parse(pkt, plan->headers, len);
	if (xb_l4_found(&plan->l4) != XB_L4_FOUND)
		return -EINVAL;
	if (plan->l4.proto != (tcp ? IPPROTO_TCP : IPPROTO_UDP))
		return -EINVAL;
	if (tcp && xb_l4_is_v4(&plan->l4) != (offload->gso == XB_GSO_TCP4))
		return -EINVAL;
	if (offload->csum != XB_CSUM_PARTIAL || offload->csum_start != plan->l4.l4 ||
	    offload->csum_offset != check)
		return -EINVAL;
	if (tcp && plan_tcp(plan, len) < 0)
		return -EINVAL;
	if (!tcp)
		plan->hdr_bytes = plan->l4.l4 + (uint32_t)sizeof(struct udphdr);
	if (plan->hdr_bytes > len || plan->l4.end > pkt->bytes)
		return -EINVAL;
	if (xb_l4_is_v4(&plan->l4))
		plan_ipv4(plan);
	plan->l4_sum = xb_l4_pseudo(plan->headers, &plan->l4, 0);
	return 0;
}

static int plan_make(struct plan *plan, struct xb_frame *pkt)
{
	uint32_t longest;

	plan->size = pkt->offload.gso_size;
	plan->sequence = 0;
	plan->flags = 0;
	plan->id = 0;
	if (!plan->size || plan_headers(plan, pkt) < 0)
		return -EINVAL;
	plan->payload = pkt->bytes - plan->hdr_bytes;
	plan->n = plan->payload ? (plan->payload + plan->size - 1) / plan->size : 1;
	if (plan->n > 1 && plan->flags & (TCP_SYN | TCP_RST | TCP_URG))
		return -EINVAL;
	longest = plan->payload < plan->size ? plan->payload : plan->size;
	if (plan->hdr_bytes - plan->l4.l3 + longest > IP_BYTES_MAX)
		return -EINVAL;
	return 0;
}

static uint32_t payload_of(const struct plan *plan, uint32_t i)
{
	return i + 1 < plan->n ? plan->size : plan->payload - i * plan->size;
}

/* Frames that hold a packet of so many bytes: the first has headroom. */
static uint32_t frames_of(uint32_t bytes)
{
	if (bytes <= XB_FRAME_ROOM)
		return 1;
	return 1 + (bytes - XB_FRAME_ROOM + XB_FRAME_BYTES - 1) / XB_FRAME_BYTES;
}

/* Takes `n` frames, linked by `next`, or none. */
static struct xb_frame *take_frames(struct xb_cache *cache, uint32_t n)
{
	struct xb_frame *stock = NULL;

	while (n--) {
		struct xb_frame *frame = xb_frame_alloc(cache);

		if (frame) {
			frame->next = stock;
			stock = frame;
			continue;
		}
		while (stock) {
			frame = stock;
			stock = frame->next;
			frame->next = NULL;
			xb_packet_free(cache, frame);
		}
		return NULL;
	}
	return stock;
}

static struct xb_frame *from_stock(struct xb_frame **stock)
{
	struct xb_frame *frame = *stock;

	*stock = frame->next;
	frame->next = NULL;
	return frame;
}

/* Moves the next `len` bytes of payload to `to`; there are as many. */
static void move_payload(struct cursor *from, uint8_t *to, uint32_t len, bool sum)
{
	while (len) {
		const uint8_t *data = xb_frame_data(from->frame) + from->at;
		uint32_t part = from->frame->len - from->at;

		if (!part) {
			from->frame = from->frame->next;
			from->at = 0;
			continue;
		}
		if (part > len)
			part = len;
		if (!sum) {
			memcpy(to, data, part);
		} else if (!from->odd) {
			from->sum = xb_csum_copy(from->sum, to, data, part);
			from->odd = part & 1;
		} else {
			from->sum = xb_csum_join_odd(from->sum, xb_csum_copy(0, to, data, part));
			from->odd = !(part & 1);
		}
		from->at += part;
		to += part;
		len -= part;
	}
}

/* Makes the template that of segment `i` with `payload` bytes. */
static void set_ip(struct plan *plan, uint32_t i, uint32_t payload)
{
	uint8_t *ip = plan->headers + plan->l4.l3;
	uint32_t ip_bytes = plan->hdr_bytes - plan->l4.l3 + payload;
	uint16_t id = (uint16_t)(plan->id + i);
	uint16_t check;

	if (!xb_l4_is_v4(&plan->l4)) {
		xb_put_be16(ip + offsetof(struct ipv6hdr, payload_len),
			    ip_bytes - (uint32_t)sizeof(struct ipv6hdr));
		return;
	}
	xb_put_be16(ip + offsetof(struct iphdr, tot_len), ip_bytes);
	xb_put_be16(ip + offsetof(struct iphdr, id), id);
	check = (uint16_t)~xb_csum_fold(plan->ip_sum + htobe16((uint16_t)ip_bytes) + htobe16(id));
	memcpy(ip + offsetof(struct iphdr, check), &check, sizeof(check));
}

static void set_transport(struct plan *plan, uint32_t i, uint32_t payload, uint32_t check_at)
{
	uint8_t *l4 = plan->headers + plan->l4.l4;
	uint32_t l4_bytes = plan->hdr_bytes - plan->l4.l4 + payload;
	uint16_t check = xb_csum_fold(xb_csum_join(plan->l4_sum, htobe32(l4_bytes)));
	uint8_t flags = plan->flags;

	memcpy(l4 + check_at, &check, sizeof(check));
	if (plan->l4.proto == IPPROTO_UDP) {
		xb_put_be16(l4 + offsetof(struct udphdr, len), l4_bytes);
		return;
	}
	if (i > 0)
		flags &= (uint8_t)~TCP_CWR;
	if (i + 1 < plan->n)
		flags &= (uint8_t) ~(TCP_FIN | TCP_PSH);
	l4[TCP_FLAGS] = flags;
	xb_put_be32(l4 + offsetof(struct tcphdr, seq), plan->sequence + i * plan->size);
}

/* Builds one segment: the template, then `payload` bytes. */
static struct xb_frame *build(const struct plan *plan, struct cursor *from, uint32_t payload,
			      struct xb_frame **stock)
{
	struct xb_frame *first = from_stock(stock), *last = first;
	uint32_t part = XB_FRAME_ROOM - plan->hdr_bytes;

	if (part > payload)
		part = payload;
	from->sum = 0;
	from->odd = false;
	xb_packet_init(first, XB_FRAME_HEADROOM, plan->hdr_bytes + part);
	memcpy(xb_frame_data(first), plan->headers, plan->hdr_bytes);
	move_payload(from, xb_frame_data(first) + plan->hdr_bytes, part, plan->finish);
	for (payload -= part; payload; payload -= part) {
		struct xb_frame *more = from_stock(stock);

		part = payload < XB_FRAME_BYTES ? payload : XB_FRAME_BYTES;
		xb_packet_init(more, 0, part);
		move_payload(from, xb_frame_data(more), part, plan->finish);
		xb_packet_append(first, last, more);
		last = more;
	}
	return first;
}

/* Completes the checksum of a segment whose payload has that sum: the headers hold the rest, the
 * pseudo header's sum among it. */
static void finish(struct xb_frame *segment, const struct plan *plan, uint64_t sum,
		   uint32_t check_at)
{
	uint8_t *l4 = xb_frame_data(segment) + plan->l4.l4;
	uint16_t check;

	sum = xb_csum_add(sum, l4, plan->hdr_bytes - plan->l4.l4);
	check = (uint16_t)~xb_csum_fold(sum);
	if (!check && plan->l4.proto == IPPROTO_UDP)
		check = UINT16_MAX;
	memcpy(l4 + check_at, &check, sizeof(check));
}

int xb_segment_headers(struct xb_frame *pkt)
{
	struct plan plan;

	return plan_make(&plan, pkt) < 0 ? -EINVAL : (int)plan.hdr_bytes;
}

int xb_segment(struct xb_cache *cache, struct xb_frame *pkt, uint32_t takes,
	       struct xb_frame **ret_pkts, unsigned max)
{
	struct plan plan;
	struct xb_frame *stock;
	struct cursor from = {.frame = pkt};
	int ret = plan_make(&plan, pkt);

	if (ret < 0)
		return ret;
	if (plan.n > max || plan.n > XB_SEGMENTS_MAX)
		return -E2BIG;
	stock = take_frames(cache,
			    (plan.n - 1) * frames_of(plan.hdr_bytes + plan.size) +
				    frames_of(plan.hdr_bytes + payload_of(&plan, plan.n - 1)));
	if (!stock)
		return -ENOBUFS;

	plan.finish = !(takes & XB_TAKES_CSUM);
	for (from.at = plan.hdr_bytes; from.at > from.frame->len; from.frame = from.frame->next)
		from.at -= from.frame->len;
	for (uint32_t i = 0; i < plan.n; i++) {
		uint32_t payload = payload_of(&plan, i);
		struct xb_frame *segment;

		set_ip(&plan, i, payload);
		set_transport(&plan, i, payload, pkt->offload.csum_offset);
		segment = build(&plan, &from, payload, &stock);
		segment->in_port = pkt->in_port;
		segment->fate = pkt->fate;
		if (plan.finish)
			finish(segment, &plan, from.sum, pkt->offload.csum_offset);
		else
			segment->offload = (struct xb_offload){
				.csum = XB_CSUM_PARTIAL,
				.csum_start = pkt->offload.csum_start,
				.csum_offset = pkt->offload.csum_offset,
			};
		ret_pkts[i] = segment;
	}
	xb_packet_free(cache, pkt);
	return (int)plan.n;
}
