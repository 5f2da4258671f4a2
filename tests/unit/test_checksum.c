/* SPDX-License-Identifier: BSD-2-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/checksum.h"
#include "core/crc32c.h"
#include "core/l4.h"

#define FRAMES 512u
#include "packet_room.h"

#include <errno.h>

static uint8_t bytes_a[REF_BYTES_MAX], bytes_b[REF_BYTES_MAX];

static void give_back(struct xb_frame *pkt)
{
	ref_unfence(&ra);
	xb_packet_free(&ra.cache, pkt);
}

static unsigned folded(uint64_t sum)
{
	uint16_t value = xb_csum_fold(sum);
	uint8_t stored[2];

	memcpy(stored, &value, 2);
	return ref_get16(stored);
}

/* ---- sums ---- */

static void sum_equals_the_bytewise_one_at_any_length_and_alignment(void **state)
{
	(void)state;
	for (unsigned kind = 0; kind < 3; kind++) {
		if (kind == 0)
			ref_fill(bytes_a, 4096);
		else
			memset(bytes_a, kind == 1 ? 0xff : 0, 4096);
		for (uint32_t len = 0; len < 400; len++)
			for (uint32_t at = 0; at < 9; at++)
				assert_int_equal(folded(xb_csum_add(0, bytes_a + at, len)),
						 ref_sum(0, bytes_a + at, len));
	}
}

static void copy_sums_what_it_copies_and_writes_nothing_else(void **state)
{
	(void)state;
	ref_fill(bytes_a, 4096);
	for (uint32_t len = 0; len < 300; len++) {
		for (uint32_t at = 0; at < 9; at++) {
			uint8_t *to = bytes_b + 8 + at;

			memset(bytes_b, 0x5a, 512);
			assert_int_equal(xb_csum_copy(len, to, bytes_a + len, len),
					 xb_csum_add(len, bytes_a + len, len));
			assert_memory_equal(to, bytes_a + len, len);
			assert_int_equal(to[-1], 0x5a);
			assert_int_equal(to[len], 0x5a);
		}
	}
}

static void sum_loses_no_carry_over_long_input_and_full_running_sums(void **state)
{
	(void)state;
	memset(bytes_a, 0xff, sizeof(bytes_a));
	bytes_a[9] = 7;
	assert_int_equal(folded(xb_csum_add(0, bytes_a, REF_BYTES_MAX)),
			 ref_sum(0, bytes_a, REF_BYTES_MAX));
	for (unsigned i = 0; i < 64; i++) {
		uint64_t start = UINT64_MAX << i;
		unsigned folded_start = folded(start);

		assert_int_equal(folded(xb_csum_add(start, bytes_a, 101)),
				 ref_sum(folded_start, bytes_a, 101));
	}
	assert_int_equal(xb_csum_add(0, bytes_b, 0), 0);
}

static void sum_of_pieces_is_the_sum_of_the_whole(void **state)
{
	(void)state;
	ref_fill(bytes_a, 3000);
	for (unsigned round = 0; round < 500; round++) {
		uint32_t cut = ref_below(1500) * 2;
		uint64_t sum = xb_csum_add(0, bytes_a, cut);

		sum = xb_csum_add(sum, bytes_a + cut, 3000 - cut);
		assert_int_equal(folded(sum), ref_sum(0, bytes_a, 3000));
	}
}

static void sum_over_a_chain_of_odd_frames_is_that_of_its_bytes(void **state)
{
	(void)state;
	for (unsigned round = 0; round < 3000; round++) {
		uint32_t len = 1 + ref_below(round % 8 ? 3000 : 60000);
		uint32_t from = ref_below(len + 1);
		uint32_t part = ref_below(len - from + 1);
		struct xb_frame *pkt;

		ref_fill(bytes_a, len);
		pkt = ref_packet(&ra, bytes_a, len, 1 + ref_below(100),
				 len / 30 + 1 + ref_below(50));
		ref_fence(pkt);
		assert_int_equal(folded(xb_csum_packet(pkt, from, part)),
				 ref_sum(0, bytes_a + from, part));
		assert_int_equal(folded(xb_csum_packet(pkt, from, UINT32_MAX)),
				 ref_sum(0, bytes_a + from, len - from));
		give_back(pkt);
	}
}

