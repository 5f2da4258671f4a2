/* SPDX-License-Identifier: BSD-2-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/checksum.h"
#include "core/coalesce.h"
#include "core/l4.h"
#include "core/segment.h"

#include "packet_ref.h"

#define FRAMES 4096u
#define BATCH  64u
#define MSS    1400u
#define BOTH   (XB_TAKES_CSUM | XB_TAKES_TSO4 | XB_TAKES_TSO6)

enum {
	FIN = 0x01,
	SYN = 0x02,
	RST = 0x04,
	PSH = 0x08,
	ACK = 0x10,
	URG = 0x20,
	ECE = 0x40,
	CWR = 0x80
};

static struct ref_arena ra;
static struct xb_frame *pkts[BATCH];
static struct xb_frame *pieces[XB_SEGMENTS_MAX];
static uint8_t bytes_a[REF_BYTES_MAX], bytes_b[REF_BYTES_MAX];

static int set_up(void **state)
{
	(void)state;
	ref_arena_init(&ra, FRAMES);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	ref_unfence(&ra);
	assert_int_equal(ref_arena_used(&ra), 0);
	ref_arena_fini(&ra);
	return 0;
}

static void give_back(unsigned n)
{
	ref_unfence(&ra);
	for (unsigned i = 0; i < n; i++)
		xb_packet_free(&ra.cache, pkts[i]);
	assert_int_equal(ref_arena_used(&ra), 0);
}

/* A packet as it comes from a port that says `csum` of it. */
static struct xb_frame *packet(const struct ref_spec *spec, enum xb_csum csum)
{
	struct ref_place at;
	uint32_t len = ref_build(spec, bytes_a, &at);
	struct xb_frame *pkt;

	if (csum == XB_CSUM_PARTIAL)
		ref_make_partial(bytes_a, &at);
	else if (csum == XB_CSUM_TRUSTED)
		ref_put16(bytes_a + at.check, ref_below(65536));
	pkt = ref_packet(&ra, bytes_a, len, 0, 0);
	if (csum == XB_CSUM_PARTIAL)
		pkt->offload = ref_partial(&at);
	pkt->offload.csum = (uint8_t)csum;
	return pkt;
}

static unsigned coalesce(unsigned n, uint32_t takes, unsigned frames_max)
{
	unsigned left;

	for (unsigned i = 0; i < n; i++)
		ref_fence(pkts[i]);
	left = xb_coalesce(&ra.cache, pkts, n, takes, frames_max);
	ref_unfence(&ra);
	return left;
}

/* ---- what joins ---- */

static void neighbours_become_one_large_packet(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 2 * 3 * 3; i++) {
		struct ref_spec spec = {
			.v6 = i & 1,
			.tags = (uint8_t)(i % 3),
			.tcp_opts = 12,
			.opt_byte = 1,
			.seq = UINT32_MAX - 2000,
			.id = 65535,
			.payload = MSS,
		};
		struct ref_spec whole = spec;
		struct ref_place at;
		struct xb_offload want;
		uint32_t len;

		for (unsigned k = 0; k < 4; k++) {
			if (k == 3) {
				spec.payload = 100;
				spec.flags = ACK | PSH;
			}
			pkts[k] = packet(&spec, (enum xb_csum)(i / 6));
			spec.seq += spec.payload;
			spec.id++;
		}
		assert_int_equal(coalesce(4, BOTH, 48), 1);
		whole.payload = 3 * MSS + 100;
		whole.flags = ACK | PSH;
		len = ref_build(&whole, bytes_a, &at);
		ref_make_partial(bytes_a, &at);
		want = ref_partial(&at);
		want.gso = spec.v6 ? XB_GSO_TCP6 : XB_GSO_TCP4;
		want.gso_size = MSS;
		want.hdr_bytes = (uint16_t)at.data;
		assert_int_equal(ref_bytes(pkts[0], bytes_b), len);
		assert_memory_equal(bytes_a, bytes_b, len);
		assert_memory_equal(&pkts[0]->offload, &want, sizeof(want));
		assert_int_equal(pkts[0]->count, 4);
		assert_int_equal(pkts[0]->fate.rule, 42);
		assert_int_equal(pkts[0]->in_port, 3);
		give_back(1);
	}
}

static void identification_of_df_packets_may_be_anything(void **state)
{
	struct ref_spec a = {.df = true, .id = 0, .payload = MSS}, b = a, c = a;

	(void)state;
	b.seq = MSS;
	b.id = 0;
	c.seq = 2 * MSS;
	c.id = 0x1234;
	pkts[0] = packet(&a, XB_CSUM_COMPLETE);
	pkts[1] = packet(&b, XB_CSUM_COMPLETE);
	pkts[2] = packet(&c, XB_CSUM_COMPLETE);
	assert_int_equal(coalesce(3, BOTH, 48), 1);
	give_back(1);
}

