/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The uplink's life: stalls, deaths, restarts, and interfaces that go and come back. rig.h draws
 * the topology.
 */
#include "rig.h"

#include <errno.h>
#include <net/if.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void stalled_reader_loses_nothing_to_a_hole(void **state)
{
	struct xb_uplink_options how = rig_options();
	uint8_t buf[XB_FRAME_BYTES];
	struct xb_frame *pkt;
	struct rig rig;

	(void)state;
	how.stall_ns = 50000000;
	rig_open(&rig, &how);
	/* nobody beats: the frame goes to the stack once the last beat is too old */
	SANDBOX_AWAIT(({
		send_frame(rig.peer, to_guest, 1, 60);
		xdp_stats(&rig).pass_stall > 0;
	}));
	assert_int_equal(sandbox_receive(rig.own, to_guest, buf, sizeof(buf)), 60);
	rig_beat(&rig);
	send_frame(rig.peer, to_guest, 2, 60);
	do {
		pkt = receive(&rig, NULL);
		assert_non_null(pkt);
		xb_packet_free(&rig.cache, pkt);
	} while (number_of(pkt) != 2);
	rig_close(&rig);
}

static void judge_by(struct rig *rig, uint32_t generation, uint16_t verdict)
{
	rig->gate.table->in_force = (struct xb_in_force){.generation = generation,
							 .verdict = verdict};
}

static void what_a_table_from_before_the_start_said_is_not_believed(void **state)
{
	struct xb_uplink_options how = rig_options();
	struct xb_frame *pkt;
	struct rig rig;

	(void)state;
	rig_open_stopped(&rig, &how);
	judge_by(&rig, 5, XB_VERDICT_BRIDGE);
	MUST(xb_uplink_start(rig.uplink, &rig.cache, &err));
	judge_by(&rig, 6, XB_VERDICT_PORT(2));
	send_frame(rig.peer, to_guest, 1, 60);
	pkt = receive(&rig, NULL);
	assert_int_equal(pkt->fate.verdict, XB_VERDICT_PORT(2));
	xb_packet_free(&rig.cache, pkt);
	judge_by(&rig, 4, XB_VERDICT_PORT(2));
	send_frame(rig.peer, to_guest, 2, 60);
	pkt = receive(&rig, NULL);
	assert_int_equal(pkt->fate.verdict, XB_VERDICT_NONE);
	xb_packet_free(&rig.cache, pkt);
	rig_close(&rig);
}

static void metadata_that_the_program_did_not_write_is_cleared(void **state)
{
	static const uint8_t none[sizeof(struct xb_meta)];
	const struct xb_meta forged = {.magic = XB_META_MAGIC, .verdict = XB_VERDICT_PORT(1)};
	struct xb_uplink_options how = rig_options();
	unsigned posted = 0;
	struct rig rig;

	(void)state;
	rig_open_stopped(&rig, &how);
	for (uint32_t i = 0; i < rig.arena.n_frames; i++)
		memcpy(rig.arena.frames[i].base + XB_FRAME_HEADROOM - sizeof(forged), &forged,
		       sizeof(forged));
	MUST(rig_start(&rig, &err));
	for (uint32_t i = 0; i < rig.arena.n_frames; i++) {
		if (xb_frame_owner(&rig.arena.frames[i]) != XB_OWNER_RX)
			continue;
		assert_memory_equal(rig.arena.frames[i].base + XB_FRAME_HEADROOM - sizeof(none),
				    none, sizeof(none));
		posted++;
	}
	assert_int_equal(posted, how.fill_frames);
	rig_close(&rig);
}

static void restarts_at_once(void **state)
{
	struct xb_uplink_options how = rig_options();
	struct xb_frame *pkt;
	struct rig rig;

	(void)state;
	rig_open(&rig, &how);
	for (uint32_t i = 0; i < 5; i++) {
		send_frame(rig.peer, to_guest, i, 60);
		pkt = receive(&rig, NULL);
		assert_non_null(pkt);
		xb_packet_free(&rig.cache, pkt);
		assert_int_equal(rig_stop(&rig), 0);
		assert_int_equal(rig_stop(&rig), 0);
		MUST(rig_start(&rig, &err));
	}
	rig_close(&rig);
}

