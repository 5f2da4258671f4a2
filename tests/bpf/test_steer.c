/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The XDP program alone, frame by frame (BPF_PROG_TEST_RUN): what it answers, what it counts, and
 * what lies in front of the frame afterwards. Needs CAP_BPF and CAP_NET_ADMIN; attaches nothing.
 */
#include "steer.skel.h"
#include "support/skip.h"
#include "xbridge/steer.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_xdp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define SLOT       3u
#define GENERATION 7u
#define STALL_NS   1000000000ull
/* In place of XB_REDIRECT_BYTES_MAX: what is as long as that is no frame in one piece here. */
#define LONG_BYTES 3000u

static struct steer_bpf *skeleton;

/* Our destination, its VLAN-tagged twin and a broadcast. */
static const uint8_t unicast[64] = {0x02, 0, 0, 0, 0, 1, 0x02, 0, 0, 0, 0, 9, 0x08, 0x00};
static const uint8_t tagged[64] = {0x02, 0, 0, 0,    0,    1, 0x02, 0,    0,
				   0,    0, 9, 0x81, 0x00, 0, 5,    0x08, 0x00};
static const uint8_t broadcast[64] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02,
				      0,    0,    0,    0,    9,    0x08, 0x06};

/* One run of the program on one frame, with `meta` bytes that somebody else left in front of it. */
struct run {
	int action;
	unsigned meta;      /* bytes in front of the frame afterwards */
	uint8_t bytes[256]; /* those, and the frame */
};

static struct run run_in(const struct bpf_program *program, const uint8_t *frame,
			 unsigned frame_bytes, unsigned meta)
{
	uint8_t in[256];
	struct run out = {0};
	struct xdp_md ctx_in = {.data = meta, .data_end = meta + frame_bytes};
	struct xdp_md ctx_out = {0};
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = in, .data_size_in = meta + frame_bytes,
		    .data_out = out.bytes, .data_size_out = sizeof(out.bytes), .ctx_in = &ctx_in,
		    .ctx_size_in = sizeof(ctx_in), .ctx_out = &ctx_out,
		    .ctx_size_out = sizeof(ctx_out));

	memset(in, 0xee, meta);
	memcpy(in + meta, frame, frame_bytes);
	if (bpf_prog_test_run_opts(bpf_program__fd(program), &opts) < 0) {
		out.action = -errno;
		return out;
	}
	out.action = (int)opts.retval;
	out.meta = ctx_out.data - ctx_out.data_meta;
	return out;
}

static struct run run_frame(const uint8_t *frame, unsigned frame_bytes, unsigned meta)
{
	return run_in(skeleton->progs.steer, frame, frame_bytes, meta);
}

static uint64_t coarse_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static struct xb_table table;

static void put_table(void)
{
	uint32_t only = 0;

	assert_int_equal(bpf_map_update_elem(bpf_map__fd(skeleton->maps.table), &only, &table, 0),
			 0);
}

static void configure(uint32_t verdict, bool shared)
{
	struct xb_steer_config config = {
		.schema = XB_SCHEMA, .shared = shared, .stall_ns = STALL_NS};
	uint32_t slot = SLOT;

	assert_int_equal(bpf_map_update_elem(bpf_map__fd(skeleton->maps.config), &slot, &config, 0),
			 0);
	table.in_force = (struct xb_in_force){.generation = GENERATION,
					      .verdict = (uint16_t)verdict};
	table.confirm_by_ns = 0;
	put_table();
}

static void set_queue(struct xb_queue_state queue)
{
	uint32_t key = XB_QUEUE_SLOT(SLOT, 0);

	assert_int_equal(bpf_map_update_elem(bpf_map__fd(skeleton->maps.queues), &key, &queue, 0),
			 0);
}

static void beat(uint64_t when_ns)
{
	set_queue((struct xb_queue_state){.beat_ns = when_ns});
}

static uint64_t redirected(void)
{
	struct xb_queue_state queue = {0};
	uint32_t key = XB_QUEUE_SLOT(SLOT, 0);

	assert_int_equal(bpf_map_lookup_elem(bpf_map__fd(skeleton->maps.queues), &key, &queue), 0);
	return queue.redirected;
}