static void padding_behind_the_ip_packet_is_cut_off(void **state)
{
	struct ref_spec a = {.payload = 6, .pad = 4, .pad_byte = 0xee}, b = a, whole = a;
	struct ref_place at;
	uint32_t len;

	(void)state;
	b.seq = 6;
	b.id = 1;
	b.payload = 1;
	b.pad = 9;
	whole.payload = 7;
	whole.pad = 0;
	len = ref_build(&whole, bytes_a, &at);
	ref_make_partial(bytes_a, &at);
	memcpy(bytes_b, bytes_a, len);
	pkts[0] = packet(&a, XB_CSUM_COMPLETE);
	pkts[1] = packet(&b, XB_CSUM_COMPLETE);
	memcpy(bytes_a, bytes_b, len);
	assert_int_equal(coalesce(2, BOTH, 48), 1);
	assert_int_equal(ref_bytes(pkts[0], bytes_b), len);
	assert_memory_equal(bytes_a, bytes_b, len);
	give_back(1);
}

static void chains_of_any_shape_are_joined_and_no_frame_is_empty(void **state)
{
	(void)state;
	for (unsigned round = 0; round < 2000; round++) {
		struct ref_spec spec = {.v6 = ref_below(2), .payload = 1 + ref_below(5000)};
		struct ref_spec whole = spec;
		struct ref_place at;
		uint32_t len;

		for (unsigned k = 0; k < 2; k++) {
			spec.pad = ref_below(2) * ref_below(2000);
			len = ref_build(&spec, bytes_a, &at);
			/* often the headers alone in the first frame */
			pkts[k] = ref_packet(&ra, bytes_a, len,
					     at.data + ref_below(2) * ref_below(50), len / 12 + 1);
			pkts[k]->offload.csum = (uint8_t)(ref_below(2) * XB_CSUM_TRUSTED);
			spec.seq += spec.payload;
			spec.id++;
		}
		assert_int_equal(coalesce(2, BOTH, 48), 1);
		whole.payload *= 2;
		len = ref_build(&whole, bytes_a, &at);
		ref_make_partial(bytes_a, &at);
		assert_int_equal(ref_bytes(pkts[0], bytes_b), len);
		assert_memory_equal(bytes_a, bytes_b, len);
		for (struct xb_frame *frame = pkts[0]; frame; frame = frame->next)
			assert_int_not_equal(frame->len, 0);
		give_back(1);
	}
}

static void flows_are_told_apart_in_a_mixed_batch(void **state)
{
	(void)state;
	for (unsigned flows = 1; flows <= XB_COALESCE_FLOWS; flows *= 2) {
		for (unsigned i = 0; i < BATCH; i++) {
			struct ref_spec spec = {
				.v6 = i % flows & 1,
				.sport = (uint16_t)(1000 + i % flows),
				.seq = i / flows * 500,
				.id = (uint16_t)(i / flows),
				.payload = 500,
			};

			pkts[i] = packet(&spec, XB_CSUM_COMPLETE);
		}
		/* 48 frames are the longest chain */
		assert_int_equal(coalesce(BATCH, BOTH, 64), flows == 1 ? 2 : flows);
		give_back(flows == 1 ? 2 : flows);
	}
}

static void more_flows_than_are_looked_after_lose_nothing(void **state)
{
	unsigned left;

	(void)state;
	for (unsigned i = 0; i < BATCH; i++) {
		struct ref_spec spec = {
			.sport = (uint16_t)(1000 + i % 32),
			.seq = i / 32 * 500,
			.id = (uint16_t)(i / 32),
			.payload = 500,
		};

		pkts[i] = packet(&spec, XB_CSUM_COMPLETE);
	}
	left = coalesce(BATCH, BOTH, 48);
	assert_int_equal(ref_arena_used(&ra), BATCH);
	give_back(left);
}

static void a_run_that_makes_room_is_a_whole_packet(void **state)
{
	struct ref_spec whole = {.sport = 1000, .payload = 1000};
	struct ref_place at;
	uint32_t len;
	unsigned n = 0;

	(void)state;
	for (unsigned flow = 0; flow <= XB_COALESCE_FLOWS; flow++) {
		struct ref_spec spec = {.sport = (uint16_t)(1000 + flow), .payload = 500};

		pkts[n++] = packet(&spec, XB_CSUM_COMPLETE);
		spec.seq = 500;
		spec.id = 1;
		if (!flow)
			pkts[n++] = packet(&spec, XB_CSUM_COMPLETE);
	}
	assert_int_equal(coalesce(n, BOTH, 48), n - 1);
	len = ref_build(&whole, bytes_a, &at);
	ref_make_partial(bytes_a, &at);
	assert_int_equal(ref_bytes(pkts[0], bytes_b), len);
	assert_memory_equal(bytes_a, bytes_b, len);
	assert_int_equal(pkts[0]->offload.gso_size, 500);
	give_back(n - 1);
}

/* ---- what does not ---- */

struct pair {
	const char *why;
	struct ref_spec a, b; /* b follows a unless it says why not */
	uint32_t takes;
	unsigned frames_max;
};

