/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A plain, independent reference for the tests of the offloads: it builds packets, checks their
 * checksums and cuts them byte by byte, and shares no code with src/core but the arena.
 *
 * Memory outside of what a packet may touch is made unreadable where AddressSanitizer runs: every
 * second frame of the arena is held back as a guard, and ref_fence hides the bytes of a packet's
 * frames in front of and behind its data.
 */
#ifndef XB_TESTS_PACKET_REF_H
#define XB_TESTS_PACKET_REF_H

#include "core/arena.h"

#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/in6.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#if defined(__SANITIZE_ADDRESS__)
#define REF_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define REF_ASAN 1
#endif
#endif
#ifdef REF_ASAN
#include <sanitizer/asan_interface.h>
#define REF_HIDE(p, n) ASAN_POISON_MEMORY_REGION(p, n)
#define REF_SHOW(p, n) ASAN_UNPOISON_MEMORY_REGION(p, n)
#else
#define REF_HIDE(p, n) ((void)(p), (void)(n))
#define REF_SHOW(p, n) ((void)(p), (void)(n))
#endif

#define REF_CHECK(cond)                                                            \
	do {                                                                       \
		if (!(cond)) {                                                     \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #cond); \
			abort();                                                   \
		}                                                                  \
	} while (0)

#define REF_BYTES_MAX (XB_PACKET_BYTES_MAX + 512u)

/* ---- random numbers ---- */

static uint64_t ref_state = 1;

/* Seeds from XB_SEED, else from the clock, and says what it took. */
static inline void ref_seed(void)
{
	const char *given = getenv("XB_SEED");

	ref_state = given ? strtoull(given, NULL, 0) : (uint64_t)time(NULL) * 2654435761u;
	ref_state |= 1;
	fprintf(stderr, "XB_SEED=%llu\n", (unsigned long long)ref_state);
}

/* A number below `n`. */
static inline uint32_t ref_below(uint32_t n)
{
	ref_state ^= ref_state << 13;
	ref_state ^= ref_state >> 7;
	ref_state ^= ref_state << 17;
	return n ? (uint32_t)(ref_state >> 20) % n : 0;
}

static inline void ref_fill(uint8_t *buf, uint32_t len)
{
	for (uint32_t i = 0; i < len; i++)
		buf[i] = (uint8_t)ref_below(256);
}

/* ---- an arena with guards ---- */

struct ref_arena {
	struct xb_arena arena;
	struct xb_cache cache;
	struct xb_frame **guards;
	uint32_t n_guards;
};

static inline void ref_arena_init(struct ref_arena *ra, uint32_t n_frames)
{
	struct xb_error err = {0};
	struct xb_frame **all = calloc(n_frames, sizeof(struct xb_frame *));
	uint32_t n = 0;

	REF_CHECK(all && xb_arena_init(&ra->arena, n_frames, 0, &err) == 0);
	xb_cache_init(&ra->cache, &ra->arena);
	ra->guards = all;
	ra->n_guards = 0;
	while (n < n_frames && (all[n] = xb_frame_alloc(&ra->cache)) != NULL)
		n++;
	for (uint32_t i = 0; i < n; i++) {
		if ((all[i] - ra->arena.frames) & 1) {
			REF_HIDE(all[i]->base, XB_FRAME_BYTES);
			all[ra->n_guards++] = all[i];
		} else {
			xb_packet_free(&ra->cache, all[i]);
		}
	}
}

/* Frames in the worker's hands and behind others, the guards left out. */
static inline uint32_t ref_arena_used(const struct ref_arena *ra)
{
	uint32_t counts[XB_OWNER_COUNT];

	xb_arena_count(&ra->arena, counts);
	REF_CHECK(counts[XB_OWNER_POOL] + counts[XB_OWNER_WORKER] + counts[XB_OWNER_REST] ==
		  ra->arena.n_frames);
	return counts[XB_OWNER_WORKER] + counts[XB_OWNER_REST] - ra->n_guards;
}

static inline void ref_arena_fini(struct ref_arena *ra)
{
	REF_SHOW(ra->arena.base, ra->arena.bytes);
	for (uint32_t i = 0; i < ra->n_guards; i++)
		xb_packet_free(&ra->cache, ra->guards[i]);
	free(ra->guards);
	xb_cache_fini(&ra->cache);
	xb_arena_fini(&ra->arena);
}

/* ---- packets and bytes ---- */