static void crc32c_has_its_published_values(void **state)
{
	(void)state;
	memset(bytes_a, 0, 32);
	assert_int_equal(~xb_crc32c_add(UINT32_MAX, "123456789", 9), 0xe3069283u);
	assert_int_equal(~xb_crc32c_add(UINT32_MAX, bytes_a, 32), 0x8a9136aau); /* RFC 3720, B.4 */
	memset(bytes_a, 0xff, 32);
	assert_int_equal(~xb_crc32c_add(UINT32_MAX, bytes_a, 32), 0x62a8ab43u);
	ref_fill(bytes_a, 300);
	for (uint32_t len = 0; len < 300; len++)
		assert_int_equal(~xb_crc32c_add(UINT32_MAX, bytes_a, len),
				 ref_crc32c(bytes_a, len));
}

/* ---- PARTIAL ---- */

static void partial_is_finished_over_a_chain_of_any_shape(void **state)
{
	(void)state;
	for (unsigned round = 0; round < 3000; round++) {
		struct ref_spec spec = {
			.v6 = ref_below(2),
			.tags = (uint8_t)ref_below(3),
			.proto = ref_below(2) ? IPPROTO_UDP : IPPROTO_TCP,
			.payload = ref_below(4000),
			.salt = ref_below(1000),
		};
		struct ref_place at;
		uint32_t len = ref_build(&spec, bytes_a, &at);
		struct xb_frame *pkt;

		memcpy(bytes_b, bytes_a, len);
		ref_make_partial(bytes_b, &at);
		pkt = ref_packet(&ra, bytes_b, len, 1 + ref_below(90),
				 len / 40 + 1 + ref_below(60));
		pkt->offload = ref_partial(&at);
		ref_fence(pkt);
		assert_int_equal(xb_csum_finish(pkt), 0);
		assert_int_equal(pkt->offload.csum, XB_CSUM_COMPLETE);
		assert_int_equal(ref_bytes(pkt, bytes_b), len);
		assert_memory_equal(bytes_a, bytes_b, len);
		give_back(pkt);
	}
}

static void partial_outside_of_the_packet_is_refused_and_the_packet_untouched(void **state)
{
	static const struct {
		uint16_t start, offset;
	} bad[] = {{0, 99}, {99, 0}, {100, 0}, {50, 49}, {65535, 65535}, {0, 65535}, {65535, 1}};

	(void)state;
	ref_fill(bytes_a, 100);
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct xb_frame *pkt = ref_packet(&ra, bytes_a, 100, 33, 7);

		pkt->offload = (struct xb_offload){
			.csum = XB_CSUM_PARTIAL,
			.csum_start = bad[i].start,
			.csum_offset = bad[i].offset,
		};
		ref_fence(pkt);
		assert_int_equal(xb_csum_finish(pkt), -EINVAL);
		assert_int_equal(pkt->offload.csum, XB_CSUM_PARTIAL);
		assert_int_equal(pkt->offload.csum_start, bad[i].start);
		assert_int_equal(ref_bytes(pkt, bytes_b), 100);
		assert_memory_equal(bytes_a, bytes_b, 100);
		give_back(pkt);
	}
}

static void partial_at_the_last_two_bytes_is_finished(void **state)
{
	struct xb_frame *pkt;
	unsigned want;

	(void)state;
	ref_fill(bytes_a, 101);
	pkt = ref_packet(&ra, bytes_a, 101, 100, 1); /* the place lies over two frames */
	pkt->offload =
		(struct xb_offload){.csum = XB_CSUM_PARTIAL, .csum_start = 98, .csum_offset = 1};
	want = 65535u - ref_sum(0, bytes_a + 98, 3);
	ref_fence(pkt);
	assert_int_equal(xb_csum_finish(pkt), 0);
	ref_bytes(pkt, bytes_b);
	assert_memory_equal(bytes_a, bytes_b, 99);
	assert_int_equal(ref_get16(bytes_b + 99), want);
	give_back(pkt);
}

/* A payload whose checksum comes out as 0: its last two bytes take what is missing. */
static uint32_t build_zero_sum(unsigned proto, struct ref_place *at)
{
	struct ref_spec spec = {.proto = (uint8_t)proto, .payload = 64};
	uint32_t len = ref_build(&spec, bytes_a, at);

	memset(bytes_a + len - 2, 0, 2);
	ref_put16(bytes_a + at->check, 0);
	ref_put16(bytes_a + len - 2,
		  65535u - ref_l4_sum(bytes_a + at->ip, proto, bytes_a + at->l4, at->end - at->l4));
	return len;
}

