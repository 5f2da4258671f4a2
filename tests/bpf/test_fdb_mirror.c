/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The map `fdb`: whether it shows what the forwarding table holds, also to somebody who reads it
 * while it changes.
 */
#include "gate/fdb_mirror.h"
#include "sandbox.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#define NAME "mirror"

static const char *const names[XB_PORTS_MAX] = {"tap0", "eth0", "eth1"};

struct bed {
	struct xb_gate gate;
	struct xb_fdb *fdb;
	struct xb_fdb_mirror *mirror;
};

static void must(int ret, const struct xb_error *err)
{
	char text[512];

	if (ret < 0)
		fail_msg("%s", xb_error_text(err, text, sizeof(text)));
}

static void start(struct bed *bed)
{
	struct xb_error err = {0};

	must(xb_gate_open(&bed->gate, NAME, &err), &err);
	bed->fdb = xb_fdb_new();
	assert_non_null(bed->fdb);
	for (unsigned port = 0; port < XB_PORTS_MAX; port++)
		bed->fdb->learn_max[port] = XB_FDB_MAX;
	must(xb_fdb_mirror_new(&bed->gate, &bed->mirror, &err), &err);
}

static void end(struct bed *bed)
{
	xb_fdb_mirror_free(bed->mirror);
	xb_fdb_free(bed->fdb);
	xb_gate_close(&bed->gate);
}

static int set_up(void **state)
{
	struct bed *bed = calloc(1, sizeof(*bed));

	start(bed);
	*state = bed;
	return 0;
}

static int clean_up(void **state)
{
	end(*state);
	free(*state);
	return xb_gate_remove(NAME, NULL);
}

static void update(struct bed *bed)
{
	struct xb_error err = {0};

	must(xb_fdb_mirror_update(bed->mirror, bed->fdb, names, &err), &err);
}

/* Stations are numbered from 1. */
static struct xb_fdb_key key_of(uint32_t station, uint16_t vlan)
{
	uint8_t mac[6] = {2};

	memcpy(mac + 2, &station, sizeof(station));
	return xb_fdb_key(0, mac, vlan);
}

static struct xb_fdb_map_key shown_key(uint32_t station, uint16_t vlan)
{
	struct xb_fdb_map_key key = {.mac = {2}, .vlan = vlan};

	memcpy(key.mac + 2, &station, sizeof(station));
	return key;
}

static bool is_shown(const struct bed *bed, uint32_t station, uint16_t vlan,
		     struct xb_fdb_map_entry *ret_entry)
{
	struct xb_fdb_map_key key = shown_key(station, vlan);

	return bpf_map_lookup_elem(bed->gate.fdb_fd, &key, ret_entry) == 0;
}

static void assert_shown(const struct bed *bed, uint32_t station, uint16_t vlan, const char *port,
			 enum xb_fdb_kind kind, uint32_t seen_s)
{
	struct xb_fdb_map_entry entry = {0};

	assert_true(is_shown(bed, station, vlan, &entry));
	assert_string_equal(entry.port, port);
	assert_string_equal(entry.port, names[entry.port_id]);
	assert_int_equal(entry.kind, kind);
	assert_int_equal(entry.seen_s, seen_s);
}

/* How many keys a walk over the map finds; marks the stations among them. */
static unsigned walk(int map_fd, bool found[], unsigned n_stations)
{
	struct xb_fdb_map_key key;
	const struct xb_fdb_map_key *last = NULL;
	unsigned n = 0;

	while (bpf_map_get_next_key(map_fd, last, &key) == 0) {
		uint32_t station;

		memcpy(&station, key.mac + 2, sizeof(station));
		if (found && station < n_stations)
			found[station] = true;
		last = &key;
		n++;
	}
	return n;
}

static unsigned n_shown(const struct bed *bed)
{
	return walk(bed->gate.fdb_fd, NULL, 0);
}

static bool drop_all(const struct xb_fdb_row *row, void *arg)
{
	(void)row;
	(void)arg;
	return false;
}

