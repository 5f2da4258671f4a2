/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The uplink with real frames, natively and in generic mode: receiving, sending, waking up, several
 * queues, and what a shared one leaves to its own stack. rig.h draws the topology.
 */
#include "rig.h"

#include <arpa/inet.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

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
	struct xb_uplink_options how = rig_options();
	struct rig rig;

	(void)state;
	rig_open(&rig, &how);
	assert_int_equal(rig.uplink->attachment.mode, XB_XDP_NATIVE);
	assert_false(rig.uplink->zerocopy);
	assert_true(rig.uplink->port.up);
	frames_come_and_go(&rig);
	rig_close(&rig);
}

static void frames_come_and_go_in_generic_mode(void **state)
{
	struct xb_uplink_options how = rig_options();
	struct rig rig;

	(void)state;
	how.xdp.mode = XB_XDP_GENERIC;
	rig_open(&rig, &how);
	assert_int_equal(rig.uplink->attachment.mode, XB_XDP_GENERIC);
	frames_come_and_go(&rig);
	rig_close(&rig);
}

static void batch_goes_out_with_one_kick(void **state)
{
	struct xb_uplink_options how = rig_options();
	struct xb_frame *pkts[XB_BATCH];
	uint8_t buf[XB_FRAME_BYTES];
	struct xb_port *port;
	struct rig rig;

	(void)state;
	rig_open(&rig, &how);
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
	rig_close(&rig);
}

static void full_ring_refuses_the_rest(void **state)
{
	struct xb_uplink_options how = rig_options();
	struct xb_frame *pkts[XB_BATCH];
	struct xb_port *port;
	unsigned taken = 0;
	unsigned n;
	struct rig rig;

	(void)state;
	rig_open(&rig, &how);
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
	rig_close(&rig);
}

static void what_was_posted_counts_as_reset_when_stopped(void **state)
{
	struct xb_uplink_options how = rig_options();
	struct xb_frame *pkts[10];
	struct xb_port *port;
	struct rig rig;

	(void)state;
	rig_open(&rig, &how);
	port = &rig.uplink->port;
	for (uint32_t i = 0; i < 10; i++)
		pkts[i] = make_packet(&rig, from_guest, i, 60);
	assert_int_equal(port->ops->tx_batch(port, 0, &rig.cache, pkts, 10), 10);
	assert_int_equal(rig_stop(&rig), 0);
	assert_int_equal(xb_counted(&port->queues[0].drops[XB_DROP_TX_RESET]), 10);
	rig_close(&rig);
}

static void frames_beyond_the_ring_are_missed_and_counted(void **state)
{
	struct xb_uplink_options how = rig_options();
	struct xb_port *port;
	struct xb_frame *pkt;
	unsigned got = 0;
	struct rig rig;

	(void)state;
	rig_open(&rig, &how);
	port = &rig.uplink->port;
	rig_beat(&rig);
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
	rig_close(&rig);
}

static void unread_frames_count_as_missed_when_stopped(void **state)
{
	struct xb_uplink_options how = rig_options();
	struct rig rig;

	(void)state;
	rig_open(&rig, &how);
	rig_beat(&rig);
	for (uint32_t i = 0; i < 5; i++)
		send_frame(rig.peer, to_guest, i, 60);
	SANDBOX_AWAIT(xdp_stats(&rig).redirect == 5);
	assert_int_equal(rig_stop(&rig), 0);
	assert_int_equal(xb_counted(&rig.uplink->port.queues[0].rx_missed), 5);
	rig_close(&rig);
}

static void frames_missed_since_the_last_look_count_when_stopped(void **state)
{
	struct xb_uplink_options how = rig_options();
	struct rig rig;

	(void)state;
	rig_open(&rig, &how);
	for (uint32_t round = 1; round <= 2; round++) {
		rig_beat(&rig);
		for (uint32_t i = 0; i < 400; i++)
			send_frame(rig.peer, to_guest, i, 60);
		SANDBOX_AWAIT(xdp_stats(&rig).redirect == 400 * round);
		assert_int_equal(rig_stop(&rig), 0);
		assert_int_equal(xb_counted(&rig.uplink->port.queues[0].rx_missed), 400 * round);
		MUST(rig_start(&rig, &err));
	}
	rig_close(&rig);
}

