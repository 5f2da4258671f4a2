/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The virtio-net header against packets, honest and hostile (HOSTILE rows 13, 14).
 */
#include "core/arena.h"
#include "core/checksum.h"
#include "core/l4.h"
#include "virtio/net_hdr.h"

#include <endian.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define ROUNDS 300000u

#define NEEDS_CSUM VIRTIO_NET_HDR_F_NEEDS_CSUM
#define TCPV4      VIRTIO_NET_HDR_GSO_TCPV4
#define TCPV6      VIRTIO_NET_HDR_GSO_TCPV6
#define UDP_L4     VIRTIO_NET_HDR_GSO_UDP_L4
#define ECN        VIRTIO_NET_HDR_GSO_ECN

static struct xb_arena arena;
static struct xb_cache cache;

/* ---- packets ---- */

struct shape {
	unsigned tags; /* VLAN tags */
	bool v6;
	unsigned options; /* bytes of IPv4 options, or of an IPv6 extension header */
	uint8_t proto;
	unsigned doff; /* TCP's data offset */
	unsigned payload;
};

/* Writes a packet of that shape; returns its length and where its transport header is. */
static uint32_t write_packet(uint8_t *p, const struct shape *shape, uint16_t *ret_l4)
{
	uint32_t at = 12, l4_bytes = shape->proto == 6 ? shape->doff * 4 : 8;
	uint32_t ip_payload = l4_bytes + shape->payload;

	memset(p, 0x5a, 512);
	p[0] = p[6] = 2;
	for (unsigned i = 0; i < shape->tags; i++, at += 4)
		xb_put_be32(p + at, 0x81000007);
	xb_put_be16(p + at, shape->v6 ? 0x86dd : 0x0800);
	at += 2;
	if (shape->v6) {
		xb_put_be32(p + at, 0x60000000);
		xb_put_be16(p + at + 4, ip_payload + shape->options);
		p[at + 6] = shape->options ? 60 : shape->proto;
		at += 40;
		if (shape->options) {
			p[at] = shape->proto;
			p[at + 1] = (uint8_t)(shape->options / 8 - 1);
		}
	} else {
		p[at] = (uint8_t)(0x45 + shape->options / 4);
		xb_put_be16(p + at + 2, 20 + shape->options + ip_payload);
		xb_put_be16(p + at + 6, 0x4000);
		p[at + 9] = shape->proto;
		at += 20;
	}
	at += shape->options;
	*ret_l4 = (uint16_t)at;
	if (shape->proto == 6)
		p[at + 12] = (uint8_t)(shape->doff << 4);
	return at + ip_payload;
}

/* A packet of `len` bytes in frames of `part` bytes. */
static struct xb_frame *make_packet(const uint8_t *bytes, uint32_t len, uint32_t part)
{
	struct xb_frame *first = NULL, *last = NULL;

	for (uint32_t at = 0; !first || at < len; at += part) {
		struct xb_frame *frame = xb_frame_alloc(&cache);
		uint32_t n = len - at < part ? len - at : part;

		assert_non_null(frame);
		xb_packet_init(frame, first ? 0 : 96, n);
		memcpy(xb_frame_data(frame), bytes + at, n);
		if (first)
			xb_packet_append(first, last, frame);
		else
			first = frame;
		last = frame;
	}
	return first;
}

static struct xb_frame *make(const struct shape *shape, uint16_t *ret_l4)
{
	uint8_t bytes[16384];
	uint32_t len;

	memset(bytes, 0, sizeof(bytes));
	len = write_packet(bytes, shape, ret_l4);
	return make_packet(bytes, len, 4000);
}

static const struct shape tcp4 = {.proto = 6, .doff = 8, .payload = 5000};
static const struct shape tcp6 = {.proto = 6, .doff = 5, .payload = 5000, .v6 = true};
static const struct shape udp4 = {.proto = 17, .payload = 5000};

