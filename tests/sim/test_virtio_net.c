/* SPDX-License-Identifier: BSD-2-Clause */
/* The virtio-net driver's life and its data path against an honest device. */
#include "sim/bench.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>
#include <sys/eventfd.h>

static struct bench b;

static int setup(void **state)
{
	(void)state;
	bench_init(&b, 2048, 3, 64);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	bench_fini(&b); /* no frame is lost and no rule broken after any test */
	return 0;
}

static void must_start(unsigned pairs)
{
	struct xb_error err = {0};
	char text[512];

	if (xb_virtio_net_start(&b.net, pairs, &b.cache, &err) == 0)
		return;
	fprintf(stderr, "%s\n", xb_error_text(&err, text, sizeof(text)));
	fail();
}

/* ---- the device's life ---- */

static void the_device_is_brought_up_in_the_order_of_the_specification(void **state)
{
	(void)state;
	must_start(2);
	assert_int_equal(xb_has(b.net.features, VIRTIO_F_RING_PACKED), bench_packed);
	assert_int_equal(b.net.queues[0].rx.is_packed, bench_packed);
	/* 3.1.1: reset, ACKNOWLEDGE, DRIVER, read and write features, FEATURES_OK, set up the
	 * virtqueues (all of them: 3 pairs), pairs in use, DRIVER_OK */
	assert_string_equal(b.sim.log, "0ADofFqqqqqqpK");
	assert_int_equal(b.sim.status, 15);
	assert_int_equal(b.sim.pairs, 2);
	assert_int_equal(b.net.port.n_queues, 2);
	xb_virtio_net_stop(&b.net, &b.cache);
	assert_int_equal(b.sim.status, 0);
	assert_int_equal(b.net.port.n_queues, 0);
	must_be_free(&b.arena);
	bench_must_hold_no_rings(&b);
}

static void more_pairs_than_there_are_is_an_error(void **state)
{
	struct xb_error err = {0};

	(void)state;
	assert_int_equal(xb_virtio_net_start(&b.net, 0, &b.cache, &err), -EINVAL);
	assert_int_equal(xb_virtio_net_start(&b.net, 4, &b.cache, &err), -EINVAL);
	assert_non_null(strstr(err.what, "v0"));
	assert_string_equal(b.sim.log, "");
	must_start(1);
	assert_int_equal(xb_virtio_net_resize(&b.net, 0, &b.cache, &err), -EINVAL);
	assert_int_equal(xb_virtio_net_resize(&b.net, 4, &b.cache, &err), -EINVAL);
	assert_int_equal(b.net.port.n_queues, 1);
}

static void options_that_the_device_can_not_do_are_refused(void **state)
{
	static const unsigned sizes[] = {0, 3, 2048, 65536};
	struct xb_virtio_net_options options = {
		.name = "x", .queues_max = 4, .queue_size = 64, .mtu = 1500};
	struct xb_virtio_net net;
	struct xb_error err = {0};

	(void)state;
	assert_int_equal(xb_virtio_net_init(&net, &b.sim.transport, &b.arena, &options, &err),
			 -EINVAL);
	options.queues_max = 0;
	assert_int_equal(xb_virtio_net_init(&net, &b.sim.transport, &b.arena, &options, &err),
			 -EINVAL);
	options.queues_max = 1;
	for (unsigned i = 0; i < 4; i++) {
		options.queue_size = sizes[i];
		assert_int_equal(
			xb_virtio_net_init(&net, &b.sim.transport, &b.arena, &options, &err),
			-EINVAL);
	}
	options.queue_size = 64;
	options.name = "";
	assert_int_equal(xb_virtio_net_init(&net, &b.sim.transport, &b.arena, &options, &err),
			 -EINVAL);
}

static void a_device_that_refuses_the_features_is_left_reset(void **state)
{
	struct xb_error err = {0};

	(void)state;
	b.sim.refuse_features_ok = true;
	assert_int_equal(xb_virtio_net_start(&b.net, 1, &b.cache, &err), -EOPNOTSUPP);
	assert_non_null(strstr(err.what, "refuses"));
	assert_int_equal(b.sim.status, 0);
	assert_int_equal(b.net.features, 0);
	b.sim.refuse_features_ok = false;
	must_start(1);
}