static void frame_of_the_longest_kind_fits(void **state)
{
	struct xb_uplink_options how = rig_options();
	uint8_t buf[XB_FRAME_BYTES];
	struct xb_port *port;
	struct xb_frame *pkt;
	struct rig rig;

	(void)state;
	how.xdp.mode = XB_XDP_GENERIC;
	sandbox_run("ip link set up0 mtu 3818 && ip link set peer0 mtu 3818");
	rig_open(&rig, &how);
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
	rig_close(&rig);
}

static void longer_frame_stays_with_the_stack(void **state)
{
	struct xb_uplink_options how = rig_options();
	uint8_t buf[XB_FRAME_BYTES];
	struct rig rig;

	(void)state;
	how.xdp.mode = XB_XDP_GENERIC;
	sandbox_run("ip link set up0 mtu 9000 && ip link set peer0 mtu 9000");
	rig_open(&rig, &how);
	send_frame(rig.peer, to_guest, 1, XB_REDIRECT_BYTES_MAX);
	xb_packet_free(&rig.cache, receive(&rig, NULL));
	send_frame(rig.peer, to_guest, 2, XB_REDIRECT_BYTES_MAX + 1);
	assert_int_equal(sandbox_receive(rig.own, to_guest, buf, sizeof(buf)),
			 XB_REDIRECT_BYTES_MAX + 1);
	assert_true(receives_nothing(&rig));
	assert_int_equal(xdp_stats(&rig).pass_long, 1);
	xb_uplink_refresh_stats(rig.uplink);
	assert_int_equal(xb_counted(&rig.uplink->port.queues[0].rx_missed), 0);
	rig_close(&rig);
}

/* ---- waking up ---- */

static void armed_queue_wakes_up(void **state)
{
	struct xb_uplink_options how = rig_options();
	struct xb_port *port;
	struct rig rig;

	(void)state;
	how.sharing = XB_SHARING_SHARED;
	rig_open(&rig, &how);
	port = &rig.uplink->port;
	rig_beat(&rig);
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
	rig_close(&rig);
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
	struct xb_uplink_options how = rig_options();
	unsigned seen[4] = {0};
	uint8_t buf[XB_FRAME_BYTES];
	struct xb_port *port;
	struct xb_frame *pkt;
	struct rig rig;
	unsigned q;

	(void)state;
	rig_open(&rig, &how);
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
	rig_close(&rig);
	assert_true((seen[0] > 0) + (seen[1] > 0) + (seen[2] > 0) + (seen[3] > 0) > 1);
}

static void queues_without_a_tx_queue_send_by_another(void **state)
{
	struct xb_uplink_options how = rig_options();
	uint8_t buf[XB_FRAME_BYTES];
	struct xb_port *port;
	struct xb_frame *pkt;
	struct rig rig;

	(void)state;
	sandbox_delete_veth();
	sandbox_make_veth(4, 1);
	rig_open(&rig, &how);
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
	rig_close(&rig);
}

/* ---- shared ---- */

static void uplink_is_shared_unless_told_otherwise_with_an_address_or_without(void **state)
{
	struct xb_uplink_options how = rig_options();
	struct rig rig;

	(void)state;
	for (unsigned addressed = 0; addressed < 2; addressed++) {
		how.sharing = XB_SHARING_DEFAULT;
		rig_open_stopped(&rig, &how);
		assert_true(rig.uplink->shared);
		assert_string_equal(rig.uplink->shared_reason, "by default");
		rig_close(&rig);
		how.sharing = XB_SHARING_DEDICATED;
		rig_open_stopped(&rig, &how);
		assert_false(rig.uplink->shared);
		assert_string_equal(rig.uplink->shared_reason, "as configured");
		rig_close(&rig);
		if (!addressed)
			sandbox_run("ip addr add 192.0.2.1/24 dev up0");
	}
}

static void own_and_group_frames_stay_with_a_shared_uplinks_stack(void **state)
{
	struct xb_uplink_options how = rig_options();
	uint8_t buf[XB_FRAME_BYTES];
	struct xb_frame *pkt;
	struct rig rig;

	(void)state;
	how.sharing = XB_SHARING_SHARED;
	rig_open(&rig, &how);
	rig_beat(&rig);
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
	rig_close(&rig);
}

