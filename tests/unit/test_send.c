/* SPDX-License-Identifier: BSD-2-Clause */
/* The memory port aborts where a packet doesn't obey its caps; the tests below say what becomes of
 * it. Whether cutting, joining and checksums are right, unit.segment, coalesce and checksum show.
 */
#include "core/send.h"

#include "support/must.h"
#include "support/room.h"
#include "unit/packet_ref.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <string.h>

/* Packets come in on p0 and go to p1 by verdict. */

static struct room room;
#define CAPS (room.mem[1].port.caps)

static int setup(void **state)
{
	(void)state;
	room_init(&room, 4096, 2, 1, 256);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	room_fini(&room);
	return 0;
}

/* A TCP packet with `payload` bytes; gso_size 0: an ordinary one, its checksum right. */
static struct mem_packet *tcp(uint32_t seq, uint32_t payload, uint16_t gso_size)
{
	static uint8_t bytes[REF_BYTES_MAX];
	struct ref_spec spec = {.seq = seq, .payload = payload, .df = true, .window = 1000};
	struct ref_place at;
	uint32_t len = ref_build(&spec, bytes, &at);
	struct mem_packet *pkt;

	if (gso_size)
		ref_make_partial(bytes, &at);
	pkt = mem_packet_new(bytes, len);
	if (gso_size) {
		pkt->offload = ref_partial(&at);
		pkt->offload.gso = XB_GSO_TCP4;
		pkt->offload.gso_size = gso_size;
		pkt->offload.hdr_bytes = (uint16_t)at.data;
	}
	pkt->fate.verdict = XB_VERDICT_PORT(1);
	return pkt;
}

static void pass(struct mem_packet *pkt)
{
	mem_inject(&room.mem[0], 0, pkt);
	room_run(&room);
}

static struct mem_packet *next_out(void)
{
	struct mem_packet *pkt = mem_sent(&room.mem[1], 0);

	assert_non_null(pkt);
	return pkt;
}

static void nothing_more_out(void)
{
	assert_null(mem_sent(&room.mem[1], 0));
}

static uint64_t drops(enum xb_drop reason)
{
	return port_drops(&room.mem[1].port, reason);
}

/* The TCP checksum of a packet that was sent is right. */
static bool is_right(const struct mem_packet *pkt)
{
	return ref_l4_sum(pkt->data + 14, IPPROTO_TCP, pkt->data + 34, pkt->len - 34) == 0xffff;
}

static void a_segment_crosses_whole_where_the_port_cuts(void **state)
{
	struct mem_packet *out;

	(void)state;
	pass(tcp(1, 60000, 1448));
	out = next_out();
	assert_int_equal(out->offload.gso, XB_GSO_TCP4);
	assert_int_equal(out->len, 60054);
	free(out);
	nothing_more_out();
	assert_int_equal(xb_sorter_counts(room.sorter).segments_added, 0);
	assert_int_equal(xb_counted(&room.mem[1].port.queues[0].tx_gso_packets), 1);
	assert_int_equal(xb_counted(&room.mem[1].port.queues[0].tx_csum_left), 1);
}

static void a_segment_is_cut_where_the_port_does_not(void **state)
{
	uint32_t sum = 0;

	(void)state;
	CAPS.takes = 0;
	CAPS.frames_max = 1;
	CAPS.bytes_max = 1518;
	pass(tcp(1, 60000, 1448));
	for (unsigned i = 0; i < 42; i++) { /* 60000 / 1448 */
		struct mem_packet *out = next_out();

		assert_int_equal(out->frames, 1);
		assert_true(is_right(out));
		sum += out->len - 54;
		free(out);
	}
	nothing_more_out();
	assert_int_equal(sum, 60000);
	assert_int_equal(xb_sorter_counts(room.sorter).segments_added, 41);
}

static void more_segments_than_a_batch_come_out_in_order(void **state)
{
	uint32_t seq = 1;

	(void)state;
	CAPS.takes = XB_TAKES_CSUM;
	pass(tcp(1, 60000, 100));
	for (unsigned i = 0; i < 600; i++) {
		struct mem_packet *out = mem_sent(&room.mem[1], 0);

		if (!out)
			break; /* the ring holds 256 */
		assert_true(ref_get32(out->data + 38) >= seq);
		seq = ref_get32(out->data + 38);
		assert_int_equal(out->offload.csum, XB_CSUM_PARTIAL);
		free(out);
	}
	assert_int_equal(port_sums(&room.mem[1].port).tx + drops(XB_DROP_TX_FULL), 600);
	assert_int_equal(drops(XB_DROP_TX_FULL), 0); /* kicks between batches emptied it */
}

