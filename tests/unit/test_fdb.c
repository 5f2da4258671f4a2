/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/fdb.h"
#include "support/must.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <string.h>

static struct xb_fdb_key key_of(uint32_t station, uint16_t vlan)
{
	uint8_t mac[6] = {2,
			  0,
			  (uint8_t)(station >> 24),
			  (uint8_t)(station >> 16),
			  (uint8_t)(station >> 8),
			  (uint8_t)station};

	return xb_fdb_key(0, mac, vlan);
}

static int setup(void **state)
{
	*state = xb_fdb_new();
	return *state ? 0 : -1;
}

static int teardown(void **state)
{
	xb_fdb_free(*state);
	return 0;
}

static void a_sender_is_found_where_it_was_seen_and_only_in_its_vlan(void **state)
{
	struct xb_fdb *fdb = *state;

	assert_int_equal(xb_fdb_lookup(fdb, key_of(1, 0)), -1);
	assert_int_equal(xb_fdb_learn(fdb, key_of(1, 0), 3, 10), XB_FDB_FINE);
	assert_int_equal(xb_fdb_learn(fdb, key_of(1, 7), 4, 10), XB_FDB_FINE);
	assert_int_equal(xb_fdb_lookup(fdb, key_of(1, 0)), 3);
	assert_int_equal(xb_fdb_lookup(fdb, key_of(1, 7)), 4);
	assert_int_equal(xb_fdb_lookup(fdb, key_of(1, 8)), -1);
	assert_int_equal(xb_fdb_lookup(fdb, key_of(2, 0)), -1);
}

static void a_station_that_moves_is_found_at_its_new_port(void **state)
{
	struct xb_fdb *fdb = *state;

	xb_fdb_learn(fdb, key_of(1, 0), 3, 10);
	xb_fdb_learn(fdb, key_of(1, 0), 0, 11);
	assert_int_equal(xb_fdb_lookup(fdb, key_of(1, 0)), 0);
	assert_int_equal(fdb->n_learned[3], 0);
	assert_int_equal(fdb->n_learned[0], 1);
}

static void static_and_own_addresses_never_move(void **state)
{
	struct xb_fdb *fdb = *state;

	xb_fdb_learn(fdb, key_of(1, 5), 9, 1);
	assert_int_equal(xb_fdb_set(fdb, key_of(1, 5), 2, XB_FDB_STATIC),
			 0); /* over a learned one */
	assert_int_equal(fdb->n_learned[9], 0);
	assert_int_equal(xb_fdb_set(fdb, key_of(2, XB_FDB_VLAN_ANY), 4, XB_FDB_OWN), 0);

	assert_int_equal(xb_fdb_learn(fdb, key_of(1, 5), 9, 2), XB_FDB_TAKEN);
	assert_int_equal(xb_fdb_learn(fdb, key_of(2, 77), 9, 2), XB_FDB_TAKEN);
	assert_int_equal(xb_fdb_learn(fdb, key_of(1, 5), 2, 2), XB_FDB_FINE);
	assert_int_equal(xb_fdb_lookup(fdb, key_of(1, 5)), 2);
	assert_int_equal(xb_fdb_lookup(fdb, key_of(2, 77)), 4);
	assert_int_equal(xb_fdb_lookup(fdb, key_of(2, 0)), 4);

	assert_int_equal(xb_fdb_set(fdb, key_of(1, 5), 3, XB_FDB_STATIC), -EEXIST);
	assert_int_equal(xb_fdb_lookup(fdb, key_of(1, 5)), 2);
	xb_fdb_age(fdb, 1u << 30);
	assert_int_equal(xb_fdb_lookup(fdb, key_of(1, 5)), 2);
	assert_int_equal(xb_fdb_lookup(fdb, key_of(2, 0)), 4);
}