#define FOLLOWS .seq = 100, .id = 1
static const struct pair pairs[] = {
	{"port cuts no TCP", {.payload = 100}, {FOLLOWS, .payload = 100}, XB_TAKES_CSUM, 48},
	{"port cuts no IPv4", {.payload = 100}, {FOLLOWS, .payload = 100}, XB_TAKES_TSO6, 48},
	{"port cuts no IPv6",
	 {.v6 = true, .payload = 100},
	 {.v6 = true, FOLLOWS, .payload = 100},
	 XB_TAKES_TSO4,
	 48},
	{"chain of one", {.payload = 100}, {FOLLOWS, .payload = 100}, BOTH, 1},
	{"gap", {.payload = 100}, {.seq = 101, .id = 1, .payload = 100}, BOTH, 48},
	{"retransmission", {.payload = 100}, {.seq = 0, .id = 1, .payload = 100}, BOTH, 48},
	{"overlap", {.payload = 100}, {.seq = 99, .id = 1, .payload = 100}, BOTH, 48},
	{"longer than the first", {.payload = 100}, {FOLLOWS, .payload = 101}, BOTH, 48},
	{"pure ACK behind", {.payload = 100}, {FOLLOWS}, BOTH, 48},
	{"pure ACK in front", {.payload = 0}, {.seq = 0, .id = 1, .payload = 100}, BOTH, 48},
	{"two pure ACKs", {.payload = 0}, {.seq = 0, .id = 1}, BOTH, 48},
	{"keepalive", {.seq = 101, .payload = 0}, {FOLLOWS, .payload = 1}, BOTH, 48},
	{"PSH on the first",
	 {.flags = ACK | PSH, .payload = 100},
	 {FOLLOWS, .payload = 100},
	 BOTH,
	 48},
	{"FIN", {.payload = 100}, {FOLLOWS, .flags = ACK | FIN, .payload = 100}, BOTH, 48},
	{"SYN", {.payload = 100}, {FOLLOWS, .flags = ACK | SYN, .payload = 100}, BOTH, 48},
	{"RST", {.payload = 100}, {FOLLOWS, .flags = ACK | RST, .payload = 100}, BOTH, 48},
	{"URG", {.payload = 100}, {FOLLOWS, .flags = ACK | URG, .payload = 100}, BOTH, 48},
	{"URG on both",
	 {.flags = ACK | URG, .payload = 100},
	 {FOLLOWS, .flags = ACK | URG, .payload = 100},
	 BOTH,
	 48},
	{"ECE", {.payload = 100}, {FOLLOWS, .flags = ACK | ECE, .payload = 100}, BOTH, 48},
	{"CWR", {.flags = ACK | CWR, .payload = 100}, {FOLLOWS, .payload = 100}, BOTH, 48},
	{"no ACK",
	 {.flags = PSH, .payload = 100},
	 {FOLLOWS, .flags = PSH, .payload = 100},
	 BOTH,
	 48},
	{"reserved bits",
	 {.reserved = 1, .payload = 100},
	 {FOLLOWS, .reserved = 1, .payload = 100},
	 BOTH,
	 48},
	{"other port", {.payload = 100}, {FOLLOWS, .sport = 40001, .payload = 100}, BOTH, 48},
	{"other addresses", {.payload = 100}, {FOLLOWS, .host = 1, .payload = 100}, BOTH, 48},
	{"other IPv6 addresses",
	 {.v6 = true, .payload = 100},
	 {.v6 = true, FOLLOWS, .host = 1, .payload = 100},
	 BOTH,
	 48},
	{"other version", {.payload = 100}, {.v6 = true, FOLLOWS, .payload = 100}, BOTH, 48},
	{"other VLAN",
	 {.tags = 1, .vid = 1, .payload = 100},
	 {.tags = 1, .vid = 2, FOLLOWS, .payload = 100},
	 BOTH,
	 48},
	{"other count of tags", {.payload = 100}, {.tags = 1, FOLLOWS, .payload = 100}, BOTH, 48},
	{"other TOS", {.payload = 100}, {FOLLOWS, .tos = 4, .payload = 100}, BOTH, 48},
	{"other ECN", {.payload = 100}, {FOLLOWS, .tos = 3, .payload = 100}, BOTH, 48},
	{"other traffic class",
	 {.v6 = true, .payload = 100},
	 {.v6 = true, FOLLOWS, .tos = 3, .payload = 100},
	 BOTH,
	 48},
	{"other flow label",
	 {.v6 = true, .payload = 100},
	 {.v6 = true, FOLLOWS, .flow_label = 1, .payload = 100},
	 BOTH,
	 48},
	{"other TTL", {.payload = 100}, {FOLLOWS, .ttl = 63, .payload = 100}, BOTH, 48},
	{"other hop limit",
	 {.v6 = true, .payload = 100},
	 {.v6 = true, FOLLOWS, .ttl = 63, .payload = 100},
	 BOTH,
	 48},
	{"DF on one", {.payload = 100}, {FOLLOWS, .df = true, .payload = 100}, BOTH, 48},
	{"identification not the next",
	 {.payload = 100},
	 {.seq = 100, .id = 2, .payload = 100},
	 BOTH,
	 48},
	{"same identification", {.payload = 100}, {.seq = 100, .id = 0, .payload = 100}, BOTH, 48},
	{"other acknowledgement", {.payload = 100}, {FOLLOWS, .ack = 1, .payload = 100}, BOTH, 48},
	{"other window", {.payload = 100}, {FOLLOWS, .window = 1, .payload = 100}, BOTH, 48},
	{"other urgent pointer",
	 {.payload = 100},
	 {FOLLOWS, .urgent = 1, .payload = 100},
	 BOTH,
	 48},
	{"other options",
	 {.tcp_opts = 12, .opt_byte = 1, .payload = 100},
	 {FOLLOWS, .tcp_opts = 12, .opt_byte = 2, .payload = 100},
	 BOTH,
	 48},
	{"fewer options", {.tcp_opts = 12, .payload = 100}, {FOLLOWS, .payload = 100}, BOTH, 48},
	{"IPv4 options",
	 {.ip_opts = 4, .payload = 100},
	 {FOLLOWS, .ip_opts = 4, .payload = 100},
	 BOTH,
	 48},
	{"extension headers",
	 {.v6 = true, .ext = 1, .payload = 100},
	 {.v6 = true, FOLLOWS, .ext = 1, .payload = 100},
	 BOTH,
	 48},
	{"UDP",
	 {.proto = IPPROTO_UDP, .payload = 100},
	 {.proto = IPPROTO_UDP, FOLLOWS, .payload = 100},
	 BOTH,
	 48},
	{"beyond 64 KiB", {.payload = 33000}, {.seq = 33000, .id = 1, .payload = 33000}, BOTH, 48},
};