static void what_is_cut_stays_between_its_neighbours(void **state)
{
	static const uint32_t seqs[] = {1, 100, 1548, 3000, 5000, 5000 + 1448, 9000};

	(void)state;
	CAPS.takes = XB_TAKES_CSUM;
	mem_inject(&room.mem[0], 0, tcp(1, 50, 0));
	mem_inject(&room.mem[0], 0, tcp(100, 2896, 1448));
	mem_inject(&room.mem[0], 0, tcp(3000, 50, 0));
	mem_inject(&room.mem[0], 0, tcp(5000, 2896, 1448));
	mem_inject(&room.mem[0], 0, tcp(9000, 50, 0));
	room_run(&room);
	for (unsigned i = 0; i < 7; i++) {
		struct mem_packet *out = next_out();

		assert_int_equal(ref_get32(out->data + 38), seqs[i]);
		free(out);
	}
	nothing_more_out();
}

static void segments_longer_than_the_port_sends_are_dropped_as_one(void **state)
{
	(void)state;
	CAPS.bytes_max = 1514;
	pass(tcp(1, 20000, 1461));
	assert_int_equal(drops(XB_DROP_TX_TOO_LONG), 1);
	CAPS.takes = 0;
	pass(tcp(1, 20000, 1461));
	nothing_more_out();
	assert_int_equal(drops(XB_DROP_TX_TOO_LONG), 2);
}

static void a_segment_in_more_frames_than_the_port_takes_is_laid_out_anew_or_cut(void **state)
{
	struct mem_packet *pkt = tcp(1, 60000, 1448), *out;

	(void)state;
	pkt->step = 1448; /* as coalescing makes them: 41 frames, and 16 would do */
	pkt->first = 1502;
	CAPS.frames_max = 20;
	CAPS.bytes_max = 1518;
	pass(pkt);
	out = next_out();
	assert_int_equal(out->len, 60054);
	assert_int_equal(out->offload.gso_size, 1448);
	free(out);
	CAPS.frames_max = 4;
	pass(tcp(1, 60000, 1448));
	assert_int_equal(drops(XB_DROP_TX_TOO_LONG), 0);
	for (unsigned i = 0; i < 42; i++)
		free(next_out());
	nothing_more_out();
}

static void an_ordinary_packet_that_is_too_long_is_dropped(void **state)
{
	(void)state;
	CAPS.bytes_max = 1514;
	pass(tcp(1, 1460, 0));
	free(next_out());
	pass(tcp(1, 1461, 0));
	nothing_more_out();
	assert_int_equal(drops(XB_DROP_TX_TOO_LONG), 1);
}

static void a_checksum_is_left_to_a_port_that_finishes_it_and_finished_for_another(void **state)
{
	struct mem_packet *pkt, *out;

	(void)state;
	for (unsigned takes = 0; takes < 2; takes++) {
		CAPS.takes = takes ? XB_TAKES_CSUM : 0;
		pkt = tcp(1, 500, 1448);
		pkt->offload.gso = XB_GSO_NONE;
		pass(pkt);
		out = next_out();
		assert_int_equal(out->offload.csum, takes ? XB_CSUM_PARTIAL : XB_CSUM_COMPLETE);
		assert_int_equal(is_right(out), !takes);
		free(out);
	}
}

static void a_trusted_checksum_is_made_right_for_whoever_is_next(void **state)
{
	for (unsigned takes = 0; takes < 2; takes++) {
		struct mem_packet *pkt = tcp(1, 500, 0), *out;

		(void)state;
		CAPS.takes = takes ? XB_TAKES_CSUM : 0;
		pkt->offload.csum = XB_CSUM_TRUSTED;
		pkt->data[50] ^= 0x55; /* the field's bytes are anything */
		pass(pkt);
		out = next_out();
		assert_int_equal(out->offload.csum, takes ? XB_CSUM_PARTIAL : XB_CSUM_COMPLETE);
		assert_int_equal(is_right(out), !takes);
		free(out);
	}
}

static void a_checksum_with_its_place_beyond_the_packet_is_dropped(void **state)
{
	struct mem_packet *pkt = tcp(1, 100, 0);

	(void)state;
	CAPS.takes = 0;
	pkt->offload =
		(struct xb_offload){.csum = XB_CSUM_PARTIAL, .csum_start = 2000, .csum_offset = 16};
	pass(pkt);
	nothing_more_out();
	assert_int_equal(drops(XB_DROP_TX_BAD), 1);
}

