/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A worker's pace, on a clock of the test's own: what it does depends on nothing else.
 */
#include "core/pace.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define US 1000u
#define MS 1000000u

/* How long a round takes that brings nothing. */
#define ROUND_NS (5 * US)

static struct xb_pace pace;
static uint64_t now_ns;

static int set_up(void **state)
{
	(void)state;
	xb_pace_init(&pace);
	now_ns = 1000ull * MS;
	return 0;
}

static void come(unsigned packets, uint64_t wake_ns)
{
	xb_pace_count(&pace, packets);
	xb_pace_end_gap(&pace, now_ns, wake_ns);
}

/* Polls as it is told to, for so long. Returns whether it was told to sleep. */
static bool sleeps_within(uint64_t gap_ns, uint64_t wake_ns)
{
	uint64_t end_ns = now_ns + gap_ns;

	for (; now_ns < end_ns; now_ns += ROUND_NS) {
		if (xb_pace_idle(&pace, now_ns, wake_ns) == XB_PACE_SLEEP) {
			now_ns = end_ns;
			return true;
		}
	}
	return false;
}

/* So many gaps of 2 ms, with so many packets after each: in how many of them it slept. */
static unsigned sleeps_between(unsigned gaps, unsigned packets, uint64_t wake_ns)
{
	unsigned slept = 0;

	for (unsigned i = 0; i < gaps; i++) {
		slept += sleeps_within(2 * MS, wake_ns);
		come(packets, wake_ns);
	}
	return slept;
}

static void gaps_that_are_short_beside_a_wake_up_are_polled_through(void **state)
{
	(void)state;
	sleeps_between(10, 1, MS); /* until it knows */
	assert_int_equal(sleeps_between(40, 1, MS), 0);
	sleeps_between(20, 1, 0);
	assert_int_equal(sleeps_between(40, 1, 0), 40);
	assert_true(sleeps_between(20, 1, MS) > 0); /* it learns anew */
	assert_int_equal(sleeps_between(40, 1, MS), 0);
}

static void a_dense_stream_is_slept_between(void **state)
{
	(void)state;
	sleeps_between(20, 20, MS);
	assert_int_equal(sleeps_between(40, 20, MS), 40);
}

static void a_gap_that_is_longer_than_polling_may_take_is_slept_through(void **state)
{
	(void)state;
	sleeps_between(20, 1, MS);
	assert_true(sleeps_within(16 * MS + 2 * ROUND_NS, MS));
}

static void who_polls_for_long_lets_others_have_the_cpu(void **state)
{
	(void)state;
	assert_int_equal(xb_pace_idle(&pace, now_ns, MS), XB_PACE_POLL);
	assert_int_equal(xb_pace_idle(&pace, now_ns + 49 * US, MS), XB_PACE_POLL);
	assert_int_equal(xb_pace_idle(&pace, now_ns + 50 * US, MS), XB_PACE_YIELD);
}

static void a_packet_on_its_way_is_polled_for_after_a_rest(void **state)
{
	(void)state;
	sleeps_between(40, 20, 0); /* polling is not worth while */
	xb_pace_idle(&pace, now_ns, 0);
	assert_false(
		xb_pace_heeds(&pace, now_ns + 19 * MS)); /* in a stream nobody is woken early */
	now_ns += 20 * MS;
	assert_true(xb_pace_heeds(&pace, now_ns));
	xb_pace_foretell(&pace, now_ns);
	assert_false(sleeps_within(16 * MS - ROUND_NS, MS));
	assert_true(sleeps_within(MS, MS));
}

static void what_was_foretold_in_vain_is_not_believed_until_a_packet_has_come(void **state)
{
	(void)state;
	xb_pace_idle(&pace, now_ns, 0);
	now_ns += 20 * MS;
	xb_pace_foretell(&pace, now_ns);
	now_ns += 100ull * MS;
	assert_int_equal(xb_pace_idle(&pace, now_ns, 0), XB_PACE_SLEEP);
	assert_false(xb_pace_heeds(&pace, now_ns));
	come(1, 0);
	xb_pace_idle(&pace, now_ns, 0);
	assert_true(xb_pace_heeds(&pace, now_ns + 20 * MS));
}

static void unfinished_transmissions_are_looked_after_ever_later(void **state)
{
	static const int want[] = {2, 4, 8, 16, 32, 50, 50};

	(void)state;
	for (unsigned i = 0; i < sizeof(want) / sizeof(want[0]); i++)
		assert_int_equal(xb_pace_sleep_ms(&pace, true, 50), want[i]);
	assert_int_equal(xb_pace_sleep_ms(&pace, false, 50), 50);
	assert_int_equal(xb_pace_sleep_ms(&pace, true, 50), 2);
	assert_int_equal(xb_pace_sleep_ms(&pace, true, 0), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(gaps_that_are_short_beside_a_wake_up_are_polled_through,
				       set_up),
		cmocka_unit_test_setup(a_dense_stream_is_slept_between, set_up),
		cmocka_unit_test_setup(a_gap_that_is_longer_than_polling_may_take_is_slept_through,
				       set_up),
		cmocka_unit_test_setup(who_polls_for_long_lets_others_have_the_cpu, set_up),
		cmocka_unit_test_setup(a_packet_on_its_way_is_polled_for_after_a_rest, set_up),
		cmocka_unit_test_setup(
			what_was_foretold_in_vain_is_not_believed_until_a_packet_has_come, set_up),
		cmocka_unit_test_setup(unfinished_transmissions_are_looked_after_ever_later,
				       set_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
