/* SPDX-License-Identifier: BSD-2-Clause */
#include "rig.h"

#include "daemon/gate_views.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

const uint8_t to_guest[12] = {2, 0, 0, 0, 0, 0x77, 2, 0, 0, 0, 0, 2};
const uint8_t to_own[12] = {2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2};
const uint8_t to_all[12] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 2};
const uint8_t from_guest[12] = {2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 0x77};

uint64_t coarse_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

struct xb_uplink_options rig_options(void)
{
	/* alone: behind a dispatcher some kernels allow no metadata */
	return (struct xb_uplink_options){
		.ifname = "up0",
		.sharing = XB_SHARING_DEDICATED,
		.xdp.exclusive = true,
		.tx = XB_UPLINK_TX_XDP,
		.ring_size = 512,
		.fill_frames = 256,
		.stall_ns = 10000000000u, /* a slow machine is no stall */
	};
}

void rig_attach(struct rig *rig)
{
	const struct xb_attach_options how = xb_uplink_how_to_attach(rig->uplink);
	struct xb_attachment attachment;

	MUST(xb_gate_attach(&rig->gate, rig->uplink->slot, rig->uplink->ifindex,
			    rig->uplink->options.ifname, &how, &attachment, &err));
	xb_uplink_attached(rig->uplink, &attachment);
}

void rig_open_stopped(struct rig *rig, const struct xb_uplink_options *how)
{
	memset(rig, 0, sizeof(*rig));
	MUST(xb_arena_init(&rig->arena, RIG_FRAMES, 0, &err));
	xb_cache_init(&rig->cache, &rig->arena);
	MUST(xb_gate_open(&rig->gate, RIG_NAME, &err));
	rig->gate.table->in_force.verdict = XB_VERDICT_BRIDGE;
	rig->program = xb_gate_program(&rig->gate);
	MUST(xb_uplink_new(how, &rig->program, &rig->arena, &rig->uplink, &err));
	rig_attach(rig);
	rig->peer = sandbox_open_packet("peer0");
	rig->own = sandbox_open_packet("up0");
}

/* Calls it as long as it wants to be called again, and for a while where it is busy. */
static int patiently(int (*call)(struct rig *rig, struct xb_error *err), struct rig *rig,
		     struct xb_error *error)
{
	static const struct timespec pause = {.tv_nsec = 1000000};
	int ret = call(rig, error);

	for (unsigned ms = 0; ret == -EAGAIN || (ret == -EBUSY && ms < RIG_BUSY_MS);
	     ms += ret == -EBUSY) {
		if (ret == -EBUSY)
			nanosleep(&pause, NULL);
		ret = call(rig, error);
	}
	return ret;
}

static int call_start(struct rig *rig, struct xb_error *error)
{
	return xb_uplink_start(rig->uplink, &rig->cache, error);
}

static int call_stop(struct rig *rig, struct xb_error *error)
{
	(void)error;
	return xb_uplink_stop(rig->uplink, &rig->cache);
}

int rig_start(struct rig *rig, struct xb_error *error)
{
	int ret = patiently(call_start, rig, error);

	if (ret < 0)
		rig_stop(rig); /* what it has bound */
	return ret;
}

int rig_stop(struct rig *rig)
{
	return patiently(call_stop, rig, NULL);
}

void rig_open(struct rig *rig, const struct xb_uplink_options *how)
{
	rig_open_stopped(rig, how);
	MUST(rig_start(rig, &err));
}

/* Ends a rig; no frame may be missing. */
void rig_close(struct rig *rig)
{
	uint32_t counts[XB_OWNER_COUNT];

	rig_stop(rig);
	xb_uplink_free(rig->uplink, &rig->cache);
	xb_arena_count(&rig->arena, counts);
	assert_int_equal(counts[XB_OWNER_POOL], rig->arena.n_frames);
	xb_gate_close(&rig->gate);
	xb_cache_fini(&rig->cache);
	xb_arena_fini(&rig->arena);
	close(rig->peer);
	close(rig->own);
}

void rig_beat(struct rig *rig)
{
	struct xb_port *port = &rig->uplink->port;

	for (unsigned q = 0; q < port->n_queues; q++)
		port->ops->beat(port, q, coarse_ns());
}

/* Sends a frame of 12 bytes of addresses, IPv4's EtherType, a number and padding. */
void send_frame(int fd, const uint8_t addrs[12], uint32_t number, unsigned bytes)
{
	uint8_t frame[XB_FRAME_BYTES] = {0};

	memcpy(frame, addrs, 12);
	frame[12] = 0x08;
	memcpy(frame + 14, &number, sizeof(number));
	assert_int_equal(send(fd, frame, bytes, 0), bytes);
}

uint32_t number_of(const struct xb_frame *pkt)
{
	uint32_t number;

	memcpy(&number, xb_frame_data(pkt) + 14, sizeof(number));
	return number;
}

/* The next packet on any queue within two seconds, or NULL. */
struct xb_frame *receive(struct rig *rig, unsigned *ret_q)
{
	struct xb_port *port = &rig->uplink->port;
	struct xb_frame *pkt = NULL;

	for (int tries = 0; tries < 2000; tries++) {
		rig_beat(rig);
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

bool receives_nothing(struct rig *rig)
{
	struct xb_port *port = &rig->uplink->port;
	struct xb_frame *pkt;

	for (unsigned q = 0; q < port->n_queues; q++) {
		port->ops->disarm(port, q); /* as after a sleep: looks everywhere */
		if (port->ops->rx_batch(port, q, &rig->cache, &pkt, 1))
			return false;
	}
	return true;
}

struct xb_frame *make_packet(struct rig *rig, const uint8_t addrs[12], uint32_t number,
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

unsigned await_sent(struct rig *rig, unsigned q)
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

struct xb_xdp_stats xdp_stats(struct rig *rig)
{
	struct xb_xdp_stats stats;

	assert_int_equal(xb_gate_read_stats(&rig->gate, rig->uplink->slot, &stats), 0);
	return stats;
}

bool readable(int fd, int timeout_ms)
{
	struct pollfd wait = {.fd = fd, .events = POLLIN};

	return poll(&wait, 1, timeout_ms) == 1 && wait.revents & POLLIN;
}

int make_veth(void **state)
{
	(void)state;
	sandbox_make_veth(1, 1);
	return 0;
}

int make_wide_veth(void **state)
{
	(void)state;
	sandbox_make_veth(4, 4);
	return 0;
}

int clean_up(void **state)
{
	(void)state;
	xb_gate_remove(RIG_NAME, NULL);
	sandbox_delete_veth();
	return 0;
}