/* VLAN 4095 is reserved (IEEE 802.1Q, table 9-2), but a guest can send it all the same. */
static void a_tag_of_vlan_4095_learns_nothing_for_other_vlans(void **state)
{
	struct xb_fdb *fdb = *state;

	xb_fdb_set(fdb, key_of(1, 5), 2, XB_FDB_STATIC);
	xb_fdb_learn(fdb, key_of(3, 0), 2, 1);
	xb_fdb_learn(fdb, key_of(1, 0xfff), 9, 1);
	xb_fdb_learn(fdb, key_of(3, 0xfff), 9, 1);
	assert_int_equal(xb_fdb_lookup(fdb, key_of(1, 5)), 2);
	assert_int_equal(xb_fdb_lookup(fdb, key_of(3, 0)), 2);
	assert_int_equal(fdb->n_any, 0);
}

static void an_entry_is_removed_by_its_kind_only(void **state)
{
	struct xb_fdb *fdb = *state;

	xb_fdb_learn(fdb, key_of(1, 0), 3, 10);
	assert_int_equal(xb_fdb_del(fdb, key_of(1, 0), XB_FDB_STATIC), -ENOENT);
	assert_int_equal(xb_fdb_lookup(fdb, key_of(1, 0)), 3);
	assert_int_equal(xb_fdb_del(fdb, key_of(1, 0), XB_FDB_LEARNED), 0);
	assert_int_equal(xb_fdb_del(fdb, key_of(1, 0), XB_FDB_LEARNED), -ENOENT);
	assert_int_equal(xb_fdb_lookup(fdb, key_of(1, 0)), -1);
	xb_fdb_set(fdb, key_of(2, XB_FDB_VLAN_ANY), 4, XB_FDB_OWN);
	assert_int_equal(xb_fdb_del(fdb, key_of(2, XB_FDB_VLAN_ANY), XB_FDB_OWN), 0);
	assert_int_equal(fdb->n_any, 0);
	assert_int_equal(fdb->n_learned[3], 0);
}

static void an_own_address_stays_own_when_a_person_sets_it_too(void **state)
{
	struct xb_fdb *fdb = *state;

	xb_fdb_set(fdb, key_of(2, XB_FDB_VLAN_ANY), 4, XB_FDB_OWN);
	assert_int_equal(xb_fdb_set(fdb, key_of(2, XB_FDB_VLAN_ANY), 4, XB_FDB_STATIC), -EEXIST);
	assert_int_equal(xb_fdb_del(fdb, key_of(2, XB_FDB_VLAN_ANY), XB_FDB_OWN), 0);
	assert_int_equal(xb_fdb_lookup(fdb, key_of(2, 0)), -1);
}

static void what_was_not_seen_for_the_ageing_time_goes(void **state)
{
	struct xb_fdb *fdb = *state;

	fdb->age_s = 300;
	xb_fdb_learn(fdb, key_of(1, 0), 1, 1000);
	xb_fdb_learn(fdb, key_of(2, 0), 1, 1000);
	xb_fdb_learn(fdb, key_of(2, 0), 1, 1200); /* seen again */
	xb_fdb_learn(fdb, key_of(3, 0), 1, 1301); /* a worker's clock is ahead of ours */
	xb_fdb_age(fdb, 1299);
	assert_int_equal(xb_fdb_lookup(fdb, key_of(1, 0)), 1);
	xb_fdb_age(fdb, 1300);
	assert_int_equal(xb_fdb_lookup(fdb, key_of(1, 0)), -1);
	assert_int_equal(xb_fdb_lookup(fdb, key_of(2, 0)), 1);
	assert_int_equal(xb_fdb_lookup(fdb, key_of(3, 0)), 1);
	assert_int_equal(fdb->n_learned[1], 2);
	fdb->age_s = 0; /* never */
	xb_fdb_age(fdb, 1u << 30);
	assert_int_equal(xb_fdb_lookup(fdb, key_of(2, 0)), 1);
}

