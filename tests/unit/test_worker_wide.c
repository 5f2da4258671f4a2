/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One worker with more queues than are usual: it sleeps on all of them.
 */
#include "core/worker.h"

#include "support/memory_port.h"
#include "support/must.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <sched.h>
#include <sys/resource.h>
#include <time.h>

#define PORTS  17u
#define QUEUES 64u

static struct mem_port port[PORTS];

static time_t now_s(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec;
}

/* Waits for an event, with a limit that is there to end a test that fails. */
#define WAIT_FOR(cond)                                                 \
	do {                                                           \
		time_t end_s = now_s() + 10;                           \
		while (!(cond)) {                                      \
			MUST(now_s() < end_s && "waiting for " #cond); \
			sched_yield();                                 \
		}                                                      \
	} while (0)

static void raise_descriptor_limit(void)
{
	struct rlimit limit;

	MUST(getrlimit(RLIMIT_NOFILE, &limit) == 0);
	limit.rlim_cur = limit.rlim_max;
	MUST(setrlimit(RLIMIT_NOFILE, &limit) == 0);
}

static void it_wakes_up_for_the_last_of_a_thousand_queues(void **state)
{
	/* it would wake up by itself after 20 s */
	const struct xb_workers_options options = {.n = 1, .beat_ns = 20000000000ull};
	static struct xb_snapshot snapshot;
	struct xb_workers workers;
	struct xb_arena arena;
	uint8_t data[60] = {2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x88, 0xb5};
	struct mem_packet *pkt = mem_packet_new(data, sizeof(data));

	(void)state;
	raise_descriptor_limit();
	MUST(xb_arena_init(&arena, 64, 0, NULL) == 0);
	MUST(xb_workers_start(&workers, &arena, &options, NULL) == 0);
	snapshot = (struct xb_snapshot){.verdict = XB_VERDICT_DROP, .fdb = xb_fdb_new()};
	for (unsigned i = 0; i < PORTS; i++) {
		mem_port_init(&port[i], "p", i, QUEUES, 1);
		xb_snapshot_add(&snapshot, &port[i].port);
	}
	xb_workers_publish(&workers, &snapshot);
	WAIT_FOR(atomic_load(&workers.worker[0].idle.asleep));
	mem_inject(&port[PORTS - 1], QUEUES - 1, pkt);
	WAIT_FOR(!mem_waiting(&port[PORTS - 1], QUEUES - 1));
	xb_workers_publish(&workers, NULL);
	xb_workers_stop(&workers);
	for (unsigned i = 0; i < PORTS; i++)
		mem_port_fini(&port[i]);
	xb_fdb_free(snapshot.fdb);
	xb_arena_fini(&arena);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(it_wakes_up_for_the_last_of_a_thousand_queues),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
