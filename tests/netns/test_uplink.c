/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The uplink with real frames, on a veth pair in a network namespace of its own:
 *
 *      this test ── uplink (AF_XDP) ── up0 ════ peer0 ── packet socket ── this test
 *                   its own stack ─────┘
 */
#include "sandbox.h"
#include "xsk/uplink.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define NAME     "test"
#define N_FRAMES 4096u

/* An uplink with all that it needs. */
struct rig {
	struct xb_arena arena;
	struct xb_cache cache;
	struct xb_gate gate;
	struct xb_uplink *uplink;
	int peer; /* packet socket on the peer */
	int own;  /* packet socket on the uplink: what its own stack sees */
};

static const uint8_t to_guest[12] = {2, 0, 0, 0, 0, 0x77, 2, 0, 0, 0, 0, 2};
static const uint8_t to_own[12] = {2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2};
static const uint8_t to_all[12] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 2};
static const uint8_t from_guest[12] = {2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 0x77};

static uint64_t coarse_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

#define MUST(call)                                                                            \
	do {                                                                                  \
		struct xb_error err = {0};                                                    \
		char text_[512];                                                              \
		if ((call) < 0)                                                               \
			fail_msg("%s: %s", #call, xb_error_text(&err, text_, sizeof(text_))); \
	} while (0)

static struct xb_uplink_options options(void)
{
	return (struct xb_uplink_options){.ifname = "up0",
					  .sharing = XB_SHARING_DEDICATED,
					  .ring_size = 512,
					  .fill_frames = 256,
					  .verdict = XB_VERDICT_BRIDGE};
}

static void open_stopped(struct rig *rig, const struct xb_uplink_options *how)
{
	memset(rig, 0, sizeof(*rig));
	MUST(xb_arena_init(&rig->arena, N_FRAMES, 0, &err));
	xb_cache_init(&rig->cache, &rig->arena);
	MUST(xb_gate_open(&rig->gate, NAME, &err));
	MUST(xb_uplink_new(how, &rig->gate, &rig->arena, &rig->uplink, &err));
	rig->peer = sandbox_open_packet("peer0");
	rig->own = sandbox_open_packet("up0");
}

static void open_rig(struct rig *rig, const struct xb_uplink_options *how)
{
	open_stopped(rig, how);
	MUST(xb_uplink_start(rig->uplink, &rig->cache, &err));
}

/* Ends a rig; no frame may be missing. */
static void close_rig(struct rig *rig)
{
	uint32_t counts[XB_OWNER_COUNT];

	xb_uplink_free(rig->uplink, &rig->cache);
	xb_arena_count(&rig->arena, counts);
	assert_int_equal(counts[XB_OWNER_POOL], rig->arena.n_frames);
	xb_gate_close(&rig->gate);
	xb_cache_fini(&rig->cache);
	xb_arena_fini(&rig->arena);
	close(rig->peer);
	close(rig->own);
}

static void beat_all(struct rig *rig)
{
	struct xb_port *port = &rig->uplink->port;

	for (unsigned q = 0; q < port->n_queues; q++)
		port->ops->beat(port, q, coarse_ns());
}

/* Sends a frame of 12 bytes of addresses, IPv4's EtherType, a number and padding. */
static void send_frame(int fd, const uint8_t addrs[12], uint32_t number, unsigned bytes)
{
	uint8_t frame[XB_FRAME_BYTES] = {0};

	memcpy(frame, addrs, 12);
	frame[12] = 0x08;
	memcpy(frame + 14, &number, sizeof(number));
	assert_int_equal(send(fd, frame, bytes, 0), bytes);
}

static uint32_t number_of(const struct xb_frame *pkt)
{
	uint32_t number;

	memcpy(&number, xb_frame_data(pkt) + 14, sizeof(number));
	return number;
}

/* The next packet on any queue within two seconds, or NULL. */
static struct xb_frame *receive(struct rig *rig, unsigned *ret_q)
{
	struct xb_port *port = &rig->uplink->port;
	struct xb_frame *pkt = NULL;

	for (int tries = 0; tries < 2000; tries++) {
		beat_all(rig);
		for (unsigned q = 0; q < port->n_queues; q++) {
			if (port->ops->rx_batch(port, q, &rig->cache, &pkt, 1)) {
				if (ret_q)
					*ret_q = q;
				return pkt;
			}
		}
		sandbox_pause();
	}
	return NULL;
}

static bool receives_nothing(struct rig *rig)
{
	struct xb_port *port = &rig->uplink->port;
	struct xb_frame *pkt;

	for (unsigned q = 0; q < port->n_queues; q++) {
		if (port->ops->rx_batch(port, q, &rig->cache, &pkt, 1))
			return false;
	}
	return true;
}

static struct xb_frame *make_packet(struct rig *rig, const uint8_t addrs[12], uint32_t number,
				    uint32_t bytes)
{
	struct xb_frame *pkt = xb_frame_alloc(&rig->cache);

	assert_non_null(pkt);
	xb_packet_init(pkt, XB_FRAME_HEADROOM, bytes);
	memset(xb_frame_data(pkt), 0, bytes);
	memcpy(xb_frame_data(pkt), addrs, 12);
	xb_frame_data(pkt)[12] = 0x08;
	memcpy(xb_frame_data(pkt) + 14, &number, sizeof(number));
	return pkt;
}

static unsigned await_sent(struct rig *rig, unsigned q)
{
	struct xb_port *port = &rig->uplink->port;
	unsigned left = 1;

	for (int tries = 0; left && tries < 2000; tries++) {
		left = port->ops->kick(port, q, &rig->cache);
		if (left)
			sandbox_pause();
	}
	return left;
}

static struct xb_xdp_stats xdp_stats(struct rig *rig)
{
	struct xb_xdp_stats stats;

	assert_int_equal(xb_gate_read_stats(&rig->gate, rig->uplink->slot, &stats), 0);
	return stats;
}

static int make_veth(void **state)
{
	(void)state;
	sandbox_make_veth(1, 1);
	return 0;
}

static int make_wide_veth(void **state)
{
	(void)state;
	sandbox_make_veth(4, 4);
	return 0;
}

static int clean_up(void **state)
{
	(void)state;
	xb_gate_remove(NAME, NULL);
	sandbox_delete_veth();
	return 0;
}

/* ---- receiving and sending ---- */

static void frames_come_and_go(struct rig *rig)
{
	struct xb_port *port = &rig->uplink->port;
	uint8_t buf[XB_FRAME_BYTES];
	struct xb_frame *pkt;

	for (uint32_t i = 0; i < 1000; i++) {
		unsigned bytes = 60 + i % 1400;

		send_frame(rig->peer, to_guest, i, bytes);
		pkt = receive(rig, NULL);
		assert_non_null(pkt);
		assert_int_equal(number_of(pkt), i);
		assert_int_equal(pkt->bytes, bytes);
		assert_int_equal(pkt->fate.verdict, XB_VERDICT_BRIDGE);
		assert_int_equal(pkt->fate.stage, XB_STAGE_DEFAULT);
		assert_int_equal(pkt->offload.csum, XB_CSUM_TRUSTED);
		xb_packet_free(&rig->cache, pkt);
	}
	for (uint32_t i = 0; i < 100; i++) {
		pkt = make_packet(rig, from_guest, i, 60 + i * 14);
		assert_int_equal(port->ops->tx_batch(port, 0, &rig->cache, &pkt, 1), 1);
		assert_int_equal(await_sent(rig, 0), 0);
		assert_int_equal(sandbox_receive(rig->peer, from_guest, buf, sizeof(buf)),
				 60 + i * 14);
		assert_memory_equal(buf + 14, &i, sizeof(i));
	}
	assert_int_equal(xb_counted(&port->queues[0].tx_packets), 100);
	assert_int_equal(xdp_stats(rig).redirect, 1000);
	/* nothing that went to us reached the stack as well, and what we sent did not come back */
	assert_int_equal(recv(rig->own, buf, sizeof(buf), MSG_DONTWAIT), -1);
	assert_true(receives_nothing(rig));
}

static void frames_come_and_go_natively(void **state)
{
	struct xb_uplink_options how = options();
	struct rig rig;

	(void)state;
	open_rig(&rig, &how);
	assert_int_equal(rig.uplink->attachment.mode, XB_XDP_NATIVE);
	assert_false(rig.uplink->zerocopy);
	assert_true(rig.uplink->port.up);
	frames_come_and_go(&rig);
	close_rig(&rig);
}

static void frames_come_and_go_in_generic_mode(void **state)
{
	struct xb_uplink_options how = options();
	struct rig rig;

	(void)state;
	how.xdp = XB_XDP_GENERIC;
	open_rig(&rig, &how);
	assert_int_equal(rig.uplink->attachment.mode, XB_XDP_GENERIC);
	frames_come_and_go(&rig);
	close_rig(&rig);
}

static void batch_goes_out_with_one_kick(void **state)
{
	struct xb_uplink_options how = options();
	struct xb_frame *pkts[XB_BATCH];
	uint8_t buf[XB_FRAME_BYTES];
	struct xb_port *port;
	struct rig rig;

	(void)state;
	open_rig(&rig, &how);
	port = &rig.uplink->port;
	for (uint32_t i = 0; i < XB_BATCH; i++)
		pkts[i] = make_packet(&rig, from_guest, i, 60);
	assert_int_equal(port->ops->tx_batch(port, 0, &rig.cache, pkts, XB_BATCH), XB_BATCH);
	port->ops->kick(port, 0, &rig.cache);
	for (uint32_t i = 0; i < XB_BATCH; i++) {
		assert_int_equal(sandbox_receive(rig.peer, from_guest, buf, sizeof(buf)), 60);
		assert_memory_equal(buf + 14, &i, sizeof(i));
	}
	assert_int_equal(await_sent(&rig, 0), 0);
	assert_int_equal(xb_counted(&port->queues[0].tx_packets), XB_BATCH);
	close_rig(&rig);
}

static void full_ring_refuses_the_rest(void **state)
{
	struct xb_uplink_options how = options();
	struct xb_frame *pkts[XB_BATCH];
	struct xb_port *port;
	unsigned taken = 0;
	unsigned n;
	struct rig rig;

	(void)state;
	open_rig(&rig, &how);
	port = &rig.uplink->port;
	do {
		for (uint32_t i = 0; i < 48; i++)
			pkts[i] = make_packet(&rig, from_guest, i, 60);
		n = port->ops->tx_batch(port, 0, &rig.cache, pkts, 48);
		taken += n;
	} while (n == 48);
	assert_int_equal(taken, how.ring_size);
	while (n < 48)
		xb_packet_free(&rig.cache, pkts[n++]);
	assert_int_equal(await_sent(&rig, 0), 0);
	assert_int_equal(xb_counted(&port->queues[0].tx_packets), taken);
	close_rig(&rig);
}

static void what_was_posted_counts_as_reset_when_stopped(void **state)
{
	struct xb_uplink_options how = options();
	struct xb_frame *pkts[10];
	struct xb_port *port;
	struct rig rig;

	(void)state;
	open_rig(&rig, &how);
	port = &rig.uplink->port;
	for (uint32_t i = 0; i < 10; i++)
		pkts[i] = make_packet(&rig, from_guest, i, 60);
	assert_int_equal(port->ops->tx_batch(port, 0, &rig.cache, pkts, 10), 10);
	assert_int_equal(xb_uplink_stop(rig.uplink, &rig.cache), 0);
	assert_int_equal(xb_counted(&port->queues[0].drops[XB_DROP_TX_RESET]), 10);
	close_rig(&rig);
}

static void frames_beyond_the_ring_are_missed_and_counted(void **state)
{
	struct xb_uplink_options how = options();
	struct xb_port *port;
	struct xb_frame *pkt;
	unsigned got = 0;
	struct rig rig;

	(void)state;
	open_rig(&rig, &how);
	port = &rig.uplink->port;
	beat_all(&rig);
	for (uint32_t i = 0; i < 400; i++)
		send_frame(rig.peer, to_guest, i, 60);
	SANDBOX_AWAIT(xdp_stats(&rig).redirect == 400);
	xb_uplink_refresh_stats(rig.uplink);
	assert_int_equal(xb_counted(&port->queues[0].rx_missed), 400 - how.fill_frames);
	xb_uplink_refresh_stats(rig.uplink);
	assert_int_equal(xb_counted(&port->queues[0].rx_missed), 400 - how.fill_frames);
	while (port->ops->rx_batch(port, 0, &rig.cache, &pkt, 1)) {
		xb_packet_free(&rig.cache, pkt);
		got++;
	}
	assert_int_equal(got, how.fill_frames);
	close_rig(&rig);
}

static void unread_frames_count_as_missed_when_stopped(void **state)
{
	struct xb_uplink_options how = options();
	struct rig rig;

	(void)state;
	open_rig(&rig, &how);
	beat_all(&rig);
	for (uint32_t i = 0; i < 5; i++)
		send_frame(rig.peer, to_guest, i, 60);
	SANDBOX_AWAIT(xdp_stats(&rig).redirect == 5);
	assert_int_equal(xb_uplink_stop(rig.uplink, &rig.cache), 0);
	assert_int_equal(xb_counted(&rig.uplink->port.queues[0].rx_missed), 5);
	close_rig(&rig);
}

static void frame_of_the_longest_kind_fits(void **state)
{
	struct xb_uplink_options how = options();
	uint8_t buf[XB_FRAME_BYTES];
	struct xb_port *port;
	struct xb_frame *pkt;
	struct rig rig;

	(void)state;
	how.xdp = XB_XDP_GENERIC;
	sandbox_run("ip link set up0 mtu 3818 && ip link set peer0 mtu 3818");
	open_rig(&rig, &how);
	port = &rig.uplink->port;
	assert_int_equal(port->caps.bytes_max, XB_UPLINK_BYTES_MAX);
	send_frame(rig.peer, to_guest, 1, 3832);
	pkt = receive(&rig, NULL);
	assert_non_null(pkt);
	assert_int_equal(pkt->bytes, 3832);
	xb_packet_free(&rig.cache, pkt);
	pkt = make_packet(&rig, from_guest, 2, 3832);
	assert_int_equal(port->ops->tx_batch(port, 0, &rig.cache, &pkt, 1), 1);
	assert_int_equal(await_sent(&rig, 0), 0);
	assert_int_equal(sandbox_receive(rig.peer, from_guest, buf, sizeof(buf)), 3832);
	close_rig(&rig);
}

/* ---- waking up ---- */

static bool readable(int fd, int timeout_ms)
{
	struct pollfd wait = {.fd = fd, .events = POLLIN};

	return poll(&wait, 1, timeout_ms) == 1 && wait.revents & POLLIN;
}

static void armed_queue_wakes_up(void **state)
{
	struct xb_uplink_options how = options();
	struct xb_port *port;
	struct rig rig;

	(void)state;
	how.sharing = XB_SHARING_SHARED;
	open_rig(&rig, &how);
	port = &rig.uplink->port;
	beat_all(&rig);
	assert_true(port->ops->arm(port, 0));
	assert_false(readable(port->queues[0].wake_fd, 0));
	send_frame(rig.peer, to_guest, 1, 60);
	assert_true(readable(port->queues[0].wake_fd, 2000));
	assert_false(port->ops->arm(port, 0));
	xb_packet_free(&rig.cache, receive(&rig, NULL));
	assert_true(port->ops->arm(port, 0));
	assert_false(readable(port->queues[0].wake_fd, 0));
	/* the group tap wakes the same descriptor */
	send_frame(rig.peer, to_all, 2, 60);
	assert_true(readable(port->queues[0].wake_fd, 2000));
	xb_packet_free(&rig.cache, receive(&rig, NULL));
	assert_false(readable(port->queues[0].wake_fd, 0));
	port->ops->disarm(port, 0);
	close_rig(&rig);
}

/* ---- several queues ---- */

/* A flow of its own for each: a UDP packet of which only the source port differs. */
static void send_flow(int fd, uint16_t port)
{
	uint8_t frame[60] = {0};

	memcpy(frame, to_guest, 12);
	memcpy(frame + 12, (uint8_t[]){0x08, 0, 0x45, 0,   0, 46, 0, 0,   0, 0, 64,
				       17,   0, 0,    192, 0, 2,  2, 192, 0, 2, 1},
	       22);
	frame[34] = (uint8_t)(port >> 8);
	frame[35] = (uint8_t)port;
	frame[39] = 26;
	assert_int_equal(send(fd, frame, sizeof(frame), 0), sizeof(frame));
}

static void every_queue_is_read_and_sends(void **state)
{
	struct xb_uplink_options how = options();
	unsigned seen[4] = {0};
	uint8_t buf[XB_FRAME_BYTES];
	struct xb_port *port;
	struct xb_frame *pkt;
	struct rig rig;
	unsigned q;

	(void)state;
	open_rig(&rig, &how);
	port = &rig.uplink->port;
	assert_int_equal(port->n_queues, 4);
	for (uint16_t i = 0; i < 200; i++) {
		send_flow(rig.peer, (uint16_t)(1000 + i));
		pkt = receive(&rig, &q);
		assert_non_null(pkt);
		assert_int_equal(pkt->fate.verdict, XB_VERDICT_BRIDGE);
		seen[q]++;
		xb_packet_free(&rig.cache, pkt);
	}
	assert_int_equal(seen[0] + seen[1] + seen[2] + seen[3], 200);
	for (q = 0; q < 4; q++) {
		pkt = make_packet(&rig, from_guest, q, 60);
		assert_int_equal(port->ops->tx_batch(port, q, &rig.cache, &pkt, 1), 1);
		assert_int_equal(await_sent(&rig, q), 0);
		assert_int_equal(sandbox_receive(rig.peer, from_guest, buf, sizeof(buf)), 60);
		assert_int_equal(xb_counted(&port->queues[q].tx_packets), 1);
	}
	close_rig(&rig);
	assert_true((seen[0] > 0) + (seen[1] > 0) + (seen[2] > 0) + (seen[3] > 0) > 1);
}

static void queues_without_a_tx_queue_send_by_another(void **state)
{
	struct xb_uplink_options how = options();
	uint8_t buf[XB_FRAME_BYTES];
	struct xb_port *port;
	struct xb_frame *pkt;
	struct rig rig;

	(void)state;
	sandbox_delete_veth();
	sandbox_make_veth(4, 1);
	open_rig(&rig, &how);
	port = &rig.uplink->port;
	assert_int_equal(port->n_queues, 4);
	assert_int_equal(rig.uplink->tx_queues, 1);
	for (unsigned q = 0; q < 4; q++) {
		pkt = make_packet(&rig, from_guest, q, 60);
		assert_int_equal(port->ops->tx_batch(port, q, &rig.cache, &pkt, 1), 1);
		assert_int_equal(await_sent(&rig, q), 0);
		assert_int_equal(sandbox_receive(rig.peer, from_guest, buf, sizeof(buf)), 60);
	}
	assert_int_equal(xb_counted(&port->queues[0].tx_packets), 4);
	close_rig(&rig);
}

/* ---- shared ---- */

static void addressed_uplink_is_shared(void **state)
{
	struct xb_uplink_options how = options();
	struct rig rig;

	(void)state;
	how.sharing = XB_SHARING_AUTO;
	open_stopped(&rig, &how);
	assert_false(rig.uplink->shared);
	close_rig(&rig);
	sandbox_run("ip addr add 192.0.2.1/24 dev up0");
	open_stopped(&rig, &how);
	assert_true(rig.uplink->shared);
	assert_string_equal(rig.uplink->shared_reason, "up0 has 192.0.2.1/24");
	close_rig(&rig);
}

static void own_and_group_frames_stay_with_a_shared_uplinks_stack(void **state)
{
	struct xb_uplink_options how = options();
	uint8_t buf[XB_FRAME_BYTES];
	struct xb_frame *pkt;
	struct rig rig;

	(void)state;
	how.sharing = XB_SHARING_SHARED;
	open_rig(&rig, &how);
	beat_all(&rig);
	send_frame(rig.peer, to_own, 1, 60);
	assert_int_equal(sandbox_receive(rig.own, to_own, buf, sizeof(buf)), 60);
	assert_true(receives_nothing(&rig));

	/* a group frame arrives at both, once */
	send_frame(rig.peer, to_all, 2, 60);
	assert_int_equal(sandbox_receive(rig.own, to_all, buf, sizeof(buf)), 60);
	pkt = receive(&rig, NULL);
	assert_non_null(pkt);
	assert_int_equal(number_of(pkt), 2);
	assert_int_equal(pkt->fate.verdict, XB_VERDICT_NONE);
	xb_packet_free(&rig.cache, pkt);
	assert_true(receives_nothing(&rig));
	assert_int_equal(xdp_stats(&rig).pass_own, 1);
	assert_int_equal(xdp_stats(&rig).pass_group, 1);

	/* what we send to a group does not come back */
	pkt = make_packet(&rig, to_all, 3, 60);
	assert_int_equal(rig.uplink->port.ops->tx_batch(&rig.uplink->port, 0, &rig.cache, &pkt, 1),
			 1);
	assert_int_equal(await_sent(&rig, 0), 0);
	assert_int_equal(sandbox_receive(rig.peer, to_all, buf, sizeof(buf)), 60);
	assert_true(receives_nothing(&rig));
	close_rig(&rig);
}

static void group_tap_restores_vlan_tags(void **state)
{
	struct xb_uplink_options how = options();
	uint8_t frame[60] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2,    0, 0,
			     0,    0,    2,    0x81, 0,    0x60, 0x05, 8, 6};
	struct xb_frame *pkt;
	struct rig rig;

	(void)state;
	how.sharing = XB_SHARING_SHARED;
	open_rig(&rig, &how);
	assert_int_equal(send(rig.peer, frame, sizeof(frame), 0), sizeof(frame));
	pkt = receive(&rig, NULL);
	assert_non_null(pkt);
	assert_int_equal(pkt->bytes, sizeof(frame));
	assert_memory_equal(xb_frame_data(pkt), frame, sizeof(frame));
	xb_packet_free(&rig.cache, pkt);
	/* double-tagged: the kernel takes the outer one off only */
	memcpy(frame + 12, (uint8_t[]){0x88, 0xa8, 0, 7, 0x81, 0, 0, 5, 8, 6}, 10);
	assert_int_equal(send(rig.peer, frame, sizeof(frame), 0), sizeof(frame));
	pkt = receive(&rig, NULL);
	assert_non_null(pkt);
	assert_int_equal(pkt->bytes, sizeof(frame));
	assert_memory_equal(xb_frame_data(pkt), frame, sizeof(frame));
	xb_packet_free(&rig.cache, pkt);
	close_rig(&rig);
}

