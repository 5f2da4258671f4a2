/* SPDX-License-Identifier: BSD-2-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/checksum.h"
#include "core/segment.h"

#define FRAMES 4096u
#include "packet_room.h"

#include <errno.h>

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

static uint8_t big[REF_BYTES_MAX], want[REF_BYTES_MAX], got[REF_BYTES_MAX];
static struct xb_frame *pieces[XB_SEGMENTS_MAX];

static uint8_t gso_of(const struct ref_spec *spec)
{
	if (spec->proto == IPPROTO_UDP)
		return XB_GSO_UDP_L4;
	return spec->v6 ? XB_GSO_TCP6 : XB_GSO_TCP4;
}

/* Builds the packet of `spec` in `big`, to be cut into `size` bytes each. */
static struct xb_frame *to_cut(const struct ref_spec *spec, uint16_t size, struct ref_place *at)
{
	uint32_t len = ref_build(spec, big, at);
	struct xb_frame *pkt;

	ref_make_partial(big, at);
	pkt = ref_packet_any(&ra, big, len, 1);
	pkt->offload = ref_partial(at);
	pkt->offload.gso = gso_of(spec);
	pkt->offload.gso_size = size;
	pkt->offload.hdr_bytes = (uint16_t)ref_below(65536); /* a hint: not to be believed */
	ref_fence(pkt);
	return pkt;
}

static void give_back(unsigned n)
{
	ref_unfence(&ra);
	for (unsigned i = 0; i < n; i++)
		xb_packet_free(&ra.cache, pieces[i]);
	assert_int_equal(ref_arena_used(&ra), 0);
}

/* Cuts and compares each piece with the reference. */
static unsigned cut_and_compare(const struct ref_spec *spec, uint16_t size, uint32_t takes)
{
	struct ref_place at;
	struct xb_frame *pkt = to_cut(spec, size, &at);
	uint32_t expected = spec->payload ? (spec->payload + size - 1) / size : 1;
	int n;

	assert_int_equal(xb_segment_headers(pkt), at.data);
	n = xb_segment(&ra.cache, pkt, takes, pieces, XB_SEGMENTS_MAX);
	assert_int_equal(n, expected);
	for (int i = 0; i < n; i++) {
		uint32_t len = ref_segment(big, &at, size, (uint32_t)i, want);

		if (takes & XB_TAKES_CSUM) {
			struct xb_offload partial = ref_partial(&at);

			assert_memory_equal(&pieces[i]->offload, &partial, sizeof(partial));
			assert_int_equal(xb_csum_finish(pieces[i]), 0);
		}
		assert_int_equal(pieces[i]->offload.csum, XB_CSUM_COMPLETE);
		assert_int_equal(pieces[i]->offload.gso, XB_GSO_NONE);
		assert_int_equal(pieces[i]->in_port, 3);
		assert_int_equal(pieces[i]->fate.rule, 42);
		assert_int_equal(ref_bytes(pieces[i], got), len);
		assert_memory_equal(got, want, len);
		if (len <= XB_FRAME_ROOM)
			assert_int_equal(pieces[i]->count, 1);
	}
	give_back((unsigned)n);
	return (unsigned)n;
}

static void packets_of_any_kind_are_cut_as_by_the_reference(void **state)
{
	(void)state;
	for (unsigned round = 0; round < 400; round++) {
		struct ref_spec spec = {
			.v6 = ref_below(2),
			.tags = (uint8_t)ref_below(3),
			.vid = 100,
			.ip_opts = (uint8_t)(ref_below(3) ? 0 : ref_below(11) * 4),
			.ext = (uint8_t)(ref_below(3) ? 0 : ref_below(9)),
			.proto = ref_below(3) ? 0 : IPPROTO_UDP,
			.tos = (uint8_t)ref_below(256),
			.df = ref_below(2),
			.id = (uint16_t)ref_below(65536),
			.seq = ref_below(UINT32_MAX),
			.ack = ref_below(UINT32_MAX),
			.window = (uint16_t)ref_below(65536),
			.flags = (uint8_t)(ACK | (ref_below(256) & (FIN | PSH | ECE | CWR))),
			.tcp_opts = (uint8_t)(ref_below(11) * 4),
			.opt_byte = 1,
			.payload = ref_below(ref_below(2) ? 65000 : 5000),
			.salt = ref_below(1000),
		};
		uint16_t size =
			(uint16_t)(XB_SEGMENT_BYTES_MIN + ref_below(ref_below(2) ? 2000 : 20000));

		cut_and_compare(&spec, size, ref_below(2) ? XB_TAKES_CSUM : 0);
	}
}

