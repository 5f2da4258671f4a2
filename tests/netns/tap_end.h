/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A TAP with its port, for tests that run with each form of the port: readv, io_uring, and io_uring
 * as on a kernel whose TAPs don't know RWF_NOWAIT (before 6.4).
 */
#ifndef XB_TEST_TAP_END_H
#define XB_TEST_TAP_END_H

#include "core/l4.h"
#include "tap_env.h"
#include "vhost/tap_port.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <time.h>

#include <cmocka.h>

#define FRAMES 4096u

struct end {
	struct xb_tap tap;
	struct xb_tap_port port;
	struct xb_cache cache;
};

static struct xb_arena arena;
static enum xb_tap_io form; /* what the tests run with now */
static bool before_6_4;     /* and whether as on a kernel without RWF_NOWAIT on TAPs */

static inline uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static inline struct xb_port *port_of(struct end *end)
{
	return &end->port.port;
}

static inline struct xb_port_queue *queue_of(struct end *end)
{
	return &end->port.port.queues[0];
}

static inline void open_end(struct end *end, const char *name, const char *netns, bool offload,
			    unsigned pairs)
{
	struct xb_tap_options tap = {.ifname = name, .netns = netns, .queues = pairs};
	struct xb_tap_port_options port = {.name = name, .io = form};
	struct xb_error err = {0};
	char text[512];

	if (offload)
		port.offload = XB_OFFLOAD_ALL;
	if (xb_tap_init(&end->tap, &tap, &err) < 0 || xb_tap_set_up(&end->tap, true) < 0 ||
	    xb_tap_port_init(&end->port, &end->tap, &port, &err) < 0)
		fail_msg("%s", xb_error_text(&err, text, sizeof(text)));
	if (before_6_4)
		end->port.nowait = false;
	if (xb_tap_port_start(&end->port, pairs, &err) < 0)
		fail_msg("%s", xb_error_text(&err, text, sizeof(text)));
	assert_int_equal(end->port.io, form);
	xb_cache_init(&end->cache, &arena);
}

/* Stops, and checks that no frame is missing. */
static inline void close_end(struct end *end)
{
	xb_tap_port_stop(&end->port, &end->cache);
	xb_tap_port_fini(&end->port);
	xb_tap_fini(&end->tap);
	xb_cache_fini(&end->cache);
}

static inline void assert_all_frames_free(void)
{
	uint32_t counts[XB_OWNER_COUNT];

	xb_arena_count(&arena, counts);
	assert_int_equal(counts[XB_OWNER_POOL], arena.n_frames);
}

/* Sends all at once; nothing is left waiting. */
static inline void send_all(struct end *end, struct xb_frame **pkts, unsigned n)
{
	const struct xb_port_ops *ops = port_of(end)->ops;

	assert_int_equal(ops->tx_batch(port_of(end), 0, &end->cache, pkts, n), n);
	assert_int_equal(ops->kick(port_of(end), 0, &end->cache), 0);
}

/* Sets the form that comes `i`th and returns its name; NULL behind the last. */
static inline const char *set_form(unsigned i)
{
	static const char *const names[] = {"readv", "io_uring", "io_uring before 6.4"};

	form = i ? XB_TAP_IO_URING : XB_TAP_IO_READV;
	before_6_4 = i == 2;
	return i < 3 ? names[i] : NULL;
}

static inline void set_up_ends(void)
{
	struct xb_error err = {0};

	enter_new_netns();
	if (xb_arena_init(&arena, FRAMES, 0, &err) < 0)
		exit(1);
}

#endif
