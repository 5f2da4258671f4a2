/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * When a queue whose redirected frames don't arrive is noticed, withheld, tried again and trusted.
 */
#include "xsk/delivery.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define SECOND  1000000000ull
#define LOOK_NS (SECOND / 2)

/* A queue, looked at twice a second. */
struct queue {
	struct xb_delivery delivery;
	struct xb_delivery_counts counts;
	uint64_t now_ns;
};

static uint64_t look(struct queue *queue, unsigned redirected, unsigned received, unsigned missed)
{
	queue->now_ns += LOOK_NS;
	queue->counts.redirected += redirected;
	queue->counts.received += received;
	queue->counts.missed += missed;
	return xb_delivery_look(&queue->delivery, &queue->counts, queue->now_ns);
}

static struct queue start(void)
{
	struct queue queue = {
		.counts = {.redirected = 1000, .received = UINT32_MAX - 3, .missed = 50},
		.now_ns = 77 * SECOND,
	};

	xb_delivery_start(&queue.delivery, &queue.counts);
	return queue;
}

/* Frames vanish until that is noticed; returns when. */
static uint64_t lose(struct queue *queue)
{
	uint64_t began_ns = queue->now_ns;

	while (queue->delivery.state != XB_DELIVERY_WITHHELD &&
	       queue->now_ns - began_ns < 10 * SECOND)
		look(queue, 5, 0, 0);
	return queue->now_ns - began_ns;
}

static void queue_that_delivers_is_trusted(void **state)
{
	struct queue queue = start();

	(void)state;
	for (unsigned i = 0; i < 100; i++)
		assert_int_equal(look(&queue, 10, 10, 0), 0);
	assert_int_equal(queue.delivery.state, XB_DELIVERY_TRUSTED);
}

static void frames_counted_as_lost_have_arrived(void **state)
{
	struct queue queue = start();

	(void)state;
	for (unsigned i = 0; i < 100; i++)
		look(&queue, 10, 0, 10);
	assert_int_equal(queue.delivery.state, XB_DELIVERY_TRUSTED);
}

static void frames_that_vanish_are_noticed_within_two_seconds_and_reported(void **state)
{
	struct queue queue = start();

	(void)state;
	assert_int_equal(look(&queue, 9, 6, 1), 0); /* the last two are on their way, or gone */
	assert_int_equal(look(&queue, 5, 0, 0), 0);
	assert_int_equal(look(&queue, 5, 0, 0), 0);
	assert_int_equal(queue.delivery.state, XB_DELIVERY_TRUSTED);
	assert_int_equal(look(&queue, 5, 0, 0), 17);
	assert_int_equal(queue.delivery.state, XB_DELIVERY_WITHHELD);
}

static void one_frame_a_second_is_enough(void **state)
{
	struct queue queue = start();
	unsigned looks = 0;

	(void)state;
	while (queue.delivery.state == XB_DELIVERY_TRUSTED && looks < 20)
		look(&queue, looks++ % 2 == 0, 0, 0);
	assert_true(looks <= 4);
}

static void frame_that_is_under_way_while_we_look_is_not_lost(void **state)
{
	struct queue queue = start();

	(void)state;
	look(&queue, 1, 0, 0);
	for (unsigned i = 0; i < 20; i++)
		look(&queue, 1, 1, 0);
	look(&queue, 0, 1, 0);
	for (unsigned i = 0; i < 20; i++)
		look(&queue, 0, 0, 0);
	look(&queue, 1, 0, 0);
	assert_int_equal(queue.delivery.state, XB_DELIVERY_TRUSTED);
}

static void withheld_queue_is_tried_again_ever_later(void **state)
{
	struct queue queue = start();
	uint64_t pause_ns = XB_DELIVERY_RETRY_NS;

	(void)state;
	for (unsigned i = 0; i < 12; i++) {
		uint64_t began_ns;

		assert_true(lose(&queue) < 2 * SECOND);
		began_ns = queue.now_ns;
		while (queue.delivery.state == XB_DELIVERY_WITHHELD)
			look(&queue, 0, 0, 0);
		assert_int_equal(queue.delivery.state, XB_DELIVERY_TRIED);
		assert_int_equal(queue.now_ns - began_ns, pause_ns);
		pause_ns = 2 * pause_ns < XB_DELIVERY_RETRY_MAX_NS ? 2 * pause_ns
								   : XB_DELIVERY_RETRY_MAX_NS;
	}
}

static void tried_queue_is_trusted_once_frames_arrive(void **state)
{
	struct queue queue = start();

	(void)state;
	lose(&queue);
	while (queue.delivery.state == XB_DELIVERY_WITHHELD)
		look(&queue, 0, 0, 0);
	look(&queue, 0, 0, 0);
	assert_int_equal(queue.delivery.state, XB_DELIVERY_TRIED);
	look(&queue, 3, 3, 0);
	assert_int_equal(queue.delivery.state, XB_DELIVERY_TRUSTED);
	/* and starts with a short pause the next time */
	lose(&queue);
	assert_int_equal(queue.delivery.retry_ns - queue.now_ns, XB_DELIVERY_RETRY_NS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(queue_that_delivers_is_trusted),
		cmocka_unit_test(frames_counted_as_lost_have_arrived),
		cmocka_unit_test(frames_that_vanish_are_noticed_within_two_seconds_and_reported),
		cmocka_unit_test(one_frame_a_second_is_enough),
		cmocka_unit_test(frame_that_is_under_way_while_we_look_is_not_lost),
		cmocka_unit_test(withheld_queue_is_tried_again_ever_later),
		cmocka_unit_test(tried_queue_is_trusted_once_frames_arrive),
	};

	return cmocka_run_group_tests_name("delivery", tests, NULL, NULL);
}