static void group_tap_tells_of_an_open_checksum(void **state)
{
	struct xb_uplink_options how = options();
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(9)};
	struct xb_frame *pkt;
	struct rig rig;
	int yes = 1;
	int fd;

	(void)state;
	how.sharing = XB_SHARING_SHARED;
	open_rig(&rig, &how);
	sandbox_run("ip addr add 192.0.2.2/24 brd + dev peer0");
	inet_pton(AF_INET, "192.0.2.255", &to.sin_addr);
	fd = socket(AF_INET, SOCK_DGRAM, 0);
	setsockopt(fd, SOL_SOCKET, SO_BROADCAST, &yes, sizeof(yes));
	assert_int_equal(sendto(fd, "hello", 5, 0, (struct sockaddr *)&to, sizeof(to)), 5);
	close(fd);
	pkt = receive(&rig, NULL);
	assert_non_null(pkt);
	assert_int_equal(pkt->offload.csum, XB_CSUM_PARTIAL);
	assert_int_equal(pkt->offload.csum_start, 34);
	assert_int_equal(pkt->offload.csum_offset, 6);
	xb_packet_free(&rig.cache, pkt);
	close_rig(&rig);
}

static void own_macs_follow_the_stack(void **state)
{
	struct xb_uplink_options how = options();
	const uint8_t to_macvlan[12] = {2, 0, 0, 0, 0, 0x99, 2, 0, 0, 0, 0, 2};
	uint8_t buf[XB_FRAME_BYTES];
	struct xb_frame *pkt;
	struct rig rig;

	(void)state;
	open_rig(&rig, &how);
	send_frame(rig.peer, to_macvlan, 1, 60);
	pkt = receive(&rig, NULL);
	assert_non_null(pkt);
	xb_packet_free(&rig.cache, pkt);
	sandbox_run("ip link add link up0 name mv0 address 02:00:00:00:00:99 type macvlan");
	MUST(xb_uplink_refresh_macs(rig.uplink, NULL, &err));
	send_frame(rig.peer, to_macvlan, 2, 60);
	assert_int_equal(sandbox_receive(rig.own, to_macvlan, buf, sizeof(buf)), 60);
	sandbox_run("ip link del mv0");
	MUST(xb_uplink_refresh_macs(rig.uplink, NULL, &err));
	send_frame(rig.peer, to_macvlan, 3, 60);
	pkt = receive(&rig, NULL);
	assert_non_null(pkt);
	assert_int_equal(number_of(pkt), 3);
	xb_packet_free(&rig.cache, pkt);
	close_rig(&rig);
}