static void a_legacy_device_is_refused(void **state)
{
	struct xb_error err = {0};

	(void)state;
	b.sim.offers &= ~XB_F(VIRTIO_F_VERSION_1);
	assert_int_equal(xb_virtio_net_start(&b.net, 1, &b.cache, &err), -EOPNOTSUPP);
	assert_non_null(strstr(err.what, "VERSION_1"));
	assert_int_equal(b.sim.status, 0);
}

static void features_are_negotiated_afresh_after_each_reset(void **state)
{
	struct rnd rnd = rnd_seed();

	(void)state;
	for (unsigned i = 0; i < 300; i++) {
		const struct xb_port_caps *caps = &b.net.port.caps;

		/* fewer bits than one draw has */
		b.sim.offers =
			(rnd_next(&rnd) & rnd_next(&rnd)) | /* NOLINT(misc-redundant-expression) */
			(rnd_next(&rnd) & sim_all_features) | XB_F(VIRTIO_F_VERSION_1);
		must_start(1 + rnd_below(&rnd, 3));
		MUST(b.sim.features == b.net.features);
		MUST(!(b.net.features & ~(b.sim.offers & sim_all_features)));
		MUST(xb_features_consistent(b.net.features) == b.net.features);
		MUST(caps->takes == xb_features_takes(b.net.features));
		MUST(caps->bytes_max == 1522);
		/* 2.7.5.3.1: no chain longer than the queue, in a table neither */
		MUST(caps->frames_max >= 1 && caps->frames_max <= 64);
		/* 5.1.6.3.1: what may come in must fit in the buffers */
		if (!xb_has(b.net.features, VIRTIO_NET_F_MRG_RXBUF))
			MUST(!(b.net.features &
			       (XB_F(VIRTIO_NET_F_GUEST_TSO4) | XB_F(VIRTIO_NET_F_GUEST_TSO6) |
				XB_F(VIRTIO_NET_F_GUEST_USO4) | XB_F(VIRTIO_NET_F_GUEST_USO6))));
		xb_virtio_net_stop(&b.net, &b.cache);
		must_be_free(&b.arena);
	}
}

static void without_offload_none_is_negotiated(void **state)
{
	struct xb_virtio_net_options options = {
		.name = "v1", .queues_max = 1, .queue_size = 64, .mtu = 1500};

	(void)state;
	xb_virtio_net_fini(&b.net);
	assert_int_equal(xb_virtio_net_init(&b.net, &b.sim.transport, &b.arena, &options, NULL), 0);
	must_start(1);
	assert_int_equal(b.net.features & XB_F_OFFLOADS, 0);
	assert_int_equal(b.net.port.caps.takes, 0);
}

static void a_start_that_fails_at_any_call_leaves_nothing_behind(void **state)
{
	unsigned at, failures = 0;

	(void)state;
	for (at = 1; at < 100; at++) {
		struct xb_error err = {0};
		int ret;

		b.sim.calls = 0;
		b.sim.fail_at = at;
		ret = xb_virtio_net_start(&b.net, 2, &b.cache, &err);
		if (!ret)
			break;
		failures++;
		assert_int_equal(ret, -EIO);
		assert_int_equal(err.code, -EIO);
		assert_non_null(strstr(err.what, "the device's call"));
		assert_int_equal(b.sim.status, 0);
		assert_int_equal(b.net.port.n_queues, 0);
		assert_int_equal(b.net.features, 0);
		must_be_free(&b.arena);
		bench_must_hold_no_rings(&b);
	}
	assert_int_equal(failures, 13); /* as many as the order above has letters, but for `o` */
	b.sim.fail_at = 0;
	xb_virtio_net_stop(&b.net, &b.cache);
	must_start(3); /* and it can still be started */
}

static void without_room_for_rings_it_does_not_start(void **state)
{
	struct xb_error err = {0};

	(void)state;
	memset(b.arena.ring_pages, 1, b.arena.n_ring_pages);
	b.arena.ring_pages[5] = b.arena.ring_pages[6] = 0;
	assert_int_equal(xb_virtio_net_start(&b.net, 1, &b.cache, &err), -ENOMEM);
	assert_int_equal(b.sim.status, 0);
	memset(b.arena.ring_pages, 0, b.arena.n_ring_pages);
	must_be_free(&b.arena);
}

