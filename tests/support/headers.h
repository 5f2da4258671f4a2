/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Frames of all shapes, and what a reference finds in their headers: it was written from the RFCs
 * alone, eats a frame from its front, header by header, and knows nothing of cursors.
 */
#ifndef XB_TESTS_HEADERS_H
#define XB_TESTS_HEADERS_H

#include "xbridge/parse.h"

#include <stdint.h>

#define HEADERS_FRAME_BYTES 600u

/** The key of a frame of at least 14 bytes. */
void headers_reference(const uint8_t *frame, uint32_t len, const struct xb_origin *origin,
		       struct xb_key *ref);

/** Fills a frame that is shaped like one, more or less: a wild one would never get behind its
 *  EtherType. Returns its length, from 14 to HEADERS_FRAME_BYTES.
 *
 * @choose: a number below n, as often as one is wanted. */
uint32_t headers_make_frame(uint32_t (*choose)(uint32_t n), uint8_t *frame);

/** Gives such a frame the MAC addresses of a key, its VLAN where it is tagged, and its addresses
 * where it has an IP header for them. */
void headers_put_addresses(const struct xb_key *key, uint8_t *frame, uint32_t len);

#endif