static void entries_of_each_kind_are_shown(void **state)
{
	struct bed *bed = *state;

	xb_fdb_learn(bed->fdb, key_of(1, 0), 1, 100);
	xb_fdb_learn(bed->fdb, key_of(1, 7), 2, 101);
	xb_fdb_set(bed->fdb, key_of(2, 4094), 0, XB_FDB_STATIC);
	xb_fdb_set(bed->fdb, key_of(3, XB_FDB_VLAN_ANY), 0, XB_FDB_OWN);
	update(bed);
	assert_shown(bed, 1, 0, "eth0", XB_FDB_LEARNED, 100);
	assert_shown(bed, 1, 7, "eth1", XB_FDB_LEARNED, 101);
	assert_shown(bed, 2, 4094, "tap0", XB_FDB_STATIC, 0);
	assert_shown(bed, 3, XB_FDB_VLAN_ANY, "tap0", XB_FDB_OWN, 0);
	assert_int_equal(n_shown(bed), 4);
}

static void what_changes_is_shown_with_the_next_update(void **state)
{
	struct bed *bed = *state;

	for (uint32_t station = 1; station <= 4; station++)
		xb_fdb_learn(bed->fdb, key_of(station, 0), 1, 100);
	xb_fdb_set(bed->fdb, key_of(6, 0), 1, XB_FDB_STATIC);
	update(bed);
	xb_fdb_learn(bed->fdb, key_of(1, 0), 1, 105); /* seen again */
	xb_fdb_learn(bed->fdb, key_of(2, 0), 2, 100); /* moved */
	xb_fdb_set(bed->fdb, key_of(3, 0), 1, XB_FDB_STATIC);
	xb_fdb_set(bed->fdb, key_of(6, 0), 1, XB_FDB_OWN);
	xb_fdb_del(bed->fdb, key_of(4, 0), XB_FDB_LEARNED);
	xb_fdb_learn(bed->fdb, key_of(5, 0), 1, 107);
	update(bed);
	assert_shown(bed, 1, 0, "eth0", XB_FDB_LEARNED, 105);
	assert_shown(bed, 2, 0, "eth1", XB_FDB_LEARNED, 100);
	assert_shown(bed, 3, 0, "eth0", XB_FDB_STATIC, 0);
	assert_shown(bed, 5, 0, "eth0", XB_FDB_LEARNED, 107);
	assert_shown(bed, 6, 0, "eth0", XB_FDB_OWN, 0);
	assert_int_equal(n_shown(bed), 5);
	xb_fdb_age(bed->fdb, 106 + XB_FDB_AGE_S);
	update(bed);
	assert_int_equal(n_shown(bed), 3); /* who was seen last, and those that don't age */
	xb_fdb_sweep(bed->fdb, drop_all, NULL);
	update(bed);
	assert_int_equal(n_shown(bed), 0);
}

static void what_an_earlier_run_has_left_goes(void **state)
{
	struct bed *bed = *state;

	for (uint32_t station = 1; station <= 1000; station++)
		xb_fdb_learn(bed->fdb, key_of(station, 0), 1, 100);
	update(bed);
	assert_int_equal(n_shown(bed), 1000);
	end(bed);
	start(bed);
	assert_true(bed->gate.taken_over);
	assert_int_equal(n_shown(bed), 0);
}

static void a_map_that_somebody_has_filled_up_is_put_right(void **state)
{
	struct xb_fdb_map_entry entry = {0};
	struct bed *bed = *state;

	for (uint32_t station = 1; station <= XB_FDB_MAX; station++) {
		struct xb_fdb_map_key key = shown_key(station, 1);

		assert_int_equal(bpf_map_update_elem(bed->gate.fdb_fd, &key, &entry, BPF_ANY), 0);
	}
	xb_fdb_learn(bed->fdb, key_of(1, 0), 1, 100);
	assert_int_equal(xb_fdb_mirror_update(bed->mirror, bed->fdb, names, NULL), -E2BIG);
	update(bed);
	assert_int_equal(n_shown(bed), 1);
	assert_shown(bed, 1, 0, "eth0", XB_FDB_LEARNED, 100);
}

/* Fills the forwarding table until every bucket is full; returns the number of stations tried. */
static uint32_t fill(struct xb_fdb *fdb)
{
	uint32_t station = 0;

	while (fdb->n_learned[1] < XB_FDB_MAX)
		xb_fdb_learn(fdb, key_of(++station, 0), 1, 100);
	return station;
}

static bool see(const struct xb_fdb_row *row, void *arg)
{
	struct xb_fdb_row *rows = arg;

	rows[row->place] = *row;
	return true;
}

