/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Any frame's headers: the parser finds what the reference finds, reads nothing beyond the frame,
 * and leaves fields that it doesn't know at zero.
 *
 * Input: one byte, then either the frame itself or the choices from which a well-shaped one is
 * made.
 */
#include "support/headers.h"

#include <stdlib.h>
#include <string.h>

static const uint8_t *choices, *choices_end;

static uint32_t choose(uint32_t n)
{
	uint32_t number = 0;

	for (uint32_t left = n - 1; left && choices < choices_end; left >>= 8)
		number = number << 8 | *choices++;
	return number % n;
}

static void compare(const uint8_t *frame, uint32_t len)
{
	uint8_t *exact = malloc(len); /* for a sanitizer to see a read beyond */
	struct xb_origin origin = {.in = HEADERS_PORT, .own = frame[0] & 1};
	struct xb_key key, ref;

	if (!exact)
		return;
	memcpy(exact, frame, len);
	memset(&key, 0x5a, sizeof(key));
	if (xb_parse_key(exact, exact + len, &origin, &key))
		abort();
	headers_reference(exact, len, &ref);
	if (memcmp(&key, &ref, sizeof(key)) != 0)
		abort();
	free(exact);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t frame[HEADERS_FRAME_BYTES];
	const struct xb_origin origin = {.in = HEADERS_PORT};
	struct xb_key key;

	if (!size)
		return 0;
	choices = data + 1;
	choices_end = data + size;
	if (*data & 1)
		compare(frame, headers_make_frame(choose, frame));
	else if (size > ETH_HLEN)
		compare(data + 1, (uint32_t)(size - 1));
	else if (!xb_parse_key(data + 1, data + size, &origin, &key)) /* a runt */
		abort();
	return 0;
}
