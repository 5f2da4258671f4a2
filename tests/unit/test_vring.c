/* SPDX-License-Identifier: BSD-2-Clause */
/* Rings of both formats, against a device that keeps to the rules. */
#include "vring_pair.h"

#include <errno.h>
#include <linux/virtio_config.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

static void sizes_that_the_specification_forbids_are_refused(void **state)
{
	static const unsigned wrong[] = {0, 3, 6, 100, 32767, 32769, 65536, 1u << 31};
	struct xb_vring ring;

	(void)state;
	for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		if (!format || !wrong[i] || wrong[i] > 32768) /* packed: not only powers of 2 */
			assert_int_equal(xb_vring_init(&ring, NULL, wrong[i], format, map),
					 -EINVAL);
	for (unsigned size = 1; size <= XB_VRING_SIZE_MAX; size *= 2) {
		struct pair pair;

		pair_init(&pair, size, EVENT_IDX);
		for (unsigned i = 0; i < size; i++)
			add_one(&pair.ring, true, 10, &pair);
		assert_false(xb_vring_has_room(&pair.ring, 1));
		assert_int_equal(xb_vring_outstanding(&pair.ring), size);
		pair_fini(&pair);
	}
}

/* ---- against the reference ---- */

struct posted {
	bool in;
	unsigned n;
	uint32_t bytes, len; /* len: as the device used it */
	bool with_device, used;
	struct xb_vring_buf bufs[XB_VRING_CHAIN_MAX];
};

#define POSTED_MAX 256u

struct play {
	struct pair pair;
	struct posted posted[POSTED_MAX];
	struct posted *held[POSTED_MAX]; /* with the device */
	uint16_t held_head[POSTED_MAX];
	unsigned n_held;
	unsigned outstanding;
	uint64_t n_posted, n_taken;
};

static void post_some(struct play *play, struct rnd *rnd)
{
	struct posted *posted = &play->posted[rnd_below(rnd, POSTED_MAX)];
	unsigned n = 1 + rnd_below(rnd, XB_VRING_CHAIN_MAX);
	unsigned most = device_ring_size(&play->pair.device);

	if (n > most)
		n = 1 + rnd_below(rnd, most);
	if (posted->n || !xb_vring_has_room(&play->pair.ring, n))
		return;
	*posted = (struct posted){.in = rnd_below(rnd, 2), .n = n};
	for (unsigned i = 0; i < n; i++) {
		posted->bufs[i] = (struct xb_vring_buf){(const void *)(uintptr_t)rnd_next(rnd),
							1 + rnd_below(rnd, 4096)};
		posted->bytes += posted->bufs[i].len;
	}
	xb_vring_add(&play->pair.ring, posted->bufs, n, posted->in, posted);
	play->outstanding++;
	play->n_posted++;
}

/* The device takes one chain and sees what was posted. */
static void device_takes(struct play *play)
{
	struct device_chain chain;
	struct posted *posted = NULL;

	if (!device_ring_get(&play->pair.device, &chain))
		return;
	for (unsigned i = 0; i < POSTED_MAX && !posted; i++)
		if (play->posted[i].n == chain.n && !play->posted[i].with_device &&
		    play->posted[i].bufs[0].addr == chain.bufs[0].addr)
			posted = &play->posted[i];
	MUST(posted && posted->in == chain.writable && posted->bytes == chain.bytes);
	for (unsigned i = 0; i < chain.n; i++)
		MUST(posted->bufs[i].addr == chain.bufs[i].addr &&
		     posted->bufs[i].len == chain.bufs[i].len);
	posted->with_device = true;
	play->held_head[play->n_held] = chain.head;
	play->held[play->n_held++] = posted;
}

/* The device uses some chains, out of order. */
static void device_uses(struct play *play, struct rnd *rnd)
{
	for (unsigned i = rnd_below(rnd, 4); i && play->n_held; i--) {
		unsigned which = rnd_below(rnd, play->n_held);
		struct posted *posted = play->held[which];

		posted->len = posted->in ? rnd_below(rnd, posted->bytes + 1) : 0;
		posted->used = true;
		device_ring_put(&play->pair.device, play->held_head[which], posted->len);
		play->n_held--;
		play->held[which] = play->held[play->n_held];
		play->held_head[which] = play->held_head[play->n_held];
	}
	device_ring_flush(&play->pair.device);
}