static struct virtio_net_hdr_v1 header(uint8_t gso_type, uint16_t gso_size, uint16_t start,
				       uint16_t offset)
{
	return (struct virtio_net_hdr_v1){
		.flags = NEEDS_CSUM,
		.gso_type = gso_type,
		.gso_size = htole16(gso_size),
		.csum_start = htole16(start),
		.csum_offset = htole16(offset),
	};
}

static int read_into(const struct virtio_net_hdr_v1 *hdr, struct xb_frame *pkt)
{
	struct xb_offload before = {.csum = 77, .gso_size = 4711};
	int ret;

	pkt->offload = before;
	ret = xb_net_hdr_read(hdr, pkt);
	if (ret < 0)
		assert_memory_equal(&pkt->offload, &before, sizeof(before));
	return ret;
}

static void assert_refused(const struct shape *shape, struct virtio_net_hdr_v1 hdr)
{
	uint16_t l4;
	struct xb_frame *pkt = make(shape, &l4);

	assert_int_equal(read_into(&hdr, pkt), -EINVAL);
	xb_packet_free(&cache, pkt);
}

/* ---- honest ---- */

static void an_empty_header_says_nothing(void **state)
{
	struct virtio_net_hdr_v1 hdr = {.num_buffers = 7, .hdr_len = 0xffff};
	uint16_t l4;
	struct xb_frame *pkt = make(&tcp4, &l4);

	(void)state;
	assert_int_equal(read_into(&hdr, pkt), 0);
	assert_int_equal(pkt->offload.csum, XB_CSUM_COMPLETE);
	assert_int_equal(pkt->offload.gso, XB_GSO_NONE);
	xb_packet_free(&cache, pkt);
}

static void data_valid_is_trust(void **state)
{
	struct virtio_net_hdr_v1 hdr = {.flags = VIRTIO_NET_HDR_F_DATA_VALID | 0xf0};
	uint16_t l4;
	struct xb_frame *pkt = make(&tcp4, &l4);

	(void)state;
	assert_int_equal(read_into(&hdr, pkt), 0);
	assert_int_equal(pkt->offload.csum, XB_CSUM_TRUSTED);
	xb_packet_free(&cache, pkt);
}

static void the_headers_length_is_measured_in_every_shape(void **state)
{
	(void)state;
	for (unsigned tags = 0; tags <= 2; tags++) {
		for (unsigned i = 0; i < 3 * 2 * 3; i++) {
			struct shape shape = {.tags = tags,
					      .v6 = i / 3 % 2,
					      .options = i % 3 * 8,
					      .proto = i / 6 ? 6 : 17,
					      .doff = i / 6 == 1 ? 5 : 15,
					      .payload = 4000};
			uint8_t type = shape.proto == 17 ? UDP_L4 : shape.v6 ? TCPV6 : TCPV4;
			struct virtio_net_hdr_v1 hdr;
			uint16_t l4;
			struct xb_frame *pkt = make(&shape, &l4);

			hdr = header(type, 1000, l4, shape.proto == 6 ? 16 : 6);
			hdr.hdr_len = i % 2 ? 0 : htole16(4000); /* the TAP gives either */
			assert_int_equal(read_into(&hdr, pkt), 0);
			assert_int_equal(pkt->offload.csum, XB_CSUM_PARTIAL);
			assert_int_equal(pkt->offload.csum_start, l4);
			assert_int_equal(pkt->offload.gso_size, 1000);
			assert_int_equal(pkt->offload.hdr_bytes,
					 l4 + (shape.proto == 6 ? shape.doff * 4 : 8));
			assert_int_equal(pkt->bytes - pkt->offload.hdr_bytes, 4000);
			xb_packet_free(&cache, pkt);
		}
	}
}