/* Puts a second spec's packets through and expects that nothing joins and nothing changes. */
static void expect_apart(unsigned n, uint32_t takes, unsigned frames_max)
{
	struct xb_frame *before[BATCH];
	struct xb_offload offloads[BATCH];
	uint8_t *bytes[BATCH];
	uint32_t lens[BATCH];

	for (unsigned i = 0; i < n; i++) {
		before[i] = pkts[i];
		offloads[i] = pkts[i]->offload;
		bytes[i] = malloc(REF_BYTES_MAX);
		assert_non_null(bytes[i]);
		lens[i] = ref_bytes(pkts[i], bytes[i]);
	}
	assert_int_equal(coalesce(n, takes, frames_max), n);
	for (unsigned i = 0; i < n; i++) {
		assert_ptr_equal(pkts[i], before[i]);
		assert_memory_equal(&pkts[i]->offload, &offloads[i], sizeof(offloads[i]));
		assert_int_equal(ref_bytes(pkts[i], bytes_b), lens[i]);
		assert_memory_equal(bytes_b, bytes[i], lens[i]);
		free(bytes[i]);
	}
	give_back(n);
}

static void what_can_not_be_cut_again_stays_apart_and_untouched(void **state)
{
	(void)state;
	for (unsigned i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
		print_message("           %s\n", pairs[i].why);
		pkts[0] = packet(&pairs[i].a, XB_CSUM_COMPLETE);
		pkts[1] = packet(&pairs[i].b, XB_CSUM_COMPLETE);
		expect_apart(2, pairs[i].takes, pairs[i].frames_max);
	}
}

static const struct ref_spec plain_a = {.payload = 100}, plain_b = {FOLLOWS, .payload = 100};

static void the_plain_pair_of_these_tests_joins(void **state)
{
	(void)state;
	pkts[0] = packet(&plain_a, XB_CSUM_COMPLETE);
	pkts[1] = packet(&plain_b, XB_CSUM_COMPLETE);
	assert_int_equal(coalesce(2, XB_TAKES_TSO4, 2), 1);
	give_back(1);
}

static void a_wrong_checksum_is_neither_joined_nor_repaired(void **state)
{
	(void)state;
	for (unsigned v6 = 0; v6 < 2; v6++) {
		for (unsigned i = 0; i < 6 - 2 * v6; i++) {
			struct ref_spec a = plain_a, b = plain_b;
			uint8_t *data;

			a.v6 = b.v6 = v6;
			pkts[0] = packet(&a, XB_CSUM_COMPLETE);
			pkts[1] = packet(&b, XB_CSUM_COMPLETE);
			data = xb_frame_data(pkts[i & 1]);
			if (i < 2)
				data[pkts[0]->bytes - 1] ^= 1; /* payload */
			else if (i < 4)
				data[(v6 ? 54 : 34) + 16] ^= 1; /* TCP checksum */
			else
				data[24] ^= 1; /* IPv4 header checksum */
			expect_apart(2, BOTH, 48);
		}
	}
	for (unsigned i = 0; i < 2; i++) { /* nor does a port's word cover the IP header */
		pkts[0] = packet(&plain_a, XB_CSUM_TRUSTED);
		pkts[1] = packet(&plain_b, XB_CSUM_TRUSTED);
		xb_frame_data(pkts[i])[25] ^= 1;
		expect_apart(2, BOTH, 48);
	}
}

static void the_packet_behind_a_broken_one_starts_anew(void **state)
{
	struct ref_spec spec = plain_a;

	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		pkts[i] = packet(&spec, XB_CSUM_COMPLETE);
		spec.seq += 100;
		spec.id++;
	}
	xb_frame_data(pkts[1])[60] ^= 1;
	assert_int_equal(coalesce(4, BOTH, 48), 3);
	assert_int_equal(pkts[0]->bytes, 154);
	assert_int_equal(pkts[1]->bytes, 154);
	assert_int_equal(pkts[2]->bytes, 254);
	give_back(3);
}

