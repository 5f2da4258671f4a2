/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Words that people type and read: numbers and MAC addresses. The only functions for it. A reader
 * returns whether the whole word was such a value, and leaves the result untouched where it was
 * not.
 */
#ifndef XB_CORE_WORD_H
#define XB_CORE_WORD_H

#include <stdbool.h>
#include <stdint.h>

/** A decimal number: digits, no sign, no blank. */
bool xb_word_decimal(const char *word, uint64_t min, uint64_t max, uint64_t *ret_number);

/** The same, or hexadecimal after 0x. */
bool xb_word_number(const char *word, uint64_t min, uint64_t max, uint64_t *ret_number);

/** A MAC address in its usual form: 02:00:00:00:00:01. */
bool xb_word_mac(const char *word, uint8_t ret_mac[6]);

#define XB_MAC_TEXT_BYTES 18u

/** Writes a MAC address into `buf`, as xb_word_mac reads it. Returns `buf`. */
const char *xb_mac_text(const uint8_t mac[6], char buf[XB_MAC_TEXT_BYTES]);

#endif