static void headers_in_many_small_frames_are_found_as_well(void **state)
{
	struct shape shape = {.tags = 2, .v6 = true, .proto = 6, .doff = 10, .payload = 300};
	uint8_t bytes[512];
	struct virtio_net_hdr_v1 hdr;
	struct xb_frame *pkt;
	uint32_t len;
	uint16_t l4;

	(void)state;
	len = write_packet(bytes, &shape, &l4);
	pkt = make_packet(bytes, len, 11);
	hdr = header(TCPV6 | ECN, 100, l4, 16);
	assert_int_equal(read_into(&hdr, pkt), 0);
	assert_int_equal(pkt->offload.gso, XB_GSO_TCP6);
	assert_int_equal(pkt->offload.ecn, 1);
	assert_int_equal(pkt->offload.hdr_bytes, l4 + 40);
	xb_packet_free(&cache, pkt);
}

static void one_segment_is_no_gso(void **state)
{
	uint16_t l4;
	struct xb_frame *pkt = make(&tcp4, &l4);
	struct virtio_net_hdr_v1 hdr = header(TCPV4, 5000, l4, 16);

	(void)state;
	assert_int_equal(read_into(&hdr, pkt), 0);
	assert_int_equal(pkt->offload.csum, XB_CSUM_PARTIAL);
	assert_int_equal(pkt->offload.gso, XB_GSO_NONE);
	assert_int_equal(pkt->offload.hdr_bytes, 0);
	hdr.gso_size = htole16(4999);
	assert_int_equal(read_into(&hdr, pkt), 0);
	assert_int_equal(pkt->offload.gso, XB_GSO_TCP4);
	xb_packet_free(&cache, pkt);
}

static void what_is_written_is_read_back(void **state)
{
	static const struct xb_offload offloads[] = {
		{0},
		{.csum = XB_CSUM_TRUSTED},
		{.csum = XB_CSUM_PARTIAL, .csum_start = 34, .csum_offset = 16},
		{XB_CSUM_PARTIAL, XB_GSO_TCP4, 0, 1448, 66, 34, 16},
		{XB_CSUM_PARTIAL, XB_GSO_TCP4, 1, 100, 66, 34, 16},
	};

	(void)state;
	for (unsigned i = 0; i < sizeof(offloads) / sizeof(offloads[0]); i++) {
		uint16_t l4;
		struct xb_frame *pkt = make(&tcp4, &l4);
		struct virtio_net_hdr_v1 hdr;

		pkt->offload = offloads[i];
		xb_net_hdr_write(pkt, &hdr);
		assert_int_equal(hdr.num_buffers, 0);
		assert_int_equal(read_into(&hdr, pkt), 0);
		assert_memory_equal(&pkt->offload, &offloads[i], sizeof(offloads[i]));
		xb_packet_free(&cache, pkt);
	}
}

/* A checksum inside of a tunnel, or anywhere else, is written before anybody looks at the packet.
 */
static void a_checksum_in_an_unusual_place_is_finished_at_once(void **state)
{
	static const struct {
		uint16_t start, offset;
	} places[] = {{34, 2}, {36, 16}, {64, 6}, {0, 0}, {14, 12}, {34, 30}, {5040, 0}};

	(void)state;
	for (unsigned i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		uint16_t l4, start = places[i].start, offset = places[i].offset;
		struct xb_frame *pkt = make(&udp4, &l4);
		struct virtio_net_hdr_v1 hdr = header(0, 0, start, offset);
		uint16_t sum = xb_csum_fold(xb_csum_packet(pkt, start, pkt->bytes - start));
		uint8_t bytes[8192];
		uint16_t got;

		assert_int_equal(read_into(&hdr, pkt), 0);
		assert_int_equal(pkt->offload.csum, XB_CSUM_COMPLETE);
		xb_packet_read(pkt, bytes, sizeof(bytes));
		memcpy(&got, bytes + start + offset, sizeof(got));
		assert_int_equal(got, (uint16_t)~sum);
		xb_packet_free(&cache, pkt);
	}
}

/* ---- hostile ---- */