/* ---- stalls, deaths, and interfaces that go ---- */

static void stalled_reader_loses_nothing_to_a_hole(void **state)
{
	struct xb_uplink_options how = options();
	uint8_t buf[XB_FRAME_BYTES];
	struct xb_frame *pkt;
	struct rig rig;

	(void)state;
	how.stall_ns = 50000000;
	open_rig(&rig, &how);
	/* nobody beats: the frame goes to the stack once the last beat is too old */
	SANDBOX_AWAIT(({
		send_frame(rig.peer, to_guest, 1, 60);
		xdp_stats(&rig).pass_stall > 0;
	}));
	assert_int_equal(sandbox_receive(rig.own, to_guest, buf, sizeof(buf)), 60);
	beat_all(&rig);
	send_frame(rig.peer, to_guest, 2, 60);
	do {
		pkt = receive(&rig, NULL);
		assert_non_null(pkt);
		xb_packet_free(&rig.cache, pkt);
	} while (number_of(pkt) != 2);
	close_rig(&rig);
}

static void new_generation_is_believed_and_an_old_one_not(void **state)
{
	struct xb_uplink_options how = options();
	struct xb_steer_config config;
	struct xb_frame *pkt;
	struct rig rig;

	(void)state;
	open_rig(&rig, &how);
	MUST(xb_uplink_set_verdict(rig.uplink, XB_VERDICT_PORT(2), 5, &err));
	send_frame(rig.peer, to_guest, 1, 60);
	pkt = receive(&rig, NULL);
	assert_int_equal(pkt->fate.verdict, XB_VERDICT_PORT(2));
	xb_packet_free(&rig.cache, pkt);
	assert_int_equal(xb_gate_get_config(&rig.gate, rig.uplink->slot, &config), 0);
	config.generation = 4;
	MUST(xb_gate_set_config(&rig.gate, rig.uplink->slot, &config, &err));
	send_frame(rig.peer, to_guest, 2, 60);
	pkt = receive(&rig, NULL);
	assert_int_equal(pkt->fate.verdict, XB_VERDICT_NONE);
	xb_packet_free(&rig.cache, pkt);
	close_rig(&rig);
}

