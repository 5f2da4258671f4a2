/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The frames of a test of packets. There are `FRAMES` of them, which the file defines before it
 * includes this, at the beginning of each test, and all are back at its end.
 */
#ifndef XB_TESTS_PACKET_ROOM_H
#define XB_TESTS_PACKET_ROOM_H

#include "packet_ref.h"

static struct ref_arena ra;

static inline int set_up(void **state)
{
	(void)state;
	ref_arena_init(&ra, FRAMES);
	return 0;
}

static inline int tear_down(void **state)
{
	(void)state;
	ref_unfence(&ra);
	assert_int_equal(ref_arena_used(&ra), 0);
	ref_arena_fini(&ra);
	return 0;
}

#endif