static void a_checksum_beyond_the_packet_is_refused(void **state)
{
	const struct shape small = {.proto = 6, .doff = 5, .payload = 0}; /* 54 bytes */

	(void)state;
	assert_refused(&small, header(0, 0, 54, 0));
	assert_refused(&small, header(0, 0, 53, 0));
	assert_refused(&small, header(0, 0, 34, 19));
	assert_refused(&small, header(0, 0, 0xffff, 0xffff));
	assert_refused(&small, header(0, 0, 0xffff, 1));
	assert_refused(&small, header(0, 0, 34, 0xffff));
}

static void gso_that_contradicts_the_packet_is_refused(void **state)
{
	struct virtio_net_hdr_v1 hdr = header(TCPV4, 1000, 34, 16);
	struct shape shape = tcp4;

	(void)state;
	hdr.flags = 0;
	assert_refused(&tcp4, hdr); /* without NEEDS_CSUM */
	hdr.flags = VIRTIO_NET_HDR_F_DATA_VALID;
	assert_refused(&tcp4, hdr);
	hdr = header(TCPV4, 1000, 34, 16);
	hdr.hdr_len = htole16(5067);
	assert_refused(&tcp4, hdr);
	assert_refused(&tcp4, header(TCPV4, 0, 34, 16));
	assert_refused(&tcp4, header(TCPV6, 1000, 34, 16));
	assert_refused(&tcp4, header(UDP_L4, 1000, 34, 16));
	assert_refused(&tcp4, header(TCPV4, 1000, 35, 16));
	assert_refused(&tcp4, header(TCPV4, 1000, 34, 6));
	assert_refused(&tcp6, header(TCPV4, 1000, 54, 16));
	assert_refused(&udp4, header(TCPV4, 1000, 34, 6));
	assert_refused(&udp4, header(UDP_L4 | ECN, 1000, 34, 6));
	assert_refused(&udp4, header(VIRTIO_NET_HDR_GSO_UDP, 1000, 34, 6)); /* UFO */
	for (unsigned type = 6; type < 0x80; type++)
		assert_refused(&tcp4, header((uint8_t)type, 1000, 34, 16));
	assert_refused(&tcp4, header(ECN, 1000, 34, 16));
	shape.doff = 4;
	assert_refused(&shape, header(TCPV4, 1000, 34, 16));
	shape.doff = 15;
	shape.payload = 0; /* and cut short below */
	assert_refused(&shape, header(TCPV4, 0, 34, 16));
}

static void headers_that_are_cut_off_are_refused(void **state)
{
	uint8_t bytes[8192] = {0};
	uint16_t l4;
	uint32_t len = write_packet(bytes, &tcp4, &l4);

	(void)state;
	assert_true(len > 66);
	for (uint32_t cut = 0; cut < 66; cut++) {
		struct xb_frame *pkt = make_packet(bytes, cut, 4000);
		struct virtio_net_hdr_v1 hdr = header(TCPV4, 10, l4, 16);

		assert_int_equal(read_into(&hdr, pkt), -EINVAL);
		xb_packet_free(&cache, pkt);
	}
}

static uint32_t random_u32(void)
{
	static uint64_t state = 88172645463325252u;

	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (uint32_t)(state >> 16);
}

static uint16_t below(uint32_t n)
{
	return (uint16_t)(random_u32() % n);
}

/* What everybody behind relies on. */
static void check_promise(const struct xb_frame *pkt)
{
	const struct xb_offload *offload = &pkt->offload;
	uint8_t bytes[XB_HEADERS_BYTES];
	uint32_t len = xb_packet_read(pkt, bytes, sizeof(bytes));
	struct xb_headers l4;

	assert_true(offload->csum <= XB_CSUM_TRUSTED && offload->gso <= XB_GSO_UDP_L4);
	if (offload->csum != XB_CSUM_PARTIAL) {
		assert_int_equal(offload->gso, XB_GSO_NONE);
		return;
	}
	xb_headers_find(bytes, len, &l4);
	assert_int_equal(xb_l4_found(&l4), XB_L4_FOUND);
	assert_int_equal(offload->csum_start, l4.l4);
	assert_int_equal(offload->csum_offset, l4.proto == 6 ? 16 : 6);
	assert_true(offload->csum_start + offload->csum_offset + 2u <= pkt->bytes);
	if (offload->gso == XB_GSO_NONE) {
		assert_int_equal(offload->hdr_bytes, 0);
		return;
	}
	assert_true(offload->gso_size > 0);
	assert_true(offload->hdr_bytes + offload->gso_size < pkt->bytes);
	assert_true(offload->hdr_bytes >= l4.l4 + (l4.proto == 6 ? 20 : 8));
	assert_int_equal(offload->gso == XB_GSO_UDP_L4, l4.proto == 17);
	assert_true(!offload->ecn || l4.proto == 6);
}