/* One packet through a pair, there and back. */
static void must_work(unsigned q)
{
	struct xb_frame *pkt = bench_packet(&b, 1, 100, 100);

	bench_send(&b, q, &pkt, 1);
	sim_device_step(&b.sim);
	assert_int_equal(bench_receive(&b, q), 1);
}

static void a_resize_that_fails_leaves_the_port_as_it_was(void **state)
{
	(void)state;
	for (unsigned to = 1; to <= 3; to += 2) {
		for (unsigned at = 1; at < 20; at++) {
			struct xb_error err = {0};
			int ret;

			must_start(1); /* so that the second pair was away in between */
			MUST(xb_virtio_net_resize(&b.net, 2, &b.cache, &err) == 0);
			b.sim.calls = 0;
			b.sim.fail_at = at;
			ret = xb_virtio_net_resize(&b.net, to, &b.cache, &err);
			b.sim.fail_at = 0;
			assert_int_equal(b.net.port.n_queues, ret ? 2 : to);
			for (unsigned q = 0; q < b.net.port.n_queues; q++)
				must_work(q);
			xb_virtio_net_stop(&b.net, &b.cache);
			must_be_free(&b.arena);
			bench_must_hold_no_rings(&b);
			if (!ret)
				break;
			assert_int_equal(ret, -EIO);
		}
	}
}

static void a_pair_that_was_away_comes_back_with_empty_rings(void **state)
{
	struct xb_error err = {0};

	(void)state;
	must_start(3);
	for (unsigned i = 0; i < 5; i++) {
		struct xb_frame *pkt = bench_packet(&b, 1, 100, 100);

		must_work(2);
		bench_send(&b, 2, &pkt, 1); /* the device has it when it goes */
		MUST(xb_virtio_net_resize(&b.net, 1, &b.cache, &err) == 0);
		MUST(xb_virtio_net_resize(&b.net, 3, &b.cache, &err) == 0);
		must_work(2);
	}
	xb_virtio_net_stop(&b.net, &b.cache);
	must_be_free(&b.arena);
}

static void a_pair_that_is_not_served_any_more_says_where_it_stopped(void **state)
{
	const struct xb_virtio_transport_ops *ops = b.sim.transport.ops;
	struct xb_error err = {0};
	struct xb_virtqueue rx, tx;

	(void)state;
	assert_int_equal(ops->get_queue(&b.sim.transport, XB_VQ_RX(1), &rx), -EINVAL);
	must_start(2);
	assert_int_equal(ops->get_queue(&b.sim.transport, XB_VQ_RX(1), &rx), 0);
	assert_int_equal(rx.size, 64);
	assert_int_equal(rx.packed, bench_packed);
	assert_ptr_equal(xb_iova_ptr(b.sim.transport.map, rx.desc), b.net.queues[1].rx_mem);
	for (unsigned i = 0; i < 70; i++) /* more than a lap of a packed ring */
		must_work(1);
	MUST(xb_virtio_net_resize(&b.net, 1, &b.cache, &err) == 0);
	assert_int_equal(ops->get_queue(&b.sim.transport, XB_VQ_RX(1), &rx), 0);
	assert_int_equal(ops->get_queue(&b.sim.transport, XB_VQ_TX(1), &tx), 0);
	assert_int_equal(rx.base, bench_packed ? 0x00060006u : 70);
	assert_int_equal(tx.base, rx.base);
}

static void what_the_device_has_given_back_and_nobody_has_taken_shows(void **state)
{
	struct xb_error err = {0};
	struct xb_frame *pkt;

	(void)state;
	must_start(3);
	assert_false(xb_virtio_net_unread(&b.net, 1));
	pkt = bench_packet(&b, 1, 100, 100);
	bench_send(&b, 2, &pkt, 1);
	sim_device_step(&b.sim);
	assert_true(xb_virtio_net_unread(&b.net, 1));
	assert_int_equal(bench_receive(&b, 2), 1);
	assert_false(xb_virtio_net_unread(&b.net, 1));
	MUST(xb_virtio_net_resize(&b.net, 1, &b.cache, &err) == 0);
	assert_false(xb_virtio_net_unread(&b.net, 1));
}