static void restarts_at_once(void **state)
{
	struct xb_uplink_options how = options();
	struct xb_frame *pkt;
	struct rig rig;

	(void)state;
	open_rig(&rig, &how);
	for (uint32_t i = 0; i < 5; i++) {
		send_frame(rig.peer, to_guest, i, 60);
		pkt = receive(&rig, NULL);
		assert_non_null(pkt);
		xb_packet_free(&rig.cache, pkt);
		assert_int_equal(xb_uplink_stop(rig.uplink, &rig.cache), 0);
		assert_int_equal(xb_uplink_stop(rig.uplink, &rig.cache), 0);
		MUST(xb_uplink_start(rig.uplink, &rig.cache, &err));
	}
	close_rig(&rig);
}

static void taken_queue_is_busy(void **state)
{
	struct xb_uplink_options how = options();
	const struct xb_xsk_options sockets = {.ifname = "up0", .n_queues = 4, .ring_size = 64};
	struct xb_xsk_set set = {0};
	struct xb_error failed = {0};
	struct rig rig;

	(void)state;
	open_stopped(&rig, &how);
	MUST(xb_xsk_set_open(&set, &rig.arena, &sockets, &err));
	assert_int_equal(xb_uplink_start(rig.uplink, &rig.cache, &failed), -EBUSY);
	assert_true(failed.hint[0]);
	xb_xsk_set_close(&set);
	MUST(xb_uplink_start(rig.uplink, &rig.cache, &err));
	close_rig(&rig);
}

