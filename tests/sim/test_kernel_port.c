/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The kernel port on a vhost-net that fails: which interface it has then, and by what it is served.
 * The TAP is real, in a network namespace of the process's own; /dev/vhost-net is simulated.
 */
#include "daemon/kernel_port.h"
#include "sim/sim_vhost_kernel.h"
#include "support/must.h"
#include "support/room.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#define IFNAME "xbk0"

struct bed {
	struct xb_config config;
	struct xb_arena arena;
	struct xb_cache cache;
	struct xb_kernel_port kernel;
	struct xb_error err;
};

static const struct xb_kernel_lent lent = {.stable_mac = {2, 0, 0, 0, 0, 9}};

static void open_bed(struct bed *bed, enum xb_kernel_backend backend, unsigned queues)
{
	memset(bed, 0, sizeof(*bed));
	xb_config_init(&bed->config);
	bed->config.kernel.backend = backend;
	bed->config.kernel.queues = queues;
	bed->config.kernel.queue_size = 64;
	strcpy(bed->config.name, IFNAME);
	strcpy(bed->config.kernel.ifname, IFNAME);
	MUST(xb_arena_init(&bed->arena, 8192, xb_kernel_port_ring_bytes(&bed->config.kernel),
			   NULL) == 0);
	xb_cache_init(&bed->cache, &bed->arena);
	sim_vhost_fail(0, 0);
	assert_int_equal(xb_kernel_port_open(&bed->kernel, 5, &bed->config.kernel, &lent,
					     &bed->arena, &bed->err),
			 0);
}

static int start(struct bed *bed)
{
	return xb_kernel_port_start(&bed->kernel, bed->config.kernel.queues, &bed->cache,
				    &bed->err);
}

static int reopen(struct bed *bed)
{
	return xb_kernel_port_reopen(&bed->kernel, &bed->config.kernel, &lent, &bed->err);
}

static void close_bed(struct bed *bed)
{
	xb_kernel_port_close(&bed->kernel, &bed->cache);
	must_be_free(&bed->arena);
	xb_cache_fini(&bed->cache);
	xb_arena_fini(&bed->arena);
	assert_int_equal(sim_vhost_open_count(), 0);
	assert_null(sim_vhost_wrong());
	assert_int_equal(if_nametoindex(IFNAME), 0);
}

static void a_device_that_fails_is_reset_and_its_interface_stays(void **state)
{
	struct bed bed;
	unsigned index;

	(void)state;
	open_bed(&bed, XB_KERNEL_VHOST_NET, 2);
	assert_int_equal(start(&bed), 0);
	index = if_nametoindex(IFNAME);
	for (unsigned i = 0; i < 4; i++) {
		assert_int_equal(xb_kernel_port_check(&bed.kernel), 0);
		sim_vhost_break(i % 2);
		assert_int_equal(xb_kernel_port_check(&bed.kernel), -EPROTO);
		xb_kernel_port_stop(&bed.kernel, &bed.cache);
		must_be_free(&bed.arena);
		assert_int_equal(reopen(&bed), 0);
		assert_int_equal(if_nametoindex(IFNAME), index);
		assert_int_equal(start(&bed), 0);
		assert_int_equal(sim_vhost_serving_count(), 2);
	}
	close_bed(&bed);
}

/* Queues that are to go get no flows; whatever comes of it, the kernel steers by itself again. */
static void flows_are_moved_for_as_long_as_queues_go(void **state)
{
	static const enum xb_kernel_backend backends[] = {XB_KERNEL_VHOST_NET, XB_KERNEL_TAP};

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		struct bed bed;

		open_bed(&bed, backends[i], 3);
		MUST(xb_tap_steer_to(&bed.kernel.tap, 1) == 0); /* left from an earlier run */
		assert_true(sim_vhost_is_steered());
		assert_int_equal(start(&bed), 0);
		assert_false(sim_vhost_is_steered());
		assert_true(xb_kernel_port_retire(&bed.kernel, 2));
		assert_true(sim_vhost_is_steered());
		assert_int_equal(xb_kernel_port_resize(&bed.kernel, 2, &bed.cache, &bed.err), 0);
		assert_false(sim_vhost_is_steered());
		assert_true(xb_kernel_port_retire(&bed.kernel, 1));
		assert_int_equal(xb_kernel_port_resize(&bed.kernel, 0, &bed.cache, &bed.err),
				 -EINVAL);
		assert_false(sim_vhost_is_steered());
		close_bed(&bed);
	}
}