static void group_tap_is_read_at_once_after_a_sleep_and_seldom_else(void **state)
{
	struct xb_uplink_options how = rig_options();
	struct xb_frame *pkts[XB_BATCH];
	unsigned rounds = 0;
	struct xb_port *port;
	struct rig rig;

	(void)state;
	how.sharing = XB_SHARING_SHARED;
	rig_open(&rig, &how);
	port = &rig.uplink->port;
	assert_true(receives_nothing(&rig));
	send_frame(rig.peer, to_all, 1, 60);
	assert_true(readable(port->queues[0].wake_fd, 2000));
	while (!port->ops->rx_batch(port, 0, &rig.cache, pkts, XB_BATCH))
		rounds++;
	xb_packet_free(&rig.cache, pkts[0]);
	assert_in_range(rounds, 8, 64);

	send_frame(rig.peer, to_all, 2, 60);
	port->ops->arm(port, 0);
	assert_true(readable(port->queues[0].wake_fd, 2000));
	port->ops->disarm(port, 0);
	assert_int_equal(port->ops->rx_batch(port, 0, &rig.cache, pkts, XB_BATCH), 1);
	assert_int_equal(number_of(pkts[0]), 2);
	xb_packet_free(&rig.cache, pkts[0]);
	rig_close(&rig);
}

static void group_tap_restores_vlan_tags(void **state)
{
	struct xb_uplink_options how = rig_options();
	uint8_t frame[60] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2,    0, 0,
			     0,    0,    2,    0x81, 0,    0x60, 0x05, 8, 6};
	struct xb_frame *pkt;
	struct rig rig;

	(void)state;
	how.sharing = XB_SHARING_SHARED;
	rig_open(&rig, &how);
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
	rig_close(&rig);
}

static void group_tap_tells_of_an_open_checksum(void **state)
{
	struct xb_uplink_options how = rig_options();
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(9)};
	struct xb_frame *pkt;
	struct rig rig;
	int yes = 1;
	int fd;

	(void)state;
	how.sharing = XB_SHARING_SHARED;
	rig_open(&rig, &how);
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
	rig_close(&rig);
}

static void own_macs_follow_the_stack(void **state)
{
	struct xb_uplink_options how = rig_options();
	const uint8_t to_macvlan[12] = {2, 0, 0, 0, 0, 0x99, 2, 0, 0, 0, 0, 2};
	uint8_t buf[XB_FRAME_BYTES];
	struct xb_frame *pkt;
	struct rig rig;

	(void)state;
	rig_open(&rig, &how);
	send_frame(rig.peer, to_macvlan, 1, 60);
	pkt = receive(&rig, NULL);
	assert_non_null(pkt);
	xb_packet_free(&rig.cache, pkt);
	sandbox_run("ip link add link up0 name mv0 address 02:00:00:00:00:99 type macvlan");
	MUST(xb_uplink_refresh_macs(rig.uplink, &err));
	send_frame(rig.peer, to_macvlan, 2, 60);
	assert_int_equal(sandbox_receive(rig.own, to_macvlan, buf, sizeof(buf)), 60);
	sandbox_run("ip link del mv0");
	MUST(xb_uplink_refresh_macs(rig.uplink, &err));
	send_frame(rig.peer, to_macvlan, 3, 60);
	pkt = receive(&rig, NULL);
	assert_non_null(pkt);
	assert_int_equal(number_of(pkt), 3);
	xb_packet_free(&rig.cache, pkt);
	rig_close(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		NARROW(frames_come_and_go_natively),
		NARROW(frames_come_and_go_in_generic_mode),
		NARROW(batch_goes_out_with_one_kick),
		NARROW(full_ring_refuses_the_rest),
		NARROW(what_was_posted_counts_as_reset_when_stopped),
		NARROW(frames_beyond_the_ring_are_missed_and_counted),
		NARROW(unread_frames_count_as_missed_when_stopped),
		NARROW(frames_missed_since_the_last_look_count_when_stopped),
		NARROW(frame_of_the_longest_kind_fits),
		NARROW(longer_frame_stays_with_the_stack),
		NARROW(armed_queue_wakes_up),
		WIDE(every_queue_is_read_and_sends),
		WIDE(queues_without_a_tx_queue_send_by_another),
		NARROW(uplink_is_shared_unless_told_otherwise_with_an_address_or_without),
		NARROW(own_and_group_frames_stay_with_a_shared_uplinks_stack),
		NARROW(group_tap_is_read_at_once_after_a_sleep_and_seldom_else),
		NARROW(group_tap_restores_vlan_tags),
		NARROW(group_tap_tells_of_an_open_checksum),
		NARROW(own_macs_follow_the_stack),
	};

	sandbox_enter();
	return cmocka_run_group_tests_name("uplink", tests, NULL, NULL);
}