static void whatever_comes_what_is_accepted_holds(void **state)
{
	unsigned accepted = 0, segmented = 0;

	(void)state;
	for (unsigned i = 0; i < ROUNDS; i++) {
		static const uint8_t types[] = {0, TCPV4, TCPV6, UDP_L4, TCPV4 | ECN, 3};
		static const uint16_t starts[] = {34, 54, 38, 58, 62, 42};
		struct shape shape = {.tags = below(4),
				      .v6 = below(2),
				      .options = below(3) * 8,
				      .proto = (uint8_t)(below(8) ? below(2) ? 6 : 17 : below(256)),
				      .doff = below(4) ? 5 : below(16),
				      .payload = below(300)};
		uint8_t bytes[1024] = {0};
		uint16_t l4;
		uint32_t len = write_packet(bytes, &shape, &l4);
		struct virtio_net_hdr_v1 hdr =
			header((uint8_t)(below(8) ? types[below(6)] : below(256)),
			       below(4) ? below(200) : below(65536),
			       below(8) ? below(4) ? l4 : starts[below(6)] : below(65536),
			       below(4) ? (shape.proto == 6 ? 16 : 6) : below(64));
		struct xb_frame *pkt;

		if (below(4) == 0)
			hdr.flags = (uint8_t)below(256);
		if (below(4) == 0)
			hdr.hdr_len = htole16(below(1000));
		for (unsigned n = below(4); n == 3 && len; n = below(4))
			bytes[below(len < 80 ? len : 80)] = (uint8_t)below(256);
		if (below(4) == 0)
			len = below(len + 1);
		pkt = make_packet(bytes, len, below(2) ? 4000 : 20 + below(80));
		if (read_into(&hdr, pkt) == 0) {
			accepted++;
			segmented += pkt->offload.gso != XB_GSO_NONE;
			check_promise(pkt);
		}
		xb_packet_free(&cache, pkt);
	}
	/* else the test tests nothing */
	assert_true(accepted > ROUNDS / 10);
	assert_true(segmented > ROUNDS / 100);
}

static int set_up(void **state)
{
	struct xb_error err = {0};

	(void)state;
	if (xb_arena_init(&arena, 256, 0, &err) < 0)
		return -1;
	xb_cache_init(&cache, &arena);
	return 0;
}

static int tear_down(void **state)
{
	uint32_t counts[XB_OWNER_COUNT];

	(void)state;
	xb_cache_fini(&cache);
	xb_arena_count(&arena, counts);
	assert_int_equal(counts[XB_OWNER_POOL], arena.n_frames);
	xb_arena_fini(&arena);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_empty_header_says_nothing),
		cmocka_unit_test(data_valid_is_trust),
		cmocka_unit_test(the_headers_length_is_measured_in_every_shape),
		cmocka_unit_test(headers_in_many_small_frames_are_found_as_well),
		cmocka_unit_test(one_segment_is_no_gso),
		cmocka_unit_test(what_is_written_is_read_back),
		cmocka_unit_test(a_checksum_in_an_unusual_place_is_finished_at_once),
		cmocka_unit_test(a_checksum_beyond_the_packet_is_refused),
		cmocka_unit_test(gso_that_contradicts_the_packet_is_refused),
		cmocka_unit_test(headers_that_are_cut_off_are_refused),
		cmocka_unit_test(whatever_comes_what_is_accepted_holds),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
