/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * xbridge/parse.h against a reference, on random frames.
 */
#include "support/headers.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define ROUNDS 400000u
#define PORT   7u /* by which all frames come in; its own MACs are the odd ones */

static uint64_t seed = 1;

/* xorshift64*: the same frames each time, everywhere */
static uint32_t below(uint32_t n)
{
	seed ^= seed >> 12;
	seed ^= seed << 25;
	seed ^= seed >> 27;
	return (uint32_t)((seed * 2685821657736338717ull) >> 33) % n;
}

/* Parses a copy that ends where its memory ends: reading on is found out. */
static void parse_both(const uint8_t *frame, uint32_t len, struct xb_key *key, struct xb_key *ref)
{
	uint8_t *exact = malloc(len);
	struct xb_parsed l2 = {0};
	struct xb_origin origin = {.in = PORT, .own = frame[0] & 1};

	memcpy(exact, frame, len);
	assert_int_equal(xb_parse(exact, exact + len, &l2), 0);
	assert_int_equal(xb_parse_key(exact, exact + len, &origin, key), 0);
	headers_reference(exact, len, &origin, ref);
	free(exact);
}

static void parse_and_reference_agree_on_frames_of_all_shapes(void **state)
{
	static uint8_t frame[HEADERS_FRAME_BYTES];
	uint32_t seen[XB_MATCH_COUNT] = {0}, frags[3] = {0};

	(void)state;
	for (uint32_t round = 0; round < ROUNDS; round++) {
		uint32_t len = headers_make_frame(below, frame);
		struct xb_key key, ref;

		parse_both(frame, len, &key, &ref);
		if (memcmp(&key, &ref, sizeof(key)) != 0) {
			for (uint32_t i = 0; i < len; i++)
				fprintf(stderr, "%02x", frame[i]);
			fail_msg("round %u: has %x and %x, proto %u and %u, frag %u and %u", round,
				 key.has, ref.has, key.proto, ref.proto, key.frag, ref.frag);
		}
		for (uint32_t what = 0; what < XB_MATCH_COUNT; what++)
			seen[what] += key.has >> what & 1;
		if (key.has >> XB_MATCH_FRAG & 1)
			frags[key.frag]++;
	}
	/* the frames did get everywhere */
	for (uint32_t what = 0; what < XB_MATCH_COUNT; what++)
		assert_true(seen[what] > ROUNDS / 50);
	for (uint32_t frag = 0; frag < 3; frag++)
		assert_true(frags[frag] > ROUNDS / 50);
}

static void a_frame_cut_at_each_byte_is_read_no_further(void **state)
{
	static uint8_t frame[HEADERS_FRAME_BYTES];

	(void)state;
	for (uint32_t round = 0; round < 300; round++) {
		uint32_t whole = headers_make_frame(below, frame);

		for (uint32_t len = 14; len <= whole; len++) {
			struct xb_key key, ref;

			parse_both(frame, len, &key, &ref);
			assert_memory_equal(&key, &ref, sizeof(key));
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(parse_and_reference_agree_on_frames_of_all_shapes),
		cmocka_unit_test(a_frame_cut_at_each_byte_is_read_no_further),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