static void a_chain_is_laid_out_in_one_frame_where_the_port_takes_one(void **state)
{
	struct mem_packet *pkt = tcp(1, 1400, 0), *out, *want = tcp(1, 1400, 0);

	(void)state;
	CAPS.frames_max = 1;
	CAPS.takes = XB_TAKES_CSUM;
	pkt->first = 60;
	pkt->step = 77;
	pass(pkt);
	out = next_out();
	assert_int_equal(out->frames, 1);
	assert_memory_equal(out->data, want->data, want->len);
	free(out);
	free(want);
	pkt = tcp(1, 4000, 0); /* that doesn't fit in a frame */
	pass(pkt);
	nothing_more_out();
	assert_int_equal(drops(XB_DROP_TX_TOO_LONG), 1);
}

static void neighbours_of_a_stream_are_joined_where_the_port_cuts(void **state)
{
	struct mem_packet *out;

	(void)state;
	for (uint32_t i = 0; i < 10; i++)
		mem_inject(&room.mem[0], 0, tcp(1 + i * 1448, 1448, 0));
	room_run(&room);
	out = next_out();
	assert_int_equal(out->len, 54 + 14480);
	assert_int_equal(out->offload.gso_size, 1448);
	free(out);
	nothing_more_out();
	assert_int_equal(xb_sorter_counts(room.sorter).frames_joined, 9);
}

static void a_full_ring_drops_what_does_not_fit_after_a_kick(void **state)
{
	(void)state;
	CAPS.takes = 0; /* nothing is joined */
	atomic_store(&room.mem[1].hold, true);
	for (unsigned i = 0; i < 300; i++)
		mem_inject(&room.mem[0], 0, tcp(1, 100, 0));
	room_run(&room);
	assert_int_equal(drops(XB_DROP_TX_FULL), 44);
	assert_int_equal(port_sums(&room.mem[1].port).tx, 0);
	room_must_balance(&room); /* 256 in flight */
	atomic_store(&room.mem[1].hold, false);
	room_run(&room);
	assert_int_equal(port_sums(&room.mem[1].port).tx, 256);
}

static void without_frames_to_cut_into_it_is_a_drop(void **state)
{
	struct xb_frame *held[4096];
	unsigned n = 0;

	(void)state;
	CAPS.takes = 0;
	mem_inject(&room.mem[0], 0, tcp(1, 60000, 1448));
	while (n < 4096 - 20)
		held[n++] = xb_frame_alloc(&room.sorter->cache);
	room_run(&room);
	while (n)
		xb_packet_free(&room.sorter->cache, held[--n]);
	nothing_more_out();
	assert_int_equal(drops(XB_DROP_TX_NO_FRAME), 1);
	assert_int_equal(xb_sorter_counts(room.sorter).segments_added, 0);
}

static void a_segment_whose_headers_say_otherwise_is_dropped(void **state)
{
	struct mem_packet *pkt = tcp(1, 20000, 1448);

	(void)state;
	CAPS.takes = 0;
	pkt->data[23] = IPPROTO_SCTP;
	pass(pkt);
	nothing_more_out();
	assert_int_equal(drops(XB_DROP_TX_BAD), 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_segment_crosses_whole_where_the_port_cuts),
		TEST(a_segment_is_cut_where_the_port_does_not),
		TEST(more_segments_than_a_batch_come_out_in_order),
		TEST(what_is_cut_stays_between_its_neighbours),
		TEST(segments_longer_than_the_port_sends_are_dropped_as_one),
		TEST(a_segment_in_more_frames_than_the_port_takes_is_laid_out_anew_or_cut),
		TEST(an_ordinary_packet_that_is_too_long_is_dropped),
		TEST(a_checksum_is_left_to_a_port_that_finishes_it_and_finished_for_another),
		TEST(a_trusted_checksum_is_made_right_for_whoever_is_next),
		TEST(a_checksum_with_its_place_beyond_the_packet_is_dropped),
		TEST(a_chain_is_laid_out_in_one_frame_where_the_port_takes_one),
		TEST(neighbours_of_a_stream_are_joined_where_the_port_cuts),
		TEST(a_full_ring_drops_what_does_not_fit_after_a_kick),
		TEST(without_frames_to_cut_into_it_is_a_drop),
		TEST(a_segment_whose_headers_say_otherwise_is_dropped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