static void odd_offloads_stay_apart(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 8; i++) {
		struct xb_frame *odd;

		pkts[0] = packet(&plain_a, XB_CSUM_PARTIAL);
		pkts[1] = packet(&plain_b, XB_CSUM_PARTIAL);
		odd = pkts[i & 1];
		switch (i / 2) {
		case 0:
			odd->offload.csum_start++;
			break;
		case 1:
			odd->offload.csum_offset = 6;
			break;
		case 2: /* cut later, by somebody else */
			odd->offload.gso = XB_GSO_TCP4;
			odd->offload.gso_size = 50;
			break;
		default:
			odd->in_port = 4;
			break;
		}
		expect_apart(2, BOTH, 48);
	}
}

static void set_header_checksum(uint8_t *data)
{
	ref_put16(data + 24, 0);
	ref_put16(data + 24, 65535 - ref_sum(0, data + 14, 20));
}

static void contradicting_headers_stay_apart(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 14; i++) {
		struct xb_frame *odd;
		uint8_t *data;

		pkts[0] = packet(&plain_a, XB_CSUM_TRUSTED);
		pkts[1] = packet(&plain_b, XB_CSUM_TRUSTED);
		odd = pkts[i & 1];
		data = xb_frame_data(odd);
		switch (i / 2) {
		case 0: /* data offset below 5 */
			data[34 + 12] = 0x40;
			break;
		case 1: /* headers longer than the packet */
			data[34 + 12] = 0xf0;
			ref_put16(data + 16, 60);
			break;
		case 2: /* claims more than there is */
			ref_put16(data + 16, 141);
			break;
		case 3: /* claims less than its headers */
			ref_put16(data + 16, 39);
			break;
		case 4: /* cut off within the TCP header */
			odd->len = 40;
			odd->bytes = 40;
			break;
		case 5: /* reserved bit beside DF */
			data[20] = 0x80;
			break;
		default: /* a fragment */
			data[20] = 0x20;
			break;
		}
		if (i / 2 != 4) /* the header checksum is not what speaks against it */
			set_header_checksum(data);
		expect_apart(2, BOTH, 48);
	}
	for (uint32_t len = 0; len < 154; len++) {
		pkts[0] = packet(&plain_a, XB_CSUM_TRUSTED);
		pkts[1] = packet(&plain_b, XB_CSUM_TRUSTED);
		pkts[1]->len = (uint16_t)len;
		pkts[1]->bytes = len;
		expect_apart(2, BOTH, 48);
	}
}

static void contradictions_on_both_are_contradictions_still(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		for (unsigned k = 0; k < 2; k++) {
			uint8_t *data;

			pkts[k] = packet(k ? &plain_b : &plain_a, XB_CSUM_TRUSTED);
			data = xb_frame_data(pkts[k]);
			if (i)
				data[34 + 12] = 0x40; /* data offset below 5 */
			else
				data[20] = 0x80; /* the reserved bit */
			set_header_checksum(data);
		}
		expect_apart(2, BOTH, 48);
	}
}

static void payload_that_looks_like_options_stays_payload(void **state)
{
	struct ref_spec a = {.tcp_opts = 12, .opt_byte = 1, .payload = 100};

	(void)state;
	pkts[0] = packet(&a, XB_CSUM_TRUSTED);
	pkts[1] = packet(&plain_b, XB_CSUM_TRUSTED);
	memset(xb_frame_data(pkts[1]) + 54, 1, 12);
	expect_apart(2, BOTH, 48);
}

struct hashed {
	uint32_t hash;
	uint32_t value;
};

static int by_hash(const void *a, const void *b)
{
	uint32_t x = ((const struct hashed *)a)->hash, y = ((const struct hashed *)b)->hash;

	return (x > y) - (x < y);
}

/* Two values of four bytes at `place` in plain_a that give the same hash. */
static void find_collision(uint32_t place, uint32_t ret_values[2])
{
	const uint32_t n = 1u << 19; /* of 2^31 hashes: some 60 pairs */
	struct hashed *all = malloc(n * sizeof(*all));
	const struct xb_l4 l4 = {.v4 = true, .l3 = 14, .l4 = 34};
	struct ref_place at;
	uint32_t i;

	assert_non_null(all);
	ref_build(&plain_a, bytes_a, &at);
	for (i = 0; i < n; i++) {
		all[i].value = ref_below(UINT32_MAX);
		ref_put32(bytes_a + place, all[i].value);
		all[i].hash = xb_l4_flow_hash(bytes_a, &l4);
	}
	qsort(all, n, sizeof(*all), by_hash);
	for (i = 1; i < n; i++)
		if (all[i].hash == all[i - 1].hash && all[i].value != all[i - 1].value)
			break;
	assert_true(i < n);
	ret_values[0] = all[i - 1].value;
	ret_values[1] = all[i].value;
	free(all);
}

static void flows_with_the_same_hash_stay_apart(void **state)
{
	static const uint32_t places[] = {26, 30, 34}; /* either address, the ports */

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		uint32_t values[2];

		find_collision(places[i], values);
		for (unsigned k = 0; k < 2; k++) {
			pkts[k] = packet(k ? &plain_b : &plain_a, XB_CSUM_TRUSTED);
			ref_put32(xb_frame_data(pkts[k]) + places[i], values[k]);
			set_header_checksum(xb_frame_data(pkts[k]));
		}
		expect_apart(2, BOTH, 48);
	}
}