static void own(const uint8_t *mac, uint16_t slot, bool there)
{
	int fd = bpf_map__fd(skeleton->maps.own_macs);
	struct xb_own_mac key = {.slot = slot};
	uint32_t ifindex = 1;

	memset(table.own_bits, 0xff, sizeof(table.own_bits));
	put_table();
	memcpy(key.mac, mac, sizeof(key.mac));
	assert_int_equal(there ? bpf_map_update_elem(fd, &key, &ifindex, 0)
			       : bpf_map_delete_elem(fd, &key),
			 0);
}

/* A socket with an RX ring, bound to nothing, can stand in the map; it leaves it when it is closed.
 */
static int put_socket(void)
{
	uint32_t key = XB_QUEUE_SLOT(SLOT, 0);
	int fd = socket(AF_XDP, SOCK_RAW, 0);
	int entries = 64;

	assert_true(fd >= 0);
	assert_int_equal(setsockopt(fd, SOL_XDP, XDP_RX_RING, &entries, sizeof(entries)), 0);
	assert_int_equal(bpf_map_update_elem(bpf_map__fd(skeleton->maps.xsks), &key, &fd, 0), 0);
	return fd;
}

static struct xb_xdp_stats stats(void)
{
	static struct xb_xdp_stats cpus[1024];
	struct xb_xdp_stats sum = {0};
	uint32_t slot = SLOT;
	int n = libbpf_num_possible_cpus();

	assert_true(n > 0 && n <= 1024);
	assert_int_equal(
		bpf_map_lookup_elem(bpf_map__fd(skeleton->maps.verdict_stats), &slot, cpus), 0);
	for (int i = 0; i < n; i++) {
		for (size_t j = 0; j < sizeof(sum) / sizeof(__u64); j++)
			((__u64 *)&sum)[j] += ((__u64 *)&cpus[i])[j];
	}
	return sum;
}

static int fresh(void **state)
{
	static struct xb_xdp_stats zero[1024];
	uint32_t slot = SLOT;

	(void)state;
	bpf_map_update_elem(bpf_map__fd(skeleton->maps.verdict_stats), &slot, zero, 0);
	configure(XB_VERDICT_BRIDGE, false);
	beat(0);
	return 0;
}

static void runt_passes(void **state)
{
	/* the kernel's test run takes no frame under 14 bytes on its own */
	struct run run = run_frame(unicast, 13, 4);

	(void)state;
	if (run.action == -EINVAL)
		skip_because("this kernel's test run takes no frame under 14 bytes");
	assert_int_equal(run.action, XDP_PASS);
	assert_int_equal(stats().pass_runt, 1);
}

static int run_long(unsigned frame_bytes)
{
	static uint8_t in[LONG_BYTES + 1];
	static uint8_t out[sizeof(in) + 256];
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = in, .data_size_in = frame_bytes,
		    .data_out = out, .data_size_out = sizeof(out));

	memcpy(in, unicast, sizeof(unicast));
	return bpf_prog_test_run_opts(bpf_program__fd(skeleton->progs.steer), &opts) < 0
		       ? -errno
		       : (int)opts.retval;
}

static void frame_too_long_for_a_chunk_passes(void **state)
{
	int fd = put_socket();

	(void)state;
	beat(coarse_ns());
	assert_int_equal(run_long(LONG_BYTES), XDP_REDIRECT);
	assert_int_equal(stats().pass_long, 0);
	assert_int_equal(run_long(LONG_BYTES + 1), XDP_PASS);
	assert_int_equal(stats().pass_long, 1);
	assert_int_equal(stats().redirect, 1);
	close(fd);
}

static void too_long_frame_is_dropped_all_the_same(void **state)
{
	(void)state;
	configure(XB_VERDICT_DROP, false);
	assert_int_equal(run_long(LONG_BYTES + 1), XDP_DROP);
	assert_int_equal(stats().drop_bytes, LONG_BYTES + 1);
	assert_int_equal(stats().pass_long, 0);
}

static void own_mac_passes(void **state)
{
	(void)state;
	own(unicast, SLOT, true);
	beat(coarse_ns());
	assert_int_equal(run_frame(unicast, 64, 0).action, XDP_PASS);
	assert_int_equal(run_frame(tagged, 64, 0).action, XDP_PASS);
	assert_int_equal(stats().pass_own, 2);
	own(unicast, SLOT, false);
}

