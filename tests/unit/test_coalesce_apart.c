/* SPDX-License-Identifier: BSD-2-Clause */
/* What must not join, and stays as it was. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/l4.h"

#include "coalesce_ref.h"

struct pair {
	const char *why;
	struct ref_spec a, b; /* b follows a unless it says why not */
	uint32_t takes;
	unsigned frames_max;
};

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
			if (!i)
				data[20] = 0x80; /* the reserved bit */
			else
				data[34 + 12] = 0x40; /* data offset below 5 */
			if (i && k)
				ref_put32(data + 34 + 4, 104); /* the next one, seen so */
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
	const struct xb_headers l4 = {.flags = XB_HEADERS_IPV4, .l3 = 14, .l4 = 34};
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

static void a_batch_of_less_than_two_is_left_alone(void **state)
{
	(void)state;
	assert_int_equal(xb_coalesce(&ra.cache, pkts, 0, BOTH, 48), 0);
	pkts[0] = packet(&plain_a, XB_CSUM_COMPLETE);
	expect_apart(1, BOTH, 48);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_can_not_be_cut_again_stays_apart_and_untouched),
		cmocka_unit_test(a_wrong_checksum_is_neither_joined_nor_repaired),
		cmocka_unit_test(the_packet_behind_a_broken_one_starts_anew),
		cmocka_unit_test(odd_offloads_stay_apart),
		cmocka_unit_test(contradicting_headers_stay_apart),
		cmocka_unit_test(contradictions_on_both_are_contradictions_still),
		cmocka_unit_test(payload_that_looks_like_options_stays_payload),
		cmocka_unit_test(flows_with_the_same_hash_stay_apart),
		cmocka_unit_test(headers_over_two_frames_stay_apart),
		cmocka_unit_test(nothing_overtakes_a_packet_of_its_flow),
		cmocka_unit_test(a_batch_of_less_than_two_is_left_alone),
	};

	ref_seed();
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