/* Runs an uplink in a process of its own until that is killed; returns its id once it receives. */
static pid_t run_elsewhere(const struct xb_uplink_options *how)
{
	int ready[2];
	char byte;
	pid_t pid;

	assert_int_equal(pipe(ready), 0);
	pid = fork();
	if (pid == 0) {
		struct rig rig;

		open_rig(&rig, how);
		for (;;) {
			struct xb_frame *pkt = receive(&rig, NULL);

			if (pkt && write(ready[1], "", 1) == 1)
				xb_packet_free(&rig.cache, pkt);
		}
	}
	close(ready[1]);
	SANDBOX_AWAIT(({
		int peer = sandbox_open_packet("peer0");

		send_frame(peer, to_guest, 0, 60);
		close(peer);
		readable(ready[0], 1) && read(ready[0], &byte, 1) == 1;
	}));
	close(ready[0]);
	return pid;
}

static void killed_reader_passes_and_is_taken_over(void **state)
{
	struct xb_uplink_options how = options();
	pid_t pid = run_elsewhere(&how);
	int peer = sandbox_open_packet("peer0");
	int own = sandbox_open_packet("up0");
	uint8_t buf[XB_FRAME_BYTES];
	struct xb_frame *pkt;
	struct rig rig;

	(void)state;
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	/* the program is still there, and lets everything pass */
	assert_int_not_equal(xb_attached_prog(if_nametoindex("up0")), 0);
	send_frame(peer, to_guest, 1, 60);
	assert_int_equal(sandbox_receive(own, to_guest, buf, sizeof(buf)), 60);

	open_rig(&rig, &how);
	assert_true(rig.gate.taken_over);
	assert_true(rig.uplink->attachment.taken_over);
	send_frame(peer, to_guest, 2, 60);
	pkt = receive(&rig, NULL);
	assert_non_null(pkt);
	assert_int_equal(number_of(pkt), 2);
	xb_packet_free(&rig.cache, pkt);
	close_rig(&rig);
	close(peer);
	close(own);
}