static void own_mac_of_another_uplink_is_not_ours(void **state)
{
	(void)state;
	configure(XB_VERDICT_DROP, false);
	own(unicast, SLOT + 1, true);
	assert_int_equal(run_frame(unicast, 64, 0).action, XDP_DROP);
	own(unicast, SLOT + 1, false);
	assert_int_equal(stats().pass_own, 0);
}

static void own_mac_passes_before_a_default_of_drop(void **state)
{
	(void)state;
	configure(XB_VERDICT_DROP, false);
	own(unicast, SLOT, true);
	assert_int_equal(run_frame(unicast, 64, 0).action, XDP_PASS);
	own(unicast, SLOT, false);
	assert_int_equal(stats().pass_own, 1);
}

static void group_frame_passes_on_a_shared_uplink(void **state)
{
	int fd = put_socket();

	(void)state;
	configure(XB_VERDICT_BRIDGE, true);
	beat(coarse_ns());
	assert_int_equal(run_frame(broadcast, 64, 0).action, XDP_PASS);
	assert_int_equal(run_frame(unicast, 64, 0).action, XDP_REDIRECT);
	close(fd);
	assert_int_equal(stats().pass_group, 1);
	assert_int_equal(stats().redirect, 1);
}

static void group_frame_is_redirected_on_a_dedicated_uplink(void **state)
{
	int fd = put_socket();

	(void)state;
	beat(coarse_ns());
	assert_int_equal(run_frame(broadcast, 64, 0).action, XDP_REDIRECT);
	close(fd);
	assert_int_equal(stats().redirect, 1);
}

static void default_pass_passes(void **state)
{
	(void)state;
	configure(XB_VERDICT_PASS, false);
	beat(coarse_ns());
	assert_int_equal(run_frame(unicast, 64, 0).action, XDP_PASS);
	assert_int_equal(stats().pass_verdict, 1);
}

static void default_drop_drops_and_counts_bytes(void **state)
{
	(void)state;
	configure(XB_VERDICT_DROP, false);
	assert_int_equal(run_frame(unicast, 64, 0).action, XDP_DROP);
	assert_int_equal(run_frame(unicast, 60, 0).action, XDP_DROP);
	assert_int_equal(stats().drop, 2);
	assert_int_equal(stats().drop_bytes, 124);
}

static void drop_stays_in_force_when_nobody_reads(void **state)
{
	(void)state;
	configure(XB_VERDICT_DROP, false);
	beat(1);
	assert_int_equal(run_frame(unicast, 64, 0).action, XDP_DROP);
}

static void table_on_trial_ends_in_time_without_the_daemon(void **state)
{
	(void)state;
	configure(XB_VERDICT_DROP, false);
	table.confirmed = (struct xb_in_force){.generation = GENERATION,
					       .verdict = XB_VERDICT_PASS};
	table.confirm_by_ns = coarse_ns() + 3600ull * 1000000000u;
	put_table();
	assert_int_equal(run_frame(unicast, 64, 0).action, XDP_DROP);
	table.confirm_by_ns = coarse_ns();
	put_table();
	assert_int_equal(run_frame(unicast, 64, 0).action, XDP_PASS);
}

static void default_verdict_that_is_the_uplink_itself_bridges(void **state)
{
	int fd = put_socket();

	(void)state;
	configure(XB_VERDICT_PORT(0), false); /* its own id, as none is configured */
	beat(coarse_ns());
	assert_int_equal(run_frame(unicast, 64, 0).action, XDP_REDIRECT);
	assert_int_equal(stats().redirect, 1);
	close(fd);
}

static void slot_without_configuration_passes(void **state)
{
	struct xb_steer_config none = {0};
	uint32_t slot = SLOT;

	(void)state;
	configure(XB_VERDICT_DROP, false);
	bpf_map_update_elem(bpf_map__fd(skeleton->maps.config), &slot, &none, 0);
	assert_int_equal(run_frame(unicast, 64, 0).action, XDP_PASS);
	assert_int_equal(run_frame(broadcast, 64, 0).action, XDP_PASS);
	assert_int_equal(stats().pass_verdict, 2);
}

static void queue_without_a_socket_passes(void **state)
{
	(void)state;
	assert_int_equal(run_frame(unicast, 64, 0).action, XDP_PASS);
	assert_int_equal(stats().pass_noqueue, 1);
	assert_int_equal(stats().pass_stall, 0);
}

