/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * No notification is ever lost: every interleaving of the ring's code with a device is tried.
 *
 * split.c, or in a program of its own packed.c, is compiled in, its full barriers replaced by a
 * place where the device may take any number of steps; so may it between two calls. Each step of
 * the device is one access to shared memory. This covers what sequential consistency allows, which
 * is what the barriers are there for; that they are barriers, unit.vring's threads show.
 */
#include <stdatomic.h>
static void other_side(void);
#undef atomic_thread_fence
#define atomic_thread_fence(order) other_side()
#ifdef MODEL_PACKED
#include "virtio/packed.c"
#else
#include "virtio/split.c"
#endif

#include "virtio/vring.h"

#include "support/device_ring.h"
#include "support/must.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include <stdalign.h>

#define RING 4u

/* ---- all choices, one after the other ---- */

#define CHOICES_MAX 64u
static unsigned chosen[CHOICES_MAX], radix[CHOICES_MAX], n_choices, at_choice;

static unsigned choose(unsigned n)
{
	if (at_choice == n_choices) {
		MUST(n_choices < CHOICES_MAX);
		chosen[n_choices] = 0;
		radix[n_choices++] = n;
	}
	MUST(radix[at_choice] == n);
	return chosen[at_choice++];
}

/* Moves on to the next run; false after the last. */
static bool next_run(void)
{
	at_choice = 0;
	while (n_choices && ++chosen[n_choices - 1] == radix[n_choices - 1])
		n_choices--;
	return n_choices;
}

/* ---- the device, a step at a time ---- */

static struct xb_vring ring;
static struct device_ring device;
static bool (*device_can)(void); /* false: it has nothing to do now */
static void (*device_step)(void);

static void other_side(void)
{
	while (device_can() && choose(2))
		device_step();
}

#ifdef MODEL_PACKED
#define FORMAT (1ull << VIRTIO_F_RING_PACKED)

/* As if so many descriptors had been used in the first lap. */
static void go_to(uint16_t index)
{
	struct device_packed *packed = &device.packed;

	index %= RING;
	for (unsigned i = 0; i < index; i++)
		packed->desc[i].flags = F_AVAIL | F_USED;
	ring.packed.next_avail = ring.packed.next_used = index;
	packed->next_avail = packed->next_used = packed->called_used = index;
	if (device.event_idx)
		device_ring_ask(&device);
}
#else
#define FORMAT 0u

static void go_to(uint16_t index)
{
	struct xb_split *split = &ring.split;

	split->avail_idx = split->published_idx = split->notified_idx = split->used_idx = index;
	split->vring.avail->idx = split->vring.used->idx = index;
	device.next_avail = device.next_used = device.shown_used = device.called_idx = index;
	if (device.event_idx)
		vring_avail_event(&split->vring) = index;
}
#endif

static void start(uint16_t index, uint64_t features)
{
	static alignas(4096) uint8_t mem[8192];
	static const struct xb_iova_map map = {0x4000000000000000u};
	struct xb_virtqueue queue;

	features |= FORMAT;
	MUST(xb_vring_bytes(RING, features) <= sizeof(mem));
	memset(mem, 0, 256); /* descriptors and available ring, or events; then the used ring */
	memset(mem + 4096, 0, 128);
	MUST(xb_vring_init(&ring, mem, RING, features, map) == 0);
	queue = xb_vring_virtqueue(&ring);
	device_ring_init(&device, &queue, map, features);
	go_to(index);
	xb_vring_disarm(&ring);
}

/* ---- to the device ---- */

static enum { POLLS, ASKED, SLEEPS } device_is;
static bool kicked;
static unsigned got;

static bool consumer_can(void)
{
	return device_is != SLEEPS || kicked;
}

static void consumer_step(void)
{
	struct device_chain chain;

	if (device_is == POLLS && device_ring_get(&device, &chain)) {
		got++;
	} else if (device_is == POLLS) {
		device_ring_ask(&device);
		device_is = ASKED;
	} else if (device_is == ASKED && !device_ring_waiting(&device)) {
		device_is = SLEEPS;
	} else {
		if (device_is == SLEEPS)
			kicked = false;
		device_ring_hush(&device);
		device_is = POLLS;
	}
}

static void post_twice(void)
{
	struct xb_vring_buf buf = {"1", 1};

	for (unsigned i = 0; i < 2; i++) {
		xb_vring_add(&ring, &buf, 1, false, &ring);
		if (i == 1)
			xb_vring_add(&ring, &buf, 1, false, &ring);
		xb_vring_publish(&ring);
		other_side();
		if (xb_vring_must_notify(&ring)) {
			other_side();
			kicked = true;
		}
		other_side();
	}
	while (device_can())
		device_step();
	MUST(got == 3);
}

static uint64_t explore(void (*run)(void), bool (*can)(void), void (*step)(void), uint16_t index,
			uint64_t features)
{
	uint64_t runs = 0;

	n_choices = 0;
	at_choice = 0;
	device_can = can;
	device_step = step;
	do {
		start(index, features);
		device_is = POLLS;
		kicked = false;
		got = 0;
		run();
		xb_vring_fini(&ring);
		runs++;
	} while (next_run());
	return runs;
}

static void in_no_interleaving_does_a_published_chain_wait_for_a_sleeping_device(void **state)
{
	(void)state;
	for (unsigned event_idx = 0; event_idx < 2; event_idx++) {
		uint64_t features = (uint64_t)event_idx << VIRTIO_RING_F_EVENT_IDX;

		MUST(explore(post_twice, consumer_can, consumer_step, 0, features) > 1000);
		explore(post_twice, consumer_can, consumer_step, 65534, features);
	}
}

/* ---- to the driver ---- */

static bool called, shown;
static unsigned used;

static bool producer_can(void)
{
	return shown || used < 4;
}

static void producer_step(void)
{
	if (shown) { /* the second half: does the driver want a call? */
		shown = false;
		called |= device_ring_must_call(&device);
		return;
	}
	device_ring_put(&device, used++, 0);
	if (used == 2) /* one, then two at once */
		device_ring_put(&device, used++, 0);
	device_ring_flush(&device);
	shown = true;
}

/* What a worker does: polls, arms, sleeps. */
static void sleep_and_take(void)
{
	struct xb_vring_buf buf = {"1", 1};
	unsigned taken = 0;
	void *cookie;
	uint32_t len;

	called = shown = false;
	used = 0;
	for (unsigned i = 0; i < RING; i++)
		xb_vring_add(&ring, &buf, 1, false, &ring);
	xb_vring_publish(&ring);
	for (;;) {
		other_side();
		while (xb_vring_take(&ring, &cookie, &len) == 1)
			taken++;
		other_side();
		if (xb_vring_arm(&ring)) {
			while (!called && device_can())
				device_step();
			if (!called)
				break; /* asleep for good */
			called = false;
		}
		other_side();
		xb_vring_disarm(&ring);
	}
	MUST(taken == 4);
}

static void in_no_interleaving_does_a_used_chain_wait_for_a_sleeping_driver(void **state)
{
	(void)state;
	for (unsigned event_idx = 0; event_idx < 2; event_idx++) {
		uint64_t features = (uint64_t)event_idx << VIRTIO_RING_F_EVENT_IDX;

		MUST(explore(sleep_and_take, producer_can, producer_step, 0, features) > 1000);
		explore(sleep_and_take, producer_can, producer_step, 65534, features);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			in_no_interleaving_does_a_published_chain_wait_for_a_sleeping_device),
		cmocka_unit_test(in_no_interleaving_does_a_used_chain_wait_for_a_sleeping_driver),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