static void a_start_that_fails_leaves_the_interface_to_the_next(void **state)
{
	unsigned index, all, failures = 0;
	struct bed bed;

	(void)state;
	open_bed(&bed, XB_KERNEL_VHOST_NET, 2);
	sim_vhost_fail(0, 0);
	assert_int_equal(start(&bed), 0);
	all = sim_vhost_calls();
	index = if_nametoindex(IFNAME);
	for (unsigned at = 1; at <= all; at++) {
		int ret;

		xb_kernel_port_stop(&bed.kernel, &bed.cache);
		sim_vhost_fail(at, ENOMEM);
		ret = start(&bed);
		sim_vhost_fail(0, 0);
		if (ret < 0) {
			failures++;
			assert_int_equal(reopen(&bed), 0);
			assert_int_equal(start(&bed), 0);
		}
		assert_int_equal(if_nametoindex(IFNAME), index);
		assert_int_equal(sim_vhost_serving_count(), 2);
	}
	assert_true(failures > 20);
	close_bed(&bed);
}

static void an_interface_that_was_deleted_is_made_again(void **state)
{
	struct bed bed;
	unsigned index;

	(void)state;
	open_bed(&bed, XB_KERNEL_VHOST_NET, 1);
	assert_int_equal(start(&bed), 0);
	index = if_nametoindex(IFNAME);
	assert_int_equal(system("ip link del " IFNAME), 0);
	assert_int_equal(xb_kernel_port_check(&bed.kernel), -ENODEV);
	xb_kernel_port_stop(&bed.kernel, &bed.cache);
	assert_int_equal(reopen(&bed), 0);
	assert_int_not_equal(if_nametoindex(IFNAME), index);
	assert_int_equal(start(&bed), 0);
	assert_int_equal(sim_vhost_serving_count(), 1);
	close_bed(&bed);
}

static void must_do_without(struct bed *bed)
{
	assert_false(bed->kernel.vhost);
	assert_int_equal(bed->kernel.port->n_queues, 3);
	assert_int_equal(bed->kernel.port->id, 5);
	assert_true(bed->kernel.port->up);
	assert_int_equal(sim_vhost_open_count(), 0);
	assert_non_null(strstr(bed->kernel.why, "without vhost-net ("));
	assert_non_null(strstr(bed->kernel.why, ": Bad address)"));
}

/* Starts while one request fails. Returns whether vhost-net was what failed. */
static bool start_with_failure(struct bed *bed, enum xb_kernel_backend backend, unsigned at)
{
	int ret;

	open_bed(bed, backend, 3);
	sim_vhost_fail(at, EFAULT);
	ret = start(bed);
	sim_vhost_fail(0, 0);
	if (backend == XB_KERNEL_AUTO)
		return !bed->kernel.vhost;
	assert_true(bed->kernel.vhost);
	return ret < 0 && !strstr(bed->err.what, "bring " IFNAME " up");
}

static void where_nobody_insists_on_it_a_start_does_without_vhost_net(void **state)
{
	unsigned all, failures = 0;
	struct bed bed;

	(void)state;
	open_bed(&bed, XB_KERNEL_AUTO, 3);
	sim_vhost_fail(0, 0);
	assert_int_equal(start(&bed), 0);
	assert_true(bed.kernel.vhost);
	all = sim_vhost_calls();
	close_bed(&bed);
	for (unsigned at = 1; at <= all; at++) {
		bool fails = start_with_failure(&bed, XB_KERNEL_VHOST_NET, at);

		failures += fails;
		close_bed(&bed);
		assert_int_equal(start_with_failure(&bed, XB_KERNEL_AUTO, at), fails);
		if (fails)
			must_do_without(&bed);
		close_bed(&bed);
	}
	assert_true(failures > 40);
}

static void vhost_net_that_has_served_is_not_given_up(void **state)
{
	struct bed bed;

	(void)state;
	open_bed(&bed, XB_KERNEL_AUTO, 1);
	assert_int_equal(start(&bed), 0);
	xb_kernel_port_stop(&bed.kernel, &bed.cache);
	sim_vhost_fail(1, EFAULT);
	assert_true(start(&bed) < 0);
	sim_vhost_fail(0, 0);
	assert_true(bed.kernel.vhost);
	assert_int_equal(start(&bed), 0);
	assert_int_equal(sim_vhost_serving_count(), 1);
	close_bed(&bed);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_device_that_fails_is_reset_and_its_interface_stays),
		cmocka_unit_test(flows_are_moved_for_as_long_as_queues_go),
		cmocka_unit_test(a_start_that_fails_leaves_the_interface_to_the_next),
		cmocka_unit_test(an_interface_that_was_deleted_is_made_again),
		cmocka_unit_test(where_nobody_insists_on_it_a_start_does_without_vhost_net),
		cmocka_unit_test(vhost_net_that_has_served_is_not_given_up),
	};

	if (unshare(CLONE_NEWNET) < 0) {
		fprintf(stderr, "skipped: no network namespace of our own: %s\n", strerror(errno));
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
