/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Rules in the sorting room: what userspace does with packets that no XDP program has judged.
 */
#include "core/rules.h"

#include "core/bridge.h"
#include "steer/image.h"
#include "steer/text.h"
#include "support/must.h"
#include "support/room.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

static struct room room;
static struct xb_image *image;
static struct xb_rule_user_stats stats[XB_RULES_MAX];
static __u64 limits[XB_RULES_MAX];

static int setup(void **state)
{
	(void)state;
	room_init(&room, 512, 3, 1, 256);
	memset(stats, 0, sizeof(stats));
	memset(limits, 0, sizeof(limits));
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	room_fini(&room);
	free(image);
	image = NULL;
	return 0;
}

static uint32_t port_verdict(const char *name)
{
	static const char *const words[] = {"pass", "bridge", "drop"};

	for (uint32_t i = 0; i < 3; i++)
		if (!strcmp(name, words[i]))
			return XB_VERDICT_PASS + i;
	return XB_VERDICT_PORT(atoi(name + 1));
}

/* Puts a table in force, the first rule first; ports are p0, p1 and p2. */
static void table(unsigned n, const char *const *texts)
{
	static uint32_t generation;
	struct xb_rule rules[8];
	struct xb_ranked_rule ranked[8];
	struct xb_error err = {0};

	assert_true(n <= 8);
	for (unsigned i = 0; i < n; i++) {
		assert_int_equal(xb_rule_parse(texts[i], &rules[i], &err), 0);
		rules[i].id = i + 1;
		ranked[i] = (struct xb_ranked_rule){.rule = &rules[i],
						    .slot = 10 + i,
						    .verdict = port_verdict(rules[i].verdict),
						    .in = XB_IN_ANY};
		if (rules[i].in[0])
			ranked[i].in = 1ull << atoi(rules[i].in + 1);
	}
	free(image);
	assert_int_equal(xb_image_build(ranked, n, ++generation, &image, &err), 0);
	room.snapshot.rules = (struct xb_rules){.image = image, .stats = stats, .limits = limits};
}

#define TABLE(...) \
	table(sizeof((const char *[]){__VA_ARGS__}) / sizeof(char *), (const char *[]){__VA_ARGS__})

/* UDP from 10.0.0.1 to 10.0.0.2, ports 1000 and `dport`. */
static struct mem_packet *udp(uint16_t dport, uint32_t payload)
{
	uint8_t data[1500] = {0x02, 0, 0, 0, 0, 7, 0x02, 0, 0, 0, 0, 1, 0x08, 0x00, 0x45};
	uint32_t bytes = 28 + payload;

	data[16] = (uint8_t)(bytes >> 8);
	data[17] = (uint8_t)bytes;
	data[23] = 17;
	memcpy(data + 26, "\x0a\0\0\x01\x0a\0\0\x02\x03\xe8", 10);
	data[36] = (uint8_t)(dport >> 8);
	data[37] = (uint8_t)dport;
	return mem_packet_new(data, 14 + bytes);
}

static void pass(unsigned in, uint16_t dport)
{
	mem_inject(&room.mem[in], 0, udp(dport, 50));
	room_run(&room);
}

static void the_first_rule_decides_and_is_counted(void **state)
{
	(void)state;
	TABLE("proto udp dport 53 to p2", "in p0 dst 10.0.0.0/8 to drop", "to p1");
	pass(0, 53);
	assert_int_equal(room_came_out(&room), 1u << 2);
	pass(0, 54);
	assert_int_equal(room_came_out(&room), 0);
	assert_int_equal(port_drops(&room.mem[0].port, XB_DROP_VERDICT), 1);
	pass(2, 54);
	assert_int_equal(room_came_out(&room), 1u << 1);
	pass(2, 54);
	assert_int_equal(room_came_out(&room), 1u << 1);
	assert_int_equal(stats[10].met.packets, 1);
	assert_int_equal(stats[11].met.packets, 1);
	assert_int_equal(stats[12].met.packets, 2);
	assert_int_equal(stats[12].met.bytes, 2 * 92);
	assert_true(stats[12].met.last_ns > 0);
}

static void where_no_rule_matches_the_default_verdict_holds(void **state)
{
	(void)state;
	TABLE("proto tcp to drop");
	room.snapshot.verdict = XB_VERDICT_PORT(1);
	pass(0, 53);
	assert_int_equal(room_came_out(&room), 1u << 1);
	assert_int_equal(stats[10].met.packets, 0);
}

