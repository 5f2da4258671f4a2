/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Any packet with any offload, cut: refused with nothing changed, or every piece is byte for byte
 * that of the plain reference. Then the pieces are joined and cut again, and the packet goes the
 * ways of its checksum.
 *
 * Input: struct control, then bytes. They are the packet, or, where the control says so, they are
 * laid over a well-formed one at places that they name themselves.
 */
#include "core/checksum.h"
#include "core/coalesce.h"
#include "core/cover.h"
#include "core/segment.h"

#include "../unit/tunnel_ref.h"

#include <errno.h>

#define FRAMES 2560u
#define BATCH  64u

struct control {
	uint8_t well_formed; /* bit 0; bit 1: in tunnels */
	uint8_t v6;
	uint8_t proto;
	uint8_t tags;
	uint8_t ip_opts;
	uint8_t ext;
	uint8_t tcp_opts;
	uint8_t flags;
	uint16_t payload;
	uint16_t first;
	uint16_t step;
	uint16_t max;
	uint8_t takes;
	uint8_t csum;
	uint8_t gso;
	uint8_t own_place; /* csum_start and csum_offset as given, not those of the packet */
	uint16_t gso_size;
	uint16_t csum_start;
	uint16_t csum_offset;
};

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct ref_arena ra;
static uint8_t bytes[REF_BYTES_MAX], want[REF_BYTES_MAX], got[REF_BYTES_MAX], again[REF_BYTES_MAX];
static struct ref_nest nest;
static struct xb_frame *pieces[XB_SEGMENTS_MAX], *recut[XB_SEGMENTS_MAX];

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc, (void)argv;
	ref_arena_init(&ra, FRAMES);
	return 0;
}

/* Where things must lie in a packet that was cut. */
static struct ref_place place_of(const struct xb_frame *pkt)
{
	struct ref_place at = {.ip = 14, .end = pkt->bytes};

	while (ref_get16(bytes + at.ip - 2) == ETH_P_8021Q ||
	       ref_get16(bytes + at.ip - 2) == ETH_P_8021AD)
		at.ip += 4;
	at.proto = pkt->offload.gso == XB_GSO_UDP_L4 ? IPPROTO_UDP : IPPROTO_TCP;
	at.l4 = pkt->offload.csum_start;
	at.check = at.l4 + pkt->offload.csum_offset;
	at.data = at.l4 + (at.proto == IPPROTO_UDP ? 8 : bytes[at.l4 + 12] / 16 * 4u);
	REF_CHECK(at.ip <= 22 && at.check == at.l4 + (at.proto == IPPROTO_UDP ? 6u : 16u));
	return at;
}

static void compare(struct xb_frame *piece, const struct ref_place *at, uint32_t size, uint32_t i)
{
	uint32_t len = ref_segment(bytes, at, size, i, want);

	REF_CHECK(xb_csum_finish(piece) == 0);
	REF_CHECK(piece->offload.gso == XB_GSO_NONE);
	REF_CHECK(ref_bytes(piece, got) == len);
	REF_CHECK(memcmp(got, want, len) == 0);
}

/* Joins the pieces, cuts what was joined, compares again and gives all back. */
static void join_and_recut(unsigned n, const struct ref_place *at, uint32_t size)
{
	unsigned left = n <= BATCH ? xb_coalesce(&ra.cache, pieces, n,
						 XB_TAKES_TSO4 | XB_TAKES_TSO6, 48)
				   : n;
	uint32_t done = 0;

	for (unsigned i = 0; i < left; i++) {
		int cut = 1;

		recut[0] = pieces[i];
		if (pieces[i]->offload.gso != XB_GSO_NONE) {
			cut = xb_segment(&ra.cache, pieces[i], 0, recut, BATCH);
			REF_CHECK(cut > 1);
		}
		for (int k = 0; k < cut; k++) {
			compare(recut[k], at, size, done++);
			xb_packet_free(&ra.cache, recut[k]);
		}
	}
	REF_CHECK(done == n);
}

static void cut(struct xb_frame *pkt, uint32_t takes, unsigned max)
{
	struct xb_offload before = pkt->offload;
	uint32_t used = ref_arena_used(&ra), len = pkt->bytes;
	int headers = xb_segment_headers(pkt);
	struct ref_place at = {0};
	int n;

	if (headers >= 0)
		at = place_of(pkt);
	n = xb_segment(&ra.cache, pkt, takes, pieces, max);
	if (n < 0) {
		REF_CHECK(n == -EINVAL || n == -E2BIG);
		REF_CHECK((n == -EINVAL) == (headers < 0));
		REF_CHECK(ref_arena_used(&ra) == used);
		REF_CHECK(memcmp(&before, &pkt->offload, sizeof(before)) == 0);
		REF_CHECK(ref_bytes(pkt, got) == len && memcmp(got, bytes, len) == 0);
		ref_unfence(&ra);
		xb_packet_free(&ra.cache, pkt);
		return;
	}
	ref_unfence(&ra);
	REF_CHECK(n >= 1 && (unsigned)n <= max && (uint32_t)headers == at.data);
	for (int i = 0; i < n; i++)
		compare(pieces[i], &at, before.gso_size, (uint32_t)i);
	join_and_recut((unsigned)n, &at, before.gso_size);
}