static void interface_may_go_and_come_back(void **state)
{
	struct xb_uplink_options how = options();
	struct xb_port *port;
	struct xb_frame *pkt;
	struct rig rig;
	unsigned q;

	(void)state;
	how.sharing = XB_SHARING_SHARED;
	open_rig(&rig, &how);
	port = &rig.uplink->port;
	sandbox_delete_veth();
	for (int i = 0; i < 100; i++) {
		for (q = 0; q < port->n_queues; q++) {
			port->ops->beat(port, q, coarse_ns());
			assert_int_equal(port->ops->rx_batch(port, q, &rig.cache, &pkt, 1), 0);
			pkt = make_packet(&rig, from_guest, 0, 60);
			if (!port->ops->tx_batch(port, q, &rig.cache, &pkt, 1))
				xb_packet_free(&rig.cache, pkt);
			port->ops->kick(port, q, &rig.cache);
			port->ops->arm(port, q);
			port->ops->disarm(port, q);
		}
	}
	xb_uplink_refresh_stats(rig.uplink);
	assert_int_equal(xb_uplink_refresh_link(rig.uplink), -ENODEV);
	assert_false(port->up);
	assert_int_equal(xb_uplink_refresh_macs(rig.uplink, NULL, NULL), -ENODEV);
	assert_int_equal(xb_uplink_stop(rig.uplink, &rig.cache), 0);
	for (q = 0; q < port->n_queues; q++)
		assert_int_equal(xb_counted(&port->queues[q].drops[XB_DROP_TX_RESET]), 100);
	assert_int_equal(xb_uplink_reopen(rig.uplink, NULL), -ENODEV);
	close(rig.peer);

	sandbox_make_veth(4, 4);
	rig.peer = sandbox_open_packet("peer0");
	MUST(xb_uplink_reopen(rig.uplink, &err));
	MUST(xb_uplink_start(rig.uplink, &rig.cache, &err));
	assert_int_equal(xb_uplink_refresh_link(rig.uplink), 0);
	assert_true(port->up);
	send_frame(rig.peer, to_guest, 9, 60);
	pkt = receive(&rig, NULL);
	assert_non_null(pkt);
	assert_int_equal(number_of(pkt), 9);
	xb_packet_free(&rig.cache, pkt);
	close_rig(&rig);
}