static void driver_takes(struct play *play)
{
	struct posted *posted;
	void *cookie;
	uint32_t len;
	bool waits = xb_vring_has_used(&play->pair.ring);
	int ret = xb_vring_take(&play->pair.ring, &cookie, &len);

	MUST(ret == waits);
	if (!ret)
		return;
	posted = cookie;
	MUST(posted->used && posted->len == len);
	*posted = (struct posted){0};
	play->outstanding--;
	play->n_taken++;
}

static void play(unsigned size, uint64_t features, uint64_t chains, struct rnd *rnd)
{
	struct play *play = calloc(1, sizeof(*play));

	MUST(play);
	pair_init(&play->pair, size, features);
	while (play->n_taken < chains) {
		switch (rnd_below(rnd, 5)) {
		case 0:
			post_some(play, rnd);
			break;
		case 1:
			xb_vring_publish(&play->pair.ring);
			break;
		case 2:
			device_takes(play);
			break;
		case 3:
			device_uses(play, rnd);
			break;
		default:
			driver_takes(play);
		}
		MUST(xb_vring_outstanding(&play->pair.ring) == play->outstanding);
	}
	while (xb_vring_reclaim(&play->pair.ring)) /* whatever was not used comes back */
		play->outstanding--;
	MUST(!play->outstanding && !xb_vring_outstanding(&play->pair.ring));
	MUST(n_free(&play->pair.ring) == size);
	pair_fini(&play->pair);
	free(play);
}

static void chains_come_back_as_posted_over_any_number_of_wraps(void **state)
{
	static const unsigned sizes[] = {1, 2, 4, 16, 64, 256, 3, 99};
	struct rnd rnd = rnd_seed();

	(void)state;
	for (unsigned i = 0; i < (format ? 8 : 6); i++) {
		/* past 65536, where the indices wrap */
		play(sizes[i], 0, sizes[i] == 4 ? 140000 : 3000, &rnd);
		play(sizes[i], INDIRECT, sizes[i] == 16 ? 70000 : 3000, &rnd);
		play(sizes[i], EVENT_IDX, 3000, &rnd);
		play(sizes[i], EVENT_IDX | INDIRECT, 3000, &rnd);
	}
}

static void a_chain_takes_one_descriptor_with_indirect_and_one_each_without(void **state)
{
	struct xb_vring_buf bufs[4] = {{"1", 1}, {"2", 1}, {"3", 1}, {"4", 1}};
	struct pair pair;

	(void)state;
	pair_init(&pair, 4, 0);
	assert_false(xb_vring_has_room(&pair.ring, 5));
	xb_vring_add(&pair.ring, bufs, 3, false, &pair);
	assert_true(xb_vring_has_room(&pair.ring, 1));
	assert_false(xb_vring_has_room(&pair.ring, 2));
	pair_fini(&pair);
	pair_init(&pair, 4, INDIRECT);
	for (unsigned i = 0; i < 4; i++) {
		assert_true(xb_vring_has_room(&pair.ring, 48));
		xb_vring_add(&pair.ring, bufs, 4, false, &pair);
	}
	assert_false(xb_vring_has_room(&pair.ring, 1));
	pair_fini(&pair);
}

/* ---- notifications ---- */

static void nothing_published_needs_no_notification(void **state)
{
	struct pair pair;

	(void)state;
	pair_init(&pair, 4, 0);
	assert_false(xb_vring_must_notify(&pair.ring));
	add_one(&pair.ring, false, 1, &pair);
	assert_false(xb_vring_must_notify(&pair.ring));
	xb_vring_publish(&pair.ring);
	assert_true(xb_vring_must_notify(&pair.ring));
	assert_false(xb_vring_must_notify(&pair.ring));
	pair_fini(&pair);
}

static void a_device_that_polls_is_not_notified(void **state)
{
	struct pair pair;

	(void)state;
	pair_init(&pair, 4, 0);
	device_ring_hush(&pair.device);
	add_one(&pair.ring, false, 1, &pair);
	xb_vring_publish(&pair.ring);
	assert_false(xb_vring_must_notify(&pair.ring));
	device_ring_ask(&pair.device);
	add_one(&pair.ring, false, 1, &pair);
	xb_vring_publish(&pair.ring);
	assert_true(xb_vring_must_notify(&pair.ring));
	pair_fini(&pair);
}

