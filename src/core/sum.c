/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/sum.h"

#include <string.h>

/* Four running sums, each of 32-bit words: none overflows over a length of 32 bits. */
typedef uint64_t lanes __attribute__((vector_size(32)));
/* As many bytes of a packet, which lie anywhere. */
typedef uint64_t packet_lanes __attribute__((vector_size(32), aligned(1), may_alias));
#define BLOCK_BYTES (2 * (uint32_t)sizeof(lanes))

/* Adds `n` blocks and, unless `to` is NULL, copies them. Inlined, so that the compiler makes of it
 * what the caller's target has. */
static inline __attribute__((always_inline)) uint64_t add_lanes(uint64_t sum, uint8_t *to,
								const uint8_t *from, uint32_t n)
{
	const lanes low = {UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX};
	lanes total = {0};

	for (; n; n--, from += BLOCK_BYTES) {
		const packet_lanes *in = (const packet_lanes *)from;
		lanes a = in[0], b = in[1];

		if (to) {
			packet_lanes *out = (packet_lanes *)to;

			out[0] = a;
			out[1] = b;
			to += BLOCK_BYTES;
		}
		total += (a & low) + (a >> 32) + (b & low) + (b >> 32);
	}
	for (unsigned i = 0; i < 4; i++)
		sum = xb_csum_join(sum, total[i]);
	return sum;
}

#ifdef __x86_64__
__attribute__((target("avx2"))) static uint64_t add_avx2(uint64_t sum, uint8_t *to,
							 const uint8_t *from, uint32_t n)
{
	return add_lanes(sum, to, from, n);
}
#endif

static uint64_t add_blocks(uint64_t sum, uint8_t *to, const uint8_t *from, uint32_t n)
{
#ifdef __x86_64__
	if (__builtin_cpu_supports("avx2"))
		return add_avx2(sum, to, from, n);
#endif
	return add_lanes(sum, to, from, n);
}

uint64_t xb_csum_add(uint64_t sum, const void *data, uint32_t len)
{
	const uint8_t *p = data;
	uint64_t rest = 0;

	if (len >= BLOCK_BYTES) {
		sum = add_blocks(sum, NULL, p, len / BLOCK_BYTES);
		p += len & ~(BLOCK_BYTES - 1);
		len %= BLOCK_BYTES;
	}
	for (; len >= 8; len -= 8, p += 8) {
		uint64_t word;

		memcpy(&word, p, sizeof(word));
		sum = xb_csum_join(sum, word);
	}
	if (len & 4) {
		uint32_t word;

		memcpy(&word, p, sizeof(word));
		rest += word;
		p += 4;
	}
	if (len & 2) {
		uint16_t word;

		memcpy(&word, p, sizeof(word));
		rest += word;
		p += 2;
	}
	if (len & 1) {
		uint16_t word = 0;

		memcpy(&word, p, 1);
		rest += word;
	}
	return xb_csum_join(sum, rest);
}

uint64_t xb_csum_copy(uint64_t sum, void *to, const void *data, uint32_t len)
{
	uint32_t blocks = len & ~(BLOCK_BYTES - 1);
	uint8_t *out = to;
	const uint8_t *in = data;

	if (blocks)
		sum = add_blocks(sum, out, in, blocks / BLOCK_BYTES);
	memcpy(out + blocks, in + blocks, len - blocks);
	return xb_csum_add(sum, in + blocks, len - blocks);
}

uint16_t xb_csum_fold(uint64_t sum)
{
	sum = (sum >> 32) + (uint32_t)sum;
	sum = (sum >> 32) + (uint32_t)sum;
	sum = (sum >> 16) + (uint16_t)sum;
	return (uint16_t)((sum >> 16) + (uint16_t)sum);
}
