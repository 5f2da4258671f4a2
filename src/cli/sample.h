/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A frame that a match describes, for who asks what would become of such a one.
 */
#ifndef XB_CLI_SAMPLE_H
#define XB_CLI_SAMPLE_H

#include "xbridge/rule.h"

#include <stdint.h>

#define XB_SAMPLE_BYTES 128u

/**
 * Writes a frame that the match matches into `buf`: of a range its first value, of a prefix its
 * address. What the match doesn't name is 0, apart from what must be there for what it names: the
 * MAC addresses are of nobody, a port means TCP, an IP field IPv4. Checksums are not set.
 *
 * @own_mac: what `dmac own` means.
 *
 * Returns its length, ETH_ZLEN at least.
 */
uint32_t xb_sample_frame(const struct xb_rule *match, const uint8_t own_mac[6],
			 uint8_t buf[XB_SAMPLE_BYTES]);

#endif