static void sequence_and_identification_wrap(void **state)
{
	struct ref_spec spec = {.seq = UINT32_MAX - 1000, .id = 65534, .payload = 5000};

	(void)state;
	assert_int_equal(cut_and_compare(&spec, 1000, 0), 5);
}

static void fin_and_psh_stay_on_the_last_and_cwr_on_the_first(void **state)
{
	struct ref_spec spec = {.flags = FIN | PSH | ACK | ECE | CWR, .payload = 3000};
	static const uint8_t flags[] = {ACK | ECE | CWR, ACK | ECE, FIN | PSH | ACK | ECE};
	struct ref_place at;
	struct xb_frame *pkt = to_cut(&spec, 1000, &at);

	(void)state;
	assert_int_equal(xb_segment(&ra.cache, pkt, 0, pieces, 3), 3);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(xb_frame_data(pieces[i])[at.l4 + 13], flags[i]);
	give_back(3);
}

static void payload_that_fits_gives_one_packet(void **state)
{
	struct ref_spec spec = {.payload = 1000};

	(void)state;
	assert_int_equal(cut_and_compare(&spec, 1000, 0), 1);
	assert_int_equal(cut_and_compare(&spec, 65000, 0), 1);
	spec.payload = 0;
	assert_int_equal(cut_and_compare(&spec, 1000, 0), 1);
	spec.flags = SYN; /* nothing is cut, so nothing speaks against it */
	assert_int_equal(cut_and_compare(&spec, 1000, 0), 1);
	spec.proto = IPPROTO_UDP;
	assert_int_equal(cut_and_compare(&spec, 1000, 0), 1);
}

static void segments_longer_than_a_frame_become_chains(void **state)
{
	struct ref_spec spec = {.payload = 65000};

	(void)state;
	assert_int_equal(cut_and_compare(&spec, 8960, 0), 8);
	assert_int_equal(cut_and_compare(&spec, 40000, XB_TAKES_CSUM), 2);
	/* around the bounds of a first and of a second frame */
	for (uint32_t size = XB_FRAME_ROOM - 56; size <= XB_FRAME_ROOM - 52; size++)
		cut_and_compare(&spec, (uint16_t)size, 0);
	for (uint32_t size = XB_FRAME_ROOM - 56 + 4096; size <= XB_FRAME_ROOM - 52 + 4096; size++)
		cut_and_compare(&spec, (uint16_t)size, 0);
}

static void length_fields_left_to_whoever_cuts_are_not_needed(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 8; i++) {
		struct ref_spec spec = {
			.v6 = i & 1,
			.proto = i & 2 ? IPPROTO_UDP : 0,
			.payload = 3000,
		};
		struct ref_place at;
		uint32_t len = ref_build(&spec, big, &at);
		struct xb_frame *pkt;

		/* 0, or that of one segment */
		ref_put16(big + at.ip + (spec.v6 ? 4 : 2), i & 4 ? 0 : 1020);
		if (spec.proto == IPPROTO_UDP)
			ref_put16(big + at.l4 + 4, i & 4 ? 0 : 1008);
		pkt = ref_packet(&ra, big, len, 0, 0);
		pkt->offload = ref_partial(&at);
		pkt->offload.gso = gso_of(&spec);
		pkt->offload.gso_size = 1000;
		assert_int_equal(xb_segment(&ra.cache, pkt, 0, pieces, 3), 3);
		for (uint32_t k = 0; k < 3; k++) {
			len = ref_segment(big, &at, 1000, k, want);
			assert_int_equal(ref_bytes(pieces[k], got), len);
			assert_memory_equal(got, want, len);
		}
		give_back(3);
	}
}