static void socket_that_died_passes_while_its_heartbeat_is_fresh(void **state)
{
	struct run run;

	(void)state;
	beat(coarse_ns());
	close(put_socket());
	run = run_frame(unicast, 64, 0);
	assert_int_equal(run.action, XDP_PASS);
	assert_int_equal(run.meta, 0);
	assert_int_equal(stats().pass_noqueue, 1);
}

static void stale_heartbeat_passes(void **state)
{
	int fd = put_socket();

	(void)state;
	beat(coarse_ns() - STALL_NS - 100000000);
	assert_int_equal(run_frame(unicast, 64, 0).action, XDP_PASS);
	close(fd);
	assert_int_equal(stats().pass_stall, 1);
	assert_int_equal(stats().pass_noqueue, 0);
}

static void frames_of_a_queue_that_delivers_nothing_pass_as_they_came(void **state)
{
	int fd = put_socket();
	struct run run;

	(void)state;
	set_queue((struct xb_queue_state){.beat_ns = coarse_ns(), .withheld = 1});
	run = run_frame(unicast, 64, 0);
	close(fd);
	assert_int_equal(run.action, XDP_PASS);
	assert_int_equal(run.meta, 0);
	assert_int_equal(stats().pass_undelivered, 1);
	assert_int_equal(stats().redirect, 0);
	assert_int_equal(redirected(), 0);
}

static void redirected_frames_are_counted_by_queue(void **state)
{
	int fd = put_socket();

	(void)state;
	beat(coarse_ns());
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(run_frame(unicast, 64, 0).action, XDP_REDIRECT);
	close(fd);
	assert_int_equal(run_frame(unicast, 64, 0).action, XDP_PASS);
	assert_int_equal(redirected(), 3);
}

static void heartbeat_from_the_next_tick_is_fresh(void **state)
{
	int fd = put_socket();

	(void)state;
	beat(coarse_ns() + 50000000);
	assert_int_equal(run_frame(unicast, 64, 0).action, XDP_REDIRECT);
	close(fd);
}

static void port_verdict_is_redirected_and_told_in_metadata(void **state)
{
	int fd = put_socket();
	struct xb_meta meta;
	struct run run;

	(void)state;
	configure(XB_VERDICT_PORT(5), false);
	beat(coarse_ns());
	run = run_frame(unicast, 64, 0);
	close(fd);
	assert_int_equal(run.action, XDP_REDIRECT);
	assert_int_equal(run.meta, sizeof(meta));
	memcpy(&meta, run.bytes, sizeof(meta));
	assert_int_equal(meta.magic, XB_META_MAGIC);
	assert_int_equal(meta.generation, GENERATION);
	assert_int_equal(meta.verdict, XB_VERDICT_PORT(5));
	assert_int_equal(meta.stage, XB_STAGE_DEFAULT);
	assert_int_equal(meta.rule, 0);
	assert_memory_equal(run.bytes + sizeof(meta), unicast, 64);
}

static void metadata_of_others_is_replaced_whatever_its_size(void **state)
{
	static const unsigned sizes[] = {4, 12, 16, 20, 32};
	int fd = put_socket();

	(void)state;
	beat(coarse_ns());
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct run run = run_frame(unicast, 64, sizes[i]);
		uint32_t magic;

		assert_int_equal(run.action, XDP_REDIRECT);
		assert_int_equal(run.meta, sizeof(struct xb_meta));
		memcpy(&magic, run.bytes, sizeof(magic));
		assert_int_equal(magic, XB_META_MAGIC);
		assert_memory_equal(run.bytes + run.meta, unicast, 64);
	}
	close(fd);
}

static void passed_frame_stays_as_it_came(void **state)
{
	struct run run;

	(void)state;
	configure(XB_VERDICT_PASS, false);
	run = run_frame(unicast, 64, 0);
	assert_int_equal(run.meta, 0);
	run = run_frame(unicast, 64, 8);
	assert_int_equal(run.meta, 8);
	assert_int_equal(run.bytes[0], 0xee);
	assert_memory_equal(run.bytes + 8, unicast, 64);
}

