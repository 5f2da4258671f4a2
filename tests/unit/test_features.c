/* SPDX-License-Identifier: BSD-2-Clause */
#include "virtio/features.h"

#include "core/offload.h"
#include "support/must.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

/* virtio 1.2, 5.1.3.1, read once more: A requires B, or C where there is one. */
static const struct {
	unsigned a, b, c;
} requires[] = {
	{VIRTIO_NET_F_GUEST_TSO4, VIRTIO_NET_F_GUEST_CSUM, 0},
	{VIRTIO_NET_F_GUEST_TSO6, VIRTIO_NET_F_GUEST_CSUM, 0},
	{VIRTIO_NET_F_GUEST_ECN, VIRTIO_NET_F_GUEST_TSO4, VIRTIO_NET_F_GUEST_TSO6},
	{VIRTIO_NET_F_GUEST_USO4, VIRTIO_NET_F_GUEST_CSUM, 0},
	{VIRTIO_NET_F_GUEST_USO6, VIRTIO_NET_F_GUEST_CSUM, 0},
	{VIRTIO_NET_F_HOST_TSO4, VIRTIO_NET_F_CSUM, 0},
	{VIRTIO_NET_F_HOST_TSO6, VIRTIO_NET_F_CSUM, 0},
	{VIRTIO_NET_F_HOST_ECN, VIRTIO_NET_F_HOST_TSO4, VIRTIO_NET_F_HOST_TSO6},
	{VIRTIO_NET_F_HOST_USO, VIRTIO_NET_F_CSUM, 0},
	{VIRTIO_NET_F_CTRL_RX, VIRTIO_NET_F_CTRL_VQ, 0},
	{VIRTIO_NET_F_CTRL_VLAN, VIRTIO_NET_F_CTRL_VQ, 0},
	{VIRTIO_NET_F_GUEST_ANNOUNCE, VIRTIO_NET_F_CTRL_VQ, 0},
	{VIRTIO_NET_F_MQ, VIRTIO_NET_F_CTRL_VQ, 0},
	{VIRTIO_NET_F_CTRL_MAC_ADDR, VIRTIO_NET_F_CTRL_VQ, 0},
};

#define N_REQUIRES (sizeof(requires) / sizeof(requires[0]))

static bool met(uint64_t features, unsigned i)
{
	return xb_has(features, requires[i].b) ||
	       (requires[i].c && xb_has(features, requires[i].c));
}

static void what_remains_is_offered_consistent_and_as_much_as_can_be(void **state)
{
	struct rnd rnd = rnd_seed();

	(void)state;
	for (unsigned round = 0; round < 200000; round++) {
		uint64_t offered = rnd_next(&rnd) & (round % 2 ? rnd_next(&rnd) : ~0ull);
		uint64_t left = xb_features_consistent(offered);
		uint64_t gone = offered & ~left;

		MUST(!(left & ~offered));
		MUST(xb_features_consistent(left) == left);
		for (unsigned i = 0; i < N_REQUIRES; i++) {
			MUST(!xb_has(left, requires[i].a) || met(left, i));
			if (xb_has(gone, requires[i].a)) {
				MUST(!met(left, i)); /* it went for a reason */
				gone &= ~XB_F(requires[i].a);
			}
		}
		MUST(!gone); /* and nothing else did */
	}
}

static void a_driver_leaves_to_the_device_what_was_negotiated_for_that(void **state)
{
	static const uint64_t guest = XB_F(VIRTIO_NET_F_GUEST_CSUM) |
				      XB_F(VIRTIO_NET_F_GUEST_TSO4) |
				      XB_F(VIRTIO_NET_F_GUEST_TSO6) | XB_F(VIRTIO_NET_F_GUEST_ECN) |
				      XB_F(VIRTIO_NET_F_GUEST_USO4) | XB_F(VIRTIO_NET_F_GUEST_USO6);

	(void)state;
	assert_int_equal(xb_features_takes(0), 0);
	assert_int_equal(xb_features_takes(guest), 0);
	assert_int_equal(xb_features_takes(XB_F(VIRTIO_NET_F_CSUM)), XB_TAKES_CSUM);
	assert_int_equal(xb_features_takes(XB_F(VIRTIO_NET_F_CSUM) | XB_F(VIRTIO_NET_F_HOST_TSO4) |
					   XB_F(VIRTIO_NET_F_HOST_ECN)),
			 XB_TAKES_CSUM | XB_TAKES_TSO4 | XB_TAKES_ECN);
	assert_int_equal(xb_features_takes(XB_F_OFFLOADS), XB_TAKES_CSUM | XB_TAKES_TSO4 |
								   XB_TAKES_TSO6 | XB_TAKES_ECN |
								   XB_TAKES_USO);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_remains_is_offered_consistent_and_as_much_as_can_be),
		cmocka_unit_test(a_driver_leaves_to_the_device_what_was_negotiated_for_that),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