/* The ways of a checksum change nothing but it, or those of a tunnel; a second time changes
 * nothing. */
static void finish(struct xb_frame *pkt)
{
	struct xb_frame *copy = xb_packet_copy(&ra.cache, pkt);
	bool trusted = pkt->offload.csum == XB_CSUM_TRUSTED;
	uint32_t len = pkt->bytes, changed = 0;

	REF_CHECK(copy);
	copy->offload.gso = XB_GSO_NONE;
	if (copy->offload.csum == XB_CSUM_TRUSTED && copy->bytes & 1)
		xb_csum_make_partial(copy);
	if (xb_csum_finish(copy) < 0)
		REF_CHECK(copy->offload.csum == XB_CSUM_PARTIAL);
	REF_CHECK(ref_bytes(copy, got) == len);
	for (uint32_t i = 0; i < len; i++)
		changed += got[i] != bytes[i];
	REF_CHECK(changed <= 2 * XB_COVERS_MAX + 2 && (trusted || changed <= 2));
	if (trusted) {
		copy->offload.csum = XB_CSUM_TRUSTED;
		REF_CHECK(xb_csum_finish(copy) == 0 && ref_bytes(copy, again) == len);
		REF_CHECK(!memcmp(again, got, len));
	}
	xb_packet_free(&ra.cache, copy);
}

/* A packet in up to three tunnels, its innermost checksum open. */
static uint32_t make_tunnels(const struct ref_spec *inner, unsigned seed)
{
	unsigned depth;

	ref_state = seed * 2 + 1;
	depth = 1 + ref_below(3);
	ref_nest_init(&nest, inner);
	for (unsigned i = 0; i < depth; i++) {
		struct ref_wrap w = ref_any_wrap(ref_any_tunnel(i + 1 == depth));

		ref_wrap(&nest, &w);
	}
	ref_push_eth(&nest, ref_below(3));
	ref_open(&nest, 0);
	memcpy(bytes, nest.bytes + nest.start, nest.end - nest.start);
	return nest.end - nest.start;
}

static uint32_t make_bytes(const struct control *c, const uint8_t *data, uint32_t size,
			   struct ref_place *at)
{
	struct ref_spec spec = {
		.v6 = c->v6 & 1,
		.tags = c->tags % 4,
		.ip_opts = (uint8_t)(c->ip_opts % 11 * 4),
		.ext = c->ext % 10,
		.proto = c->proto & 1 ? IPPROTO_UDP : IPPROTO_TCP,
		.tcp_opts = (uint8_t)(c->tcp_opts % 11 * 4),
		.flags = c->flags,
		.payload = c->payload,
	};
	uint32_t len;

	if (!(c->well_formed & 1)) {
		memcpy(bytes, data, size);
		*at = (struct ref_place){0};
		return size;
	}
	if (c->well_formed & 2) {
		spec.payload %= 1200;
		spec.tags = 0;
		*at = (struct ref_place){0};
		len = make_tunnels(&spec, c->gso_size);
	} else {
		len = ref_build(&spec, bytes, at);
	}
	if (len > XB_PACKET_BYTES_MAX)
		len = XB_PACKET_BYTES_MAX;
	for (; size >= 2; size -= 2, data += 2)
		if (data[0] < len)
			bytes[data[0]] = data[1];
	return len;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct ref_place at;
	struct control c;
	struct xb_frame *pkt;
	uint32_t len, step;

	if (size < sizeof(c))
		return 0;
	memcpy(&c, data, sizeof(c));
	size -= sizeof(c);
	len = make_bytes(&c, data + sizeof(c), size < 60000 ? (uint32_t)size : 60000, &at);
	step = c.step % XB_FRAME_BYTES;
	if (step < len / 40 + 1)
		step = len / 40 + 1;
	ref_state = 1;
	pkt = ref_packet(&ra, bytes, len, c.first % XB_FRAME_ROOM, step);
	pkt->offload = (struct xb_offload){
		.csum = c.csum % 4 < 3 ? c.csum % 4 : XB_CSUM_PARTIAL,
		.gso = c.gso % 5,
		.gso_size = c.gso_size,
		.csum_start = c.own_place & 1 ? c.csum_start : (uint16_t)at.l4,
		.csum_offset = c.own_place & 1 ? c.csum_offset : (uint16_t)(at.check - at.l4),
	};
	ref_fence(pkt);
	finish(pkt);
	cut(pkt, c.takes, c.max % (XB_SEGMENTS_MAX + 1));
	REF_CHECK(ref_arena_used(&ra) == 0);
	return 0;
}