static void headers_over_two_frames_stay_apart(void **state)
{
	struct ref_place at;

	(void)state;
	for (uint32_t cut = 1; cut < 54; cut++) {
		for (unsigned i = 0; i < 2; i++) {
			pkts[!i] = packet(i ? &plain_a : &plain_b, XB_CSUM_COMPLETE);
			ref_build(i ? &plain_b : &plain_a, bytes_a, &at);
			pkts[i] = ref_packet(&ra, bytes_a, at.end, cut, 60);
			expect_apart(2, BOTH, 48);
		}
	}
}

/* A packet of the flow that doesn't join must not be overtaken. */
static void nothing_overtakes_a_packet_of_its_flow(void **state)
{
	struct ref_spec between[] = {
		{.df = true, .seq = 100}, /* pure ACK */
		{.df = true, .seq = 100, .flags = ACK | URG},
		{.df = true, .seq = 100, .ip_opts = 4},
		{.df = true, .seq = 100, .flags = ACK | CWR},
		{.df = true, .seq = 100, .flags = RST},
		{.df = true, .seq = 0, .payload = 50}, /* retransmission */
		{.df = true, .seq = 0, .payload = 8}, /* made a fragment below, of who knows what */
	};
	struct ref_spec before = {.df = true, .payload = 100};
	struct ref_spec behind = {.df = true, .seq = 100, .payload = 100};

	(void)state;
	for (unsigned i = 0; i < 7; i++) {
		pkts[0] = packet(&before, XB_CSUM_COMPLETE);
		pkts[1] = packet(&between[i], XB_CSUM_COMPLETE);
		pkts[2] = packet(&behind, XB_CSUM_COMPLETE);
		if (i == 6)
			xb_frame_data(pkts[1])[21] = 3;
		expect_apart(3, BOTH, 48);
	}
}

static void other_traffic_between_does_no_harm(void **state)
{
	struct ref_spec udp = {.proto = IPPROTO_UDP, .payload = 9}, icmp = {.proto = IPPROTO_ICMP};

	(void)state;
	pkts[0] = packet(&plain_a, XB_CSUM_COMPLETE);
	pkts[1] = packet(&udp, XB_CSUM_COMPLETE);
	pkts[2] = packet(&icmp, XB_CSUM_COMPLETE);
	memset(bytes_a, 0xff, 60);
	pkts[3] = ref_packet(&ra, bytes_a, 60, 0, 0);
	pkts[4] = packet(&udp, XB_CSUM_COMPLETE);
	xb_frame_data(pkts[4])[20] = 0x20; /* fragments of UDP are nothing to TCP */
	pkts[5] = packet(&plain_b, XB_CSUM_COMPLETE);
	assert_int_equal(coalesce(6, BOTH, 48), 5);
	assert_int_equal(pkts[0]->bytes, 254);
	give_back(5);
}

static void a_chain_grows_to_the_ports_limit_and_the_next_starts(void **state)
{
	struct ref_spec spec = plain_a;

	(void)state;
	for (unsigned i = 0; i < 10; i++) {
		pkts[i] = packet(&spec, XB_CSUM_COMPLETE);
		spec.seq += 100;
		spec.id++;
	}
	assert_int_equal(coalesce(10, BOTH, 4), 3);
	assert_int_equal(pkts[0]->count, 4);
	assert_int_equal(pkts[1]->count, 4);
	assert_int_equal(pkts[2]->count, 2);
	give_back(3);
}

static void a_batch_of_less_than_two_is_left_alone(void **state)
{
	(void)state;
	assert_int_equal(xb_coalesce(&ra.cache, pkts, 0, BOTH, 48), 0);
	pkts[0] = packet(&plain_a, XB_CSUM_COMPLETE);
	expect_apart(1, BOTH, 48);
}

/* ---- there and back ---- */

#define N_FLOWS 6u

/* Bytes of a flow's packets, one after the other. */
struct tape {
	uint8_t *bytes;
	uint32_t len;
};

static unsigned flow_of(const uint8_t *data)
{
	uint32_t at = 12;

	while (ref_get16(data + at) == ETH_P_8021Q || ref_get16(data + at) == ETH_P_8021AD)
		at += 4;
	at += ref_get16(data + at) == ETH_P_IP ? 2 + (data[at + 2] & 15u) * 4 : 42;
	return (ref_get16(data + at) - 1000) % N_FLOWS;
}

/* Makes a packet what leaves in the end: checksum finished, no padding, the identification of
 * datagrams that are never fragmented set to nothing. */
static void record(struct tape *tapes, struct xb_frame *pkt)
{
	struct tape *tape;
	uint32_t len, at = 12, ip_len;

	assert_int_equal(xb_csum_finish(pkt), 0);
	len = ref_bytes(pkt, bytes_b);
	tape = &tapes[flow_of(bytes_b)];
	while (ref_get16(bytes_b + at) == ETH_P_8021Q || ref_get16(bytes_b + at) == ETH_P_8021AD)
		at += 4;
	at += 2;
	if (bytes_b[at] / 16 == 4) {
		ip_len = ref_get16(bytes_b + at + 2);
		if (bytes_b[at + 6] & 0x40) {
			assert_int_equal(ref_sum(0, bytes_b + at, (bytes_b[at] & 15u) * 4), 65535);
			memset(bytes_b + at + 4, 0, 2);
			memset(bytes_b + at + 10, 0, 2);
		}
	} else {
		ip_len = 40 + ref_get16(bytes_b + at + 4);
	}
	assert_true(at + ip_len <= len);
	memcpy(tape->bytes + tape->len, bytes_b, at + ip_len);
	tape->len += at + ip_len;
}

