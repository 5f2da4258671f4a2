/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the tests of coalescing share: batches of packets as ports hand them over.
 */
#ifndef XB_TESTS_COALESCE_REF_H
#define XB_TESTS_COALESCE_REF_H

#include "core/coalesce.h"

#define FRAMES 4096u
#include "packet_room.h"

#define BATCH 64u
#define BOTH  (XB_TAKES_CSUM | XB_TAKES_TSO4 | XB_TAKES_TSO6)

enum {
	FIN = 0x01,
	SYN = 0x02,
	RST = 0x04,
	PSH = 0x08,
	ACK = 0x10,
	URG = 0x20,
	ECE = 0x40,
	CWR = 0x80
};

static struct xb_frame *pkts[BATCH];
static uint8_t bytes_a[REF_BYTES_MAX], bytes_b[REF_BYTES_MAX];

static inline void give_back(unsigned n)
{
	ref_unfence(&ra);
	for (unsigned i = 0; i < n; i++)
		xb_packet_free(&ra.cache, pkts[i]);
	assert_int_equal(ref_arena_used(&ra), 0);
}

/* A packet as it comes from a port that says `csum` of it. */
static inline struct xb_frame *packet(const struct ref_spec *spec, enum xb_csum csum)
{
	struct ref_place at;
	uint32_t len = ref_build(spec, bytes_a, &at);
	struct xb_frame *pkt;

	if (csum == XB_CSUM_PARTIAL)
		ref_make_partial(bytes_a, &at);
	else if (csum == XB_CSUM_TRUSTED)
		ref_put16(bytes_a + at.check, ref_below(65536));
	pkt = ref_packet(&ra, bytes_a, len, 0, 0);
	if (csum == XB_CSUM_PARTIAL)
		pkt->offload = ref_partial(&at);
	pkt->offload.csum = (uint8_t)csum;
	return pkt;
}

static inline unsigned coalesce(unsigned n, uint32_t takes, unsigned frames_max)
{
	unsigned left;

	for (unsigned i = 0; i < n; i++)
		ref_fence(pkts[i]);
	left = xb_coalesce(&ra.cache, pkts, n, takes, frames_max);
	ref_unfence(&ra);
	return left;
}

/* Two packets that join, apart from what a test changes in them. */
#define FOLLOWS .seq = 100, .id = 1
static const struct ref_spec plain_a = {.payload = 100}, plain_b = {FOLLOWS, .payload = 100};

/* Puts the batch through and expects that nothing joins and nothing changes. */
static inline void expect_apart(unsigned n, uint32_t takes, unsigned frames_max)
{
	struct xb_frame *before[BATCH];
	struct xb_offload offloads[BATCH];
	uint8_t *bytes[BATCH];
	uint32_t lens[BATCH];

	for (unsigned i = 0; i < n; i++) {
		before[i] = pkts[i];
		offloads[i] = pkts[i]->offload;
		bytes[i] = malloc(REF_BYTES_MAX);
		assert_non_null(bytes[i]);
		lens[i] = ref_bytes(pkts[i], bytes[i]);
	}
	assert_int_equal(coalesce(n, takes, frames_max), n);
	for (unsigned i = 0; i < n; i++) {
		assert_ptr_equal(pkts[i], before[i]);
		assert_memory_equal(&pkts[i]->offload, &offloads[i], sizeof(offloads[i]));
		assert_int_equal(ref_bytes(pkts[i], bytes_b), lens[i]);
		assert_memory_equal(bytes_b, bytes[i], lens[i]);
		free(bytes[i]);
	}
	give_back(n);
}

#endif