static void udp_checksum_of_zero_is_sent_as_all_ones(void **state)
{
	(void)state;
	for (unsigned kind = XB_CSUM_PARTIAL; kind <= XB_CSUM_TRUSTED; kind++) {
		for (unsigned tcp = 0; tcp < 2; tcp++) {
			struct ref_place at;
			uint32_t len = build_zero_sum(tcp ? IPPROTO_TCP : IPPROTO_UDP, &at);
			struct xb_frame *pkt;

			ref_make_partial(bytes_a, &at);
			pkt = ref_packet(&ra, bytes_a, len, 0, 0);
			pkt->offload = ref_partial(&at);
			pkt->offload.csum = (uint8_t)kind;
			assert_int_equal(xb_csum_finish(pkt), 0);
			ref_bytes(pkt, bytes_b);
			assert_int_equal(ref_get16(bytes_b + at.check), tcp ? 0 : 65535u);
			give_back(pkt);
		}
	}
}

static void complete_is_left_alone(void **state)
{
	struct xb_frame *pkt;

	(void)state;
	ref_fill(bytes_a, 200);
	pkt = ref_packet(&ra, bytes_a, 200, 0, 0);
	assert_int_equal(xb_csum_finish(pkt), 0);
	xb_csum_make_partial(pkt);
	assert_int_equal(pkt->offload.csum, XB_CSUM_COMPLETE);
	ref_bytes(pkt, bytes_b);
	assert_memory_equal(bytes_a, bytes_b, 200);
	give_back(pkt);
}

/* ---- TRUSTED ---- */

static struct ref_spec any_spec(void)
{
	static const uint8_t protos[] = {IPPROTO_TCP, IPPROTO_UDP, IPPROTO_SCTP};

	return (struct ref_spec){
		.v6 = ref_below(2),
		.tags = (uint8_t)ref_below(3),
		.ip_opts = (uint8_t)(ref_below(3) ? 0 : ref_below(11) * 4),
		.ext = (uint8_t)(ref_below(3) ? 0 : ref_below(9)),
		.proto = protos[ref_below(3)],
		.tcp_opts = (uint8_t)(ref_below(11) * 4),
		.payload = ref_below(3000),
		.salt = ref_below(1000),
		.pad = ref_below(3) ? 0 : ref_below(20),
		.pad_byte = (uint8_t)(ref_below(2) * 0xa5),
	};
}

static struct xb_frame *trusted(const uint8_t *data, uint32_t len)
{
	struct xb_frame *pkt = ref_packet(&ra, data, len, ref_below(2) ? 1 + ref_below(200) : 0,
					  len / 40 + 1 + ref_below(60));

	pkt->offload.csum = XB_CSUM_TRUSTED;
	ref_fence(pkt);
	return pkt;
}

static void trusted_is_computed_anew_whatever_its_field_says(void **state)
{
	(void)state;
	for (unsigned round = 0; round < 4000; round++) {
		struct ref_spec spec = any_spec();
		struct ref_place at;
		uint32_t len = ref_build(&spec, bytes_a, &at);
		struct xb_frame *pkt;

		memcpy(bytes_b, bytes_a, len);
		ref_put16(bytes_b + at.check, 1 + ref_below(65535));
		pkt = trusted(bytes_b, len);
		assert_int_equal(xb_csum_finish(pkt), 0);
		assert_int_equal(pkt->offload.csum, XB_CSUM_COMPLETE);
		assert_int_equal(ref_bytes(pkt, bytes_b), len);
		assert_memory_equal(bytes_a, bytes_b, len);
		give_back(pkt);
	}
}

static void make_partial_then_finish_gives_the_right_packet(void **state)
{
	unsigned partial = 0, complete = 0;

	(void)state;
	for (unsigned round = 0; round < 4000; round++) {
		struct ref_spec spec = any_spec();
		struct ref_place at;
		uint32_t len = ref_build(&spec, bytes_a, &at);
		bool simple = at.proto != IPPROTO_SCTP && (!spec.pad || !spec.pad_byte);
		struct xb_frame *pkt;

		memcpy(bytes_b, bytes_a, len);
		ref_put16(bytes_b + at.check, 1 + ref_below(65535));
		pkt = trusted(bytes_b, len);
		xb_csum_make_partial(pkt);
		if (simple) {
			struct xb_offload want = ref_partial(&at);

			partial++;
			assert_memory_equal(&pkt->offload, &want, sizeof(want));
			ref_bytes(pkt, bytes_b);
			assert_int_equal(ref_get16(bytes_b + at.check),
					 ref_pseudo(bytes_b + at.ip, at.proto, at.end - at.l4));
			assert_int_equal(xb_csum_finish(pkt), 0);
		} else {
			complete++;
		}
		assert_int_equal(pkt->offload.csum, XB_CSUM_COMPLETE);
		assert_int_equal(ref_bytes(pkt, bytes_b), len);
		assert_memory_equal(bytes_a, bytes_b, len);
		give_back(pkt);
	}
	assert_true(partial > 100 && complete > 100);
}

