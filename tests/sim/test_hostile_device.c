/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * HOSTILE.md, row 19: a device that breaks the rules of its rings hurts its own port only. Packets
 * cross between two memory ports all the while, and none of those may be lost.
 */
#include "sim/sim_device.h"
#include "support/must.h"
#include "support/room.h"
#include "virtio/net.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <string.h>

#define VIRTIO_ID 2u /* after the memory ports 0 and 1 */

static struct room room;
static struct sim_device sim;
static struct xb_virtio_net net;
static bool packed;
static uint64_t between; /* packets from p0 to p1 */
static uint64_t sent;    /* packets to the device */

static int setup(void **state)
{
	const struct xb_virtio_net_options options = {.name = "v0",
						      .queues_max = 1,
						      .queue_size = 64,
						      .mtu = 1500,
						      .offload = XB_OFFLOAD_ALL,
						      .packed = packed};

	(void)state;
	room_init(&room, 1024, 2, 1, 256);
	sim_device_init(&sim, 1);
	sim.arena = &room.arena;
	sim.loop = false;
	MUST(xb_virtio_net_init(&net, &sim.transport, &room.arena, &options, NULL) == 0);
	net.port.id = VIRTIO_ID;
	MUST(xb_virtio_net_start(&net, 1, &room.sorter->cache, NULL) == 0);
	atomic_store(&net.port.up, true);
	room_add(&room, &net.port);
	between = sent = 0;
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	xb_virtio_net_stop(&net, &room.sorter->cache);
	MUST(!sim.wrong);
	room_fini(&room);
	xb_virtio_net_fini(&net);
	sim_device_fini(&sim);
	return 0;
}

static const uint8_t ours[60] = {2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 1, 0x88, 0xb5};

static void inject_to(unsigned id)
{
	struct mem_packet *pkt = mem_packet_new(ours, sizeof(ours));

	pkt->fate.verdict = XB_VERDICT_PORT(id);
	mem_inject(&room.mem[0], 0, pkt);
}

/* Traffic in all directions; what goes between the honest ports must arrive. */
static void traffic(void)
{
	static const uint8_t data[60] = {2, 0, 0, 0, 0, 7, 2, 0, 0, 0, 0, 8, 0x88, 0xb5};

	for (unsigned i = 0; i < 20; i++) {
		inject_to(1);
		between++;
		inject_to(VIRTIO_ID);
		sent++;
		sim_device_push(&sim, 0, NULL, data, sizeof(data));
	}
	for (unsigned i = 0; i < 4; i++) {
		room_run(&room);
		sim_device_step(&sim);
	}
	room_run(&room);
	MUST(port_drops(&room.mem[1].port, XB_DROP_TX_FULL) == 0);
	room_must_balance(&room);
}

static uint64_t arrived_between(void)
{
	struct mem_packet *pkt;
	uint64_t n = 0;

	while ((pkt = mem_sent(&room.mem[1], 0))) {
		n += pkt->len == sizeof(ours) && !memcmp(pkt->data, ours, sizeof(ours));
		free(pkt);
	}
	return n;
}

static void restart(void)
{
	struct port_sums before;

	/* what the daemon does: unpublish, reset, start, publish */
	room.snapshot.queues[VIRTIO_ID] = 0;
	xb_virtio_net_stop(&net, &room.sorter->cache);
	room_must_balance(&room);
	MUST(xb_virtio_net_start(&net, 1, &room.sorter->cache, NULL) == 0);
	room.snapshot.queues[VIRTIO_ID] = 1;
	MUST(!xb_virtio_net_broken(&net));
	before = port_sums(&net.port);
	traffic();
	MUST(port_sums(&net.port).tx == before.tx + 20);
	MUST(port_sums(&net.port).rx == before.rx + 20);
}

static void misbehave(enum sim_fault fault)
{
	atomic_store(&sim.fault, SIM_HONEST);
	traffic();
	MUST(!xb_virtio_net_broken(&net));
	atomic_store(&sim.fault, fault);
	traffic();
	assert_true(xb_virtio_net_broken(&net));
	assert_int_equal(xb_counted(&net.queues[0].violations), 1);
	traffic(); /* it stays quiet */
	assert_int_equal(xb_counted(&net.queues[0].violations), 1);
	restart();
	assert_int_equal(arrived_between(), between);
	/* each packet for the device was sent, or counted as a drop of its own port */
	assert_int_equal(port_sums(&net.port).tx + port_drops(&net.port, XB_DROP_TX_FULL) +
				 port_drops(&net.port, XB_DROP_TX_RESET),
			 sent);
}

#define HOSTILE(name, fault)           \
	static void name(void **state) \
	{                              \
		(void)state;           \
		misbehave(fault);      \
	}

