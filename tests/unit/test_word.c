/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/word.h"
#include "steer/verdict.h"
#include "xbridge/steer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static void a_number_is_digits_alone_and_within_its_bounds(void **state)
{
	static const struct {
		const char *word;
		bool decimal, any;
		uint64_t number;
	} words[] = {
		{"0", true, true, 0},
		{"7", true, true, 7},
		{"007", true, true, 7},
		{"1000", true, true, 1000},
		{"0x3e8", false, true, 1000},
		{"0X3E8", false, true, 1000},
		{"1001", false, false, 0},
		{"0x3e9", false, false, 0},
		{"18446744073709551617", false, false, 0}, /* 1, and 2 to the 64th */
		{"", false, false, 0},
		{"-1", false, false, 0},
		{"+1", false, false, 0},
		{" 1", false, false, 0},
		{"1 ", false, false, 0},
		{"1k", false, false, 0},
		{"0x", false, false, 0},
		{"0x0x1", false, false, 0},
		{"0x-1", false, false, 0},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++) {
		uint64_t decimal = 55, any = 55;

		if (xb_word_decimal(words[i].word, 0, 1000, &decimal) != words[i].decimal ||
		    xb_word_number(words[i].word, 0, 1000, &any) != words[i].any)
			fail_msg("'%s'", words[i].word);
		assert_int_equal(decimal, words[i].decimal ? words[i].number : 55);
		assert_int_equal(any, words[i].any ? words[i].number : 55);
	}
	assert_false(xb_word_decimal("3", 4, 5, &(uint64_t){0}));
}

static void a_mac_address_has_six_pairs_of_digits(void **state)
{
	static const char *const wrong[] = {
		"",
		"2:0:0:0:0:9",
		"02:00:00:00:00:0",
		"02:00:00:00:00:009",
		"02:00:00:00:00:09:0a",
		"02-00-00-00-00-09",
		"02:00:00:00:00:0g",
		"02:00:00:00:00: 9",
		"+2:00:00:00:00:09",
	};
	static const uint8_t nine[6] = {0x02, 0, 0, 0, 0xab, 0x09};
	char text[XB_MAC_TEXT_BYTES];
	uint8_t mac[6] = {0};

	(void)state;
	assert_true(xb_word_mac("02:00:00:00:AB:09", mac));
	assert_memory_equal(mac, nine, sizeof(mac));
	assert_string_equal(xb_mac_text(mac, text), "02:00:00:00:ab:09");
	for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++)
		if (xb_word_mac(wrong[i], mac))
			fail_msg("taken: '%s'", wrong[i]);
	assert_memory_equal(mac, nine, sizeof(mac));
}

static void a_verdict_is_named_by_its_word_alone(void **state)
{
	static const struct {
		const char *word;
		unsigned verdict;
	} words[] = {{"pass", XB_VERDICT_PASS},
		     {"bridge", XB_VERDICT_BRIDGE},
		     {"drop", XB_VERDICT_DROP}};
	uint16_t verdict = 55;

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		assert_string_equal(xb_verdict_word_at(i), words[i].word);
		assert_string_equal(xb_verdict_word(words[i].verdict), words[i].word);
		assert_true(xb_verdict_named(words[i].word, &verdict));
		assert_int_equal(verdict, words[i].verdict);
		assert_true(strstr(XB_VERDICTS_NAMED, words[i].word));
	}
	assert_null(xb_verdict_word_at(3));
	assert_true(xb_verdict_named(XB_VERDICT_DEFAULT, NULL));
	assert_string_equal(xb_verdict_word(XB_VERDICT_NONE), "none");
	assert_false(xb_verdict_named("none", &verdict));
	assert_false(xb_verdict_named("kernel", &verdict));
	assert_false(xb_verdict_named("", &verdict));
	assert_int_equal(verdict, XB_VERDICT_DROP);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_number_is_digits_alone_and_within_its_bounds),
		cmocka_unit_test(a_mac_address_has_six_pairs_of_digits),
		cmocka_unit_test(a_verdict_is_named_by_its_word_alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