/* ---- what crosses ---- */

static void loop_one(const struct xb_offload *offload, uint32_t len, uint32_t step, uint32_t salt)
{
	struct xb_port *port = &b.net.port;
	struct xb_frame *pkt = bench_packet(&b, salt, len, step), *back[XB_BATCH];

	MUST(pkt);
	if (offload)
		pkt->offload = *offload;
	bench_send(&b, 0, &pkt, 1);
	while (sim_device_step(&b.sim))
		;
	MUST(port->ops->rx_batch(port, 0, &b.cache, back, XB_BATCH) == 1);
	MUST(back[0]->bytes == len && bench_is_packet(back[0], salt, len));
	MUST(back[0]->head == XB_FRAME_HEADROOM);
	MUST(back[0]->offload.csum == XB_CSUM_COMPLETE);
	xb_packet_free(&b.cache, back[0]);
	bench_receive(&b, 0);
}

static void packets_of_any_shape_come_back_as_they_went(void **state)
{
	struct rnd rnd = rnd_seed();

	(void)state;
	for (unsigned i = 0; i < 60; i++) {
		if (i % 2)
			b.sim.offers &= ~XB_F(VIRTIO_RING_F_INDIRECT_DESC);
		else
			b.sim.offers |= XB_F(VIRTIO_RING_F_INDIRECT_DESC);
		if (i % 3)
			b.sim.offers &= ~XB_F(VIRTIO_RING_F_EVENT_IDX);
		else
			b.sim.offers |= XB_F(VIRTIO_RING_F_EVENT_IDX);
		b.sim.use_max = i % 4 == 3 ? 2000 : 0;
		must_start(1);
		for (unsigned k = 0; k < 100; k++) {
			uint32_t len = 1 + rnd_below(&rnd, rnd_below(&rnd, 4) ? 1514 : 65549);
			uint32_t least = len / b.net.port.caps.frames_max + 1;
			uint32_t step = least + rnd_below(&rnd, XB_FRAME_ROOM);

			if (least >= XB_FRAME_ROOM) /* 16 frames of the shortest chain */
				continue;
			loop_one(NULL, len, step, k);
		}
		xb_virtio_net_stop(&b.net, &b.cache);
	}
	assert_int_equal(port_sums(&b.net.port).drops, 0);
	assert_int_equal(port_sums(&b.net.port).tx, b.posted);
}

static void a_queue_of_any_size_carries_chains_of_any_length_that_it_takes(void **state)
{
	static const unsigned sizes[] = {1, 2, 4, 16, 1024};

	(void)state;
	for (unsigned i = 0; i < 10; i++) {
		bench_fini(&b);
		bench_init(&b, 4096, 1, sizes[i / 2]);
		if (i % 2)
			b.sim.offers &= ~XB_F(VIRTIO_RING_F_INDIRECT_DESC);
		must_start(1);
		assert_true(b.net.port.caps.frames_max >= 1);
		for (uint32_t frames = 1; frames <= b.net.port.caps.frames_max; frames++)
			if (frames * 80 <= XB_FRAME_ROOM * sizes[i / 2] / 2)
				loop_one(NULL, frames * 80, 80, frames);
		assert_int_equal(b.posted, port_sums(&b.net.port).tx);
	}
}

static void a_ring_goes_on_over_the_wrap_of_its_indices(void **state)
{
	(void)state;
	must_start(1);
	for (unsigned i = 0; i < 3000; i++) {
		struct xb_frame *pkts[32];

		for (unsigned k = 0; k < 32; k++)
			pkts[k] = bench_packet(&b, k, 60, 60);
		bench_send(&b, 0, pkts, 32);
		sim_device_step(&b.sim);
		assert_int_equal(bench_receive(&b, 0), 32);
	}
	assert_int_equal(b.taken, 96000);
}

static void without_mergeable_buffers_long_packets_stay_out(void **state)
{
	(void)state;
	b.sim.offers &= ~XB_F(VIRTIO_NET_F_MRG_RXBUF);
	must_start(1);
	loop_one(NULL, 1514, 500, 1);
	loop_one(NULL, XB_FRAME_ROOM, 2000, 2);
	assert_int_equal(b.sim.too_long, 0);
}