static void taken_queue_is_busy(void **state)
{
	struct xb_uplink_options how = rig_options();
	const struct xb_xsk_options sockets = {.ifname = "up0", .n_queues = 4, .ring_size = 64};
	struct xb_xsk_set set = {0};
	struct xb_error failed = {0};
	struct rig rig;

	(void)state;
	rig_open_stopped(&rig, &how);
	MUST(xb_xsk_set_open(&set, &rig.arena, &sockets, &err));
	while (xb_xsk_set_bind(&set, &failed) == -EAGAIN)
		;
	assert_int_equal(set.n_bound, 4);
	assert_int_equal(rig_start(&rig, &failed), -EBUSY);
	assert_true(failed.hint[0]);
	xb_xsk_set_close(&set);
	MUST(rig_start(&rig, &err));
	rig_close(&rig);
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

		rig_open(&rig, how);
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
	struct xb_uplink_options how = rig_options();
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

	rig_open(&rig, &how);
	assert_true(rig.gate.taken_over);
	assert_true(rig.uplink->attachment.taken_over);
	send_frame(peer, to_guest, 2, 60);
	pkt = receive(&rig, NULL);
	assert_non_null(pkt);
	assert_int_equal(number_of(pkt), 2);
	xb_packet_free(&rig.cache, pkt);
	rig_close(&rig);
	close(peer);
	close(own);
}

static void interface_may_go_and_come_back(void **state)
{
	struct xb_uplink_options how = rig_options();
	struct xb_port *port;
	struct xb_frame *pkt;
	struct rig rig;
	unsigned q;

	(void)state;
	how.sharing = XB_SHARING_SHARED;
	rig_open(&rig, &how);
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
	assert_int_equal(xb_uplink_refresh_macs(rig.uplink, NULL), -ENODEV);
	assert_int_equal(rig_stop(&rig), 0);
	for (q = 0; q < port->n_queues; q++)
		assert_int_equal(xb_counted(&port->queues[q].drops[XB_DROP_TX_RESET]), 100);
	assert_int_equal(xb_uplink_reopen(rig.uplink, NULL), -ENODEV);
	close(rig.peer);

	sandbox_make_veth(4, 4);
	rig.peer = sandbox_open_packet("peer0");
	MUST(xb_uplink_reopen(rig.uplink, &err));
	rig_attach(&rig);
	MUST(rig_start(&rig, &err));
	assert_int_equal(xb_uplink_refresh_link(rig.uplink), 0);
	assert_true(port->up);
	send_frame(rig.peer, to_guest, 9, 60);
	pkt = receive(&rig, NULL);
	assert_non_null(pkt);
	assert_int_equal(number_of(pkt), 9);
	xb_packet_free(&rig.cache, pkt);
	rig_close(&rig);
}

/* Sends frames until one comes through; a link that has just come up may swallow some. */
static bool comes_through(struct rig *rig, const uint8_t addrs[12], uint32_t number)
{
	struct xb_port *port = &rig->uplink->port;
	struct xb_frame *pkt;
	bool came = false;

	for (int tries = 0; !came && tries < 2000; tries++) {
		rig_beat(rig);
		send_frame(rig->peer, addrs, number, 60);
		while (port->ops->rx_batch(port, 0, &rig->cache, &pkt, 1)) {
			came = came || number_of(pkt) == number;
			xb_packet_free(&rig->cache, pkt);
		}
		sandbox_pause();
	}
	return came;
}

static void link_that_was_down_works_again(void **state)
{
	struct xb_uplink_options how = rig_options();
	struct rig rig;

	(void)state;
	how.sharing = XB_SHARING_SHARED;
	rig_open(&rig, &how);
	sandbox_run("ip link set up0 down");
	assert_int_equal(xb_uplink_refresh_link(rig.uplink), 0);
	assert_false(rig.uplink->port.up);
	assert_true(receives_nothing(&rig));
	sandbox_run("ip link set up0 up");
	SANDBOX_AWAIT(xb_uplink_refresh_link(rig.uplink) == 0 && rig.uplink->port.up);
	assert_true(comes_through(&rig, to_guest, 1));
	assert_true(comes_through(&rig, to_all, 2));
	rig_close(&rig);
}

