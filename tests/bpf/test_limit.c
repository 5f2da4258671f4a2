/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A rule's limit holds its rate when two queues and userspace charge it at once: two threads run
 * the XDP program, each on a queue of its own, a third asks the same table in userspace, all from
 * the same maps. What passes of twice the rate, once the burst is used up, is the rule's rate
 * within five per cent.
 */
#include "core/rules.h"
#include "steer.skel.h"
#include "steer/image.h"
#include "support/skip.h"

#include <bpf/bpf.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>

#include <cmocka.h>

#define NS_PER_SEC 1000000000ull
#define QUEUES     2u
#define THREADS    (1 + QUEUES)
#define WARM_UP_NS (NS_PER_SEC / 2) /* the burst, a tenth of a second's, is gone by then */
#define SLOT       0u

static struct steer_bpf *skeleton;
static struct xb_image *images;
static struct xb_table *table;
static struct xb_rules rules;
static unsigned ifindex; /* of an interface with QUEUES queues */

static uint8_t frame[64] = {0x02, 0, 0, 0, 0, 9, 0x02, 0, 0, 0, 0, 8, 0x88, 0xb5};

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * NS_PER_SEC + (uint64_t)now.tv_nsec;
}

static void *map_memory(const struct bpf_map *map)
{
	size_t bytes = (size_t)bpf_map__max_entries(map) * bpf_map__value_size(map);
	void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, bpf_map__fd(map), 0);

	return at == MAP_FAILED ? NULL : at;
}

/* A TAP in a network namespace of our own. It is there as long as this process. */
static int make_queues(void)
{
	struct ifreq req = {.ifr_name = "xbt0", .ifr_flags = IFF_TAP | IFF_NO_PI | IFF_MULTI_QUEUE};

	if (unshare(CLONE_NEWNET) < 0)
		return -1;
	for (unsigned i = 0; i < QUEUES; i++) {
		int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);

		if (fd < 0 || ioctl(fd, TUNSETIFF, &req) < 0)
			return -1;
	}
	ifindex = if_nametoindex(req.ifr_name);
	return ifindex ? 0 : -1;
}

static int load(void **state)
{
	struct xb_steer_config config = {.schema = XB_SCHEMA};
	uint32_t slot = SLOT;

	(void)state;
	if (make_queues() < 0)
		return -1;
	skeleton = steer_bpf__open_and_load();
	if (!skeleton)
		return -1;
	images = map_memory(skeleton->maps.images);
	table = map_memory(skeleton->maps.table);
	rules.stats = map_memory(skeleton->maps.rule_stats_user);
	rules.limits = map_memory(skeleton->maps.rule_limits);
	if (!images || !table || !rules.stats || !rules.limits)
		return -1;
	return bpf_map_update_elem(bpf_map__fd(skeleton->maps.config), &slot, &config, 0);
}

static int unload(void **state)
{
	(void)state;
	steer_bpf__destroy(skeleton);
	return 0;
}

/* One rule, which all frames match. */
static void limit_to(uint32_t pps)
{
	struct xb_rule rule = {.id = 1, .limit_pps = pps, .limit_burst = pps / 10};
	struct xb_ranked_rule ranked = {.rule = &rule, .verdict = XB_VERDICT_PASS, .in = XB_IN_ANY};
	uint32_t generation = table->in_force.generation + 1;
	struct xb_error err = {0};
	struct xb_image *built;

	assert_int_equal(xb_image_build(&ranked, 1, generation, &built, &err), 0);
	memcpy(&images[generation % XB_IMAGES], built, built->head.bytes);
	free(built);
	rules.limits[0] = 0;
	rules.image = &images[generation % XB_IMAGES];
	table->in_force = (struct xb_in_force){
		.generation = generation, .n_rules = 1, .verdict = XB_VERDICT_PASS};
}

/* Somebody who offers frames at a steady rate. */
struct offer {
	pthread_t thread;
	int queue; /* -1: in userspace */
	uint64_t each_ns, start_ns, count_from_ns, end_ns;
	uint64_t offered, passed; /* since count_from_ns */
};

