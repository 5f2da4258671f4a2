/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Changes of the steering table by several clients at a time, while a worker is late: the image
 * that it looks at stays as it is. The worker is one that adopts a snapshot when the test says so.
 */
#include "core/cleanup.h"
#include "daemon/doors.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct xb_instance instance;
static struct xb_worker worker;
static struct xb_port port;
static struct xb_door door;

/* What the worker works with, and the bytes that it has found there. */
static const struct xb_image *looked_at;
static struct xb_image *found;

static int setup(void **state)
{
	static const struct xb_door_ops door_ops;
	static const struct xb_port_ops ops;

	(void)state;
	memset(&instance, 0, sizeof(instance));
	memset(&worker, 0, sizeof(worker));
	worker.idle.wake_fd = -1;
	instance.workers = (struct xb_workers){.n = 1, .worker = &worker};
	door = (struct xb_door){.ops = &door_ops, .instance = &instance, .port = &port};
	xb_config_init(&instance.config);
	found = malloc(sizeof(*found));
	if (!found || xb_loop_init(&instance.loop, NULL) || xb_port_init(&port, &ops, "tap0", 1))
		return -1;
	xb_doors_add(&door);
	return xb_instance_start_steering(&instance, NULL);
}

static int teardown(void **state)
{
	(void)state;
	xb_steering_fini(&instance.steering);
	xb_port_fini(&port);
	xb_loop_fini(&instance.loop);
	xb_config_fini(&instance.config);
	free(found);
	return 0;
}

/* The worker works with the newest snapshot from now on. */
static void adopt(void)
{
	worker.seen = instance.workers.generation;
	looked_at = xb_instance_snapshot(&instance)->rules.image;
	memcpy(found, looked_at, looked_at->head.bytes);
}

static void check_what_the_worker_looks_at(void)
{
	assert_memory_equal(looked_at, found, found->head.bytes);
}

/* Does what a client waits for, as soon as it may; the worker adopts what it is to see meanwhile.
 */
static void load_as_soon_as_it_may(const char *text, unsigned confirm_s)
{
	struct xb_rule_list list = {0};
	struct xb_error err = {0};

	for (unsigned i = 0; !xb_instance_may_steer(&instance, confirm_s); i++) {
		assert_true(i < 10);
		check_what_the_worker_looks_at();
		adopt();
	}
	assert_int_equal(xb_rule_list_parse(&list, text, &err), 0);
	if (xb_steering_load(&instance.steering, &list, confirm_s, &err) < 0)
		fail_msg("%s", err.what);
	xb_rule_list_free(&list);
	check_what_the_worker_looks_at();
	xb_instance_steered(&instance);
}

static void put_on_trial(void)
{
	xb_instance_publish(&instance);
	adopt();
	load_as_soon_as_it_may("proto udp to drop\n", 0);
	adopt();
	load_as_soon_as_it_may("proto tcp to drop\n", 60);
	adopt();
}

static void a_change_that_joins_a_trial_leaves_what_a_worker_looks_at(void **state)
{
	(void)state;
	put_on_trial();
	for (unsigned i = 0; i < 3; i++) {
		load_as_soon_as_it_may("proto icmp to drop\n", 60);
		adopt();
	}
}

/* One client waits until its change may join the trial; another, which changes the table for good,
 * has its turn first. */
static void a_final_change_leaves_what_a_worker_looks_at_while_another_waits_to_join(void **state)
{
	(void)state;
	put_on_trial();
	assert_false(xb_instance_may_steer(&instance, true));
	adopt(); /* the confirmed table, which is in force for the moment */
	load_as_soon_as_it_may("proto sctp to drop\n", 0);
	assert_int_equal(instance.steering.now.n, 1);
	assert_int_equal(instance.steering.confirm_by_ns, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_change_that_joins_a_trial_leaves_what_a_worker_looks_at),
		TEST(a_final_change_leaves_what_a_worker_looks_at_while_another_waits_to_join),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