static inline void ref_fence(const struct xb_frame *pkt)
{
	for (; pkt; pkt = pkt->next) {
		REF_HIDE(pkt->base, XB_FRAME_BYTES);
		REF_SHOW(pkt->base + pkt->head, pkt->len);
	}
}

/* Takes all fences away; the guards stay. */
static inline void ref_unfence(const struct ref_arena *ra)
{
	for (uint32_t i = 0; i < ra->arena.n_frames; i += 2)
		REF_SHOW(ra->arena.frames[i].base, XB_FRAME_BYTES);
}

/* A packet of these bytes; `first` of them at most in the first frame, `step` in each other (0: as
 * many as fit). */
static inline struct xb_frame *ref_packet(struct ref_arena *ra, const uint8_t *data, uint32_t len,
					  uint32_t first, uint32_t step)
{
	struct xb_frame *pkt = xb_frame_alloc(&ra->cache), *last = pkt;
	uint32_t part = first && first < XB_FRAME_ROOM ? first : XB_FRAME_ROOM;

	REF_CHECK(pkt);
	if (part > len)
		part = len;
	xb_packet_init(pkt, XB_FRAME_HEADROOM, part);
	memcpy(xb_frame_data(pkt), data, part);
	for (uint32_t at = part; at < len; at += part) {
		struct xb_frame *more = xb_frame_alloc(&ra->cache);

		REF_CHECK(more);
		part = step && step < XB_FRAME_BYTES ? step : XB_FRAME_BYTES;
		if (part > len - at)
			part = len - at;
		xb_packet_init(more, ref_below(XB_FRAME_BYTES - part + 1), part);
		memcpy(xb_frame_data(more), data + at, part);
		xb_packet_append(pkt, last, more);
		last = more;
	}
	pkt->in_port = 3;
	pkt->fate = (struct xb_fate){17, 1, 42};
	return pkt;
}

/* A packet of a random shape: few frames or many, even and odd. */
static inline struct xb_frame *ref_packet_any(struct ref_arena *ra, const uint8_t *data,
					      uint32_t len, uint32_t first_min)
{
	uint32_t first = 0, step = 0;

	if (ref_below(2)) {
		first = first_min + ref_below(600);
		step = len / 40 + 1 + ref_below(2000);
	}
	return ref_packet(ra, data, len, first, step);
}

/* The bytes of a packet; what it says about itself is checked on the way. */
static inline uint32_t ref_bytes(const struct xb_frame *pkt, uint8_t buf[REF_BYTES_MAX])
{
	const struct xb_frame *frame = pkt;
	uint32_t len = 0;
	unsigned count = 0;

	for (; frame; frame = frame->next) {
		REF_CHECK(xb_frame_owner(frame) == (count ? XB_OWNER_REST : XB_OWNER_WORKER));
		REF_CHECK(frame->head + frame->len <= XB_FRAME_BYTES);
		REF_CHECK(len + frame->len <= REF_BYTES_MAX);
		memcpy(buf + len, xb_frame_data(frame), frame->len);
		len += frame->len;
		count++;
	}
	REF_CHECK(count == pkt->count && len == pkt->bytes);
	return len;
}

static inline unsigned ref_get16(const uint8_t *p)
{
	return (unsigned)p[0] * 256u + p[1];
}

static inline void ref_put16(uint8_t *p, unsigned value)
{
	p[0] = (uint8_t)(value / 256u);
	p[1] = (uint8_t)(value % 256u);
}

static inline uint32_t ref_get32(const uint8_t *p)
{
	return ref_get16(p) * 65536u + ref_get16(p + 2);
}

static inline void ref_put32(uint8_t *p, uint32_t value)
{
	ref_put16(p, value / 65536u);
	ref_put16(p + 2, value % 65536u);
}

/* ---- checksums ---- */

/* RFC 1071 word by word, folded at each step; an odd last byte is padded with zero. */
static inline unsigned ref_sum(unsigned sum, const uint8_t *p, uint32_t len)
{
	for (uint32_t i = 0; i < len; i++) {
		sum += i % 2 ? p[i] : (unsigned)p[i] * 256u;
		if (sum > 65535u)
			sum -= 65535u;
	}
	return sum;
}

static inline unsigned ref_pseudo(const uint8_t *ip, unsigned proto, uint32_t len)
{
	bool v4 = ip[0] / 16 == 4;
	uint8_t tail[8] = {0};
	unsigned sum = v4 ? ref_sum(0, ip + 12, 8) : ref_sum(0, ip + 8, 32);

	ref_put32(tail, len);
	tail[7] = (uint8_t)proto;
	return ref_sum(sum, tail, 8);
}