static void a_header_that_the_packet_contradicts_is_a_drop_and_is_accounted_for(void **state)
{
	struct virtio_net_hdr_v1 wrong = {
		.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM, .csum_start = 5000, .csum_offset = 6};
	const struct xb_sorter_counts none = {0};
	struct xb_port *ports[] = {&b.net.port};
	uint8_t data[60] = {0};
	struct port_sums sums;

	(void)state;
	must_start(1);
	sim_device_push(&b.sim, 0, &wrong, data, sizeof(data));
	sim_device_push(&b.sim, 0, NULL, data, 0); /* header only */
	sim_device_step(&b.sim);
	assert_int_equal(bench_receive(&b, 0), 1); /* the empty one: the sorting room's runt */
	assert_int_equal(port_drops(&b.net.port, XB_DROP_BAD_HEADER), 1);
	sums = port_sums(&b.net.port);
	assert_int_equal(sums.rx,
			 1); /* it became ours, and the room that counts is left out here */
	must_balance(&b.arena, ports, 1, none);
	assert_false(xb_virtio_net_broken(&b.net));
}

/* ---- notifications and waking up ---- */

static void a_batch_costs_one_notification_and_a_busy_device_none(void **state)
{
	struct xb_frame *pkts[32];

	(void)state;
	must_start(1);
	sim_device_step(&b.sim); /* it has found nothing, and sleeps */
	b.sim.notified = 0;
	for (unsigned k = 0; k < 32; k++)
		pkts[k] = bench_packet(&b, k, 60, 60);
	bench_send(&b, 0, pkts, 32);
	assert_int_equal(b.sim.notified, 1);
	for (unsigned k = 0; k < 8; k++)
		pkts[k] = bench_packet(&b, k, 60, 60);
	bench_send(&b, 0, pkts, 8); /* it has not slept since */
	assert_int_equal(b.sim.notified, 1);
	assert_int_equal(xb_counted(&b.net.queues[0].tx_notifies), 1);
}

static void an_armed_queue_is_called_once_and_a_polled_one_never(void **state)
{
	struct xb_port *port = &b.net.port;
	uint8_t data[60] = {0};
	eventfd_t calls;

	(void)state;
	must_start(1);
	sim_device_push(&b.sim, 0, NULL, data, 60);
	sim_device_step(&b.sim);
	assert_int_equal(eventfd_read(port->queues[0].wake_fd, &calls), -1);
	assert_false(port->ops->arm(port, 0)); /* a packet waits */
	port->ops->disarm(port, 0);
	assert_int_equal(bench_receive(&b, 0), 1);
	assert_true(port->ops->arm(port, 0));
	sim_device_push(&b.sim, 0, NULL, data, 60);
	sim_device_step(&b.sim);
	sim_device_push(&b.sim, 0, NULL, data, 60);
	sim_device_step(&b.sim);
	port->ops->disarm(port, 0);
	assert_int_equal(bench_receive(&b, 0), 2);
	assert_int_equal(eventfd_read(port->queues[0].wake_fd, &calls), 0);
	assert_int_equal(calls, 1);
	assert_int_equal(eventfd_write(port->queues[0].wake_fd, 1), 0);
	assert_true(port->ops->arm(port, 0)); /* reads the call */
	assert_int_equal(eventfd_read(port->queues[0].wake_fd, &calls), -1);
}

static void a_receive_queue_that_ran_dry_comes_back_when_frames_do(void **state)
{
	struct xb_frame *held[2048 + 1];
	unsigned n = 0, again = 0;
	uint8_t data[60] = {0};

	(void)state;
	must_start(1);
	while ((held[n] = xb_frame_alloc(&b.cache)))
		n++;
	for (unsigned i = 0; i < 64; i++) /* all that is posted comes back full */
		sim_device_push(&b.sim, 0, NULL, data, 60);
	sim_device_step(&b.sim);
	for (unsigned i = 0; i < 64; i++) { /* somebody else is quicker at taking what is freed */
		struct xb_frame *pkts[1];

		if (!b.net.port.ops->rx_batch(&b.net.port, 0, &b.cache, pkts, 1))
			break;
		held[n++] = pkts[0];
		while ((held[n] = xb_frame_alloc(&b.cache)))
			n++;
	}
	while (n)
		xb_packet_free(&b.cache, held[--n]);
	for (unsigned i = 0; i < 10; i++)
		sim_device_push(&b.sim, 0, NULL, data, 60);
	for (unsigned i = 0; i < 10; i++) {
		sim_device_step(&b.sim);
		again += bench_receive(&b, 0);
	}
	assert_int_equal(again, 10);
}