/* Second by second: who was seen within the ageing time is there, and nobody else. */
static void ageing_misses_nobody_though_it_does_not_look_each_time(void **state)
{
	enum { N = 40, AGE_S = 20 };
	struct xb_fdb *fdb = *state;
	struct rnd rnd = {7};
	uint32_t seen_s[N] = {0};

	fdb->age_s = AGE_S;
	for (uint32_t now_s = 1000; now_s < 3000; now_s++) {
		for (unsigned i = rnd_below(&rnd, 4); i; i--) {
			uint32_t station = rnd_below(&rnd, N);

			seen_s[station] = now_s - rnd_below(&rnd, 2);
			xb_fdb_learn(fdb, key_of(station, 0), 1, seen_s[station]);
		}
		xb_fdb_age(fdb, now_s);
		for (uint32_t station = 0; station < N; station++)
			assert_int_equal(xb_fdb_lookup(fdb, key_of(station, 0)),
					 now_s - seen_s[station] < AGE_S ? 1 : -1);
	}
}

/* What the last step has changed, by the table's own count. */
static bool has_changed(const struct xb_fdb *fdb, uint64_t *count)
{
	uint64_t before = *count;

	*count = xb_fdb_changes(fdb);
	return *count != before;
}

static void whatever_a_walk_shows_is_counted_when_it_changes(void **state)
{
	struct xb_fdb *fdb = *state;
	uint64_t count = xb_fdb_changes(fdb);

	xb_fdb_learn(fdb, key_of(1, 0), 1, 100);
	assert_true(has_changed(fdb, &count));
	xb_fdb_learn(fdb, key_of(1, 0), 1, 100);
	xb_fdb_lookup(fdb, key_of(1, 0));
	xb_fdb_age(fdb, 399);
	assert_false(has_changed(fdb, &count));
	xb_fdb_learn(fdb, key_of(1, 0), 1, 101);
	assert_true(has_changed(fdb, &count));
	xb_fdb_learn(fdb, key_of(1, 0), 2, 101);
	assert_true(has_changed(fdb, &count));
	xb_fdb_set(fdb, key_of(2, 0), 3, XB_FDB_STATIC);
	assert_true(has_changed(fdb, &count));
	xb_fdb_set(fdb, key_of(2, 0), 3, XB_FDB_STATIC);
	xb_fdb_learn(fdb, key_of(2, 0), 3, 102);
	assert_false(has_changed(fdb, &count));
	xb_fdb_del(fdb, key_of(2, 0), XB_FDB_STATIC);
	assert_true(has_changed(fdb, &count));
	xb_fdb_age(fdb, 401);
	assert_true(has_changed(fdb, &count));
	assert_int_equal(xb_fdb_lookup(fdb, key_of(1, 0)), -1);
}

static bool not_port_7(const struct xb_fdb_row *row, void *arg)
{
	(void)arg;
	return row->port != 7;
}

static void a_port_learns_no_more_than_its_limit_and_others_still_do(void **state)
{
	struct xb_fdb *fdb = *state;

	for (unsigned port = 0; port < XB_PORTS_MAX; port++)
		atomic_store(&fdb->learn_max[port], 50);
	for (uint32_t i = 0; i < 1000; i++)
		assert_int_equal(xb_fdb_learn(fdb, key_of(i, 0), 6, 1), XB_FDB_FINE);
	assert_int_equal(fdb->n_learned[6], 50);
	assert_int_equal(fdb->n_refused[6], 950);
	xb_fdb_learn(fdb, key_of(5000, 0), 7, 1);
	assert_int_equal(xb_fdb_lookup(fdb, key_of(5000, 0)), 7);
	xb_fdb_learn(fdb, key_of(5000, 0), 6, 1); /* nor does it take others' stations */
	assert_int_equal(xb_fdb_lookup(fdb, key_of(5000, 0)), 7);
	assert_int_equal(xb_fdb_set(fdb, key_of(9, 9), 6, XB_FDB_STATIC), 0);
}

/* A port that learns nothing any more, and still sends from ever new addresses. */
static _Atomic bool flooded;

static void *flood(void *arg)
{
	struct xb_fdb *fdb = arg;

	for (uint32_t i = 0; i < 3000000; i++)
		xb_fdb_learn(fdb, key_of(1u << 24 | i, 0), 6, 1);
	atomic_store(&flooded, true);
	return NULL;
}

