/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Checksums inside tunnels. A sender leaves one of a packet's checksums open, mostly the innermost,
 * and completes those around it for what they will cover then.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/checksum.h"
#include "core/cover.h"

#define FRAMES 256u
#include "packet_room.h"
#include "tunnel_ref.h"

static struct ref_nest right, open, nest;
static uint8_t got[REF_BYTES_MAX];

static struct ref_spec any_inner(void)
{
	static const uint8_t protos[] = {IPPROTO_TCP, IPPROTO_UDP, IPPROTO_SCTP};

	return (struct ref_spec){
		.v6 = ref_below(2),
		.ip_opts = (uint8_t)(ref_below(3) ? 0 : ref_below(11) * 4),
		.ext = (uint8_t)(ref_below(3) ? 0 : ref_below(3)),
		.proto = protos[ref_below(3)],
		.tcp_opts = (uint8_t)(ref_below(11) * 4),
		.payload = ref_below(1200),
		.salt = ref_below(1000),
	};
}

/* A packet on the wire: whole, with its Ethernet header. */
static void build_any(struct ref_nest *to, enum ref_tunnel outermost, unsigned depth)
{
	struct ref_spec spec = any_inner();

	ref_nest_init(to, &spec);
	for (unsigned i = 0; i < depth; i++) {
		struct ref_wrap w = ref_any_wrap(i + 1 == depth ? outermost
								: ref_any_tunnel(false));

		ref_wrap(to, &w);
	}
	ref_push_eth(to, ref_below(3));
}

static struct xb_frame *trusted(const struct ref_nest *from, bool one_piece)
{
	uint32_t len = from->end - from->start;
	struct xb_frame *pkt = one_piece ? ref_packet(&ra, from->bytes + from->start, len, 0, 0)
					 : ref_packet(&ra, from->bytes + from->start, len,
						      1 + ref_below(300),
						      len / 40 + 1 + ref_below(99));

	pkt->offload.csum = XB_CSUM_TRUSTED;
	ref_fence(pkt);
	return pkt;
}

/* All ways out of TRUSTED lead from one packet to the other. */
static void expect(const struct ref_nest *from, const struct ref_nest *to, bool one_piece)
{
	uint32_t len = to->end - to->start;

	for (unsigned way = 0; way < 2; way++) {
		struct xb_frame *pkt = trusted(from, one_piece);

		if (way)
			xb_csum_make_partial(pkt);
		else
			assert_int_equal(xb_csum_finish(pkt), 0);
		assert_int_equal(pkt->offload.csum, XB_CSUM_COMPLETE);
		assert_int_equal(ref_bytes(pkt, got), len);
		assert_memory_equal(got, to->bytes + to->start, len);
		ref_unfence(&ra);
		xb_packet_free(&ra.cache, pkt);
	}
}

/* Headers that a packet of many pieces is searched for. */
static bool in_reach(const struct ref_nest *n)
{
	return n->sums[0].l4 + 20 - n->start <= XB_HEADERS_BYTES;
}

static void expect_each_open_one_finished(enum ref_tunnel kind, unsigned depth)
{
	build_any(&right, kind, depth);
	for (unsigned i = 0; i < right.n; i++) {
		open = right;
		ref_open(&open, i);
		expect(&open, &right, !in_reach(&right) || ref_below(2));
	}
}

static void the_open_checksum_of_each_tunnel_is_finished(void **state)
{
	(void)state;
	for (unsigned kind = 0; kind < REF_TUNNELS; kind++)
		for (unsigned round = 0; round < 200; round++)
			expect_each_open_one_finished((enum ref_tunnel)kind, 1);
}

static void the_open_checksum_is_finished_two_and_three_tunnels_deep(void **state)
{
	(void)state;
	for (unsigned round = 0; round < 4000; round++)
		expect_each_open_one_finished(ref_any_tunnel(true), 2 + ref_below(2));
}

static void several_open_checksums_are_finished_from_the_innermost_on(void **state)
{
	(void)state;
	for (unsigned round = 0; round < 2000; round++) {
		build_any(&right, ref_any_tunnel(true), 1 + ref_below(3));
		open = right;
		for (unsigned i = 0; i < right.n; i++)
			ref_open(&open, i);
		expect(&open, &right, !in_reach(&right) || ref_below(2));
	}
}

/* By chance a checksum can be what a sender would have left. */
static bool looks_open(const struct ref_nest *n, unsigned i)
{
	open = *n;
	ref_open(&open, i);
	return ref_get16(open.bytes + n->sums[i].check) % 65535u ==
	       ref_get16(n->bytes + n->sums[i].check) % 65535u;
}

/* What came from another host and was damaged there keeps its wrong checksum. */
static void a_finished_checksum_within_a_tunnel_stays_as_it_is(void **state)
{
	(void)state;
	for (unsigned round = 0; round < 2000; round++) {
		bool chance = false;

		build_any(&right, ref_any_tunnel(true), 1 + ref_below(3));
		expect(&right, &right, true);
		right.bytes[right.sums[0].check] ^= 0x40;
		for (unsigned i = 0; i < right.n; i++)
			chance |= looks_open(&right, i);
		if (!chance)
			expect(&right, &right, true);
	}
}

