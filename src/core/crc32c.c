/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/crc32c.h"

#include <string.h>

#ifdef __x86_64__
__attribute__((target("sse4.2"))) static uint32_t add_sse42(uint32_t crc, const uint8_t *p,
							    uint32_t len)
{
	uint64_t wide = crc;

	for (; len >= 8; len -= 8, p += 8) {
		uint64_t word;

		memcpy(&word, p, sizeof(word));
		wide = __builtin_ia32_crc32di(wide, word);
	}
	crc = (uint32_t)wide;
	for (; len; len--)
		crc = __builtin_ia32_crc32qi(crc, *p++);
	return crc;
}
#endif

/* Half a byte at a time: what the reflected polynomial 0x82f63b78 makes of each. */
static uint32_t add_plain(uint32_t crc, const uint8_t *p, uint32_t len)
{
	static const uint32_t nibble[16] = {
		0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3,
		0x61c69362, 0x7198540d, 0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9,
		0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75,
	};

	for (; len; len--) {
		crc ^= *p++;
		crc = crc >> 4 ^ nibble[crc & 15];
		crc = crc >> 4 ^ nibble[crc & 15];
	}
	return crc;
}

uint32_t xb_crc32c_add(uint32_t crc, const void *data, uint32_t len)
{
#ifdef __x86_64__
	if (__builtin_cpu_supports("sse4.2"))
		return add_sse42(crc, data, len);
#endif
	return add_plain(crc, data, len);
}