/* ---- refusals ---- */

struct refusal {
	const char *why;
	struct ref_spec spec;
	uint16_t size;
	unsigned max;
	int code;
	void (*spoil)(uint8_t *p, const struct ref_place *at, struct xb_offload *offload);
};

static void no_gso(uint8_t *p, const struct ref_place *at, struct xb_offload *offload)
{
	(void)p, (void)at;
	offload->gso = XB_GSO_NONE;
}

static void unknown_gso(uint8_t *p, const struct ref_place *at, struct xb_offload *offload)
{
	(void)p, (void)at;
	offload->gso = 77;
}

static void gso_of_other_version(uint8_t *p, const struct ref_place *at, struct xb_offload *offload)
{
	(void)p, (void)at;
	offload->gso = offload->gso == XB_GSO_TCP4 ? XB_GSO_TCP6 : XB_GSO_TCP4;
}

static void gso_of_other_protocol(uint8_t *p, const struct ref_place *at,
				  struct xb_offload *offload)
{
	(void)p, (void)at;
	offload->gso = offload->gso == XB_GSO_TCP4 ? XB_GSO_UDP_L4 : XB_GSO_TCP4;
}

static void csum_complete(uint8_t *p, const struct ref_place *at, struct xb_offload *offload)
{
	(void)p, (void)at;
	offload->csum = XB_CSUM_COMPLETE;
}

static void csum_elsewhere(uint8_t *p, const struct ref_place *at, struct xb_offload *offload)
{
	(void)p, (void)at;
	offload->csum_start += 2;
}

static void csum_beyond(uint8_t *p, const struct ref_place *at, struct xb_offload *offload)
{
	(void)p, (void)at;
	offload->csum_start = 65535;
	offload->csum_offset = 65535;
}

static void csum_offset_of_udp(uint8_t *p, const struct ref_place *at, struct xb_offload *offload)
{
	(void)p, (void)at;
	offload->csum_offset = 6;
}

static void short_data_offset(uint8_t *p, const struct ref_place *at, struct xb_offload *offload)
{
	(void)offload;
	p[at->l4 + 12] = 0x40;
}

static void ip_length_beyond(uint8_t *p, const struct ref_place *at, struct xb_offload *offload)
{
	(void)offload;
	if (p[at->ip] / 16 == 4)
		ref_put16(p + at->ip + 2, at->end - at->ip + 1);
	else
		ref_put16(p + at->ip + 4, at->end - at->ip - 40 + 1);
}

static void fragment(uint8_t *p, const struct ref_place *at, struct xb_offload *offload)
{
	(void)offload;
	p[at->ip + 6] = 0x20;
}

static void other_ethertype(uint8_t *p, const struct ref_place *at, struct xb_offload *offload)
{
	(void)offload;
	ref_put16(p + at->ip - 2, 0x88cc);
}

