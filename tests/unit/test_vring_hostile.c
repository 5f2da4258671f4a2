/* SPDX-License-Identifier: BSD-2-Clause */
/* Devices that break the rules of a ring: HOSTILE.md's row 19. */
#include "vring_pair.h"

#include <errno.h>

static void hostile_setup(struct pair *pair, uint64_t features)
{
	pair_init(pair, 8, features);
	for (uintptr_t i = 0; i < 5; i++)
		add_one(&pair->ring, i % 2, 100, (void *)(i + 1)); /* heads 0 to 4, odd ones in */
	xb_vring_publish(&pair->ring);
}

static void must_be_broken(struct pair *pair, unsigned still_out)
{
	void *cookie = pair;
	uint32_t len = 77;
	uintptr_t seen = 0;

	device_ring_flush(&pair->device);
	assert_int_equal(xb_vring_take(&pair->ring, &cookie, &len), -EPROTO);
	assert_ptr_equal(cookie, pair);
	assert_int_equal(len, 77);
	for (; still_out; still_out--) { /* each comes back once */
		uintptr_t back = (uintptr_t)xb_vring_reclaim(&pair->ring);

		assert_true(back >= 1 && back <= 5 && !(seen >> back & 1));
		seen |= (uintptr_t)1 << back;
	}
	assert_null(xb_vring_reclaim(&pair->ring));
	assert_int_equal(n_free(&pair->ring), 8);
	pair_fini(pair);
}

static void a_used_id_beyond_the_ring_breaks_it(void **state)
{
	static const uint32_t ids[] = {8, 9, 65535, 65536, 65536 + 1, UINT32_MAX};

	(void)state;
	for (unsigned i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
		struct pair pair;

		if (format && ids[i] > UINT16_MAX)
			continue; /* has no room in a packed descriptor */
		hostile_setup(&pair, i & 1 ? INDIRECT : 0);
		device_ring_put(&pair.device, ids[i], 0);
		must_be_broken(&pair, 5);
	}
}

static void a_used_id_that_is_not_outstanding_breaks_it(void **state)
{
	struct pair pair;
	void *cookie;
	uint32_t len;

	(void)state;
	hostile_setup(&pair, 0);
	device_ring_put(&pair.device, 6, 0); /* never posted */
	must_be_broken(&pair, 5);

	hostile_setup(&pair, 0);
	device_ring_put(&pair.device, 2, 0);
	device_ring_put(&pair.device, 2, 0); /* twice */
	device_ring_flush(&pair.device);
	assert_int_equal(xb_vring_take(&pair.ring, &cookie, &len), 1);
	must_be_broken(&pair, 4);

	{ /* the second descriptor of a chain is no chain */
		struct xb_vring_buf bufs[2] = {{"1", 1}, {"2", 1}};

		pair_init(&pair, 8, 0);
		xb_vring_add(&pair.ring, bufs, 2, true, (void *)1);
		xb_vring_publish(&pair.ring);
		device_ring_put(&pair.device, 1, 0);
		must_be_broken(&pair, 1);
	}
}

static void a_length_beyond_what_was_posted_breaks_it(void **state)
{
	struct pair pair;

	(void)state;
	hostile_setup(&pair, 0);
	device_ring_put(&pair.device, 1, 101);
	must_be_broken(&pair, 5);
	hostile_setup(&pair, 0);
	device_ring_put(&pair.device, 1, UINT32_MAX);
	must_be_broken(&pair, 5);
}

static void an_index_that_runs_ahead_or_back_breaks_it(void **state)
{
	static const uint16_t jumps[] = {6, 8, 9, 32768, 65535};

	(void)state;
	for (unsigned i = 0; i < sizeof(jumps) / sizeof(jumps[0]); i++) {
		struct pair pair;

		hostile_setup(&pair, EVENT_IDX);
		pair.device.next_used = jumps[i];
		must_be_broken(&pair, 5);
	}
}

