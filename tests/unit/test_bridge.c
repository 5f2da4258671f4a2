/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/bridge.h"

#include "core/clock.h"
#include "support/must.h"
#include "support/room.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <string.h>

/* Three ports p0, p1, p2; station n has the address 02:00:00:00:00:n. */

static struct room room;

static int setup(void **state)
{
	(void)state;
	room_init(&room, 512, 3, 1, 256);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	room_fini(&room); /* the equation holds, and no frame is lost, after each test */
	return 0;
}

static const uint8_t broadcast[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

static const uint8_t *station(uint8_t n)
{
	static uint8_t macs[256][6];

	memcpy(macs[n], (uint8_t[6]){2, 0, 0, 0, 0, n}, 6);
	return macs[n];
}

#define UNTAGGED (-1)

static struct mem_packet *packet(const uint8_t *dmac, const uint8_t *smac, int vlan, uint32_t len)
{
	uint8_t data[2000] = {0};

	memcpy(data, dmac, 6);
	memcpy(data + 6, smac, 6);
	if (vlan == UNTAGGED) {
		memcpy(data + 12, "\x88\xb5", 2);
	} else {
		memcpy(data + 12, "\x81\x00", 2);
		data[14] = (uint8_t)(vlan >> 8 | 0xa0); /* with a priority */
		data[15] = (uint8_t)vlan;
		memcpy(data + 16, "\x88\xb5", 2);
	}
	for (uint32_t i = 18; i < len; i++)
		data[i] = (uint8_t)(i * 7);
	return mem_packet_new(data, len);
}

/* Sends one packet through the room. */
static void pass(unsigned in, const uint8_t *dmac, const uint8_t *smac, int vlan)
{
	mem_inject(&room.mem[in], 0, packet(dmac, smac, vlan, 60));
	room_run(&room);
}

static void nothing_is_flooded_between_ports_that_are_cut(void **state)
{
	(void)state;
	room.snapshot.cut[0] = 1u << 2;
	room.snapshot.cut[2] = 1u << 0;
	pass(0, broadcast, station(1), UNTAGGED);
	assert_int_equal(room_came_out(&room), 1u << 1);
	assert_int_equal(port_drops(&room.mem[0].port, XB_DROP_LOOP), 1);
	assert_int_equal(xb_counted(&room.sorter->copies), 1);
	pass(1, station(9), station(2), UNTAGGED);
	assert_int_equal(room_came_out(&room), 1u << 0 | 1u << 2);
	pass(2, station(1), station(3), UNTAGGED); /* a known address is not flooded */
	assert_int_equal(room_came_out(&room), 1u << 0);
	/* with nobody else there it is the packet itself that is dropped */
	room.snapshot.cut[0] |= 1u << 1;
	pass(0, broadcast, station(1), UNTAGGED);
	assert_int_equal(room_came_out(&room), 0);
	assert_int_equal(port_drops(&room.mem[0].port, XB_DROP_LOOP), 3);
}

static void a_clock_that_was_read_long_ago_makes_no_storm(void **state)
{
	uint64_t now_ns = xb_clock_ns(CLOCK_MONOTONIC_COARSE);
	struct xb_limit *storm = &room.mem[0].port.storm;

	(void)state;
	atomic_store(&storm->pps, 1000);
	assert_true(xb_limit_allows(storm, now_ns)); /* as another worker would */
	room.sorter->now_ns = now_ns - 1000000000u;
	pass(0, broadcast, station(1), UNTAGGED);
	assert_int_equal(room_came_out(&room), 1u << 1 | 1u << 2);
	assert_int_equal(port_drops(&room.mem[0].port, XB_DROP_STORM), 0);
}

static void group_packets_beyond_the_storm_limit_are_dropped(void **state)
{
	(void)state;
	atomic_store(&room.mem[0].port.storm.pps, 10); /* one each tenth of a second */
	room.sorter->now_ns = xb_clock_ns(CLOCK_MONOTONIC_COARSE);
	for (unsigned i = 0; i < 50; i++)
		pass(0, broadcast, station(1), UNTAGGED);
	assert_in_range(port_drops(&room.mem[0].port, XB_DROP_STORM), 1, 49);
}

static void probe_of_another_port_is_counted_and_goes_no_further(void **state)
{
	struct xb_loops loops = {.secret = 42};
	uint8_t frame[XB_PROBE_BYTES_MAX];
	unsigned bytes;

	(void)state;
	room.snapshot.loops = &loops;
	bytes = xb_probe_write(&loops, 2, station(5), 0, frame);
	mem_inject(&room.mem[1], 0, mem_packet_new(frame, bytes));
	room_run(&room);
	assert_int_equal(room_came_out(&room), 0);
	assert_int_equal(loops.echoes[2][1], 1);
	assert_int_equal(port_drops(&room.mem[1].port, XB_DROP_LOOP), 1);
}

static void an_unknown_destination_is_flooded_and_a_known_one_is_not(void **state)
{
	(void)state;
	pass(0, station(2), station(1), UNTAGGED);
	assert_int_equal(room_came_out(&room), 1u << 1 | 1u << 2);
	assert_int_equal(xb_counted(&room.sorter->copies), 1);
	pass(1, station(1), station(2), UNTAGGED);
	assert_int_equal(room_came_out(&room), 1u << 0);
	pass(0, station(2), station(1), UNTAGGED);
	assert_int_equal(room_came_out(&room), 1u << 1);
	assert_int_equal(xb_counted(&room.sorter->copies), 1);
}

static void every_copy_of_a_flooded_packet_is_the_packet(void **state)
{
	struct mem_packet *pkt = packet(broadcast, station(1), UNTAGGED, 1500), *want;

	(void)state;
	want = packet(broadcast, station(1), UNTAGGED, 1500);
	pkt->first = 100; /* a chain, for one copy to differ in shape */
	pkt->step = 300;
	pkt->offload =
		(struct xb_offload){.csum = XB_CSUM_PARTIAL, .csum_start = 34, .csum_offset = 16};
	mem_inject(&room.mem[1], 0, pkt);
	room_run(&room);
	for (unsigned i = 0; i < 3; i += 2) {
		struct mem_packet *out = mem_sent(&room.mem[i], 0);

		assert_non_null(out);
		assert_int_equal(out->len, want->len);
		assert_memory_equal(out->data, want->data, want->len);
		assert_int_equal(out->offload.csum, XB_CSUM_PARTIAL);
		assert_int_equal(out->offload.csum_start, 34);
		assert_null(mem_sent(&room.mem[i], 0));
		free(out);
	}
	free(want);
	assert_null(mem_sent(&room.mem[1], 0));
}

static void vlans_are_learned_apart(void **state)
{
	(void)state;
	pass(0, broadcast, station(1), 10);
	pass(1, broadcast, station(1), 20);
	pass(1, broadcast, station(1), UNTAGGED);
	room_came_out(&room);
	pass(2, station(1), station(3), 10);
	assert_int_equal(room_came_out(&room), 1u << 0);
	pass(2, station(1), station(3), 20);
	assert_int_equal(room_came_out(&room), 1u << 1);
	pass(2, station(1), station(3), UNTAGGED);
	assert_int_equal(room_came_out(&room), 1u << 1);
	pass(2, station(1), station(3), 30);
	assert_int_equal(room_came_out(&room), 1u << 0 | 1u << 1);
	pass(2, station(1), station(3), 0); /* a priority tag is no VLAN */
	assert_int_equal(room_came_out(&room), 1u << 1);
}

static void reserved_multicast_is_not_forwarded_and_its_neighbours_are(void **state)
{
	(void)state;
	for (uint8_t last = 0; last < 0x10; last++) {
		pass(0, (uint8_t[6]){0x01, 0x80, 0xc2, 0, 0, last}, station(1), UNTAGGED);
		assert_int_equal(room_came_out(&room), 0);
	}
	assert_int_equal(port_drops(&room.mem[0].port, XB_DROP_RESERVED), 16);
	pass(0, (uint8_t[6]){0x01, 0x80, 0xc2, 0, 0, 0x10}, station(1), UNTAGGED);
	assert_int_equal(room_came_out(&room), 1u << 1 | 1u << 2);
	pass(0, (uint8_t[6]){0x01, 0x80, 0xc2, 0, 1, 0}, station(1), UNTAGGED);
	assert_int_equal(room_came_out(&room), 1u << 1 | 1u << 2);
}

static void a_packet_for_its_own_port_is_a_hairpin(void **state)
{
	(void)state;
	pass(0, broadcast, station(1), UNTAGGED);
	pass(0, broadcast, station(2), UNTAGGED);
	room_came_out(&room);
	pass(0, station(2), station(1), UNTAGGED);
	assert_int_equal(room_came_out(&room), 0);
	assert_int_equal(port_drops(&room.mem[0].port, XB_DROP_HAIRPIN), 1);
}

static void a_sender_with_anothers_address_is_turned_away(void **state)
{
	(void)state;
	xb_fdb_set(room.snapshot.fdb, xb_fdb_key(0, station(9), XB_FDB_VLAN_ANY), 1, XB_FDB_OWN);
	xb_fdb_set(room.snapshot.fdb, xb_fdb_key(0, station(8), 10), 2, XB_FDB_STATIC);
	pass(0, broadcast, station(9), UNTAGGED);
	pass(0, broadcast, station(9), 77);
	pass(0, broadcast, station(8), 10);
	assert_int_equal(room_came_out(&room), 0);
	assert_int_equal(port_drops(&room.mem[0].port, XB_DROP_SMAC_TAKEN), 3);
	pass(1, broadcast, station(9), UNTAGGED); /* it may itself */
	assert_int_equal(room_came_out(&room), 1u << 0 | 1u << 2);
	pass(0, station(9), station(1), 5);
	assert_int_equal(room_came_out(&room), 1u << 1);
	pass(0, broadcast, station(8), 11); /* static in its VLAN only */
	assert_int_equal(room_came_out(&room), 1u << 1 | 1u << 2);
}

static void a_tag_of_vlan_4095_takes_nobodys_address(void **state)
{
	(void)state;
	xb_fdb_set(room.snapshot.fdb, xb_fdb_key(0, station(8), 10), 2, XB_FDB_STATIC);
	pass(0, broadcast, station(8), 4095);
	room_came_out(&room);
	pass(1, station(8), station(1), 10);
	assert_int_equal(room_came_out(&room), 1u << 2);
}

static void a_group_address_as_sender_is_dropped(void **state)
{
	(void)state;
	pass(0, station(2), broadcast, UNTAGGED);
	pass(0, station(2), (uint8_t[6]){1, 0, 0x5e, 0, 0, 1}, UNTAGGED);
	assert_int_equal(room_came_out(&room), 0);
	assert_int_equal(port_drops(&room.mem[0].port, XB_DROP_SMAC_GROUP), 2);
}

static void a_runt_is_dropped_whatever_its_length(void **state)
{
	(void)state;
	for (uint32_t len = 0; len < 14; len++) {
		mem_inject(&room.mem[0], 0, packet(broadcast, station(1), UNTAGGED, len));
		room_run(&room);
	}
	assert_int_equal(room_came_out(&room), 0);
	assert_int_equal(port_drops(&room.mem[0].port, XB_DROP_RUNT), 14);
	mem_inject(&room.mem[0], 0, packet(broadcast, station(1), UNTAGGED, 14));
	mem_inject(&room.mem[0], 0, packet(broadcast, station(1), 10, 16)); /* half a tag */
	room_run(&room);
	assert_int_equal(room_came_out(&room), 1u << 1 | 1u << 2);
}

static void a_station_that_moves_is_followed_at_once(void **state)
{
	(void)state;
	pass(0, broadcast, station(1), UNTAGGED);
	pass(1, broadcast, station(1), UNTAGGED);
	room_came_out(&room);
	pass(2, station(1), station(3), UNTAGGED);
	assert_int_equal(room_came_out(&room), 1u << 1);
	pass(0, broadcast, station(1), UNTAGGED); /* and back, within the same second */
	room_came_out(&room);
	pass(2, station(1), station(3), UNTAGGED);
	assert_int_equal(room_came_out(&room), 1u << 0);
}

/* ---- verdicts ---- */

static void pass_with_verdict(unsigned in, uint16_t verdict)
{
	struct mem_packet *pkt = packet(station(7), station(1), UNTAGGED, 60);

	pkt->fate.verdict = verdict;
	mem_inject(&room.mem[in], 0, pkt);
	room_run(&room);
}

static void a_verdict_that_came_with_the_packet_stands(void **state)
{
	(void)state;
	room.snapshot.verdict = XB_VERDICT_DROP;
	pass_with_verdict(0, XB_VERDICT_PORT(2));
	assert_int_equal(room_came_out(&room), 1u << 2);
	pass_with_verdict(0, XB_VERDICT_BRIDGE);
	assert_int_equal(room_came_out(&room), 1u << 1 | 1u << 2);
	pass_with_verdict(0, XB_VERDICT_PASS);
	assert_int_equal(room_came_out(&room), 1u << 1 | 1u << 2);
	assert_int_equal(port_drops(&room.mem[0].port, XB_DROP_VERDICT), 0);
	room.snapshot.verdict = XB_VERDICT_BRIDGE;
	pass_with_verdict(0, XB_VERDICT_DROP);
	assert_int_equal(room_came_out(&room), 0);
	assert_int_equal(port_drops(&room.mem[0].port, XB_DROP_VERDICT), 1);
}

static void without_a_verdict_the_default_one_holds(void **state)
{
	(void)state;
	room.snapshot.verdict = XB_VERDICT_DROP;
	pass_with_verdict(0, XB_VERDICT_NONE);
	assert_int_equal(room_came_out(&room), 0);
	room.snapshot.verdict = XB_VERDICT_PORT(1);
	pass_with_verdict(0, XB_VERDICT_NONE);
	assert_int_equal(room_came_out(&room), 1u << 1);
	pass_with_verdict(1, XB_VERDICT_NONE); /* its own frames it does not get back */
	assert_int_equal(room_came_out(&room), 1u << 0 | 1u << 2);
	room.snapshot.verdict = XB_VERDICT_PASS;
	pass_with_verdict(0, XB_VERDICT_NONE);
	assert_int_equal(room_came_out(&room), 1u << 1 | 1u << 2);
}

static void a_verdict_for_a_port_that_is_not_there_is_a_drop(void **state)
{
	static const unsigned wrong[] = {XB_VERDICT_PORT0 + 3, XB_VERDICT_PORT0 + 63,
					 XB_VERDICT_PORT0 + 64, 65535};

	(void)state;
	for (unsigned i = 0; i < 4; i++)
		pass_with_verdict(0, (uint16_t)wrong[i]);
	assert_int_equal(room_came_out(&room), 0);
	assert_int_equal(port_drops(&room.mem[0].port, XB_DROP_NO_PORT), 4);
}

/* ---- ports that are down, or not there ---- */

static void a_port_that_is_down_gets_nothing_and_counts_what_was_for_it(void **state)
{
	(void)state;
	pass(1, broadcast, station(2), UNTAGGED);
	room_came_out(&room);
	atomic_store(&room.mem[1].port.up, false);
	pass(0, station(2), station(1), UNTAGGED);
	assert_int_equal(room_came_out(&room), 0);
	assert_int_equal(port_drops(&room.mem[1].port, XB_DROP_PORT_DOWN), 1);
	pass(0, broadcast, station(1), UNTAGGED); /* a flood goes round it: no drop */
	assert_int_equal(room_came_out(&room), 1u << 2);
	assert_int_equal(port_drops(&room.mem[1].port, XB_DROP_PORT_DOWN), 1);
	atomic_store(&room.mem[1].port.up, true);
	pass(0, station(2), station(1), UNTAGGED);
	assert_int_equal(room_came_out(&room), 1u << 1);
}

static void a_flood_with_nowhere_to_go_is_counted(void **state)
{
	(void)state;
	atomic_store(&room.mem[1].port.up, false);
	atomic_store(&room.mem[2].port.up, false);
	pass(0, broadcast, station(1), UNTAGGED);
	assert_int_equal(room_came_out(&room), 0);
	assert_int_equal(port_drops(&room.mem[0].port, XB_DROP_NO_PORT), 1);
}

static void a_port_that_is_published_without_queues_is_down(void **state)
{
	(void)state;
	pass(1, broadcast, station(2), UNTAGGED);
	room_came_out(&room);
	room.snapshot.queues[1] = 0;
	pass(0, station(2), station(1), UNTAGGED);
	assert_int_equal(room_came_out(&room), 0);
	assert_int_equal(port_drops(&room.mem[1].port, XB_DROP_PORT_DOWN), 1);
	room.snapshot.queues[1] = 1;
}

static void a_copy_for_which_there_is_no_frame_is_a_drop(void **state)
{
	struct xb_frame *held[512];
	unsigned n = 0;

	(void)state;
	mem_inject(&room.mem[0], 0, packet(broadcast, station(1), UNTAGGED, 60));
	while (n < 511)
		held[n++] = xb_frame_alloc(&room.sorter->cache);
	room_round(&room);
	while (n)
		xb_packet_free(&room.sorter->cache, held[--n]);
	assert_int_equal(room_came_out(&room), 1u << 2);
	assert_int_equal(xb_counted(&room.sorter->copies), 1);
	assert_int_equal(port_drops(&room.mem[0].port, XB_DROP_NO_FRAME), 1);
}

/* ---- counters ---- */

static void what_came_in_is_counted_by_kind(void **state)
{
	const struct xb_port_queue *queue = &room.mem[0].port.queues[0];
	struct mem_packet *pkt;

	(void)state;
	pass(0, broadcast, station(1), UNTAGGED);
	pkt = packet(broadcast, station(1), UNTAGGED, 1000);
	pkt->offload = (struct xb_offload){.csum = XB_CSUM_PARTIAL,
					   .csum_start = 14,
					   .gso = XB_GSO_TCP4,
					   .gso_size = 100,
					   .hdr_bytes = 54};
	pkt->fate.verdict = XB_VERDICT_DROP;
	mem_inject(&room.mem[0], 0, pkt);
	room_run(&room);
	assert_int_equal(xb_counted(&queue->rx_packets), 2);
	assert_int_equal(xb_counted(&queue->rx_bytes), 1060);
	assert_int_equal(xb_counted(&queue->rx_gso_packets), 1);
	assert_int_equal(xb_counted(&queue->rx_csum_left), 1);
}

static void more_than_a_batch_for_one_port_goes_out_in_order(void **state)
{
	(void)state;
	pass(1, broadcast, station(2), UNTAGGED);
	room_came_out(&room);
	for (unsigned i = 0; i < 200; i++) {
		struct mem_packet *pkt = packet(station(2), station(1), UNTAGGED, 60);

		pkt->data[20] = (uint8_t)i;
		mem_inject(&room.mem[0], 0, pkt);
	}
	room_run(&room);
	for (unsigned i = 0; i < 200; i++) {
		struct mem_packet *pkt = mem_sent(&room.mem[1], 0);

		assert_non_null(pkt);
		assert_int_equal(pkt->data[20], i);
		free(pkt);
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(nothing_is_flooded_between_ports_that_are_cut),
		TEST(a_clock_that_was_read_long_ago_makes_no_storm),
		TEST(group_packets_beyond_the_storm_limit_are_dropped),
		TEST(probe_of_another_port_is_counted_and_goes_no_further),
		TEST(an_unknown_destination_is_flooded_and_a_known_one_is_not),
		TEST(every_copy_of_a_flooded_packet_is_the_packet),
		TEST(vlans_are_learned_apart),
		TEST(reserved_multicast_is_not_forwarded_and_its_neighbours_are),
		TEST(a_packet_for_its_own_port_is_a_hairpin),
		TEST(a_sender_with_anothers_address_is_turned_away),
		TEST(a_tag_of_vlan_4095_takes_nobodys_address),
		TEST(a_group_address_as_sender_is_dropped),
		TEST(a_runt_is_dropped_whatever_its_length),
		TEST(a_station_that_moves_is_followed_at_once),
		TEST(a_verdict_that_came_with_the_packet_stands),
		TEST(without_a_verdict_the_default_one_holds),
		TEST(a_verdict_for_a_port_that_is_not_there_is_a_drop),
		TEST(a_port_that_is_down_gets_nothing_and_counts_what_was_for_it),
		TEST(a_flood_with_nowhere_to_go_is_counted),
		TEST(a_port_that_is_published_without_queues_is_down),
		TEST(a_copy_for_which_there_is_no_frame_is_a_drop),
		TEST(what_came_in_is_counted_by_kind),
		TEST(more_than_a_batch_for_one_port_goes_out_in_order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