static void link_that_was_down_works_again(void **state)
{
	struct xb_uplink_options how = options();
	struct xb_frame *pkt;
	struct rig rig;

	(void)state;
	how.sharing = XB_SHARING_SHARED;
	open_rig(&rig, &how);
	sandbox_run("ip link set up0 down");
	assert_int_equal(xb_uplink_refresh_link(rig.uplink), 0);
	assert_false(rig.uplink->port.up);
	assert_true(receives_nothing(&rig));
	sandbox_run("ip link set up0 up");
	SANDBOX_AWAIT(xb_uplink_refresh_link(rig.uplink) == 0 && rig.uplink->port.up);
	send_frame(rig.peer, to_guest, 1, 60);
	pkt = receive(&rig, NULL);
	assert_non_null(pkt);
	xb_packet_free(&rig.cache, pkt);
	send_frame(rig.peer, to_all, 2, 60);
	pkt = receive(&rig, NULL);
	assert_non_null(pkt);
	xb_packet_free(&rig.cache, pkt);
	close_rig(&rig);
}

static void too_few_frames_are_refused(void **state)
{
	struct xb_uplink_options how = options();
	struct xb_frame *taken[N_FRAMES];
	unsigned n = 0;
	struct rig rig;

	(void)state;
	open_stopped(&rig, &how);
	while (n < N_FRAMES - 32)
		taken[n++] = xb_frame_alloc(&rig.cache);
	assert_int_equal(xb_uplink_start(rig.uplink, &rig.cache, NULL), -ENOMEM);
	while (n)
		xb_packet_free(&rig.cache, taken[--n]);
	MUST(xb_uplink_start(rig.uplink, &rig.cache, &err));
	close_rig(&rig);
}