static void too_few_frames_are_refused(void **state)
{
	struct xb_uplink_options how = rig_options();
	struct xb_frame *taken[RIG_FRAMES];
	unsigned n = 0;
	struct rig rig;

	(void)state;
	rig_open_stopped(&rig, &how);
	while (n < RIG_FRAMES - 32)
		taken[n++] = xb_frame_alloc(&rig.cache);
	assert_int_equal(rig_start(&rig, NULL), -ENOMEM);
	while (n)
		xb_packet_free(&rig.cache, taken[--n]);
	MUST(rig_start(&rig, &err));
	rig_close(&rig);
}

static void short_frames_are_shared_by_all_queues(void **state)
{
	static const struct {
		unsigned free;   /* in the arena when the uplink starts */
		unsigned posted; /* on each of four queues */
	} cases[] = {{RIG_FRAMES, 256}, {1000, 125}, {4 * XB_BATCH, XB_BATCH}};
	struct xb_uplink_options how = rig_options();
	struct xb_frame *taken[RIG_FRAMES];
	uint32_t owners[XB_OWNER_COUNT];
	struct rig rig;

	(void)state;
	how.fill_frames = how.ring_size = 256;
	rig_open_stopped(&rig, &how);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		unsigned n = 0;

		while (n < RIG_FRAMES - cases[i].free)
			taken[n++] = xb_frame_alloc(&rig.cache);
		MUST(rig_start(&rig, &err));
		xb_arena_count(&rig.arena, owners);
		assert_int_equal(owners[XB_OWNER_RX], 4 * cases[i].posted);
		assert_int_equal(rig_stop(&rig), 0);
		while (n)
			xb_packet_free(&rig.cache, taken[--n]);
	}
	rig_close(&rig);
}

static void change_of_queues_is_seen(void **state)
{
	struct xb_uplink_options how = rig_options();
	struct rig rig;

	(void)state;
	rig_open_stopped(&rig, &how);
	sandbox_run("ethtool -L peer0 tx 3 && ethtool -L up0 rx 3 tx 2");
	assert_int_equal(xb_uplink_refresh_link(rig.uplink), 0);
	assert_int_equal(rig.uplink->rx_queues, 3);
	assert_int_equal(rig.uplink->tx_queues, 2);
	rig_close(&rig);
}

static void bad_options_are_refused(void **state)
{
	struct xb_uplink_options how = rig_options();
	struct xb_uplink *uplink;
	struct rig rig;

	(void)state;
	rig_open_stopped(&rig, &how);
	how.ring_size = 100;
	assert_int_equal(xb_uplink_new(&how, &rig.program, &rig.arena, &uplink, NULL), -EINVAL);
	how = rig_options();
	how.fill_frames = 1024;
	assert_int_equal(xb_uplink_new(&how, &rig.program, &rig.arena, &uplink, NULL), -EINVAL);
	how = rig_options();
	strcpy(how.ifname, "nowhere");
	assert_int_equal(xb_uplink_new(&how, &rig.program, &rig.arena, &uplink, NULL), -ENODEV);
	strcpy(how.ifname, "lo");
	assert_int_equal(xb_uplink_new(&how, &rig.program, &rig.arena, &uplink, NULL), -EINVAL);
	strcpy(how.ifname, "up0");
	assert_int_equal(xb_uplink_new(&how, &rig.program, &rig.arena, &uplink, NULL), -EEXIST);
	rig_close(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		NARROW(stalled_reader_loses_nothing_to_a_hole),
		NARROW(what_a_table_from_before_the_start_said_is_not_believed),
		NARROW(metadata_that_the_program_did_not_write_is_cleared),
		WIDE(restarts_at_once),
		WIDE(taken_queue_is_busy),
		WIDE(killed_reader_passes_and_is_taken_over),
		WIDE(interface_may_go_and_come_back),
		NARROW(link_that_was_down_works_again),
		NARROW(too_few_frames_are_refused),
		WIDE(short_frames_are_shared_by_all_queues),
		WIDE(change_of_queues_is_seen),
		NARROW(bad_options_are_refused),
	};

	sandbox_enter();
	return cmocka_run_group_tests_name("uplink_life", tests, NULL, NULL);
}
