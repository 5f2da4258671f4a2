/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * When two ports are taken to lie on one segment, and when no longer.
 */
#include "daemon/loops.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#define SECOND  1000000000ull
#define LOOK_NS (SECOND / 2)

/* Ports 0 (the kernel's), 1 and 2 (uplinks), looked at twice a second. */
static struct xb_port ports[3];
static struct xb_loop_watch watch;
static struct xb_snapshot snapshot;
static struct xb_fdb *fdb;
static struct xb_probe_list probes;
static uint64_t now_ns;

static int setup(void **state)
{
	(void)state;
	memset(ports, 0, sizeof(ports));
	memset(&snapshot, 0, sizeof(snapshot));
	for (uint16_t id = 0; id < 3; id++) {
		ports[id].id = id;
		ports[id].caps.uplink = id > 0;
		xb_snapshot_add(&snapshot, &ports[id]);
	}
	fdb = xb_fdb_new();
	now_ns = 1000 * SECOND;
	return fdb ? xb_loop_watch_init(&watch) : -1;
}

static int teardown(void **state)
{
	(void)state;
	xb_fdb_free(fdb);
	return 0;
}

static bool look(void)
{
	now_ns += LOOK_NS;
	return xb_loop_watch_look(&watch, fdb, &snapshot, now_ns, &probes);
}

static void seen(uint8_t station, uint16_t port)
{
	const uint8_t mac[6] = {2, 0, 0, 0, 0, station};

	xb_fdb_learn(fdb, xb_fdb_key(0, mac, 7), port, (uint32_t)(now_ns / SECOND));
}

/* A probe of one port comes in on another. */
static void echo(uint16_t from, uint16_t to)
{
	static const uint8_t smac[6] = {2};
	uint8_t frame[XB_PROBE_BYTES_MAX];
	unsigned bytes = xb_probe_write(&watch.signs, from, smac, 0, frame);

	assert_true(xb_probe_take(&watch.signs, to, frame, bytes));
}

static bool probed(uint16_t port, uint16_t vlan)
{
	for (unsigned i = 0; i < probes.n; i++)
		if (probes.list[i].port == port && probes.list[i].vlan == vlan)
			return true;
	return false;
}

/* Looks until the pair of uplinks is no longer cut; how many. */
static unsigned looks_until_healed(void)
{
	unsigned looks = 0;

	while (xb_loop_is_cut(&watch, 1, 2) && looks < 10000) {
		look();
		looks++;
	}
	return looks;
}

static void nothing_is_sent_without_a_sign(void **state)
{
	(void)state;
	seen(1, 1);
	seen(2, 2);
	for (unsigned i = 0; i < 100; i++) {
		assert_false(look());
		assert_int_equal(probes.n, 0);
	}
}

static void address_that_moves_is_followed_by_probes_of_the_uplinks_in_its_vlan(void **state)
{
	(void)state;
	seen(1, 1);
	seen(1, 2);
	assert_false(look());
	assert_true(probed(1, 0) && probed(2, 0) && probed(1, 7) && probed(2, 7));
	assert_int_equal(probes.n, 4);
	assert_false(look());
	assert_int_equal(probes.n, 0);
	assert_false(xb_loop_is_cut(&watch, 1, 2));

	seen(1, 0); /* the kernel's port sends none */
	look();
	assert_true(probed(2, 0) && !probed(0, 0));
}

static void own_address_that_comes_in_is_followed_by_probes(void **state)
{
	(void)state;
	watch.signs.strays[1]++;
	look();
	assert_true(probed(1, 0) && probed(2, 0));
	look();
	assert_int_equal(probes.n, 0);
}

static void probe_that_comes_back_cuts_the_pair_until_none_does(void **state)
{
	(void)state;
	echo(1, 2);
	assert_true(look());
	assert_true(xb_loop_is_cut(&watch, 1, 2) && xb_loop_is_cut(&watch, 2, 1));
	assert_false(xb_loop_is_cut(&watch, 0, 1) || xb_loop_is_cut(&watch, 0, 2));
	for (unsigned i = 0; i < 50; i++) {
		assert_true(probed(1, 0) && probed(2, 0));
		echo(2, 1);
		assert_false(look());
	}
	assert_int_equal(looks_until_healed(), XB_LOOP_QUIET_NS / LOOK_NS);
	look();
	assert_int_equal(probes.n, 0);
}

static void address_that_goes_back_and_forth_cuts_even_without_probes(void **state)
{
	unsigned looks = 0;

	(void)state;
	while (!xb_loop_is_cut(&watch, 1, 2) && looks < 20) {
		seen(1, 1); /* by one worker, and by another: once a second */
		if (looks % 2)
			seen(1, 2);
		look();
		looks++;
	}
	assert_in_range(looks, 3, 5);
}

static void stations_that_move_now_and_then_are_no_loop(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 100; i++) {
		seen(1, i % 2 ? 1 : 2);
		for (unsigned j = 0; j < 4; j++)
			assert_false(look());
	}
}

static void loop_that_is_soon_back_stays_cut_for_longer(void **state)
{
	unsigned before = 0;

	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		unsigned looks;

		echo(1, 2);
		assert_true(look());
		looks = looks_until_healed();
		assert_true(looks >= 2 * before);
		before = looks;
	}
	now_ns += 2 * XB_LOOP_RELAPSE_NS;
	echo(1, 2);
	assert_true(look());
	assert_int_equal(looks_until_healed(), XB_LOOP_QUIET_NS / LOOK_NS);
}

static void only_probes_of_this_run_are_believed(void **state)
{
	static const uint8_t smac[6] = {2};
	uint8_t frame[XB_PROBE_BYTES_MAX];
	struct xb_loops others = {.secret = watch.signs.secret ^ 1};
	unsigned bytes;

	(void)state;
	bytes = xb_probe_write(&others, 1, smac, 0, frame);
	assert_false(xb_probe_take(&watch.signs, 2, frame, bytes));
	bytes = xb_probe_write(&watch.signs, 1, smac, 5, frame);
	for (unsigned n = 14; n < 32; n++)
		assert_false(xb_probe_take(&watch.signs, 2, frame, n));
	assert_int_equal(bytes, XB_PROBE_BYTES_MAX);
	assert_true(xb_probe_take(&watch.signs, 2, frame, bytes));
	bytes = xb_probe_write(&watch.signs, XB_PORTS_MAX, smac, 0, frame);
	assert_false(xb_probe_take(&watch.signs, 2, frame, bytes));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(nothing_is_sent_without_a_sign),
		TEST(address_that_moves_is_followed_by_probes_of_the_uplinks_in_its_vlan),
		TEST(own_address_that_comes_in_is_followed_by_probes),
		TEST(probe_that_comes_back_cuts_the_pair_until_none_does),
		TEST(address_that_goes_back_and_forth_cuts_even_without_probes),
		TEST(stations_that_move_now_and_then_are_no_loop),
		TEST(loop_that_is_soon_back_stays_cut_for_longer),
		TEST(only_probes_of_this_run_are_believed),
	};

	return cmocka_run_group_tests_name("loops", tests, NULL, NULL);
}