/* Both ways out of TRUSTED leave these bytes as they are. */
static void expect_left_alone(const uint8_t *data, uint32_t len)
{
	for (unsigned way = 0; way < 2; way++) {
		struct xb_frame *pkt = trusted(data, len);

		if (way)
			xb_csum_make_partial(pkt);
		else
			assert_int_equal(xb_csum_finish(pkt), 0);
		assert_int_equal(pkt->offload.csum, XB_CSUM_COMPLETE);
		assert_int_equal(ref_bytes(pkt, bytes_b), len);
		assert_memory_equal(data, bytes_b, len);
		give_back(pkt);
	}
}

static void trusted_udp_without_checksum_keeps_none(void **state)
{
	(void)state;
	for (unsigned v6 = 0; v6 < 2; v6++) {
		struct ref_spec spec = {.v6 = v6, .proto = IPPROTO_UDP, .payload = 100};
		struct ref_place at;
		uint32_t len = ref_build(&spec, bytes_a, &at);

		ref_put16(bytes_a + at.check, 0);
		expect_left_alone(bytes_a, len);
	}
}

static void trusted_fragments_are_left_alone(void **state)
{
	struct ref_spec v4 = {.payload = 100}, v6 = {.v6 = true, .ext = 1, .payload = 100};
	static const uint16_t frag[] = {0x2000, 0x0001, 0x1fff, 0x3fff};
	struct ref_place at;
	uint32_t len;

	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		len = ref_build(&v4, bytes_a, &at);
		bytes_a[at.check] ^= 1;
		ref_put16(bytes_a + at.ip + 6, frag[i]);
		expect_left_alone(bytes_a, len);

		len = ref_build(&v6, bytes_a, &at);
		bytes_a[at.check] ^= 1;
		bytes_a[at.ip + 6] = IPPROTO_FRAGMENT;
		ref_put16(bytes_a + at.ip + 42, i ? 8u * i : 1u);
		expect_left_alone(bytes_a, len);
	}
}

static void trusted_atomic_ipv6_fragment_is_finished(void **state)
{
	struct ref_spec spec = {.v6 = true, .ext = 1, .payload = 100};
	struct ref_place at;
	uint32_t len;
	struct xb_frame *pkt;

	(void)state;
	len = ref_build(&spec, bytes_a, &at);
	bytes_a[at.ip + 6] = IPPROTO_FRAGMENT;
	memcpy(bytes_a + at.ip + 40, "\6\0\0\0\1\2\3\4", 8);
	memcpy(bytes_b, bytes_a, len);
	bytes_b[at.check] ^= 0x55;
	pkt = trusted(bytes_b, len);
	assert_int_equal(xb_csum_finish(pkt), 0);
	ref_bytes(pkt, bytes_b);
	assert_memory_equal(bytes_a, bytes_b, len);
	give_back(pkt);
}

static void trusted_packets_that_contradict_themselves_are_left_alone(void **state)
{
	struct ref_spec spec = {.payload = 100};
	struct ref_place at;
	uint32_t len;

	(void)state;
	for (unsigned i = 0; i < 12; i++) {
		spec.v6 = i == 5 || i == 6 || i == 7 || i == 8;
		spec.ext = i == 7 ? 9 : i == 8 ? 1 : 0;
		spec.proto = i == 9 || i == 10 ? IPPROTO_UDP : i == 11 ? IPPROTO_ICMP : 0;
		spec.tags = i == 4 ? 3 : 0;
		len = ref_build(&spec, bytes_a, &at);
		bytes_a[at.check] ^= 0x55;
		switch (i) {
		case 0: /* claims more than there is */
			ref_put16(bytes_a + at.ip + 2, at.end - at.ip + 1);
			break;
		case 1: /* ends within its own header */
			ref_put16(bytes_a + at.ip + 2, 19);
			break;
		case 2: /* TCP header cut off */
			ref_put16(bytes_a + at.ip + 2, 39);
			break;
		case 3:
			bytes_a[at.ip] = 0x44;
			break;
		case 5:
			ref_put16(bytes_a + at.ip + 4, at.end - at.ip - 39);
			break;
		case 6:
			bytes_a[at.ip] = 0x50;
			break;
		case 8: /* a routing header with segments left */
			bytes_a[at.ip + 6] = IPPROTO_ROUTING;
			break;
		case 9:
			ref_put16(bytes_a + at.l4 + 4, 7);
			break;
		case 10:
			ref_put16(bytes_a + at.l4 + 4, at.end - at.l4 + 1);
			break;
		default: /* 4: three tags; 7: nine extension headers; 11: ICMP */
			break;
		}
		if (i == 8)
			bytes_a[at.ip + 43] = 4;
		expect_left_alone(bytes_a, len);
	}
	for (uint32_t cut = 0; cut < 60; cut++) {
		spec = (struct ref_spec){.payload = 10};
		ref_build(&spec, bytes_a, &at);
		expect_left_alone(bytes_a, cut);
	}
}

