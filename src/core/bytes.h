/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Numbers in network byte order, at places of any alignment.
 */
#ifndef XB_CORE_BYTES_H
#define XB_CORE_BYTES_H

#include <stdint.h>

static inline uint16_t xb_get_be16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static inline uint32_t xb_get_be32(const uint8_t *p)
{
	return (uint32_t)xb_get_be16(p) << 16 | xb_get_be16(p + 2);
}

static inline void xb_put_be16(uint8_t *p, uint32_t value)
{
	p[0] = (uint8_t)(value >> 8);
	p[1] = (uint8_t)value;
}

static inline void xb_put_be32(uint8_t *p, uint32_t value)
{
	xb_put_be16(p, value >> 16);
	xb_put_be16(p + 2, value);
}

#endif