static void a_device_that_scribbles_gets_nothing_but_what_is_outstanding(void **state)
{
	struct rnd rnd = rnd_seed();

	(void)state;
	for (unsigned round = 0; round < 20000; round++) {
		uint16_t size = (uint16_t)(1u << rnd_below(&rnd, 5));
		unsigned out = 0;
		bool posted[33] = {false};
		struct pair pair;
		void *cookie;
		uint32_t len;

		pair_init(&pair, size, rnd_below(&rnd, 2) ? INDIRECT : 0);
		for (uintptr_t i = 1 + rnd_below(&rnd, size); i; i--, out++) {
			add_one(&pair.ring, true, 100, (void *)i);
			posted[i] = true;
		}
		xb_vring_publish(&pair.ring);
		for (unsigned i = 0; i < 8; i++) {
			uint8_t *byte = (uint8_t *)pair.mem + rnd_below(&rnd, (uint32_t)pair.bytes);

			*byte = (uint8_t)rnd_next(&rnd); /* descriptors and available ring too */
			device_ring_put(&pair.device, rnd_below(&rnd, size + 2u),
					rnd_below(&rnd, 120));
			device_ring_flush(&pair.device);
			if (!format)
				__atomic_store_n(&pair.ring.split.vring.used->idx,
						 (uint16_t)rnd_below(&rnd, size + 2u),
						 __ATOMIC_RELEASE);
			if (xb_vring_take(&pair.ring, &cookie, &len) == 1) {
				MUST((uintptr_t)cookie <= size && posted[(uintptr_t)cookie]);
				MUST(len <= 100);
				posted[(uintptr_t)cookie] = false;
				out--;
			}
		}
		while ((cookie = xb_vring_reclaim(&pair.ring))) {
			MUST(posted[(uintptr_t)cookie]);
			posted[(uintptr_t)cookie] = false;
			out--;
		}
		MUST(!out);
		pair_fini(&pair);
	}
}

/* ---- packed rings ---- */

static void a_descriptor_used_with_nothing_outstanding_breaks_it(void **state)
{
	struct pair pair;
	void *cookie;
	uint32_t len;

	(void)state;
	pair_init(&pair, 4, 0);
	add_one(&pair.ring, true, 10, &pair);
	xb_vring_publish(&pair.ring);
	device_ring_put(&pair.device, 0, 10);
	device_ring_flush(&pair.device);
	assert_int_equal(xb_vring_take(&pair.ring, &cookie, &len), 1);
	assert_int_equal(xb_vring_take(&pair.ring, &cookie, &len), 0);
	device_ring_jump(&pair.device); /* all descriptors at once */
	assert_int_equal(xb_vring_take(&pair.ring, &cookie, &len), -EPROTO);
	assert_null(xb_vring_reclaim(&pair.ring));
	pair_fini(&pair);
}

/* Too many notifications are slow, one too few stops a queue. */
static void a_wish_that_no_device_may_have_is_a_notification(void **state)
{
	/* flags 3; a descriptor's number without EVENT_IDX */
	static const uint32_t wishes[] = {3u << 16, 2u << 16 | 0xffff};

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		struct pair pair;

		pair_init(&pair, 4, 0);
		*pair.device.packed.device_event = wishes[i];
		for (unsigned k = 0; k < 4; k++) {
			add_one(&pair.ring, true, 10, &pair);
			xb_vring_publish(&pair.ring);
			assert_true(xb_vring_must_notify(&pair.ring));
		}
		pair_fini(&pair);
	}
}

int main(void)
{
	const struct CMUnitTest of_split_rings[] = {
		cmocka_unit_test(an_index_that_runs_ahead_or_back_breaks_it),
	};
	const struct CMUnitTest of_packed_rings[] = {
		cmocka_unit_test(a_descriptor_used_with_nothing_outstanding_breaks_it),
		cmocka_unit_test(a_wish_that_no_device_may_have_is_a_notification),
	};
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_used_id_beyond_the_ring_breaks_it),
		cmocka_unit_test(a_used_id_that_is_not_outstanding_breaks_it),
		cmocka_unit_test(a_length_beyond_what_was_posted_breaks_it),
		cmocka_unit_test(a_device_that_scribbles_gets_nothing_but_what_is_outstanding),
	};
	int failed;

	failed = cmocka_run_group_tests_name("split only", of_split_rings, NULL, NULL);
	failed += cmocka_run_group_tests_name("split", tests, NULL, NULL);
	format = PACKED;
	failed += cmocka_run_group_tests_name("packed only", of_packed_rings, NULL, NULL);
	return failed + cmocka_run_group_tests_name("packed", tests, NULL, NULL);
}