static struct ref_spec next_of(struct ref_spec *flow)
{
	struct ref_spec spec = *flow;

	if (!ref_below(12)) /* now and then something else */
		spec.payload = ref_below(flow->payload + 1);
	if (!ref_below(16))
		spec.flags = (uint8_t)(ACK | (1u << ref_below(8)));
	if (!ref_below(16))
		spec.flags = ACK | PSH;
	if (!ref_below(24))
		flow->ack++;
	if (!ref_below(24))
		flow->id++;
	if (!ref_below(32))
		spec.pad = ref_below(8);
	if (!ref_below(32))
		spec.payload = 0;
	if (!ref_below(40))
		spec.ip_opts = 4;
	if (!ref_below(40))
		spec.tos = 3;
	if (ref_below(40)) /* else sent again */
		flow->seq += spec.payload;
	flow->id = flow->df && ref_below(2) ? (uint16_t)ref_below(65536) : (uint16_t)(flow->id + 1);
	return spec;
}

static void make_flows(struct ref_spec flows[N_FLOWS])
{
	for (unsigned i = 0; i < N_FLOWS; i++)
		flows[i] = (struct ref_spec){
			.v6 = ref_below(2),
			.tags = (uint8_t)ref_below(3),
			.vid = 5,
			.df = ref_below(2),
			.sport = (uint16_t)(1000 + i),
			.seq = ref_below(UINT32_MAX),
			.id = (uint16_t)ref_below(65536),
			.tcp_opts = (uint8_t)(ref_below(3) * 12),
			.opt_byte = 1,
			.payload = ref_below(4) ? MSS + ref_below(49) : 1 + ref_below(9000),
		};
}

static struct xb_frame *shaped(const struct ref_spec *spec)
{
	struct xb_frame *whole = packet(spec, (enum xb_csum)ref_below(3)), *pkt;
	struct xb_offload offload = whole->offload;
	uint32_t len = ref_bytes(whole, bytes_a);

	xb_packet_free(&ra.cache, whole);
	pkt = ref_packet(&ra, bytes_a, len, ref_below(4) ? 0 : 40 + ref_below(200), 3000);
	pkt->offload = offload;
	return pkt;
}

static void cutting_what_was_joined_gives_the_very_packets_back(void **state)
{
	struct tape in[N_FLOWS], out[N_FLOWS];
	uint64_t joined = 0;

	(void)state;
	for (unsigned i = 0; i < N_FLOWS; i++) {
		in[i].bytes = malloc(BATCH * 10000u);
		out[i].bytes = malloc(BATCH * 10000u);
		assert_true(in[i].bytes && out[i].bytes);
	}
	for (unsigned round = 0; round < 600; round++) {
		unsigned n_flows = 1 + ref_below(N_FLOWS), n = 1 + ref_below(BATCH), left;
		unsigned frames_max = 1 + ref_below(50);
		struct ref_spec flows[N_FLOWS];

		make_flows(flows);
		for (unsigned i = 0; i < N_FLOWS; i++)
			in[i].len = out[i].len = 0;
		for (unsigned i = 0; i < n; i++) {
			struct ref_spec spec = next_of(&flows[ref_below(n_flows)]);
			struct xb_frame *copy;

			pkts[i] = shaped(&spec);
			copy = xb_packet_copy(&ra.cache, pkts[i]);
			assert_non_null(copy);
			record(in, copy);
			xb_packet_free(&ra.cache, copy);
		}
		left = coalesce(n, BOTH, frames_max);
		joined += n - left;
		for (unsigned i = 0; i < left; i++) {
			int n_pieces = 1;

			pieces[0] = pkts[i];
			ref_bytes(pkts[i], bytes_b);
			if (pkts[i]->offload.gso) {
				assert_true(pkts[i]->count <= frames_max);
				n_pieces = xb_segment(&ra.cache, pkts[i], 0, pieces, BATCH);
				assert_true(n_pieces > 1);
			}
			for (int k = 0; k < n_pieces; k++) {
				record(out, pieces[k]);
				xb_packet_free(&ra.cache, pieces[k]);
			}
		}
		for (unsigned i = 0; i < N_FLOWS; i++) {
			assert_int_equal(in[i].len, out[i].len);
			assert_memory_equal(in[i].bytes, out[i].bytes, in[i].len);
		}
		assert_int_equal(ref_arena_used(&ra), 0);
	}
	assert_true(joined > 600);
	for (unsigned i = 0; i < N_FLOWS; i++) {
		free(in[i].bytes);
		free(out[i].bytes);
	}
}

