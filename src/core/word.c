/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/word.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* strtoull would also take blanks, a sign and a second 0x. */
static bool read_digits(const char *digits, int base, uint64_t *ret_number)
{
	size_t n = strspn(digits, base == 16 ? "0123456789abcdefABCDEF" : "0123456789");
	unsigned long long number;

	if (!n || digits[n])
		return false;
	errno = 0;
	number = strtoull(digits, NULL, base);
	if (errno)
		return false;
	*ret_number = number;
	return true;
}

static bool is_within(uint64_t number, uint64_t min, uint64_t max, uint64_t *ret_number)
{
	if (number < min || number > max)
		return false;
	*ret_number = number;
	return true;
}

bool xb_word_decimal(const char *word, uint64_t min, uint64_t max, uint64_t *ret_number)
{
	uint64_t number;

	return read_digits(word, 10, &number) && is_within(number, min, max, ret_number);
}

bool xb_word_number(const char *word, uint64_t min, uint64_t max, uint64_t *ret_number)
{
	uint64_t number;

	if (word[0] != '0' || (word[1] != 'x' && word[1] != 'X'))
		return xb_word_decimal(word, min, max, ret_number);
	return read_digits(word + 2, 16, &number) && is_within(number, min, max, ret_number);
}

bool xb_word_mac(const char *word, uint8_t ret_mac[6])
{
	uint8_t mac[6];

	if (strlen(word) != 17)
		return false;
	for (unsigned i = 0; i < 6; i++, word += 3) {
		char digits[3] = {word[0], word[1], '\0'};

		if (!isxdigit((unsigned char)word[0]) || !isxdigit((unsigned char)word[1]) ||
		    word[2] != (i < 5 ? ':' : '\0'))
			return false;
		mac[i] = (uint8_t)strtoul(digits, NULL, 16);
	}
	memcpy(ret_mac, mac, sizeof(mac));
	return true;
}

const char *xb_mac_text(const uint8_t mac[6], char buf[XB_MAC_TEXT_BYTES])
{
	snprintf(buf, XB_MAC_TEXT_BYTES, "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2],
		 mac[3], mac[4], mac[5]);
	return buf;
}