/* ---- a thousand lives ---- */

static void some_traffic(struct rnd *rnd)
{
	for (unsigned q = 0; q < b.net.port.n_queues; q++) {
		struct xb_frame *pkts[XB_BATCH];
		unsigned n = 0, want = rnd_below(rnd, 40);

		while (n < want) {
			pkts[n] = bench_packet(&b, n, 60 + rnd_below(rnd, 9000), 1500);
			if (!pkts[n])
				break;
			n++;
		}
		bench_send(&b, q, pkts, n);
		if (rnd_below(rnd, 3))
			sim_device_step(&b.sim);
		if (rnd_below(rnd, 3))
			bench_receive(&b, q);
	}
}

static void a_thousand_starts_stops_and_resizes_lose_no_frame(void **state)
{
	struct rnd rnd = rnd_seed();
	struct port_sums sums;
	bool running = false;

	(void)state;
	for (unsigned i = 0; i < 1000; i++) {
		unsigned pairs = 1 + rnd_below(&rnd, 3);

		if (!running)
			must_start(pairs);
		else if (rnd_below(&rnd, 2))
			MUST(xb_virtio_net_resize(&b.net, pairs, &b.cache, NULL) == 0);
		else
			xb_virtio_net_stop(&b.net, &b.cache);
		running = b.net.port.n_queues;
		if (!running)
			must_be_free(&b.arena);
		some_traffic(&rnd);
		MUST(!xb_virtio_net_broken(&b.net));
	}
	xb_virtio_net_stop(&b.net, &b.cache);
	sums = port_sums(&b.net.port);
	MUST(sums.tx + port_drops(&b.net.port, XB_DROP_TX_RESET) == b.posted);
	MUST(b.sim.received == sums.tx); /* what it had seen is sent, the rest wasn't */
	/* what it had delivered is taken or missed, a packet each, whatever its buffers */
	MUST(b.taken && sums.missed);
	MUST(b.sim.delivered == b.taken + sums.missed);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(the_device_is_brought_up_in_the_order_of_the_specification),
		TEST(more_pairs_than_there_are_is_an_error),
		TEST(options_that_the_device_can_not_do_are_refused),
		TEST(a_device_that_refuses_the_features_is_left_reset),
		TEST(a_legacy_device_is_refused),
		TEST(features_are_negotiated_afresh_after_each_reset),
		TEST(without_offload_none_is_negotiated),
		TEST(a_start_that_fails_at_any_call_leaves_nothing_behind),
		TEST(without_room_for_rings_it_does_not_start),
		TEST(a_resize_that_fails_leaves_the_port_as_it_was),
		TEST(a_pair_that_was_away_comes_back_with_empty_rings),
		TEST(a_pair_that_is_not_served_any_more_says_where_it_stopped),
		TEST(what_the_device_has_given_back_and_nobody_has_taken_shows),
		TEST(packets_of_any_shape_come_back_as_they_went),
		TEST(a_queue_of_any_size_carries_chains_of_any_length_that_it_takes),
		TEST(a_ring_goes_on_over_the_wrap_of_its_indices),
		TEST(without_mergeable_buffers_long_packets_stay_out),
		TEST(a_header_that_the_packet_contradicts_is_a_drop_and_is_accounted_for),
		TEST(a_batch_costs_one_notification_and_a_busy_device_none),
		TEST(an_armed_queue_is_called_once_and_a_polled_one_never),
		TEST(a_receive_queue_that_ran_dry_comes_back_when_frames_do),
		TEST(a_thousand_starts_stops_and_resizes_lose_no_frame),
	};
	int failed;

	failed = cmocka_run_group_tests_name("split", tests, NULL, NULL);

	bench_packed = true;
	return failed + cmocka_run_group_tests_name("packed", tests, NULL, NULL);
}