static void what_the_program_has_judged_is_not_asked_again(void **state)
{
	struct mem_packet *pkt = udp(53, 50);

	(void)state;
	TABLE("to drop");
	pkt->fate = (struct xb_fate){.verdict = XB_VERDICT_PORT(1), .stage = XB_STAGE_RULE};
	mem_inject(&room.mem[0], 0, pkt);
	room_run(&room);
	assert_int_equal(room_came_out(&room), 1u << 1);
	assert_int_equal(stats[10].met.packets, 0);
}

static void pass_from_elsewhere_than_an_uplink_is_bridge(void **state)
{
	(void)state;
	TABLE("to pass");
	pass(0, 53);
	assert_int_equal(room_came_out(&room), 1u << 1 | 1u << 2);
	assert_int_equal(stats[10].met.packets, 1);
}

static void whom_a_rule_drops_is_not_learned(void **state)
{
	static const uint8_t sender[6] = {0x02, 0, 0, 0, 0, 1};

	(void)state;
	TABLE("to drop");
	pass(0, 53);
	assert_int_equal(xb_fdb_lookup(room.snapshot.fdb, xb_fdb_key(0, sender, 0)), -1);
	TABLE("to bridge");
	pass(0, 53);
	assert_int_equal(xb_fdb_lookup(room.snapshot.fdb, xb_fdb_key(0, sender, 0)), 0);
}

/* The program has charged the rule, and what it said is lost. */
static void what_the_program_could_not_tell_is_found_again_and_not_counted(void **state)
{
	(void)state;
	TABLE("dport 53 to p2 limit 1:1", "to drop");
	for (unsigned i = 0; i < 3; i++) {
		struct mem_packet *pkt = udp(53, 50);

		pkt->fate = (struct xb_fate){.stage = XB_STAGE_UNTOLD};
		mem_inject(&room.mem[0], 0, pkt);
		room_run(&room);
		assert_int_equal(room_came_out(&room), 1u << 2);
	}
	assert_int_equal(stats[10].met.packets, 0);
	pass(0, 53);
	assert_int_equal(room_came_out(&room), 1u << 2);
	assert_int_equal(stats[10].met.packets, 1);
}

static void headers_in_pieces_are_read_all_the_same(void **state)
{
	struct mem_packet *pkt = udp(53, 100);

	(void)state;
	TABLE("proto udp dport 53 to p2", "to drop");
	pkt->first = 20;
	pkt->step = 7;
	mem_inject(&room.mem[0], 0, pkt);
	room_run(&room);
	assert_int_equal(room_came_out(&room), 1u << 2);
}

static void beyond_its_limit_a_rule_drops(void **state)
{
	(void)state;
	TABLE("dport 53 to p1 limit 1:3");
	for (unsigned i = 0; i < 5; i++)
		pass(0, 53);
	assert_int_equal(port_drops(&room.mem[0].port, XB_DROP_LIMIT), 2);
	assert_int_equal(stats[10].met.packets, 5);
	assert_int_equal(room_came_out(&room), 1u << 1);
}

static void pass_to(const uint8_t *dmac)
{
	struct mem_packet *pkt = udp(53, 50);

	memcpy(pkt->data, dmac, 6);
	mem_inject(&room.mem[0], 0, pkt);
	room_run(&room);
}

static void own_addresses_of_a_shared_uplink_are_for_rules_that_name_them(void **state)
{
	static const uint8_t own[6] = {0x02, 0, 0, 0, 0, 0x99}, other[6] = {0x02, 0, 0, 0, 0, 7},
			     somebody[6] = {0x02, 0, 0, 0, 0, 8};

	(void)state;
	room.mem[0].port.caps.uplink = true;
	xb_snapshot_add_own(&room.snapshot, &room.mem[0].port, other);
	xb_snapshot_add_own(&room.snapshot, &room.mem[0].port, own);
	TABLE("dst 10.0.0.2 to p1", "dmac own to p2");
	pass_to(own);
	assert_int_equal(room_came_out(&room), 1u << 1);
	room.mem[0].port.caps.shared = true;
	pass_to(own);
	assert_int_equal(room_came_out(&room), 1u << 2);
	pass_to(somebody);
	assert_int_equal(room_came_out(&room), 1u << 1);
}

/* ---- what would become of a frame ---- */

