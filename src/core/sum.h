/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The arithmetic of the Internet checksum (RFC 1071). A running sum has 64 bits; it is folded to 16
 * once, at the end.
 */
#ifndef XB_CORE_SUM_H
#define XB_CORE_SUM_H

#include <stdint.h>

/** Adds `len` bytes to a running ones'-complement sum, as native-endian 16-bit words; an odd last
 *  byte counts as padded with zero. Sums of pieces may be added where each piece but the last has
 *  an even length. A running sum is 0 only where all bytes were. */
uint64_t xb_csum_add(uint64_t sum, const void *data, uint32_t len);

/** As xb_csum_add, and copies the bytes to `to`, which doesn't overlap, in the same pass. */
uint64_t xb_csum_copy(uint64_t sum, void *to, const void *data, uint32_t len);

/** Adds one running sum to another. */
static inline uint64_t xb_csum_join(uint64_t a, uint64_t b)
{
	a += b;
	return a + (a < b);
}

/** Adds the running sum of a piece whose first byte stands at an odd place of the whole: its words
 *  lie across the whole's, and to turn the sum by a byte is to swap the bytes of each (RFC 1071,
 *  2.B). */
static inline uint64_t xb_csum_join_odd(uint64_t sum, uint64_t piece)
{
	return xb_csum_join(sum, piece << 8 | piece >> 56);
}

/** Folds a running sum to 16 bits, not inverted; in memory order, ready to be stored. */
uint16_t xb_csum_fold(uint64_t sum);

#endif
