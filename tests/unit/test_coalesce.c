/* SPDX-License-Identifier: BSD-2-Clause */
/* What joins, and that it can be cut again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/checksum.h"
#include "core/segment.h"

#include "coalesce_ref.h"

#define MSS 1400u

static struct xb_frame *pieces[XB_SEGMENTS_MAX];

/* ---- what joins ---- */

static void the_plain_pair_of_these_tests_joins(void **state)
{
	(void)state;
	pkts[0] = packet(&plain_a, XB_CSUM_COMPLETE);
	pkts[1] = packet(&plain_b, XB_CSUM_COMPLETE);
	assert_int_equal(coalesce(2, XB_TAKES_TSO4, 2), 1);
	give_back(1);
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
			.sport = (uint16_t)(1000 + i % (XB_COALESCE_FLOWS + 8)),
			.seq = i / (XB_COALESCE_FLOWS + 8) * 500,
			.id = (uint16_t)(i / (XB_COALESCE_FLOWS + 8)),
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
		cmocka_unit_test(the_plain_pair_of_these_tests_joins),
		cmocka_unit_test(other_traffic_between_does_no_harm),
		cmocka_unit_test(a_chain_grows_to_the_ports_limit_and_the_next_starts),
		cmocka_unit_test(neighbours_become_one_large_packet),
		cmocka_unit_test(identification_of_df_packets_may_be_anything),
		cmocka_unit_test(padding_behind_the_ip_packet_is_cut_off),
		cmocka_unit_test(chains_of_any_shape_are_joined_and_no_frame_is_empty),
		cmocka_unit_test(flows_are_told_apart_in_a_mixed_batch),
		cmocka_unit_test(more_flows_than_are_looked_after_lose_nothing),
		cmocka_unit_test(a_run_that_makes_room_is_a_whole_packet),
		cmocka_unit_test(cutting_what_was_joined_gives_the_very_packets_back),
		cmocka_unit_test(joining_what_was_cut_gives_the_large_packet_back),
		cmocka_unit_test(hostile_batches_lose_no_frame),
	};

	ref_seed();
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
