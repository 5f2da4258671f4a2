/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Driver, workers and device in threads of their own: the port is taken out of the snapshot, reset
 * or resized, and put back, under traffic.
 */
#include "core/worker.h"
#include "sim/sim_device.h"
#include "support/must.h"
#include "support/room.h"
#include "virtio/net.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <sched.h>
#include <string.h>
#include <time.h>

#define PAIRS 3u

static struct xb_arena arena;
static struct xb_cache cache; /* the control thread's */
static struct xb_workers workers;
static struct xb_fdb *fdb;
static struct mem_port mem;
static struct sim_device sim;
static struct xb_virtio_net net;
static struct xb_snapshot snapshots[2];
static _Atomic bool enough;
static bool packed;

/* Publishes the first `pairs` queues of the device; 0: not even the port. */
static void publish(unsigned pairs)
{
	static unsigned turn;
	struct xb_snapshot *snapshot = &snapshots[turn++ % 2];

	memset(snapshot, 0, sizeof(*snapshot));
	snapshot->verdict = XB_VERDICT_BRIDGE;
	snapshot->fdb = fdb;
	xb_snapshot_add(snapshot, &mem.port);
	if (pairs) {
		xb_snapshot_add(snapshot, &net.port);
		snapshot->queues[net.port.id] = (uint16_t)pairs;
	}
	xb_workers_publish(&workers, snapshot);
}

static void setup_all(unsigned n_workers)
{
	const struct xb_virtio_net_options options = {.name = "v0",
						      .queues_max = PAIRS,
						      .queue_size = 64,
						      .mtu = 1500,
						      .offload = XB_OFFLOAD_ALL,
						      .packed = packed};
	const struct xb_workers_options crew = {.n = n_workers, .beat_ns = 100000000u};

	MUST(xb_arena_init(&arena, 4096, 4u << 20, NULL) == 0);
	xb_cache_init(&cache, &arena);
	fdb = xb_fdb_new();
	mem_port_init(&mem, "m0", 0, PAIRS, 512);
	atomic_store(&mem.keep, false);
	sim_device_init(&sim, PAIRS);
	sim.arena = &arena;
	MUST(xb_virtio_net_init(&net, &sim.transport, &arena, &options, NULL) == 0);
	net.port.id = 1;
	atomic_store(&net.port.up, true);
	sim_device_run(&sim);
	MUST(xb_workers_start(&workers, &arena, &crew, NULL) == 0);
}

static void finish_all(void)
{
	struct xb_port *ports[] = {&mem.port, &net.port};

	xb_workers_publish(&workers, NULL);
	xb_virtio_net_stop(&net, &cache);
	mem_port_reset(&mem, &cache);
	must_balance(&arena, ports, 2, xb_workers_counts(&workers));
	xb_workers_stop(&workers);
	must_be_free(&arena);
	sim_device_halt(&sim);
	MUST(!sim.wrong);
	xb_virtio_net_fini(&net);
	sim_device_fini(&sim);
	mem_port_fini(&mem);
	xb_fdb_free(fdb);
	xb_cache_fini(&cache);
	xb_arena_fini(&arena);
}

static void inject(unsigned q, uint32_t i)
{
	uint8_t data[60] = {2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 1, 0x88, 0xb5};
	struct mem_packet *pkt;

	memcpy(data + 20, &i, sizeof(i));
	pkt = mem_packet_new(data, sizeof(data));
	pkt->fate.verdict = XB_VERDICT_PORT(1);
	mem_inject(&mem, q, pkt);
}

static void *keep_injecting(void *arg)
{
	for (uint32_t i = 0; !atomic_load(&enough); i++) {
		inject(i % PAIRS, i);
		while (mem_waiting(&mem, i % PAIRS) > 100 && !atomic_load(&enough))
			sched_yield();
	}
	return arg;
}

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000u + (uint64_t)now.tv_nsec / 1000000u;
}

/* Waits until the port has received `n` packets in all. */
static void await_rx(uint64_t n)
{
	uint64_t until = now_ms() + 10000;

	while (port_sums(&net.port).rx < n) {
		MUST(now_ms() < until);
		sched_yield();
	}
}

static void start_stop_and_resize(unsigned n_workers, unsigned times)
{
	struct rnd rnd = {n_workers * 99 + 1};
	pthread_t thread;

	setup_all(n_workers);
	atomic_store(&enough, false);
	MUST(!pthread_create(&thread, NULL, keep_injecting, NULL));
	for (unsigned i = 0; i < times; i++) {
		unsigned pairs = 1 + rnd_below(&rnd, PAIRS), before = net.port.n_queues;

		if (!before) {
			MUST(xb_virtio_net_start(&net, pairs, &cache, NULL) == 0);
		} else if (rnd_below(&rnd, 3) == 0) {
			publish(0);
			xb_virtio_net_stop(&net, &cache);
			continue;
		} else if (pairs >= before) { /* more come ready while the others run */
			MUST(xb_virtio_net_resize(&net, pairs, &cache, NULL) == 0);
		} else {
			publish(pairs); /* those that go are unpublished first */
			MUST(xb_virtio_net_resize(&net, pairs, &cache, NULL) == 0);
		}
		publish(pairs);
		if (i % 4 == 0)
			await_rx(port_sums(&net.port).rx + 100);
		MUST(!xb_virtio_net_broken(&net));
	}
	atomic_store(&enough, true);
	pthread_join(thread, NULL);
	finish_all();
}

static void a_device_that_comes_and_goes_under_traffic_loses_no_frame(void **state)
{
	(void)state;
	start_stop_and_resize(1, 200);
	start_stop_and_resize(3, 300);
}

/* Both sides fall asleep between the packets: a lost notification ends the test. */
static void each_packet_on_its_own_crosses_there_and_back(void **state)
{
	(void)state;
	setup_all(2);
	MUST(xb_virtio_net_start(&net, PAIRS, &cache, NULL) == 0);
	publish(PAIRS);
	for (uint32_t i = 0; i < 2000; i++) {
		inject(i % PAIRS, i);
		await_rx(i + 1);
	}
	finish_all();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_device_that_comes_and_goes_under_traffic_loses_no_frame),
		cmocka_unit_test(each_packet_on_its_own_crosses_there_and_back),
	};
	int failed;

	failed = cmocka_run_group_tests_name("split", tests, NULL, NULL);

	packed = true;
	return failed + cmocka_run_group_tests_name("packed", tests, NULL, NULL);
}
