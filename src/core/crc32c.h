/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * CRC32c (RFC 3309, as SCTP uses it).
 */
#ifndef XB_CORE_CRC32C_H
#define XB_CORE_CRC32C_H

#include <stdint.h>

/** Adds `len` bytes to a running CRC. It starts at all ones; the checksum is the complement of what
 * it ends with, stored little-endian. */
uint32_t xb_crc32c_add(uint32_t crc, const void *data, uint32_t len);

#endif