/* The ports that a frame is said to come out of, a bit each; 0 and the reason where it is dropped.
 */
static unsigned explained(unsigned in, const struct mem_packet *pkt, enum xb_drop *ret_reason)
{
	struct xb_explanation told;

	xb_bridge_explain(&room.snapshot, &room.mem[in].port, pkt->data, pkt->len, &told);
	*ret_reason = XB_DROP_VERDICT;
	if (!told.routed)
		return 0;
	*ret_reason = told.route.reason;
	switch (told.route.kind) {
	case XB_ROUTE_PORT:
		return 1u << told.route.to->id;
	case XB_ROUTE_FLOOD:
		return 7u & ~(1u << in);
	default:
		return 0;
	}
}

/* Addresses that mean something: 1 is learned behind p1, 2 is set behind p2, 3 is p0's own; a
 * group, a reserved one, and one that nobody has. */
static const uint8_t stations[][6] = {
	{0x02, 0, 0, 0, 0, 1},    {0x02, 0, 0, 0, 0, 2},       {0x02, 0, 0, 0, 0, 3},
	{0x01, 0, 0x5e, 0, 0, 1}, {0x01, 0x80, 0xc2, 0, 0, 0}, {0x02, 0, 0, 0, 0, 9},
};
#define N_STATIONS (sizeof(stations) / sizeof(stations[0]))

static bool goes(const struct xb_fdb_row *row, void *arg)
{
	(void)row;
	(void)arg;
	return false;
}

static void seat_stations(void)
{
	struct xb_fdb *fdb = room.snapshot.fdb;

	xb_fdb_sweep(fdb, goes, NULL);
	xb_fdb_learn(fdb, xb_fdb_key(0, stations[0], 0), 1, 1);
	xb_fdb_set(fdb, xb_fdb_key(0, stations[1], 0), 2, XB_FDB_STATIC);
	xb_fdb_set(fdb, xb_fdb_key(0, stations[2], XB_FDB_VLAN_ANY), 0, XB_FDB_OWN);
}

/* What is said of a frame is done with it, and saying it changes nothing. */
static void explained_is_done(unsigned in, unsigned to, unsigned from, uint16_t dport)
{
	struct mem_packet *pkt = udp(dport, 50);
	struct xb_port *port = &room.mem[in].port;
	uint64_t dropped = port_sums(port).drops,
		 hits = stats[10].met.packets + stats[11].met.packets;
	enum xb_drop reason;
	uint64_t for_reason;
	unsigned said;

	memcpy(pkt->data, stations[to], 6);
	memcpy(pkt->data + 6, stations[from], 6);
	said = explained(in, pkt, &reason);
	for_reason = port_drops(port, reason);
	assert_int_equal(stats[10].met.packets + stats[11].met.packets, hits);
	mem_inject(&room.mem[in], 0, pkt);
	room_run(&room);
	assert_int_equal(room_came_out(&room), said);
	assert_int_equal(port_sums(port).drops - dropped, said ? 0 : 1);
	if (!said)
		assert_int_equal(port_drops(port, reason) - for_reason, 1);
}

static void what_is_explained_is_done(void **state)
{
	(void)state;
	TABLE("dport 1 to p2", "dport 2 to drop", "dport 3 to pass", "dport 4 to p7");
	for (unsigned uplink = 0; uplink < 2; uplink++) {
		room.mem[0].port.caps.uplink = uplink;
		for (unsigned i = 0; i < 3 * N_STATIONS * N_STATIONS * 6; i++) {
			unsigned at = i / 3;

			seat_stations();
			room.sorter->last_key.bits = 0;
			explained_is_done(i % 3, at % N_STATIONS, at / N_STATIONS % N_STATIONS,
					  (uint16_t)(at / N_STATIONS / N_STATIONS));
		}
	}
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(the_first_rule_decides_and_is_counted),
		TEST(where_no_rule_matches_the_default_verdict_holds),
		TEST(what_the_program_has_judged_is_not_asked_again),
		TEST(pass_from_elsewhere_than_an_uplink_is_bridge),
		TEST(whom_a_rule_drops_is_not_learned),
		TEST(what_the_program_could_not_tell_is_found_again_and_not_counted),
		TEST(headers_in_pieces_are_read_all_the_same),
		TEST(beyond_its_limit_a_rule_drops),
		TEST(what_is_explained_is_done),
		TEST(own_addresses_of_a_shared_uplink_are_for_rules_that_name_them),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