static void joining_what_was_cut_gives_the_large_packet_back(void **state)
{
	(void)state;
	for (unsigned round = 0; round < 300; round++) {
		struct ref_spec spec = {
			.v6 = ref_below(2),
			.tags = (uint8_t)ref_below(3),
			.vid = 9,
			.id = (uint16_t)ref_below(65536),
			.df = ref_below(2),
			.seq = ref_below(UINT32_MAX),
			.flags = (uint8_t)(ACK | ref_below(2) * PSH),
			.tcp_opts = (uint8_t)(ref_below(11) * 4),
			.opt_byte = 1,
		};
		uint16_t size = (uint16_t)(64 + ref_below(3000));
		uint32_t takes = ref_below(2) ? XB_TAKES_CSUM : 0;
		struct ref_place at;
		struct xb_offload offload;
		uint32_t len;
		int n;

		spec.payload = size + 1u + ref_below(size * 47u);
		if (spec.payload > 65000)
			spec.payload = 65000;
		len = ref_build(&spec, bytes_a, &at);
		ref_make_partial(bytes_a, &at);
		pkts[0] = ref_packet_any(&ra, bytes_a, len, 200);
		pkts[0]->offload = ref_partial(&at);
		pkts[0]->offload.gso = spec.v6 ? XB_GSO_TCP6 : XB_GSO_TCP4;
		pkts[0]->offload.gso_size = size;
		pkts[0]->offload.hdr_bytes = (uint16_t)at.data;
		offload = pkts[0]->offload;
		n = xb_segment(&ra.cache, pkts[0], takes, pkts, BATCH);
		assert_int_equal(n, (spec.payload + size - 1) / size);
		assert_int_equal(coalesce((unsigned)n, BOTH, 48), 1);
		assert_memory_equal(&pkts[0]->offload, &offload, sizeof(offload));
		assert_int_equal(ref_bytes(pkts[0], bytes_b), len);
		assert_memory_equal(bytes_a, bytes_b, len);
		give_back(1);
	}
}

static void hostile_batches_lose_no_frame(void **state)
{
	(void)state;
	for (unsigned round = 0; round < 3000; round++) {
		unsigned n = 2 + ref_below(12), left;
		struct ref_spec spec = {.payload = 1 + ref_below(30), .df = true};
		uint32_t bytes = 0, frames = 0;

		for (unsigned i = 0; i < n; i++) {
			struct ref_place at;
			uint32_t len = ref_build(&spec, bytes_a, &at);

			spec.seq += spec.payload;
			for (unsigned k = ref_below(3); k; k--)
				bytes_a[12 + ref_below(len - 12)] = (uint8_t)ref_below(256);
			len -= ref_below(8) ? 0 : ref_below(len);
			pkts[i] = ref_packet(&ra, bytes_a, len,
					     ref_below(2) ? 0 : 1 + ref_below(80), 60);
			pkts[i]->offload = (struct xb_offload){
				.csum = (uint8_t)ref_below(3),
				.gso = (uint8_t)(ref_below(8) ? 0 : ref_below(5)),
				.csum_start = ref_below(4) ? 34 : (uint16_t)ref_below(65536),
				.csum_offset = ref_below(4) ? 16 : (uint16_t)ref_below(65536),
			};
			bytes += pkts[i]->bytes;
			frames += pkts[i]->count;
		}
		left = coalesce(n, BOTH, 48);
		assert_true(left >= 1 && left <= n);
		assert_true(ref_arena_used(&ra) <= frames);
		for (unsigned i = 0; i < left; i++)
			bytes -= ref_bytes(pkts[i], bytes_b);
		assert_true((int32_t)bytes >= 0);
		give_back(left);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(neighbours_become_one_large_packet),
		cmocka_unit_test(identification_of_df_packets_may_be_anything),
		cmocka_unit_test(padding_behind_the_ip_packet_is_cut_off),
		cmocka_unit_test(chains_of_any_shape_are_joined_and_no_frame_is_empty),
		cmocka_unit_test(flows_are_told_apart_in_a_mixed_batch),
		cmocka_unit_test(more_flows_than_are_looked_after_lose_nothing),
		cmocka_unit_test(a_run_that_makes_room_is_a_whole_packet),
		cmocka_unit_test(what_can_not_be_cut_again_stays_apart_and_untouched),
		cmocka_unit_test(the_plain_pair_of_these_tests_joins),
		cmocka_unit_test(a_wrong_checksum_is_neither_joined_nor_repaired),
		cmocka_unit_test(the_packet_behind_a_broken_one_starts_anew),
		cmocka_unit_test(odd_offloads_stay_apart),
		cmocka_unit_test(contradicting_headers_stay_apart),
		cmocka_unit_test(contradictions_on_both_are_contradictions_still),
		cmocka_unit_test(payload_that_looks_like_options_stays_payload),
		cmocka_unit_test(flows_with_the_same_hash_stay_apart),
		cmocka_unit_test(headers_over_two_frames_stay_apart),
		cmocka_unit_test(nothing_overtakes_a_packet_of_its_flow),
		cmocka_unit_test(other_traffic_between_does_no_harm),
		cmocka_unit_test(a_chain_grows_to_the_ports_limit_and_the_next_starts),
		cmocka_unit_test(a_batch_of_less_than_two_is_left_alone),
		cmocka_unit_test(cutting_what_was_joined_gives_the_very_packets_back),
		cmocka_unit_test(joining_what_was_cut_gives_the_large_packet_back),
		cmocka_unit_test(hostile_batches_lose_no_frame),
	};

	ref_seed();
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
