/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Workers in threads of their own, among memory ports. A memory port aborts where an op is called
 * after it was closed: that is how the promise of xb_workers_publish is held to.
 */
#include "core/worker.h"

#include "support/must.h"
#include "support/room.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <sched.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define MS 1000000u

struct crew {
	struct xb_arena arena;
	struct xb_workers workers;
	struct xb_fdb *fdb;
	unsigned n_ports;
	struct mem_port port[ROOM_PORTS];
	struct xb_snapshot snapshot[2];
};

static struct crew crew;

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* Waits for an event, with a limit that is there to end a test that fails. */
#define WAIT_FOR(cond, limit_ms)                                           \
	do {                                                               \
		uint64_t until_ns = now_ns() + (uint64_t)(limit_ms)*MS;    \
		while (!(cond)) {                                          \
			MUST(now_ns() < until_ns && "waiting for " #cond); \
			sched_yield();                                     \
		}                                                          \
	} while (0)

static void start(unsigned workers, unsigned ports, unsigned queues, uint64_t beat_ns)
{
	const struct xb_workers_options options = {.n = workers, .beat_ns = beat_ns};

	memset(&crew, 0, sizeof(crew));
	MUST(xb_arena_init(&crew.arena, 4096, 0, NULL) == 0);
	crew.fdb = xb_fdb_new();
	MUST(crew.fdb);
	crew.n_ports = ports;
	for (unsigned i = 0; i < ports; i++) {
		char name[] = {'p', (char)('0' + i), '\0'};

		mem_port_init(&crew.port[i], name, i, queues, 512);
		atomic_store(&crew.port[i].keep, false);
	}
	MUST(xb_workers_start(&crew.workers, &crew.arena, &options, NULL) == 0);
}

/* Fills one of the two snapshots with the ports whose bits are set. */
static struct xb_snapshot *snapshot_of(unsigned which, unsigned mask)
{
	struct xb_snapshot *snapshot = &crew.snapshot[which];

	memset(snapshot, 0, sizeof(*snapshot));
	snapshot->verdict = XB_VERDICT_BRIDGE;
	snapshot->fdb = crew.fdb;
	for (unsigned i = 0; i < crew.n_ports; i++)
		if (mask >> i & 1)
			xb_snapshot_add(snapshot, &crew.port[i].port);
	return snapshot;
}

#define ALL 0xffu

static void stop(void)
{
	struct xb_port *ports[ROOM_PORTS];
	struct xb_sorter_counts counts;
	struct xb_cache cache;

	xb_workers_publish(&crew.workers, NULL);
	counts = xb_workers_counts(&crew.workers); /* xb_workers_stop frees them */
	xb_workers_stop(&crew.workers);
	xb_cache_init(&cache, &crew.arena);
	for (unsigned i = 0; i < crew.n_ports; i++) {
		ports[i] = &crew.port[i].port;
		mem_port_reset(&crew.port[i], &cache);
	}
	must_balance(&crew.arena, ports, crew.n_ports, counts);
	must_be_free(&crew.arena);
	for (unsigned i = 0; i < crew.n_ports; i++)
		mem_port_fini(&crew.port[i]);
	xb_cache_fini(&cache);
	xb_fdb_free(crew.fdb);
	xb_arena_fini(&crew.arena);
}

static void inject(unsigned port, unsigned q, uint8_t from, uint8_t to, uint16_t verdict)
{
	uint8_t data[60] = {2, 0, 0, 0, 0, to, 2, 0, 0, 0, 0, from, 0x88, 0xb5};
	struct mem_packet *pkt = mem_packet_new(data, sizeof(data));

	pkt->fate.verdict = verdict;
	mem_inject(&crew.port[port], q, pkt);
}

static bool all_asleep(void)
{
	for (unsigned w = 0; w < crew.workers.n; w++)
		if (!atomic_load(&crew.workers.worker[w].idle.asleep))
			return false;
	return true;
}

static struct port_sums all_sums(void)
{
	struct port_sums all = {0};

	for (unsigned i = 0; i < crew.n_ports; i++) {
		struct port_sums sums = port_sums(&crew.port[i].port);

		all.rx += sums.rx;
		all.tx += sums.tx;
		all.drops += sums.drops;
	}
	return all;
}

/* ---- traffic ---- */

struct source {
	pthread_t thread;
	unsigned port, queues;
	uint32_t packets;
	struct rnd rnd;
};

static void *inject_all(void *arg)
{
	struct source *source = arg;

	for (uint32_t i = 0; i < source->packets; i++) {
		unsigned q = rnd_below(&source->rnd, source->queues);
		uint8_t to = (uint8_t)rnd_below(&source->rnd, 8);

		/* an addressee behind each port, some unknown, some ruled */
		inject(source->port, q, (uint8_t)(source->port + 1), to,
		       rnd_below(&source->rnd, 4)
			       ? XB_VERDICT_NONE
			       : XB_VERDICT_PORT(rnd_below(&source->rnd, ROOM_PORTS)));
		while (mem_waiting(&crew.port[source->port], q) > 200)
			sched_yield();
	}
	return NULL;
}

static void traffic(unsigned workers, unsigned ports, unsigned queues, unsigned publications)
{
	struct source source[ROOM_PORTS];
	const uint32_t packets = 3000;
	struct port_sums sums;

	start(workers, ports, queues, 50 * MS);
	xb_workers_publish(&crew.workers, snapshot_of(0, ALL));
	for (unsigned i = 0; i < ports; i++) {
		source[i] = (struct source){
			.port = i, .queues = queues, .packets = packets, .rnd = {i * 7 + 1}};
		MUST(!pthread_create(&source[i].thread, NULL, inject_all, &source[i]));
	}
	for (unsigned i = 1; i <= publications; i++) {
		unsigned out = i % ports; /* a port goes and comes back */

		xb_workers_publish(&crew.workers,
				   snapshot_of(i % 2, i % 3 ? ALL : ALL & ~(1u << out)));
		if (i % 3)
			continue;
		mem_port_close(&crew.port[out]);
		sched_yield();
		atomic_store(&crew.port[out].closed, false);
	}
	xb_workers_publish(&crew.workers, snapshot_of((publications + 1) % 2, ALL));
	for (unsigned i = 0; i < ports; i++)
		pthread_join(source[i].thread, NULL);
	WAIT_FOR(all_sums().rx == (uint64_t)ports * packets, 30000);
	xb_workers_publish(&crew.workers, NULL);
	sums = all_sums();
	MUST(sums.rx + xb_workers_counts(&crew.workers).copies == sums.tx + sums.drops);
	stop();
}

static void packets_among_ports_and_workers_are_all_accounted_for(void **state)
{
	(void)state;
	traffic(1, 2, 1, 0);
	traffic(2, 3, 1, 0);
	traffic(3, 2, 4, 0);
	traffic(2, 4, 3, 0);
}

static void a_thousand_snapshots_under_traffic_lose_nothing(void **state)
{
	(void)state;
	traffic(3, 3, 2, 1000);
}

/* ---- quiet points ---- */

static void a_published_snapshot_is_the_only_one_in_use(void **state)
{
	(void)state;
	start(3, 2, 2, 20 * MS);
	for (unsigned i = 0; i < 2000; i++) {
		xb_workers_publish(&crew.workers, snapshot_of(i % 2, i % 2 ? 1u : 3u));
		if (i % 2) {
			mem_port_close(&crew.port[1]);
			inject(0, 0, 1, 2, XB_VERDICT_NONE);
			atomic_store(&crew.port[1].closed, false);
		}
	}
	stop();
}

/* The allocator gives the memory of a snapshot that was freed to the next but one. */
static void a_snapshot_at_the_address_of_an_old_one_is_a_new_one(void **state)
{
	(void)state;
	for (unsigned round = 0; round < 50; round++) {
		start(2, 2, 2, 1000 * MS);
		crew.port[1].port.n_queues = 1; /* worker 1 has no queue of p1, */
		atomic_store(&crew.port[1].hold, true);
		xb_workers_publish(&crew.workers, snapshot_of(0, 3));
		inject(0, 1, 1, 2, XB_VERDICT_PORT(1)); /* but has a packet there to look after */
		WAIT_FOR(atomic_load(&crew.port[1].kicks), 10000);
		WAIT_FOR(all_asleep(), 10000);
		xb_workers_publish(&crew.workers, snapshot_of(1, 1));
		mem_port_close(&crew.port[1]); /* p1 is gone, and the first snapshot freed */
		xb_workers_publish(&crew.workers, snapshot_of(0, 1));
		inject(0, 1, 1, 2, XB_VERDICT_NONE);
		WAIT_FOR(!mem_waiting(&crew.port[0], 1), 10000);
		xb_workers_publish(&crew.workers, NULL);
		crew.port[1].port.n_queues = 2;
		stop();
	}
}

/* ---- sleeping and waking ---- */

static void a_sleeping_worker_wakes_up_for_a_packet(void **state)
{
	(void)state;
	start(2, 2, 2, 20000ull * MS); /* nothing but the packet would wake it */
	xb_workers_publish(&crew.workers, snapshot_of(0, ALL));
	for (unsigned i = 0; i < 200; i++) {
		WAIT_FOR(all_asleep(), 5000);
		inject(i % 2, i / 2 % 2, 1, 2, XB_VERDICT_PORT(1 - i % 2));
		WAIT_FOR(all_sums().tx == i + 1, 5000);
	}
	stop();
}

static void publishing_and_stopping_do_not_wait_for_sleepers(void **state)
{
	uint64_t start_ns;

	(void)state;
	start(3, 2, 3, 20000ull * MS);
	WAIT_FOR(all_asleep(), 5000);
	start_ns = now_ns();
	xb_workers_publish(&crew.workers, snapshot_of(0, ALL));
	WAIT_FOR(all_asleep(), 5000);
	xb_workers_publish(&crew.workers, snapshot_of(1, 1));
	xb_workers_publish(&crew.workers, NULL);
	stop();
	assert_true(now_ns() - start_ns < 5000ull * MS);
}

static uint64_t price(unsigned w)
{
	return atomic_load(&crew.workers.worker[w].idle.wake_ns);
}

static void a_sleeper_learns_what_it_costs_to_wake_it(void **state)
{
	(void)state;
	start(2, 2, 2, 20000ull * MS);
	for (unsigned i = 0; i < 20; i++) {
		WAIT_FOR(all_asleep(), 5000);
		xb_workers_wake(&crew.workers);
	}
	for (unsigned w = 0; w < 2; w++) {
		WAIT_FOR(price(w) > 0, 5000);
		assert_true(price(w) <= 20 * MS / 16);
	}
	stop();
}

/* ---- packets on their way ---- */

#define LONGEST_PRICE (20 * MS / 16) /* polls for 20 ms */

static void rest_ns(long ns)
{
	const struct timespec rest = {.tv_nsec = ns};

	nanosleep(&rest, NULL);
}

static uint64_t sleeps(void)
{
	return xb_counted(&crew.workers.worker[0].idle.sleeps);
}

static int *early_fd(void)
{
	return &crew.port[0].port.queues[0].early_fd;
}

/* Lets the worker rest for so long that it heeds what is foretold, and sets its price. */
static void be_rested(uint64_t price_ns)
{
	uint64_t before;

	WAIT_FOR(all_asleep(), 5000);
	rest_ns(30 * MS);
	before = sleeps();
	xb_workers_wake(&crew.workers);
	WAIT_FOR(sleeps() > before, 5000);
	WAIT_FOR(all_asleep(), 5000);
	atomic_store(&crew.workers.worker[0].idle.wake_ns, price_ns);
}

/* One worker, asleep, whom a packet on its way to p0 wakes. */
static void start_early(uint64_t price_ns)
{
	start(1, 2, 1, 20000ull * MS);
	*early_fd() = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	MUST(*early_fd() >= 0);
	xb_workers_publish(&crew.workers, snapshot_of(0, ALL));
	be_rested(price_ns);
}

static void stop_early(void)
{
	int fd = *early_fd();

	stop();
	close(fd);
}

static void foretell(void)
{
	MUST(eventfd_write(*early_fd(), 1) == 0);
}

static void take_back(void)
{
	eventfd_t n;

	eventfd_read(*early_fd(), &n);
}

static void pass_one(void)
{
	uint64_t sent = all_sums().tx;

	inject(0, 0, 1, 2, XB_VERDICT_PORT(1));
	WAIT_FOR(all_sums().tx == sent + 1, 5000);
}

static void a_packet_on_its_way_wakes_a_worker_that_rests(void **state)
{
	(void)state;
	start_early(LONGEST_PRICE);
	for (unsigned i = 0; i < 10; i++) {
		uint64_t before;

		be_rested(LONGEST_PRICE);
		before = sleeps();
		foretell();
		WAIT_FOR(sleeps() > before, 5000);
		take_back();
		pass_one();
	}
	stop_early();
}

static void what_was_foretold_in_vain_is_not_believed_until_a_packet_has_come(void **state)
{
	(void)state;
	start_early(0);
	for (unsigned i = 0; i < 10; i++) {
		uint64_t before = sleeps();

		foretell(); /* for good */
		WAIT_FOR(sleeps() > before, 5000);
		WAIT_FOR(all_asleep(), 5000);
		rest_ns(30 * MS);
		xb_workers_wake(&crew.workers); /* and for long */
		rest_ns(30 * MS);
		assert_true(sleeps() <= before + 3);
		take_back();
		pass_one();
		be_rested(0);
	}
	stop_early();
}

/* ---- beats ---- */

static uint64_t beats(unsigned port, unsigned q)
{
	return atomic_load(&crew.port[port].queues[q].beats);
}

/* Beats come no further apart than asked, but for what the machine's scheduler adds. */
static void must_beat(unsigned times, uint64_t beat_ns)
{
	for (unsigned port = 0; port < crew.n_ports; port++)
		for (unsigned q = 0; q < crew.port[port].port.n_queues; q++)
			WAIT_FOR(beats(port, q) >= times, 20000);
	for (unsigned port = 0; port < crew.n_ports; port++)
		for (unsigned q = 0; q < crew.port[port].port.n_queues; q++)
			MUST(atomic_load(&crew.port[port].queues[q].longest_gap_ns) <
			     beat_ns + 400ull * MS);
}

static void hearts_beat_while_workers_sleep(void **state)
{
	(void)state;
	start(2, 2, 3, 40 * MS);
	xb_workers_publish(&crew.workers, snapshot_of(0, ALL));
	must_beat(20, 40 * MS);
	stop();
}

/* A packet wakes the worker when its last beat is too young for another: it may not sleep as long
 * as before then. */
static void a_packet_between_two_beats_delays_none(void **state)
{
	static const struct timespec not_yet = {.tv_nsec = 900 * MS};

	(void)state;
	start(1, 2, 1, 2000ull * MS);
	xb_workers_publish(&crew.workers, snapshot_of(0, ALL));
	for (unsigned n = 1; n <= 2; n++) {
		WAIT_FOR(beats(0, 0) >= n, 20000);
		nanosleep(&not_yet, NULL);
		inject(0, 0, 1, 2, XB_VERDICT_PORT(1));
	}
	must_beat(3, 2000ull * MS);
	stop();
}

static void hearts_beat_under_traffic(void **state)
{
	struct source source = {.port = 0, .queues = 1, .packets = 20000, .rnd = {5}};

	(void)state;
	start(1, 2, 1, 40 * MS);
	xb_workers_publish(&crew.workers, snapshot_of(0, ALL));
	MUST(!pthread_create(&source.thread, NULL, inject_all, &source));
	must_beat(10, 40 * MS);
	pthread_join(source.thread, NULL);
	WAIT_FOR(all_sums().rx == 20000, 20000);
	stop();
}

static void hearts_beat_while_a_packet_is_never_completed(void **state)
{
	(void)state;
	start(1, 2, 1, 20 * MS);
	atomic_store(&crew.port[1].hold, true);
	xb_workers_publish(&crew.workers, snapshot_of(0, ALL));
	inject(0, 0, 1, 2, XB_VERDICT_PORT(1));
	WAIT_FOR(atomic_load(&crew.port[1].kicks) >= 40, 20000); /* ever later, but not never */
	must_beat(60, 20 * MS);
	stop();
}

static void a_new_port_is_beaten_for_at_once(void **state)
{
	uint64_t start_ns;

	(void)state;
	start(1, 2, 1, 20000ull * MS);
	xb_workers_publish(&crew.workers, snapshot_of(0, 1));
	WAIT_FOR(beats(0, 0), 5000);
	start_ns = now_ns();
	xb_workers_publish(&crew.workers, snapshot_of(1, 3));
	WAIT_FOR(beats(1, 0), 5000);
	assert_true(now_ns() - start_ns < 5000ull * MS);
	stop();
}

/* ---- queues that are somebody else's ---- */

static void workers_that_share_a_queue_count_exactly(void **state)
{

	(void)state;
	start(3, 2, 3, 50 * MS);
	crew.port[1].port.n_queues = 1; /* all three send there */
	xb_workers_publish(&crew.workers, snapshot_of(0, 3));
	for (unsigned i = 0; i < 3; i++)
		for (unsigned k = 0; k < 2000; k++)
			inject(0, i, 1, 2, XB_VERDICT_PORT(1));
	WAIT_FOR(all_sums().tx + all_sums().drops == 6000, 20000);
	crew.port[1].port.n_queues = 3;
	stop();
}

static void a_packet_on_a_sleepers_queue_is_completed_by_who_sent_it(void **state)
{
	uint64_t kicks;

	(void)state;
	start(2, 2, 2, 20000ull * MS);
	crew.port[1].port.n_queues = 1; /* worker 0's */
	atomic_store(&crew.port[1].hold, true);
	xb_workers_publish(&crew.workers, snapshot_of(0, 3));
	inject(0, 1, 1, 2, XB_VERDICT_PORT(1)); /* worker 1 sends */
	WAIT_FOR(atomic_load(&crew.port[1].kicks), 5000);
	kicks = atomic_load(&crew.port[1].kicks);
	WAIT_FOR(atomic_load(&crew.port[1].kicks) >= kicks + 3, 5000);
	atomic_store(&crew.port[1].hold, false);
	WAIT_FOR(all_sums().tx == 1, 5000);
	crew.port[1].port.n_queues = 2;
	stop();
}

/* ---- starting ---- */

static _Atomic unsigned started;

static void on_start(void *arg, unsigned worker)
{
	MUST(arg == &crew);
	atomic_fetch_or(&started, 1u << worker);
}

static void each_worker_says_that_it_starts_in_its_own_thread(void **state)
{
	const struct xb_workers_options options = {
		.n = 3, .beat_ns = 50 * MS, .on_start = on_start, .arg = &crew};
	struct xb_workers workers;
	struct xb_arena arena;

	(void)state;
	atomic_store(&started, 0);
	assert_int_equal(xb_arena_init(&arena, 64, 0, NULL), 0);
	assert_int_equal(xb_workers_start(&workers, &arena, &options, NULL), 0);
	xb_workers_stop(&workers);
	assert_int_equal(atomic_load(&started), 7);
	must_be_free(&arena);
	xb_arena_fini(&arena);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(packets_among_ports_and_workers_are_all_accounted_for),
		cmocka_unit_test(a_thousand_snapshots_under_traffic_lose_nothing),
		cmocka_unit_test(a_published_snapshot_is_the_only_one_in_use),
		cmocka_unit_test(a_snapshot_at_the_address_of_an_old_one_is_a_new_one),
		cmocka_unit_test(a_sleeping_worker_wakes_up_for_a_packet),
		cmocka_unit_test(a_sleeper_learns_what_it_costs_to_wake_it),
		cmocka_unit_test(a_packet_on_its_way_wakes_a_worker_that_rests),
		cmocka_unit_test(what_was_foretold_in_vain_is_not_believed_until_a_packet_has_come),
		cmocka_unit_test(publishing_and_stopping_do_not_wait_for_sleepers),
		cmocka_unit_test(hearts_beat_while_workers_sleep),
		cmocka_unit_test(a_packet_between_two_beats_delays_none),
		cmocka_unit_test(hearts_beat_under_traffic),
		cmocka_unit_test(hearts_beat_while_a_packet_is_never_completed),
		cmocka_unit_test(a_new_port_is_beaten_for_at_once),
		cmocka_unit_test(workers_that_share_a_queue_count_exactly),
		cmocka_unit_test(a_packet_on_a_sleepers_queue_is_completed_by_who_sent_it),
		cmocka_unit_test(each_worker_says_that_it_starts_in_its_own_thread),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
