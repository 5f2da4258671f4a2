/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Where a packet's headers lie: against packets that were built from a plan, and against what rules
 * see of frames of all shapes; and that a packet carries nothing that no longer holds.
 */
#include "core/checksum.h"
#include "core/coalesce.h"
#include "core/l4.h"
#include "support/headers.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <linux/in.h>
#include <string.h>

#define FRAMES 256u
#include "packet_room.h"

static uint8_t bytes[REF_BYTES_MAX];

static struct ref_spec any_spec(void)
{
	static const uint8_t protos[] = {IPPROTO_TCP, IPPROTO_UDP, IPPROTO_SCTP, IPPROTO_EGP};

	return (struct ref_spec){
		.v6 = ref_below(2),
		.tags = (uint8_t)ref_below(3),
		.vid = (uint16_t)(1 + ref_below(4094)),
		.ip_opts = (uint8_t)(ref_below(3) ? 0 : ref_below(11) * 4),
		.ext = (uint8_t)(ref_below(3) ? 0 : ref_below(4)),
		.proto = protos[ref_below(4)],
		.payload = ref_below(300),
		.pad = ref_below(3),
	};
}

static void headers_lie_where_they_were_put(void **state)
{
	(void)state;
	for (unsigned round = 0; round < 20000; round++) {
		struct ref_spec spec = any_spec();
		struct ref_place at;
		uint32_t len = ref_build(&spec, bytes, &at);
		struct xb_headers got;

		xb_headers_find(bytes, len, &got);
		assert_int_equal(xb_l4_found(&got), XB_L4_FOUND);
		assert_int_equal(xb_l4_is_v4(&got), !spec.v6);
		assert_int_equal(got.l3, at.ip);
		assert_int_equal(got.l4, at.l4);
		assert_int_equal(got.end, at.end);
		assert_int_equal(got.proto, at.proto);
		assert_int_equal(got.vlan, spec.tags ? spec.vid : 0);
		assert_int_equal(!!(got.flags & XB_HEADERS_PLAIN),
				 spec.v6 ? !spec.ext : !spec.ip_opts);
	}
}

/* The same parse gives rules their key: what it notes does not depend on whether one is wanted, and
 * says no more than the key does. */
static void places_and_key_are_of_one_mind(void **state)
{
	uint8_t frame[HEADERS_FRAME_BYTES];
	const struct xb_origin origin = {.in = 1};
	unsigned seen[3] = {0};

	(void)state;
	for (unsigned round = 0; round < 200000; round++) {
		uint32_t len = headers_make_frame(ref_below, frame);
		uint32_t reach = len < XB_PARSE_BYTES ? len : XB_PARSE_BYTES;
		struct xb_headers with_key, alone;
		struct xb_key key, ref;

		assert_int_equal(xb_parse_all(frame, frame + reach, &origin, &key, &with_key), 0);
		xb_headers_find(frame, len, &alone);
		assert_memory_equal(&alone, &with_key, sizeof(alone));
		headers_reference(frame, len, &origin, &ref);
		assert_memory_equal(&key, &ref, sizeof(key));
		assert_int_equal(alone.vlan, key.vlan == XB_VLAN_NONE ? 0 : key.vlan);
		assert_int_equal(alone.proto, key.has & XB_HAS(PROTO) ? key.proto : 0);
		seen[xb_l4_found(&alone)]++;
		if (xb_l4_found(&alone) == XB_L4_NOT_IP)
			assert_int_equal(key.family, 0);
		if (xb_l4_found(&alone) != XB_L4_FOUND)
			continue;
		assert_int_equal(key.family, xb_l4_is_v4(&alone) ? 4 : 6);
		assert_int_equal(key.frag, XB_FRAG_NO);
		assert_true(alone.l4 > alone.l3 && alone.l4 <= reach);
		if (key.has & XB_HAS(SPORT))
			assert_int_equal(key.sport, frame[alone.l4] << 8 | frame[alone.l4 + 1]);
	}
	for (unsigned i = 0; i < 3; i++)
		assert_true(seen[i] > 2000);
}

static void a_packet_is_looked_at_once_whatever_its_frames(void **state)
{
	(void)state;
	for (unsigned round = 0; round < 2000; round++) {
		struct ref_spec spec = any_spec();
		struct ref_place at;
		uint32_t len = ref_build(&spec, bytes, &at), n;
		struct xb_frame *pkt = ref_packet_any(&ra, bytes, len, 14);
		uint8_t buf[XB_HEADERS_BYTES];
		const uint8_t *data = xb_packet_headers(pkt, buf, &n);
		struct xb_headers want;

		xb_headers_find(bytes, len, &want);
		assert_memory_equal(xb_packet_parse(pkt, data, n), &want, sizeof(want));
		/* the second time nothing is read */
		assert_memory_equal(xb_packet_parse(pkt, NULL, 0), &want, sizeof(want));
		xb_packet_free(&ra.cache, pkt);
	}
}

static struct xb_frame *built(const struct ref_spec *spec, struct ref_place *ret_at)
{
	uint32_t len = ref_build(spec, bytes, ret_at);
	struct xb_frame *pkt = ref_packet(&ra, bytes, len, 0, 0);

	xb_packet_parse(pkt, xb_frame_data(pkt), pkt->len);
	return pkt;
}

static void must_hold(const struct xb_frame *pkt)
{
	uint8_t buf[XB_HEADERS_BYTES];
	struct xb_headers now;

	if (!pkt->headers.l3)
		return;
	xb_headers_find(buf, xb_packet_read(pkt, buf, sizeof(buf)), &now);
	assert_memory_equal(&pkt->headers, &now, sizeof(now));
}

static void what_is_joined_ends_further_on(void **state)
{
	struct xb_frame *pkts[2];
	struct ref_place at;

	(void)state;
	for (uint32_t i = 0; i < 2; i++) {
		struct ref_spec spec = {.v6 = false, .df = true, .seq = i * 100, .payload = 100};

		pkts[i] = built(&spec, &at);
		pkts[i]->offload.csum = XB_CSUM_TRUSTED;
	}
	assert_int_equal(xb_coalesce(&ra.cache, pkts, 2, XB_TAKES_TSO4, 48), 1);
	must_hold(pkts[0]);
	assert_int_equal(pkts[0]->headers.end, at.end + 100);
	xb_packet_free(&ra.cache, pkts[0]);
}

/* A checksum that a sender wants in the middle of a header. */
static void a_checksum_in_a_place_of_its_own_makes_us_forget(void **state)
{
	struct ref_spec spec = {.payload = 100};
	struct ref_place at;
	struct xb_frame *pkt = built(&spec, &at);

	(void)state;
	pkt->offload = (struct xb_offload){
		.csum = XB_CSUM_PARTIAL, .csum_start = (uint16_t)at.ip, .csum_offset = 2};
	assert_int_equal(xb_csum_finish(pkt), 0);
	must_hold(pkt);
	xb_packet_free(&ra.cache, pkt);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(headers_lie_where_they_were_put),
		TEST(places_and_key_are_of_one_mind),
		TEST(a_packet_is_looked_at_once_whatever_its_frames),
		TEST(what_is_joined_ends_further_on),
		TEST(a_checksum_in_a_place_of_its_own_makes_us_forget),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