static void vxlan_and_geneve_are_known_on_any_port(void **state)
{
	static const enum ref_tunnel kinds[] = {REF_VXLAN, REF_GENEVE, REF_GENEVE_IP};

	(void)state;
	for (unsigned round = 0; round < 1000; round++) {
		struct ref_spec spec = any_inner();
		struct ref_wrap w = ref_any_wrap(kinds[round % 3]);

		w.port = (uint16_t)(10000 + ref_below(50000));
		ref_nest_init(&right, &spec);
		ref_wrap(&right, &w);
		ref_push_eth(&right, 0);
		open = right;
		ref_open(&open, 0);
		expect(&open, &right, true);
	}
}

/* A datagram that only begins like a tunnel is no one's to change. */
static void what_does_not_fill_its_datagram_is_no_tunnel_on_an_unknown_port(void **state)
{
	struct ref_spec spec = {.payload = 100};
	struct ref_wrap w = {.kind = REF_VXLAN, .port = 9999};

	(void)state;
	for (unsigned known = 0; known < 2; known++) {
		w.port = known ? 4789 : 9999;
		w.no_sum = true;
		ref_nest_init(&right, &spec);
		right.end += 4; /* bytes after the packet within: an Ethernet trailer */
		ref_wrap(&right, &w);
		ref_push_eth(&right, 0);
		open = right;
		ref_open(&open, 0);
		expect(&open, known ? &right : &open, true);
	}
}

static void a_receiver_that_finishes_the_inner_checksum_itself_is_left_to_it(void **state)
{
	struct ref_spec spec = {.payload = 100};
	struct ref_wrap w = {.kind = REF_VXLAN, .no_sum = true};
	uint32_t vxlan;

	(void)state;
	ref_nest_init(&right, &spec);
	ref_wrap(&right, &w);
	vxlan = right.start + 28;
	ref_push_eth(&right, 0);
	right.bytes[vxlan + 1] |= 0x20; /* remote checksum offload */
	ref_open(&right, 0);
	expect(&right, &right, true);
}

/* Each header in turn is made to contradict itself: what lies within is not touched, and nothing
 * outside of the packet is read. */
static void damaged_tunnels_change_nothing_but_checksums(void **state)
{
	(void)state;
	for (unsigned round = 0; round < 20000; round++) {
		struct xb_frame *pkt;
		uint32_t len, cut, changed = 0;

		build_any(&nest, ref_any_tunnel(true), 1 + ref_below(3));
		ref_open(&nest, 0);
		len = nest.sums[0].l4 + 20 - nest.start;
		for (unsigned i = ref_below(4); i; i--)
			nest.bytes[nest.start + 12 + ref_below(len - 12)] = (uint8_t)ref_below(256);
		cut = ref_below(2) ? 0 : ref_below(nest.end - nest.start - 1);
		nest.end -= cut;
		pkt = trusted(&nest, ref_below(2));
		if (ref_below(2))
			xb_csum_make_partial(pkt);
		assert_int_equal(xb_csum_finish(pkt), 0);
		assert_int_equal(ref_bytes(pkt, got), nest.end - nest.start);
		for (uint32_t i = 0; i < nest.end - nest.start; i++)
			changed += got[i] != nest.bytes[nest.start + i];
		assert_true(changed <= 2 * XB_COVERS_MAX + 2);
		ref_unfence(&ra);
		xb_packet_free(&ra.cache, pkt);
	}
}

static void labels_without_an_end_are_given_up(void **state)
{
	struct ref_spec spec = {.payload = 100};
	struct ref_wrap w = {.kind = REF_MPLS};

	(void)state;
	for (unsigned labels = XB_MPLS_LABELS_MAX; labels <= XB_MPLS_LABELS_MAX + 1; labels++) {
		w.labels = (uint8_t)labels;
		ref_nest_init(&right, &spec);
		ref_wrap(&right, &w);
		ref_push_eth(&right, 0);
		open = right;
		ref_open(&open, 0);
		expect(&open, labels <= XB_MPLS_LABELS_MAX ? &right : &open, true);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_open_checksum_of_each_tunnel_is_finished),
		cmocka_unit_test(the_open_checksum_is_finished_two_and_three_tunnels_deep),
		cmocka_unit_test(several_open_checksums_are_finished_from_the_innermost_on),
		cmocka_unit_test(a_finished_checksum_within_a_tunnel_stays_as_it_is),
		cmocka_unit_test(vxlan_and_geneve_are_known_on_any_port),
		cmocka_unit_test(what_does_not_fill_its_datagram_is_no_tunnel_on_an_unknown_port),
		cmocka_unit_test(a_receiver_that_finishes_the_inner_checksum_itself_is_left_to_it),
		cmocka_unit_test(damaged_tunnels_change_nothing_but_checksums),
		cmocka_unit_test(labels_without_an_end_are_given_up),
	};

	ref_seed();
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
