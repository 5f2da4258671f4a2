/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the vhost-net backend finds out about its module, its memory and its TAP. The TAP is real,
 * in a network namespace of the process's own; /dev/vhost-net is simulated.
 */
#include "sim/sim_vhost_kernel.h"
#include "support/must.h"
#include "vhost/kernel.h"
#include "virtio/features.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>
#include <linux/if_tun.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>

static void without_the_module_the_error_says_what_to_do(void **state)
{
	static const int codes[] = {ENOENT, ENXIO, EACCES};
	struct xb_error err = {0};
	struct xb_vhost_kernel kernel;
	struct xb_tap tap;
	const struct xb_tap_options options = {.ifname = "xbt0", .queues = 1};

	(void)state;
	sim_vhost_fail(0, 0);
	assert_int_equal(xb_tap_init(&tap, &options, &err), 0);
	for (unsigned i = 0; i < 3; i++) {
		sim_vhost_fail(1, codes[i]);
		assert_int_equal(xb_vhost_kernel_init(&kernel, &tap, NULL, 0, 1, &err), -codes[i]);
		assert_non_null(strstr(err.what, "/dev/vhost-net"));
		assert_non_null(strstr(err.hint, "--tap"));
	}
	xb_tap_fini(&tap);
}

static void a_module_without_version_1_is_refused(void **state)
{
	uint64_t all = sim_vhost_features;
	const struct xb_tap_options options = {.ifname = "xbt0", .queues = 1};
	struct xb_vhost_kernel kernel;
	struct xb_error err = {0};
	struct xb_tap tap;

	(void)state;
	sim_vhost_fail(0, 0);
	assert_int_equal(xb_tap_init(&tap, &options, &err), 0);
	sim_vhost_features &= ~(1ull << VIRTIO_F_VERSION_1);
	assert_int_equal(xb_vhost_kernel_init(&kernel, &tap, NULL, 0, 1, &err), -EOPNOTSUPP);
	sim_vhost_features = all;
	xb_tap_fini(&tap);
	assert_int_equal(sim_vhost_open_count(), 0);
}

static void regions_that_touch_are_joined_and_others_are_not(void **state)
{
	uint8_t *base = (uint8_t *)0x10000;
	/* in any order, of any file */
	struct xb_vhost_region regions[] = {{base + 0x1000, 0x2000, 3},
					    {base + 0x4000, 0x1000, 3},
					    {base + 0x5000, 0x1000, 4},
					    {base, 0x1000, 5}};

	(void)state;
	assert_int_equal(xb_vhost_regions_join(regions, 4), 2);
	assert_ptr_equal(regions[0].addr, base);
	assert_int_equal(regions[0].bytes, 0x3000);
	assert_ptr_equal(regions[1].addr, base + 0x4000);
	assert_int_equal(regions[1].bytes, 0x2000);
	assert_int_equal(xb_vhost_regions_join(regions, 0), 0);
}

static void how_many_regions_it_takes_is_the_modules_word(void **state)
{
	static const struct {
		const char *reads;
		unsigned regions;
	} cases[] = {{"509\n", 509}, {"1\n", 1}, {NULL, 64}, {"0\n", 64}, {"many\n", 64}};
	const struct xb_tap_options options = {.ifname = "xbt0", .queues = 1};

	(void)state;
	sim_vhost_fail(0, 0);
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct xb_vhost_kernel kernel;
		struct xb_error err = {0};
		struct xb_tap tap;

		sim_vhost_max_mem_regions = cases[i].reads;
		assert_int_equal(xb_tap_init(&tap, &options, &err), 0);
		assert_int_equal(xb_vhost_kernel_init(&kernel, &tap, NULL, 0, 1, &err), 0);
		sim_vhost_max_mem_regions = NULL;
		assert_int_equal(kernel.regions_max, cases[i].regions);
		xb_vhost_kernel_fini(&kernel);
		xb_tap_fini(&tap);
	}
}

static void more_regions_than_the_module_takes_are_refused(void **state)
{
	const struct xb_tap_options options = {.ifname = "xbt0", .queues = 1};
	struct xb_vhost_region regions[4000];
	struct xb_vhost_kernel kernel;
	struct xb_error err = {0};
	struct xb_tap tap;

	(void)state;
	for (unsigned i = 0; i < 4000; i++) /* in pairs that touch */
		regions[i] = (struct xb_vhost_region){
			(uint8_t *)0x100000 + 0x10000 * (i / 2) + 0x1000 * (i % 2), 0x1000, 3};
	sim_vhost_fail(0, 0);
	sim_vhost_max_mem_regions = "2\n";
	assert_int_equal(xb_tap_init(&tap, &options, &err), 0);
	assert_int_equal(xb_vhost_kernel_init(&kernel, &tap, NULL, 0, 1, &err), 0);
	sim_vhost_max_mem_regions = NULL;
	assert_int_equal(kernel.backend.ops->configure(&kernel.backend, 0, regions, 4, &err), 0);
	assert_int_equal(kernel.backend.ops->configure(&kernel.backend, 0, regions, 5, &err),
			 -E2BIG);
	assert_non_null(strstr(err.what, "3 memory regions; vhost takes 2"));
	assert_non_null(strstr(err.hint, "/sys/module/vhost/parameters/max_mem_regions"));
	assert_int_equal(kernel.n_regions, 2); /* as before */
	kernel.regions_max = 2000;             /* the limit is the module's */
	assert_int_equal(kernel.backend.ops->configure(&kernel.backend, 0, regions, 4000, &err), 0);
	assert_int_equal(kernel.n_regions, 2000);
	xb_vhost_kernel_fini(&kernel);
	xb_tap_fini(&tap);
}

/* A header of another length would shift each packet; a short send buffer drops them. */
static void what_the_tap_was_set_to_is_read_back(void **state)
{
	static const struct {
		unsigned long request;
		int answer;
		const char *what;
	} cases[] = {{TUNGETVNETHDRSZ, 10, "TUNSETVNETHDRSZ with 12, and has 10"},
		     {TUNGETSNDBUF, 212992, "TUNSETSNDBUF with 2147483647, and has 212992"}};

	(void)state;
	sim_vhost_fail(0, 0);
	for (unsigned i = 0; i < 2; i++) {
		const struct xb_tap_options options = {.ifname = "xbt0", .queues = 1};
		struct xb_error err = {0};
		struct xb_tap tap;

		sim_tap_request = cases[i].request;
		sim_tap_answer = cases[i].answer;
		assert_int_equal(xb_tap_init(&tap, &options, &err), -EPROTO);
		assert_non_null(strstr(err.what, cases[i].what));
		sim_tap_request = 0;
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(without_the_module_the_error_says_what_to_do),
		cmocka_unit_test(a_module_without_version_1_is_refused),
		cmocka_unit_test(regions_that_touch_are_joined_and_others_are_not),
		cmocka_unit_test(how_many_regions_it_takes_is_the_modules_word),
		cmocka_unit_test(more_regions_than_the_module_takes_are_refused),
		cmocka_unit_test(what_the_tap_was_set_to_is_read_back),
	};

	if (unshare(CLONE_NEWNET) < 0) {
		fprintf(stderr, "skipped: no network namespace of our own: %s\n", strerror(errno));
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