static void udp_shorter_than_its_ip_packet_is_summed_over_its_own_length(void **state)
{
	struct ref_spec spec = {.proto = IPPROTO_UDP, .payload = 100};
	struct ref_place at;

	(void)state;
	for (unsigned way = 0; way < 2; way++) {
		uint32_t len = ref_build(&spec, bytes_a, &at);
		struct xb_frame *pkt;

		ref_put16(bytes_a + at.l4 + 4, 51);
		pkt = trusted(bytes_a, len);
		if (way)
			xb_csum_make_partial(pkt); /* finishes it, for what lies behind */
		else
			assert_int_equal(xb_csum_finish(pkt), 0);
		assert_int_equal(pkt->offload.csum, XB_CSUM_COMPLETE);
		ref_bytes(pkt, bytes_b);
		assert_int_equal(ref_l4_sum(bytes_b + at.ip, IPPROTO_UDP, bytes_b + at.l4, 51),
				 65535);
		give_back(pkt);
	}
}

static void hostile_packets_change_in_at_most_one_field(void **state)
{
	(void)state;
	for (unsigned round = 0; round < 20000; round++) {
		struct ref_spec spec = any_spec();
		struct ref_place at;
		uint32_t len, changed = 0, first = 0, last = 0;
		struct xb_frame *pkt;

		spec.payload %= 64;
		len = ref_build(&spec, bytes_a, &at);
		for (unsigned i = ref_below(6); i; i--)
			bytes_a[12 + ref_below(len - 12)] = (uint8_t)ref_below(256);
		len -= ref_below(4) ? 0 : ref_below(len);
		pkt = trusted(bytes_a, len);
		if (ref_below(2))
			xb_csum_make_partial(pkt);
		assert_int_equal(xb_csum_finish(pkt), 0);
		assert_int_equal(ref_bytes(pkt, bytes_b), len);
		for (uint32_t i = 0; i < len; i++) {
			if (bytes_a[i] == bytes_b[i])
				continue;
			first = changed++ ? first : i;
			last = i;
		}
		assert_true(!changed || (last - first < 4 && first >= 34));
		give_back(pkt);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sum_equals_the_bytewise_one_at_any_length_and_alignment),
		cmocka_unit_test(copy_sums_what_it_copies_and_writes_nothing_else),
		cmocka_unit_test(sum_loses_no_carry_over_long_input_and_full_running_sums),
		cmocka_unit_test(sum_of_pieces_is_the_sum_of_the_whole),
		cmocka_unit_test(sum_over_a_chain_of_odd_frames_is_that_of_its_bytes),
		cmocka_unit_test(crc32c_has_its_published_values),
		cmocka_unit_test(partial_is_finished_over_a_chain_of_any_shape),
		cmocka_unit_test(partial_outside_of_the_packet_is_refused_and_the_packet_untouched),
		cmocka_unit_test(partial_at_the_last_two_bytes_is_finished),
		cmocka_unit_test(udp_checksum_of_zero_is_sent_as_all_ones),
		cmocka_unit_test(complete_is_left_alone),
		cmocka_unit_test(trusted_is_computed_anew_whatever_its_field_says),
		cmocka_unit_test(make_partial_then_finish_gives_the_right_packet),
		cmocka_unit_test(trusted_udp_without_checksum_keeps_none),
		cmocka_unit_test(trusted_fragments_are_left_alone),
		cmocka_unit_test(trusted_atomic_ipv6_fragment_is_finished),
		cmocka_unit_test(trusted_packets_that_contradict_themselves_are_left_alone),
		cmocka_unit_test(udp_shorter_than_its_ip_packet_is_summed_over_its_own_length),
		cmocka_unit_test(hostile_packets_change_in_at_most_one_field),
	};

	ref_seed();
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