static bool passes_program(int queue)
{
	struct xdp_md ctx = {.data_end = sizeof(frame),
			     .ingress_ifindex = ifindex,
			     .rx_queue_index = (uint32_t)queue};
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = frame, .data_size_in = sizeof(frame),
		    .ctx_in = &ctx, .ctx_size_in = sizeof(ctx));

	return bpf_prog_test_run_opts(bpf_program__fd(skeleton->progs.steer), &opts) == 0 &&
	       opts.retval == XDP_PASS;
}

static bool passes_userspace(struct xb_rules_cache *cache)
{
	struct xb_frame pkt = {.base = frame, .len = sizeof(frame), .bytes = sizeof(frame)};
	struct xb_origin origin = {0};
	struct xb_image_rule rule;

	return xb_rules_ask(&rules, cache, &pkt, &origin, 1, &rule) == XB_RULES_MATCH;
}

static void wait_until(uint64_t when_ns)
{
	struct timespec when = {.tv_sec = (time_t)(when_ns / NS_PER_SEC),
				.tv_nsec = (long)(when_ns % NS_PER_SEC)};

	clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &when, NULL);
}

static void *offer_frames(void *arg)
{
	struct xb_rules_cache *cache = calloc(1, sizeof(*cache));
	struct offer *offer = arg;
	uint64_t due_ns = offer->start_ns, now;

	while ((now = now_ns()) < offer->end_ns) {
		bool passed;

		/* in small trains: a sleep of less than that takes longer than it should */
		if (due_ns > now + 200000)
			wait_until(due_ns);
		passed = offer->queue < 0 ? passes_userspace(cache) : passes_program(offer->queue);
		if (now >= offer->count_from_ns) {
			offer->offered++;
			offer->passed += passed;
		}
		due_ns += offer->each_ns;
	}
	free(cache);
	return NULL;
}

static void holds(uint32_t pps)
{
	uint64_t seconds = getenv("XB_LONG") ? 10 : 1;
	struct offer offers[THREADS];
	uint64_t offered = 0, passed = 0, start = now_ns();
	double rate;

	limit_to(pps);
	for (unsigned i = 0; i < THREADS; i++) {
		offers[i] = (struct offer){
			.queue = (int)i - 1,
			.each_ns = THREADS * NS_PER_SEC * 10 / (22ull * pps),
			.start_ns = start,
			.count_from_ns = start + WARM_UP_NS,
			.end_ns = start + WARM_UP_NS + seconds * NS_PER_SEC,
		};
		assert_int_equal(pthread_create(&offers[i].thread, NULL, offer_frames, &offers[i]),
				 0);
	}
	for (unsigned i = 0; i < THREADS; i++) {
		pthread_join(offers[i].thread, NULL);
		offered += offers[i].offered;
		passed += offers[i].passed;
	}
	rate = (double)passed / (double)seconds;
	print_message("%u a second: offered %.0f, passed %.0f, of them %llu in userspace\n", pps,
		      (double)offered / (double)seconds, rate,
		      (unsigned long long)offers[0].passed);
	if (offered < seconds * pps * 2)
		skip_because("this machine can't offer enough");
	assert_true(rate > 0.95 * pps && rate < 1.05 * pps);
	for (unsigned i = 0; i < THREADS; i++)
		assert_true(offers[i].offered > 0);
}

static void a_hundred_a_second(void **state)
{
	(void)state;
	holds(100);
}

static void ten_thousand_a_second(void **state)
{
	(void)state;
	holds(10000);
}

static void a_hundred_thousand_a_second(void **state)
{
	(void)state;
	holds(100000);
}

/* A machine that does something else besides can't offer the most: that is left to XB_LONG. */
int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_hundred_a_second),
		cmocka_unit_test(ten_thousand_a_second),
	};
	const struct CMUnitTest more[] = {cmocka_unit_test(a_hundred_thousand_a_second)};
	int failed = cmocka_run_group_tests_name("limit", tests, load, unload);

	if (getenv("XB_LONG"))
		failed += cmocka_run_group_tests_name("limit", more, load, unload);
	return failed;
}