HOSTILE(a_receive_id_beyond_the_ring_stops_that_port_only, SIM_RX_ID_BEYOND)
HOSTILE(a_receive_buffer_used_twice_stops_that_port_only, SIM_RX_ID_FREE)
HOSTILE(a_receive_index_that_jumps_stops_that_port_only, SIM_RX_INDEX_JUMP)
HOSTILE(a_length_beyond_the_buffer_stops_that_port_only, SIM_RX_LEN_LONG)
HOSTILE(a_packet_of_no_buffers_stops_that_port_only, SIM_RX_BUFFERS_0)
HOSTILE(a_packet_of_65535_buffers_stops_that_port_only, SIM_RX_BUFFERS_MANY)
HOSTILE(a_send_id_beyond_the_ring_stops_that_port_only, SIM_TX_ID_BEYOND)
HOSTILE(a_send_buffer_used_twice_stops_that_port_only, SIM_TX_ID_FREE)
HOSTILE(a_send_index_that_jumps_stops_that_port_only, SIM_TX_INDEX_JUMP)

static void a_packet_of_more_buffers_than_were_used_stops_that_port_only(void **state)
{
	static const uint8_t data[60] = {2, 0, 0, 0, 0, 7, 2, 0, 0, 0, 0, 8, 0x88, 0xb5};

	(void)state;
	traffic();
	atomic_store(&sim.fault, SIM_RX_BUFFERS_MISSING);
	sim_device_push(&sim, 0, NULL, data, sizeof(data)); /* alone: nothing behind it */
	sim_device_step(&sim);
	room_run(&room);
	assert_true(xb_virtio_net_broken(&net));
	assert_int_equal(port_drops(&net.port, XB_DROP_BAD_RING), 1);
	traffic();
	restart();
	assert_int_equal(arrived_between(), between);
}

static void a_device_that_has_failed_says_so_and_comes_back(void **state)
{
	(void)state;
	traffic();
	atomic_store(&sim.failed, true);
	assert_true(xb_virtio_net_broken(&net));
	restart();
	assert_int_equal(arrived_between(), between);
}

static void a_device_that_fills_a_packet_with_lies_is_bounded(void **state)
{
	struct rnd rnd = rnd_seed();

	(void)state;
	for (unsigned i = 0; i < 5000; i++) {
		uint8_t data[2000];
		struct virtio_net_hdr_v1 hdr;
		uint32_t len = rnd_below(&rnd, 200);

		for (unsigned k = 0; k < sizeof(hdr); k++)
			((uint8_t *)&hdr)[k] = (uint8_t)(rnd_below(&rnd, 3) ? rnd_next(&rnd) : 0);
		hdr.flags &= 3;
		for (uint32_t k = 0; k < len; k++)
			data[k] = (uint8_t)rnd_next(&rnd);
		if (rnd_below(&rnd, 2) && len > 40) {
			memcpy(data + 12, "\x08\x00\x45", 3);
			data[23] = rnd_below(&rnd, 2) ? 6 : 17;
		}
		sim_device_push(&sim, 0, &hdr, data, len);
		if (i % 16 == 0) {
			sim_device_step(&sim);
			room_run(&room);
			room_must_balance(&room);
		}
	}
	sim_device_step(&sim);
	room_run(&room);
	assert_false(xb_virtio_net_broken(&net));
	traffic();
	assert_int_equal(arrived_between(), between);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest of_split_rings[] = {
		/* a packed ring has no index */
		TEST(a_receive_index_that_jumps_stops_that_port_only),
	};
	const struct CMUnitTest tests[] = {
		TEST(a_receive_id_beyond_the_ring_stops_that_port_only),
		TEST(a_receive_buffer_used_twice_stops_that_port_only),
		TEST(a_length_beyond_the_buffer_stops_that_port_only),
		TEST(a_packet_of_no_buffers_stops_that_port_only),
		TEST(a_packet_of_65535_buffers_stops_that_port_only),
		TEST(a_packet_of_more_buffers_than_were_used_stops_that_port_only),
		TEST(a_send_id_beyond_the_ring_stops_that_port_only),
		TEST(a_send_buffer_used_twice_stops_that_port_only),
		TEST(a_send_index_that_jumps_stops_that_port_only),
		TEST(a_device_that_has_failed_says_so_and_comes_back),
		TEST(a_device_that_fills_a_packet_with_lies_is_bounded),
	};
	int failed;

	failed = cmocka_run_group_tests_name("split only", of_split_rings, NULL, NULL);

	failed += cmocka_run_group_tests_name("split", tests, NULL, NULL);
	packed = true;
	return failed + cmocka_run_group_tests_name("packed", tests, NULL, NULL);
}