static void bad_options_are_refused(void **state)
{
	struct xb_uplink_options how = options();
	struct xb_uplink *uplink;
	struct rig rig;

	(void)state;
	open_stopped(&rig, &how);
	how.ring_size = 100;
	assert_int_equal(xb_uplink_new(&how, &rig.gate, &rig.arena, &uplink, NULL), -EINVAL);
	how = options();
	how.fill_frames = 1024;
	assert_int_equal(xb_uplink_new(&how, &rig.gate, &rig.arena, &uplink, NULL), -EINVAL);
	how = options();
	strcpy(how.ifname, "nowhere");
	assert_int_equal(xb_uplink_new(&how, &rig.gate, &rig.arena, &uplink, NULL), -ENODEV);
	strcpy(how.ifname, "lo");
	assert_int_equal(xb_uplink_new(&how, &rig.gate, &rig.arena, &uplink, NULL), -EINVAL);
	strcpy(how.ifname, "up0");
	assert_int_equal(xb_uplink_new(&how, &rig.gate, &rig.arena, &uplink, NULL), -EEXIST);
	close_rig(&rig);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_veth, clean_up)
#define WIDE(name) cmocka_unit_test_setup_teardown(name, make_wide_veth, clean_up)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(frames_come_and_go_natively),
		TEST(frames_come_and_go_in_generic_mode),
		TEST(batch_goes_out_with_one_kick),
		TEST(full_ring_refuses_the_rest),
		TEST(what_was_posted_counts_as_reset_when_stopped),
		TEST(frames_beyond_the_ring_are_missed_and_counted),
		TEST(unread_frames_count_as_missed_when_stopped),
		TEST(frame_of_the_longest_kind_fits),
		TEST(armed_queue_wakes_up),
		WIDE(every_queue_is_read_and_sends),
		WIDE(queues_without_a_tx_queue_send_by_another),
		TEST(addressed_uplink_is_shared),
		TEST(own_and_group_frames_stay_with_a_shared_uplinks_stack),
		TEST(group_tap_restores_vlan_tags),
		TEST(group_tap_tells_of_an_open_checksum),
		TEST(own_macs_follow_the_stack),
		TEST(stalled_reader_loses_nothing_to_a_hole),
		TEST(new_generation_is_believed_and_an_old_one_not),
		WIDE(restarts_at_once),
		WIDE(taken_queue_is_busy),
		WIDE(killed_reader_passes_and_is_taken_over),
		WIDE(interface_may_go_and_come_back),
		TEST(link_that_was_down_works_again),
		TEST(too_few_frames_are_refused),
		TEST(bad_options_are_refused),
	};

	sandbox_enter();
	return cmocka_run_group_tests_name("uplink", tests, NULL, NULL);
}