static const struct refusal refusals[] = {
	{"no gso", {.payload = 3000}, 1000, 64, -EINVAL, no_gso},
	{"unknown gso", {.payload = 3000}, 1000, 64, -EINVAL, unknown_gso},
	{"gso_size 0", {.payload = 3000}, 0, 64, -EINVAL, NULL},
	{"gso_size 0, no payload", {.payload = 0}, 0, 64, -EINVAL, NULL},
	{"TCP6 on IPv4", {.payload = 3000}, 1000, 64, -EINVAL, gso_of_other_version},
	{"TCP4 on IPv6", {.v6 = true, .payload = 3000}, 1000, 64, -EINVAL, gso_of_other_version},
	{"UDP on TCP", {.payload = 3000}, 1000, 64, -EINVAL, gso_of_other_protocol},
	{"TCP on UDP",
	 {.proto = IPPROTO_UDP, .payload = 3000},
	 1000,
	 64,
	 -EINVAL,
	 gso_of_other_protocol},
	{"ICMP", {.proto = IPPROTO_ICMP, .payload = 3000}, 1000, 64, -EINVAL, NULL},
	{"checksum not partial", {.payload = 3000}, 1000, 64, -EINVAL, csum_complete},
	{"checksum elsewhere", {.payload = 3000}, 1000, 64, -EINVAL, csum_elsewhere},
	{"checksum beyond", {.payload = 3000}, 1000, 64, -EINVAL, csum_beyond},
	{"checksum of UDP on TCP", {.payload = 3000}, 1000, 64, -EINVAL, csum_offset_of_udp},
	{"data offset below 5", {.payload = 3000}, 1000, 64, -EINVAL, short_data_offset},
	{"IPv4 length beyond", {.payload = 3000}, 1000, 64, -EINVAL, ip_length_beyond},
	{"IPv6 length beyond", {.v6 = true, .payload = 3000}, 1000, 64, -EINVAL, ip_length_beyond},
	{"fragment", {.payload = 3000}, 1000, 64, -EINVAL, fragment},
	{"not IP", {.payload = 3000}, 1000, 64, -EINVAL, other_ethertype},
	{"three tags", {.tags = 3, .payload = 3000}, 1000, 64, -EINVAL, NULL},
	{"nine extension headers",
	 {.v6 = true, .ext = 9, .payload = 3000},
	 1000,
	 64,
	 -EINVAL,
	 NULL},
	{"SYN", {.flags = SYN | ACK, .payload = 3000}, 1000, 64, -EINVAL, NULL},
	{"RST", {.flags = RST | ACK, .payload = 3000}, 1000, 64, -EINVAL, NULL},
	{"URG", {.flags = URG | ACK, .payload = 3000}, 1000, 64, -EINVAL, NULL},
	{"more than max", {.payload = 3001}, 1000, 3, -E2BIG, NULL},
	{"max 0", {.payload = 10}, 1000, 0, -E2BIG, NULL},
	{"one byte each", {.payload = 65000}, 1, XB_SEGMENTS_MAX, -E2BIG, NULL},
	{"more than the limit", {.payload = 1025}, 1, 2000, -E2BIG, NULL},
};

/* Expects a refusal that changes nothing, and gives the packet back. */
static void expect_refused(struct xb_frame *pkt, unsigned max, int code)
{
	static struct xb_frame *const untouched[XB_SEGMENTS_MAX];
	uint32_t used = ref_arena_used(&ra);
	uint32_t len = pkt->bytes;
	struct xb_offload before = pkt->offload;

	ref_bytes(pkt, want);
	memset(pieces, 0, sizeof(pieces));
	assert_int_equal(xb_segment(&ra.cache, pkt, 0, pieces, max), code);
	assert_int_equal(ref_arena_used(&ra), used);
	assert_memory_equal(pieces, untouched, sizeof(pieces));
	assert_memory_equal(&pkt->offload, &before, sizeof(before));
	assert_int_equal(ref_bytes(pkt, got), len);
	assert_memory_equal(got, want, len);
	ref_unfence(&ra);
	xb_packet_free(&ra.cache, pkt);
}

static void contradictions_are_refused_with_the_packet_untouched(void **state)
{
	(void)state;
	for (unsigned i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
		const struct refusal *r = &refusals[i];
		struct ref_place at;
		struct xb_frame *first = to_cut(&r->spec, r->size, &at), *pkt;
		struct xb_offload offload = first->offload;

		xb_packet_free(&ra.cache, first);
		ref_unfence(&ra);
		if (r->spoil)
			r->spoil(big, &at, &offload);
		pkt = ref_packet_any(&ra, big, at.end, 1);
		pkt->offload = offload;
		ref_fence(pkt);
		print_message("           %s\n", r->why);
		if (r->code == -EINVAL)
			assert_int_equal(xb_segment_headers(pkt), -EINVAL);
		expect_refused(pkt, r->max, r->code);
	}
}

