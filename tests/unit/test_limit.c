/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/limit.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define SECOND_NS 1000000000ull

/* Packets that a limit lets through when `offered` a second come evenly for `seconds`. */
static unsigned allowed(uint32_t pps, unsigned offered, unsigned seconds)
{
	struct xb_limit limit = {0};
	unsigned n = 0;

	atomic_store(&limit.pps, pps);
	for (unsigned i = 0; i < offered * seconds; i++)
		n += xb_limit_allows(&limit, 5 * SECOND_NS + i * (SECOND_NS / offered));
	return n;
}

static void test_no_limit_lets_everything_through(void **state)
{
	(void)state;
	assert_int_equal(allowed(0, 100000, 1), 100000);
}

static void test_twice_the_rate_gets_the_rate_and_one_burst(void **state)
{
	static const uint32_t rates[] = {1, 7, 100, 10000, 100000};

	(void)state;
	for (unsigned i = 0; i < sizeof(rates) / sizeof(rates[0]); i++) {
		unsigned n = allowed(rates[i], 2 * rates[i], 10);

		assert_in_range(n, 10 * rates[i], 10 * rates[i] + xb_limit_burst(rates[i]) + 1);
	}
}

static void test_half_the_rate_passes_whole(void **state)
{
	(void)state;
	assert_int_equal(allowed(1000, 500, 10), 5000);
}

static void test_a_burst_at_one_moment_is_a_tenth_of_a_second(void **state)
{
	struct xb_limit limit = {0};
	unsigned n = 0;

	(void)state;
	atomic_store(&limit.pps, 1000);
	for (unsigned i = 0; i < 1000; i++)
		n += xb_limit_allows(&limit, SECOND_NS);
	assert_int_equal(n, 100);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_no_limit_lets_everything_through),
		cmocka_unit_test(test_twice_the_rate_gets_the_rate_and_one_burst),
		cmocka_unit_test(test_half_the_rate_passes_whole),
		cmocka_unit_test(test_a_burst_at_one_moment_is_a_tenth_of_a_second),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