/* The sum over pseudo header and segment; 0xffff where the checksum in it is right. */
static inline unsigned ref_l4_sum(const uint8_t *ip, unsigned proto, const uint8_t *l4,
				  uint32_t len)
{
	return ref_sum(ref_pseudo(ip, proto, len), l4, len);
}

/* CRC32c bit by bit. */
static inline uint32_t ref_crc32c(const uint8_t *p, uint32_t len)
{
	uint32_t crc = 0xffffffffu;

	for (uint32_t i = 0; i < len; i++)
		for (unsigned bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (((crc ^ p[i] >> bit) & 1) ? 0x82f63b78u : 0);
	return ~crc;
}

/* ---- building ---- */

/* A packet to be built; what is 0 is left out or takes its usual value. */
struct ref_spec {
	bool v6;
	uint8_t tags; /* VLAN tags */
	uint16_t vid;
	uint8_t ip_opts; /* bytes of IPv4 options, a multiple of 4 */
	uint8_t ext;     /* IPv6 extension headers of 8 bytes */
	uint8_t proto;   /* IPPROTO_TCP unless set */
	uint8_t host;    /* last byte of both addresses */
	uint8_t tos;
	uint8_t ttl;
	bool df;
	uint16_t id;
	uint32_t flow_label;
	uint16_t sport;
	uint32_t seq;
	uint32_t ack;
	uint8_t flags;    /* ACK unless set */
	uint8_t reserved; /* TCP: the four bits */
	uint16_t window;
	uint16_t urgent;
	uint8_t tcp_opts; /* bytes of TCP options, a multiple of 4 */
	uint8_t opt_byte; /* what they hold */
	uint32_t payload;
	uint32_t salt; /* of the payload, which is a function of it and of seq */
	uint32_t pad;  /* bytes behind the IP packet */
	uint8_t pad_byte;
};

/* Where things are in a packet that was built. */
struct ref_place {
	uint32_t ip, l4, data, end; /* end: of the IP packet */
	uint32_t check;             /* the transport checksum */
	unsigned proto;
};

static inline uint32_t ref_build_ip(const struct ref_spec *s, uint8_t *p, struct ref_place *at)
{
	static const uint8_t macs[12] = {2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2};
	uint32_t n = 12;

	memcpy(p, macs, 12);
	for (unsigned i = 0; i < s->tags; i++, n += 4) {
		ref_put16(p + n, i + 1 < s->tags ? ETH_P_8021AD : ETH_P_8021Q);
		ref_put16(p + n + 2, s->vid + i);
	}
	ref_put16(p + n, s->v6 ? ETH_P_IPV6 : ETH_P_IP);
	n += 2;
	at->ip = n;
	if (s->v6) {
		ref_put32(p + n, 0x60000000u | (uint32_t)s->tos << 20 | s->flow_label);
		p[n + 6] = (uint8_t)(s->ext ? IPPROTO_DSTOPTS : at->proto);
		p[n + 7] = s->ttl ? s->ttl : 64;
		for (unsigned i = 0; i < 32; i++)
			p[n + 8 + i] = (uint8_t)(i * 7 + 1);
		p[n + 23] = s->host;
		p[n + 39] = s->host;
		n += 40;
		for (unsigned i = 0; i < s->ext; i++, n += 8) {
			memcpy(p + n, "\0\0\1\4\0\0\0\0", 8);
			p[n] = (uint8_t)(i + 1 < s->ext ? IPPROTO_DSTOPTS : at->proto);
		}
	} else {
		memset(p + n, 0, 20);
		p[n] = (uint8_t)(0x45 + s->ip_opts / 4);
		p[n + 1] = s->tos;
		ref_put16(p + n + 4, s->id);
		ref_put16(p + n + 6, s->df ? 0x4000 : 0);
		p[n + 8] = s->ttl ? s->ttl : 64;
		p[n + 9] = (uint8_t)at->proto;
		memcpy(p + n + 12, "\xc0\x00\x02\x00\xc6\x33\x64\x00", 8);
		p[n + 15] = s->host;
		p[n + 19] = s->host;
		memset(p + n + 20, 1, s->ip_opts);
		n += 20 + s->ip_opts;
	}
	return n;
}

/* Lengths and checksums, once all else stands. */
static inline void ref_build_finish(uint8_t *p, const struct ref_place *at)
{
	uint8_t *ip = p + at->ip, *l4 = p + at->l4;
	uint32_t l4_len = at->end - at->l4;
	unsigned check;

	if (ip[0] / 16 == 6) {
		ref_put16(ip + 4, at->end - at->ip - 40);
	} else {
		ref_put16(ip + 2, at->end - at->ip);
		ref_put16(ip + 10, 0);
		ref_put16(ip + 10, 65535u - ref_sum(0, ip, at->l4 - at->ip));
	}
	if (at->proto == IPPROTO_SCTP) {
		uint32_t crc;

		memset(p + at->check, 0, 4);
		crc = ref_crc32c(l4, l4_len);
		for (unsigned i = 0; i < 4; i++)
			p[at->check + i] = (uint8_t)(crc >> (8 * i));
		return;
	}
	if (at->proto == IPPROTO_UDP)
		ref_put16(l4 + 4, l4_len);
	ref_put16(p + at->check, 0);
	check = 65535u - ref_l4_sum(ip, at->proto, l4, l4_len);
	ref_put16(p + at->check, !check && at->proto == IPPROTO_UDP ? 65535u : check);
}

/* Builds a packet with right lengths and checksums; returns its bytes. */
static inline uint32_t ref_build(const struct ref_spec *s, uint8_t *p, struct ref_place *ret_at)
{
	struct ref_place at = {.proto = s->proto ? s->proto : IPPROTO_TCP};
	uint32_t n = ref_build_ip(s, p, &at);

	at.l4 = n;
	ref_put16(p + n, s->sport ? s->sport : 40000);
	ref_put16(p + n + 2, 443);
	switch (at.proto) {
	case IPPROTO_TCP:
		ref_put32(p + n + 4, s->seq);
		ref_put32(p + n + 8, s->ack);
		p[n + 12] = (uint8_t)((5 + s->tcp_opts / 4) * 16 + s->reserved);
		p[n + 13] = s->flags ? s->flags : 0x10;
		ref_put16(p + n + 14, s->window);
		ref_put16(p + n + 18, s->urgent);
		memset(p + n + 20, s->opt_byte, s->tcp_opts);
		at.check = n + 16;
		n += 20 + s->tcp_opts;
		break;
	case IPPROTO_UDP:
		at.check = n + 6;
		n += 8;
		break;
	case IPPROTO_SCTP:
		ref_put32(p + n + 4, s->seq);
		at.check = n + 8;
		n += 12;
		break;
	default:
		at.check = n + 2;
		n += 4;
		break;
	}
	at.data = n;
	for (uint32_t i = 0; i < s->payload; i++) {
		uint32_t place = s->seq + i + s->salt;

		p[n + i] = (uint8_t)(place * 2654435761u >> 13);
	}
	at.end = n + s->payload;
	ref_build_finish(p, &at);
	memset(p + at.end, s->pad_byte, s->pad);
	*ret_at = at;
	return at.end + s->pad;
}

/* Leaves the packet's checksum to somebody else. */
static inline void ref_make_partial(uint8_t *p, const struct ref_place *at)
{
	ref_put16(p + at->check, ref_pseudo(p + at->ip, at->proto, at->end - at->l4));
}

static inline struct xb_offload ref_partial(const struct ref_place *at)
{
	return (struct xb_offload){
		.csum = XB_CSUM_PARTIAL,
		.csum_start = (uint16_t)at->l4,
		.csum_offset = (uint16_t)(at->check - at->l4),
	};
}

/* ---- cutting ---- */

/* Builds segment `i` of a packet that lies in `big`, `size` bytes of payload each, with finished
 * checksums; returns its bytes. */
static inline uint32_t ref_segment(const uint8_t *big, const struct ref_place *at, uint32_t size,
				   uint32_t i, uint8_t *p)
{
	uint32_t total = at->end - at->data;
	uint32_t from = i * size;
	uint32_t len = total - from < size ? total - from : size;
	struct ref_place to = *at;

	memcpy(p, big, at->data);
	memcpy(p + at->data, big + at->data + from, len);
	to.end = at->data + len;
	if (p[at->ip] / 16 == 4)
		ref_put16(p + at->ip + 4, (ref_get16(big + at->ip + 4) + i) % 65536u);
	if (at->proto == IPPROTO_TCP) {
		ref_put32(p + at->l4 + 4, ref_get32(big + at->l4 + 4) + from);
		if (i)
			p[at->l4 + 13] &= 0x7f; /* CWR */
		if (from + len < total)
			p[at->l4 + 13] &= 0xf6; /* FIN, PSH */
	}
	ref_build_finish(p, &to);
	return to.end;
}

#endif