static void a_flood_over_the_limit_keeps_nobody_from_learning(void **state)
{
	struct xb_fdb *fdb = *state;
	unsigned missing = 0;
	pthread_t flooder;

	atomic_store(&fdb->learn_max[6], 0);
	MUST(pthread_create(&flooder, NULL, flood, fdb) == 0);
	for (uint32_t i = 0; !atomic_load(&flooded); i = (i + 1) % 4096) {
		xb_fdb_learn(fdb, key_of(i, 0), 7, 1); /* one packet of each is enough */
		missing += xb_fdb_lookup(fdb, key_of(i, 0)) != 7;
		if (i == 4095)
			xb_fdb_sweep(fdb, not_port_7, NULL);
	}
	pthread_join(flooder, NULL);
	assert_int_equal(missing, 0);
}

static void nobody_takes_the_lock_to_learn_what_may_not_be_learned(void **state)
{
	struct xb_fdb *fdb = *state;

	atomic_store(&fdb->learn_max[6], 0);
	pthread_mutex_lock(&fdb->lock);
	xb_fdb_learn(fdb, key_of(1, 0), 6, 1);
	assert_int_equal(fdb->n_refused[6], 1);
	pthread_mutex_unlock(&fdb->lock);
	/* nor where its bucket is full */
	for (uint32_t i = 0; !fdb->n_refused[7]; i++)
		xb_fdb_learn(fdb, key_of(i, 0), 7, 1);
	pthread_mutex_lock(&fdb->lock);
	for (uint32_t i = 0; fdb->n_refused[7] < 100 && i < 100000; i++)
		xb_fdb_learn(fdb, key_of(i, 0), 7, 1);
	assert_int_equal(fdb->n_refused[7], 100);
	pthread_mutex_unlock(&fdb->lock);
}

static bool count_row(const struct xb_fdb_row *row, void *arg)
{
	unsigned *n = arg;

	(void)row;
	(*n)++;
	return true;
}

static bool not_port_1(const struct xb_fdb_row *row, void *arg)
{
	(void)arg;
	return row->port != 1;
}

static void a_full_table_refuses_but_a_person_can_still_set(void **state)
{
	struct xb_fdb *fdb = *state;
	unsigned n = 0;

	for (unsigned port = 0; port < XB_PORTS_MAX; port++)
		atomic_store(&fdb->learn_max[port], UINT32_MAX);
	for (uint32_t i = 0; i < 4 * XB_FDB_BUCKETS * XB_FDB_WAYS; i++)
		xb_fdb_learn(fdb, key_of(i, 0), (uint16_t)(1 + i % 2), i);
	xb_fdb_sweep(fdb, count_row, &n);
	assert_int_equal(fdb->n_learned[1] + fdb->n_learned[2], n);
	assert_true(n > XB_FDB_BUCKETS * XB_FDB_WAYS * 9 / 10);
	for (uint32_t i = 1u << 30; i < (1u << 30) + 500; i++) {
		assert_int_equal(xb_fdb_set(fdb, key_of(i, 1), 9, XB_FDB_STATIC), 0);
		assert_int_equal(xb_fdb_lookup(fdb, key_of(i, 1)), 9);
	}
	xb_fdb_sweep(fdb, not_port_1, NULL);
	assert_int_equal(fdb->n_learned[1], 0);
	n = 0;
	xb_fdb_sweep(fdb, count_row, &n);
	assert_int_equal(fdb->n_learned[2] + 500, n);
}

static void a_bucket_full_of_static_entries_is_said(void **state)
{
	struct xb_fdb *fdb = *state;
	int ret = 0;
	uint32_t i;

	for (i = 0; !ret; i++)
		ret = xb_fdb_set(fdb, key_of(i, 0), 1, XB_FDB_STATIC);
	assert_int_equal(ret, -ENOSPC);
	assert_int_equal(xb_fdb_lookup(fdb, key_of(i - 1, 0)), -1);
	while (--i)
		assert_int_equal(xb_fdb_lookup(fdb, key_of(i - 1, 0)), 1);
}

