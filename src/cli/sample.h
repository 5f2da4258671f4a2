/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A frame that a match describes, for who asks what would become of such a one.
 */
#ifndef XB_CLI_SAMPLE_H
#define XB_CLI_SAMPLE_H

#include "xbridge/rule.h"

#include <stdint.h>

#define XB_SAMPLE_BYTES 128u

/** Addresses that a match may mean without naming them. */
struct xb_sample_macs {
	uint8_t own[6];    /* `dmac own` */
	uint8_t kernel[6]; /* `dmac kernel` */
};

/**
 * Writes a frame that the match matches into `buf`: of a range its first value, of a prefix its
 * address. What the match doesn't name is 0, apart from what must be there for what it names: the
 * MAC addresses are of nobody, a port means TCP, an IP field IPv4. Checksums are not set.
 *
 * Returns its length: ETH_ZLEN at least, but where `vlan none` goes with a tag's own ethertype,
 * which only a frame that ends within the tag has.
 */
uint32_t xb_sample_frame(const struct xb_rule *match, const struct xb_sample_macs *macs,
			 uint8_t buf[XB_SAMPLE_BYTES]);

#endif
