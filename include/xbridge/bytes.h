/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Bytes of a packet, read and written: numbers in network order, MAC and IPv6 addresses. The only
 * functions for it, for the XDP program and for userspace.
 */
#ifndef XBRIDGE_BYTES_H
#define XBRIDGE_BYTES_H

#include <linux/types.h>

/** A call costs the XDP program more than what these functions do, and userspace too. */
#define XB_INLINE static inline __attribute__((always_inline))

/** Host order of a 16-bit field without a function call, and constant where its argument is. */
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define XB_NTOHS(x) ((__u16)__builtin_bswap16((__u16)(x)))
#else
#define XB_NTOHS(x) ((__u16)(x))
#endif
#define XB_HTONS(x) ((__be16)XB_NTOHS(x))

/* Copies that clang would make byte by byte for BPF, as it can't know that the machine doesn't mind
 * odd addresses; the verifier does. */
#ifdef __bpf__
#define XB_COPY_AS(type, to, from) (*(type *)(to) = *(const type *)(from))
#define XB_LOAD(type, from)        (*(const type *)(from))
#else
#define XB_COPY_AS(type, to, from) __builtin_memcpy(to, from, sizeof(type))
#define XB_LOAD(type, from)                                     \
	__extension__({                                         \
		type loaded_;                                   \
		__builtin_memcpy(&loaded_, from, sizeof(type)); \
		loaded_;                                        \
	})
#endif

XB_INLINE void xb_copy_mac(__u8 *to, const __u8 *from)
{
	XB_COPY_AS(__u32, to, from);
	XB_COPY_AS(__u16, to + 4, from + 4);
}

XB_INLINE void xb_copy_ipv6(__u8 *to, const __u8 *from)
{
	XB_COPY_AS(__u64, to, from);
	XB_COPY_AS(__u64, to + 8, from + 8);
}

/* Numbers in network order, at an even or odd place. */

XB_INLINE __u16 xb_get_be16(const __u8 *bytes)
{
	return (__u16)(bytes[0] << 8 | bytes[1]);
}

XB_INLINE __u32 xb_get_be32(const __u8 *bytes)
{
	return (__u32)xb_get_be16(bytes) << 16 | xb_get_be16(bytes + 2);
}

XB_INLINE __u64 xb_get_be64(const __u8 *bytes)
{
	__u64 value;

	__builtin_memcpy(&value, bytes, sizeof(value));
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	value = __builtin_bswap64(value);
#endif
	return value;
}

XB_INLINE void xb_put_be16(__u8 *bytes, __u32 value)
{
	bytes[0] = (__u8)(value >> 8);
	bytes[1] = (__u8)value;
}

XB_INLINE void xb_put_be32(__u8 *bytes, __u32 value)
{
	xb_put_be16(bytes, value >> 16);
	xb_put_be16(bytes + 2, value);
}

/** A MAC address as a number: its order is that of the bytes. */
XB_INLINE __u64 xb_mac_value(const __u8 mac[6])
{
	return (__u64)mac[0] << 40 | (__u64)mac[1] << 32 | (__u64)mac[2] << 24 |
	       (__u64)mac[3] << 16 | (__u64)mac[4] << 8 | mac[5];
}

#endif