/* Every entry is seen at `now_s`. */
static void see_all(struct xb_fdb *fdb, uint32_t now_s)
{
	static struct xb_fdb_row rows[XB_FDB_MAX];

	xb_fdb_sweep(fdb, see, rows);
	for (unsigned i = 0; i < XB_FDB_MAX; i++)
		xb_fdb_learn(fdb, rows[i].key, 1, now_s);
}

static double ms_since(const struct timespec *start)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)(now.tv_sec - start->tv_sec) * 1e3 +
	       (double)(now.tv_nsec - start->tv_nsec) / 1e6;
}

static void timed_update(struct bed *bed, const char *what)
{
	struct timespec start;

	clock_gettime(CLOCK_MONOTONIC, &start);
	update(bed);
	print_message("%s: %.2f ms\n", what, ms_since(&start));
}

static void a_full_table_is_shown_whole(void **state)
{
	struct bed *bed = *state;

	timed_update(bed, "an empty table");
	fill(bed->fdb);
	timed_update(bed, "a full table, all of it new");
	assert_int_equal(n_shown(bed), XB_FDB_MAX);
	timed_update(bed, "a full table, nothing has changed");
	see_all(bed->fdb, 101);
	timed_update(bed, "a full table, each entry seen again");
	assert_int_equal(n_shown(bed), XB_FDB_MAX);
	/* as many others: what is gone makes room */
	xb_fdb_sweep(bed->fdb, drop_all, NULL);
	for (uint32_t station = 1u << 31; bed->fdb->n_learned[1] < XB_FDB_MAX; station++)
		xb_fdb_learn(bed->fdb, key_of(station, 0), 1, 100);
	timed_update(bed, "a full table of others");
	assert_int_equal(n_shown(bed), XB_FDB_MAX);
	xb_fdb_sweep(bed->fdb, drop_all, NULL);
	timed_update(bed, "a full table is flushed");
}

/* ---- somebody who reads meanwhile ---- */

#define WALKS 20u

struct reader {
	int map_fd;
	const bool *stays;
	unsigned n_stations;
	unsigned n_missed;
	_Atomic bool done;
};

static void *read_again_and_again(void *arg)
{
	struct reader *reader = arg;
	bool *found = calloc(reader->n_stations, sizeof(*found));

	for (unsigned i = 0; found && i < WALKS; i++) {
		memset(found, 0, reader->n_stations * sizeof(*found));
		walk(reader->map_fd, found, reader->n_stations);
		for (unsigned station = 1; station < reader->n_stations; station++)
			reader->n_missed += reader->stays[station] && !found[station];
	}
	free(found);
	reader->done = true;
	return NULL;
}

/* A full table: half of the stations are seen again all the time, and stay; the others come and go.
 */
static void a_reader_never_misses_what_stays(void **state)
{
	struct bed *bed = *state;
	struct reader reader = {.map_fd = bed->gate.fdb_fd, .n_stations = fill(bed->fdb) + 1};
	bool *stays = calloc(reader.n_stations, sizeof(*stays));
	pthread_t thread;

	assert_non_null(stays);
	for (uint32_t station = 1; station < reader.n_stations; station++)
		stays[station] = station % 2 && xb_fdb_lookup(bed->fdb, key_of(station, 0)) >= 0;
	reader.stays = stays;
	update(bed);
	assert_int_equal(pthread_create(&thread, NULL, read_again_and_again, &reader), 0);
	for (uint32_t now_s = 101; !reader.done; now_s++) {
		for (uint32_t station = 1; station < reader.n_stations; station++) {
			struct xb_fdb_key key = key_of(station, 0);

			if (stays[station] || xb_fdb_del(bed->fdb, key, XB_FDB_LEARNED) < 0)
				xb_fdb_learn(bed->fdb, key, 1, now_s);
		}
		update(bed);
	}
	pthread_join(thread, NULL);
	free(stays);
	assert_int_equal(reader.n_missed, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, clean_up)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(entries_of_each_kind_are_shown),
		TEST(what_changes_is_shown_with_the_next_update),
		TEST(what_an_earlier_run_has_left_goes),
		TEST(a_map_that_somebody_has_filled_up_is_put_right),
		TEST(a_full_table_is_shown_whole),
		TEST(a_reader_never_misses_what_stays),
	};

	sandbox_enter();
	return cmocka_run_group_tests_name("fdb_mirror", tests, NULL, NULL);
}