/* ---- threads ---- */

#define WORKERS  3u
#define STATIONS 4000u /* each lives behind ports `its number % 8` and that + 8 only */

static _Atomic bool done;

static void *learn_and_look_up(void *arg)
{
	struct xb_fdb *fdb = arg;
	struct rnd rnd = {(uintptr_t)&rnd | 1};

	for (uint32_t round = 0; round < 60000; round++) {
		uint32_t station = rnd_below(&rnd, STATIONS);
		uint16_t port = (uint16_t)(station % 8 + 8 * rnd_below(&rnd, 2));
		int found;

		xb_fdb_learn(fdb, key_of(station, 1), port, round / 1000);
		station = rnd_below(&rnd, STATIONS);
		found = xb_fdb_lookup(fdb, key_of(station, 1));
		MUST(found == -1 || (unsigned)found % 8 == station % 8);
		MUST(xb_fdb_lookup(fdb, key_of(STATIONS + station % 50, 3)) == 60);
	}
	return NULL;
}

static void *change(void *arg)
{
	struct xb_fdb *fdb = arg;
	uint32_t station = 0;

	while (!atomic_load(&done)) {
		struct xb_fdb_key key = key_of(station % STATIONS, 1);
		uint16_t port = (uint16_t)(station % 8);

		xb_fdb_age(fdb, station % 60);
		MUST(xb_fdb_set(fdb, key, port, XB_FDB_STATIC) == 0);
		MUST(xb_fdb_lookup(fdb, key) == port);
		MUST(xb_fdb_del(fdb, key, XB_FDB_STATIC) == 0);
		station += 8;
	}
	return NULL;
}

static void lookups_beside_learning_moving_and_ageing_never_name_a_wrong_port(void **state)
{
	struct xb_fdb *fdb = *state;
	pthread_t worker[WORKERS], control;
	unsigned n = 0, learned = 0;

	fdb->age_s = 5;
	atomic_store(&done, false);
	for (uint32_t i = 0; i < 50; i++)
		xb_fdb_set(fdb, key_of(STATIONS + i, XB_FDB_VLAN_ANY), 60, XB_FDB_OWN);
	for (unsigned i = 0; i < WORKERS; i++)
		assert_int_equal(pthread_create(&worker[i], NULL, learn_and_look_up, fdb), 0);
	assert_int_equal(pthread_create(&control, NULL, change, fdb), 0);
	for (unsigned i = 0; i < WORKERS; i++)
		pthread_join(worker[i], NULL);
	atomic_store(&done, true);
	pthread_join(control, NULL);
	xb_fdb_sweep(fdb, count_row, &n);
	for (unsigned port = 0; port < 16; port++)
		learned += fdb->n_learned[port];
	assert_int_equal(learned + 50, n);
	assert_int_equal(fdb->n_any, 50);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_sender_is_found_where_it_was_seen_and_only_in_its_vlan),
		TEST(a_station_that_moves_is_found_at_its_new_port),
		TEST(static_and_own_addresses_never_move),
		TEST(a_tag_of_vlan_4095_learns_nothing_for_other_vlans),
		TEST(an_entry_is_removed_by_its_kind_only),
		TEST(an_own_address_stays_own_when_a_person_sets_it_too),
		TEST(what_was_not_seen_for_the_ageing_time_goes),
		TEST(ageing_misses_nobody_though_it_does_not_look_each_time),
		TEST(whatever_a_walk_shows_is_counted_when_it_changes),
		TEST(a_port_learns_no_more_than_its_limit_and_others_still_do),
		TEST(a_flood_over_the_limit_keeps_nobody_from_learning),
		TEST(nobody_takes_the_lock_to_learn_what_may_not_be_learned),
		TEST(a_full_table_refuses_but_a_person_can_still_set),
		TEST(a_bucket_full_of_static_entries_is_said),
		TEST(lookups_beside_learning_moving_and_ageing_never_name_a_wrong_port),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