static void frame_of_nothing_but_headers_is_judged(void **state)
{
	static const uint8_t cut_tag[17] = {0x02, 0, 0, 0,    0, 1, 2, 0,   0,
					    0,    0, 9, 0x81, 0, 0, 5, 0x81};

	(void)state;
	configure(XB_VERDICT_DROP, false);
	assert_int_equal(run_frame(unicast, 14, 0).action, XDP_DROP);
	assert_int_equal(run_frame(cut_tag, 15, 0).action, XDP_DROP);
	assert_int_equal(run_frame(cut_tag, 17, 0).action, XDP_DROP);
}

static void cleanup_skeleton(struct steer_bpf **made)
{
	steer_bpf__destroy(*made);
}

static void the_mute_one_does_the_same_without_a_word(void **state)
{
	const struct bpf_program *mute = skeleton->progs.steer_mute;
	int fd = put_socket();
	struct run run;

	(void)state;
	beat(coarse_ns());
	run = run_in(mute, unicast, sizeof(unicast), 8);
	assert_int_equal(run.action, XDP_REDIRECT);
	assert_int_equal(run.meta, 8); /* as it came */
	assert_int_equal(stats().redirect, 1);
	configure(XB_VERDICT_DROP, false);
	assert_int_equal(run_in(mute, unicast, sizeof(unicast), 0).action, XDP_DROP);
	configure(XB_VERDICT_BRIDGE, true);
	assert_int_equal(run_in(mute, broadcast, sizeof(broadcast), 0).action, XDP_PASS);
	assert_int_equal(stats().pass_group, 1);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(runt_passes, fresh),
		cmocka_unit_test_setup(own_mac_passes, fresh),
		cmocka_unit_test_setup(own_mac_of_another_uplink_is_not_ours, fresh),
		cmocka_unit_test_setup(frame_too_long_for_a_chunk_passes, fresh),
		cmocka_unit_test_setup(too_long_frame_is_dropped_all_the_same, fresh),
		cmocka_unit_test_setup(own_mac_passes_before_a_default_of_drop, fresh),
		cmocka_unit_test_setup(group_frame_passes_on_a_shared_uplink, fresh),
		cmocka_unit_test_setup(group_frame_is_redirected_on_a_dedicated_uplink, fresh),
		cmocka_unit_test_setup(default_pass_passes, fresh),
		cmocka_unit_test_setup(default_drop_drops_and_counts_bytes, fresh),
		cmocka_unit_test_setup(drop_stays_in_force_when_nobody_reads, fresh),
		cmocka_unit_test_setup(table_on_trial_ends_in_time_without_the_daemon, fresh),
		cmocka_unit_test_setup(default_verdict_that_is_the_uplink_itself_bridges, fresh),
		cmocka_unit_test_setup(slot_without_configuration_passes, fresh),
		cmocka_unit_test_setup(queue_without_a_socket_passes, fresh),
		cmocka_unit_test_setup(socket_that_died_passes_while_its_heartbeat_is_fresh, fresh),
		cmocka_unit_test_setup(stale_heartbeat_passes, fresh),
		cmocka_unit_test_setup(frames_of_a_queue_that_delivers_nothing_pass_as_they_came,
				       fresh),
		cmocka_unit_test_setup(redirected_frames_are_counted_by_queue, fresh),
		cmocka_unit_test_setup(heartbeat_from_the_next_tick_is_fresh, fresh),
		cmocka_unit_test_setup(port_verdict_is_redirected_and_told_in_metadata, fresh),
		cmocka_unit_test_setup(metadata_of_others_is_replaced_whatever_its_size, fresh),
		cmocka_unit_test_setup(passed_frame_stays_as_it_came, fresh),
		cmocka_unit_test_setup(frame_of_nothing_but_headers_is_judged, fresh),
		cmocka_unit_test_setup(the_mute_one_does_the_same_without_a_word, fresh),
	};
	__attribute__((cleanup(cleanup_skeleton))) struct steer_bpf *made = steer_bpf__open();
	int ret;

	if (!made) {
		perror("open the BPF object");
		return 1;
	}
	bpf_program__set_autoload(made->progs.steer_mute, true);
	made->rodata->slot = SLOT;
	made->rodata->redirect_bytes_max = LONG_BYTES;
	ret = steer_bpf__load(made);
	if (ret == -EPERM || ret == -ENOSYS) {
		printf("SKIP: this kernel or user may not load BPF programs: %s\n", strerror(-ret));
		return 77;
	}
	if (ret < 0)
		return 1;
	skeleton = made;
	return cmocka_run_group_tests_name("steer", tests, NULL, NULL);
}