/* Posts and uses one chain; says whether each side wants to be told. */
static void one_chain(struct pair *pair, bool *ret_notify, bool *ret_call)
{
	struct device_chain chain;
	void *cookie;
	uint32_t len;

	add_one(&pair->ring, false, 1, pair);
	xb_vring_publish(&pair->ring);
	*ret_notify = xb_vring_must_notify(&pair->ring);
	MUST(device_ring_get(&pair->device, &chain));
	device_ring_put(&pair->device, chain.head, 0);
	device_ring_flush(&pair->device);
	*ret_call = device_ring_must_call(&pair->device);
	MUST(xb_vring_take(&pair->ring, &cookie, &len) == 1);
}

static void with_event_idx_each_side_is_told_once_where_it_asked(void **state)
{
	bool notify, call;
	struct pair pair;

	(void)state;
	pair_init(&pair, 8, EVENT_IDX);
	device_ring_ask(&pair.device);
	one_chain(&pair, &notify, &call);
	assert_true(notify);
	device_ring_hush(&pair.device); /* a packed ring's wishes come true again two laps later */
	for (unsigned i = 0; i < 60000; i++) { /* busy: neither asks */
		one_chain(&pair, &notify, &call);
		assert_false(notify);
		assert_false(call);
	}
	for (unsigned i = 0; i < 140000; i++) { /* over the wrap, both ask each time */
		device_ring_ask(&pair.device);
		assert_true(xb_vring_arm(&pair.ring));
		one_chain(&pair, &notify, &call);
		assert_true(notify);
		assert_true(call);
		xb_vring_disarm(&pair.ring);
		one_chain(&pair, &notify, &call);
		assert_false(notify);
		assert_false(call);
	}
	pair_fini(&pair);
}

static void arming_says_no_where_a_chain_waits(void **state)
{
	for (unsigned event_idx = 0; event_idx < 2; event_idx++) {
		struct pair pair;
		void *cookie;
		uint32_t len;

		(void)state;
		pair_init(&pair, 4, event_idx ? EVENT_IDX : 0);
		add_one(&pair.ring, true, 10, &pair);
		xb_vring_publish(&pair.ring);
		assert_true(xb_vring_arm(&pair.ring));
		device_ring_put(&pair.device, 0, 10);
		device_ring_flush(&pair.device);
		assert_true(device_ring_must_call(&pair.device));
		assert_false(xb_vring_arm(&pair.ring));
		assert_int_equal(xb_vring_take(&pair.ring, &cookie, &len), 1);
		assert_true(xb_vring_arm(&pair.ring));
		pair_fini(&pair);
	}
}

/* ---- packed rings ---- */

static void a_queue_says_where_it_lies_and_begins(void **state)
{
	struct xb_virtqueue queue;
	struct pair pair;

	(void)state;
	pair_init(&pair, 3, 0);
	queue = xb_vring_virtqueue(&pair.ring);
	assert_true(queue.packed);
	assert_int_equal(queue.size, 3);
	assert_int_equal(queue.base, 0x80008000u); /* 2.8.1: both counters begin at 1 */
	assert_ptr_equal(xb_iova_ptr(map, queue.desc), pair.mem);
	add_one(&pair.ring, true, 1, &pair);
	xb_vring_publish(&pair.ring);
	assert_ptr_equal(xb_vring_reclaim(&pair.ring), &pair);
	xb_vring_renew(&pair.ring);
	assert_int_equal(xb_vring_virtqueue(&pair.ring).base, queue.base);
	assert_int_equal(device_ring_waiting(&pair.device), 0);
	pair_fini(&pair);
}

static void a_batch_shows_when_its_first_descriptor_does(void **state)
{
	struct pair pair;

	(void)state;
	pair_init(&pair, 8, 0);
	for (unsigned i = 0; i < 5; i++) {
		add_one(&pair.ring, false, 1, &pair);
		assert_int_equal(device_ring_waiting(&pair.device), 0);
	}
	xb_vring_publish(&pair.ring);
	assert_int_equal(device_ring_waiting(&pair.device), 5);
	add_one(&pair.ring, false, 1, &pair);
	assert_int_equal(device_ring_waiting(&pair.device), 5);
	pair_fini(&pair);
}

/* ---- two threads that sleep ---- */

#define CHAINS 30000u

