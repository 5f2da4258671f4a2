/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Quiet points without waiting: what is offered to workers is reached when each of them has adopted
 * it, and they end when they are told to.
 */
#include "core/worker.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <time.h>

#include <cmocka.h>

#define WORKERS 3u

static struct xb_arena arena;
static struct xb_workers workers;
static struct xb_snapshot snapshots[2];
static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;

/* The last worker comes late. */
static void on_start(void *arg, unsigned worker)
{
	(void)arg;
	if (worker != WORKERS - 1)
		return;
	pthread_mutex_lock(&gate);
	pthread_mutex_unlock(&gate);
}

static int setup(void **state)
{
	static const struct xb_workers_options options = {
		.n = WORKERS, .beat_ns = 1000000000u, .on_start = on_start};
	struct xb_error err = {0};

	(void)state;
	pthread_mutex_lock(&gate);
	return xb_arena_init(&arena, 64, 0, &err) ||
	       xb_workers_start(&workers, &arena, &options, &err);
}

static int teardown(void **state)
{
	(void)state;
	xb_arena_fini(&arena);
	return 0;
}

static void await(bool (*there)(uint64_t generation), uint64_t generation)
{
	static const struct timespec pause = {.tv_nsec = 100000};

	while (!there(generation))
		nanosleep(&pause, NULL);
}

static bool reached(uint64_t generation)
{
	return xb_workers_reached(&workers, generation);
}

static bool others_have(uint64_t generation)
{
	for (unsigned w = 0; w < WORKERS - 1; w++)
		if (atomic_load(&workers.worker[w].seen) < generation)
			return false;
	return true;
}

static bool have_ended(uint64_t generation)
{
	(void)generation;
	return xb_workers_have_ended(&workers);
}

static void what_is_offered_is_reached_when_the_last_worker_has_it(void **state)
{
	uint64_t first, second;

	(void)state;
	first = xb_workers_offer(&workers, &snapshots[0]);
	await(others_have, first);
	assert_false(reached(first));
	second = xb_workers_offer(&workers, &snapshots[1]);
	assert_true(second > first);
	await(others_have, second);
	assert_false(reached(first));
	assert_false(xb_workers_have_ended(&workers));

	pthread_mutex_unlock(&gate);
	await(reached, second);
	assert_true(reached(first)); /* with the later one */

	xb_workers_end(&workers);
	await(have_ended, 0);
	xb_workers_stop(&workers); /* joins nobody twice */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			what_is_offered_is_reached_when_the_last_worker_has_it, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