static void truncated_headers_are_refused(void **state)
{
	(void)state;
	for (unsigned v6 = 0; v6 < 2; v6++) {
		struct ref_spec spec = {.v6 = v6, .tags = 2, .tcp_opts = 40, .payload = 3000};
		struct ref_place at;

		for (uint32_t len = 0; len < 122 - !v6 * 20u; len++) {
			struct xb_frame *pkt;

			ref_build(&spec, big, &at);
			ref_put16(big + at.ip + (v6 ? 4 : 2), 0);
			pkt = ref_packet(&ra, big, len, 1 + ref_below(60), 30);
			pkt->offload = ref_partial(&at);
			pkt->offload.gso = v6 ? XB_GSO_TCP6 : XB_GSO_TCP4;
			pkt->offload.gso_size = 100;
			ref_fence(pkt);
			expect_refused(pkt, 64, -EINVAL);
		}
	}
}

static void segments_beyond_what_ip_can_say_are_refused(void **state)
{
	struct ref_spec spec = {.payload = 65495};
	struct ref_place at;
	struct xb_frame *pkt = to_cut(&spec, 65535, &at);

	(void)state;
	assert_int_equal(xb_segment(&ra.cache, pkt, 0, pieces, 1), 1);
	give_back(1);
	spec.payload = 65496;
	ref_build(&spec, big, &at);
	ref_put16(big + at.ip + 2, 0);
	pkt = ref_packet(&ra, big, at.end, 0, 0);
	pkt->offload = ref_partial(&at);
	pkt->offload.gso = XB_GSO_TCP4;
	pkt->offload.gso_size = 65535;
	expect_refused(pkt, 64, -EINVAL);
}

static void short_frames_are_no_loss(void **state)
{
	static struct xb_frame *taken[FRAMES];

	(void)state;
	for (unsigned jumbo = 0; jumbo < 2; jumbo++) {
		struct ref_spec spec = {.payload = 30000};
		uint32_t needed = jumbo ? 3 * 3 + 1 : 30; /* 9000 bytes take three frames */
		struct ref_place at;

		for (uint32_t left = 0; left <= needed; left++) {
			struct xb_frame *pkt = to_cut(&spec, jumbo ? 9000 : 1000, &at);
			uint32_t n = 0;

			ref_unfence(&ra);
			while ((taken[n] = xb_frame_alloc(&ra.cache)) != NULL)
				n++;
			assert_true(n > left);
			for (uint32_t i = 0; i < left; i++)
				xb_packet_free(&ra.cache, taken[--n]);
			if (left < needed) {
				expect_refused(pkt, 64, -ENOBUFS);
			} else {
				int got_n = xb_segment(&ra.cache, pkt, 0, pieces, 64);

				assert_int_equal(got_n, jumbo ? 4 : 30);
				while (got_n)
					xb_packet_free(&ra.cache, pieces[--got_n]);
			}
			while (n)
				xb_packet_free(&ra.cache, taken[--n]);
			assert_int_equal(ref_arena_used(&ra), 0);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(packets_of_any_kind_are_cut_as_by_the_reference),
		cmocka_unit_test(sequence_and_identification_wrap),
		cmocka_unit_test(fin_and_psh_stay_on_the_last_and_cwr_on_the_first),
		cmocka_unit_test(payload_that_fits_gives_one_packet),
		cmocka_unit_test(segments_longer_than_a_frame_become_chains),
		cmocka_unit_test(length_fields_left_to_whoever_cuts_are_not_needed),
		cmocka_unit_test(contradictions_are_refused_with_the_packet_untouched),
		cmocka_unit_test(truncated_headers_are_refused),
		cmocka_unit_test(segments_beyond_what_ip_can_say_are_refused),
		cmocka_unit_test(short_frames_are_no_loss),
	};

	ref_seed();
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