struct sleepers {
	struct pair pair;
	int kick_fd, call_fd;
	_Atomic uint64_t notified, called;
};

static void sleep_on(int fd)
{
	struct pollfd pfd = {.fd = fd, .events = POLLIN};
	eventfd_t count;

	MUST(poll(&pfd, 1, 20000) == 1); /* a lost notification ends here */
	MUST(eventfd_read(fd, &count) == 0);
}

static void *device_thread(void *arg)
{
	struct sleepers *s = arg;
	struct device_ring *device = &s->pair.device;
	struct device_chain chain;
	struct rnd rnd = {12345};

	for (unsigned done = 0; done < CHAINS;) {
		while (device_ring_get(device, &chain)) {
			device_ring_put(device, chain.head, chain.bytes);
			device_ring_flush(device);
			done++;
			/* a call for each or for some: no later than before it sleeps */
			if (rnd_below(&rnd, 2) && device_ring_must_call(device))
				eventfd_write(s->call_fd, 1);
		}
		if (device_ring_must_call(device))
			eventfd_write(s->call_fd, 1);
		device_ring_ask(device);
		atomic_thread_fence(memory_order_seq_cst);
		if (device_ring_waiting(device) || done == CHAINS)
			continue;
		sleep_on(s->kick_fd);
		device_ring_hush(device);
	}
	return NULL;
}

static void drive(struct sleepers *s)
{
	struct xb_vring *ring = &s->pair.ring;
	struct rnd rnd = {777};
	unsigned posted = 0, taken = 0;
	uint32_t len;
	void *cookie;

	while (taken < CHAINS) {
		for (unsigned n = 1 + rnd_below(&rnd, 4); n && posted < CHAINS; n--)
			if (xb_vring_has_room(ring, 1)) {
				add_one(ring, true, 64, s);
				posted++;
			}
		xb_vring_publish(ring);
		if (xb_vring_must_notify(ring)) {
			eventfd_write(s->kick_fd, 1);
			atomic_fetch_add(&s->notified, 1);
		}
		while (xb_vring_take(ring, &cookie, &len) == 1)
			taken++;
		if (taken == posted || !xb_vring_has_room(ring, 1)) {
			if (taken < CHAINS && taken < posted && xb_vring_arm(ring))
				sleep_on(s->call_fd);
			xb_vring_disarm(ring);
		}
	}
}

static void two_sides_that_sleep_never_miss_each_other(void **state)
{
	static const uint64_t features[] = {0, EVENT_IDX, EVENT_IDX | INDIRECT};

	(void)state;
	for (unsigned i = 0; i < sizeof(features) / sizeof(features[0]); i++) {
		struct sleepers s = {.kick_fd = eventfd(0, EFD_NONBLOCK),
				     .call_fd = eventfd(0, EFD_NONBLOCK)};
		pthread_t thread;

		pair_init(&s.pair, 4, features[i]);
		assert_int_equal(pthread_create(&thread, NULL, device_thread, &s), 0);
		drive(&s);
		pthread_join(thread, NULL);
		assert_true(s.notified < CHAINS); /* and not for each */
		close(s.kick_fd);
		close(s.call_fd);
		pair_fini(&s.pair);
	}
}

int main(void)
{
	const struct CMUnitTest of_packed_rings[] = {
		cmocka_unit_test(a_queue_says_where_it_lies_and_begins),
		cmocka_unit_test(a_batch_shows_when_its_first_descriptor_does),
	};
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sizes_that_the_specification_forbids_are_refused),
		cmocka_unit_test(chains_come_back_as_posted_over_any_number_of_wraps),
		cmocka_unit_test(a_chain_takes_one_descriptor_with_indirect_and_one_each_without),
		cmocka_unit_test(nothing_published_needs_no_notification),
		cmocka_unit_test(a_device_that_polls_is_not_notified),
		cmocka_unit_test(with_event_idx_each_side_is_told_once_where_it_asked),
		cmocka_unit_test(arming_says_no_where_a_chain_waits),
		cmocka_unit_test(two_sides_that_sleep_never_miss_each_other),
	};
	int failed;

	failed = cmocka_run_group_tests_name("split", tests, NULL, NULL);
	format = PACKED;
	failed += cmocka_run_group_tests_name("packed only", of_packed_rings, NULL, NULL);
	return failed + cmocka_run_group_tests_name("packed", tests, NULL, NULL);
}
