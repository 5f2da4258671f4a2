/* SPDX-License-Identifier: BSD-2-Clause */
#include "xsk/uplink.h"

#include "core/calls.h"
#include "core/cleanup.h"
#include "core/clock.h"
#include "netdev/netdev.h"
#include "xsk/uplink_own.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

XB_CALL(control, epoll_create1);
XB_CALL(control, epoll_ctl);

#define STALL_NS_DEFAULT 1000000000ull
#define RING_SIZE_MIN    64u
#define RING_SIZE_MAX    32768u

static_assert(XB_REDIRECT_BYTES_MAX == XB_FRAME_ROOM,
	      "the program redirects just what a frame holds");

/* ---- what it is ---- */

static int check_options(struct xb_uplink_options *options, struct xb_error *err)
{
	if (!options->ring_size)
		options->ring_size = XB_UPLINK_RING_DEFAULT;
	if (!options->fill_frames)
		options->fill_frames = options->ring_size / 2;
	if (!options->stall_ns)
		options->stall_ns = STALL_NS_DEFAULT;
	if (!options->queues_max || options->queues_max > XB_QUEUES_MAX)
		options->queues_max = XB_QUEUES_MAX;
	if (options->ring_size < RING_SIZE_MIN || options->ring_size > RING_SIZE_MAX ||
	    options->ring_size & (options->ring_size - 1))
		return xb_refuse(err, -EINVAL,
				 "ring size %u of %s is not a power of two from %u to %u",
				 options->ring_size, options->ifname, RING_SIZE_MIN, RING_SIZE_MAX);
	if (options->fill_frames < XB_BATCH || options->fill_frames > options->ring_size)
		return xb_fail(err, -EINVAL, "%u frames to fill the rings of %s: not %u to %u",
			       options->fill_frames, options->ifname, XB_BATCH, options->ring_size);
	return 0;
}

/* Nothing that the host itself uses is taken unasked, whether it has an address by now or not. */
static void decide_sharing(struct xb_uplink *uplink)
{
	uplink->shared = uplink->options.sharing != XB_SHARING_DEDICATED;
	uplink->shared_reason = uplink->options.sharing == XB_SHARING_DEFAULT ? "by default"
									      : "as configured";
}

/* A program that a bond's members run natively, because somebody says so, sees what they see. */
static int look_at_tags(struct xb_uplink *uplink, const struct xb_netdev *netdev)
{
	if (uplink->aggregate && uplink->options.xdp.mode == XB_XDP_NATIVE) {
		uplink->tags = (struct xb_tags){.fate = XB_TAGS_UNKNOWN};
		return 0;
	}
	return xb_tags_look(uplink->options.ifname, netdev, &uplink->tags);
}

/* Takes over what the interface says of itself. */
static void adopt(struct xb_uplink *uplink, const struct xb_netdev *netdev)
{
	struct xb_port *port = &uplink->port;
	uint32_t bytes = netdev->mtu + 14 + 8;
	unsigned n = netdev->rx_queues < port->queues_max ? netdev->rx_queues : port->queues_max;

	uplink->ifindex = netdev->ifindex;
	if (xb_below_look(netdev->ifindex, &uplink->below) < 0)
		uplink->below = (struct xb_below){0};
	uplink->aggregate = xb_netdev_is_aggregate(netdev);
	if (xb_netdev_master(netdev->ifindex, &uplink->master) < 0)
		uplink->master = (struct xb_netdev_master){0};
	uplink->mtu = netdev->mtu;
	uplink->rx_queues = netdev->rx_queues;
	uplink->tx_queues = netdev->tx_queues;
	if (look_at_tags(uplink, netdev) < 0)
		uplink->tags = (struct xb_tags){.fate = XB_TAGS_UNKNOWN};
	memcpy(uplink->mac, netdev->mac, sizeof(uplink->mac));
	atomic_store(&port->up, netdev->up);

	port->n_queues = (uint16_t)n;
	port->caps = (struct xb_port_caps){
		.bytes_max = bytes < XB_UPLINK_BYTES_MAX ? bytes : XB_UPLINK_BYTES_MAX,
		.frames_max = 1, /* as `takes`, by the way out: xb_uplink_open_tx */
		.uplink = true,
		.shared = uplink->shared,
		.trusts_csum = uplink->options.csum == XB_CSUM_POLICY_AUTO
				       ? uplink->below.open_at[0]
				       : uplink->options.csum == XB_CSUM_POLICY_TRUST,
	};
	uplink->own->tx_lanes = netdev->tx_queues < n ? netdev->tx_queues : n;
	for (unsigned q = 0; q < port->queues_max; q++)
		uplink->own->lanes[q].locked = uplink->own->tx_lanes < n;
}

static int write_config(struct xb_uplink *uplink, struct xb_error *err)
{
	const struct xb_program *program = &uplink->own->program;
	struct xb_steer_config config = {
		.ifindex = uplink->ifindex,
		.shared = uplink->shared,
		.port = uplink->options.port_id,
		.stall_ns = uplink->options.stall_ns,
	};

	memcpy(config.ifname, uplink->names[0], sizeof(config.ifname));
	return program->ops->set_config(program->arg, uplink->slot, &config, err);
}

static bool has_own_macs(const struct xb_uplink *uplink, const struct xb_own_mac_entry *macs,
			 unsigned n)
{
	if (n != uplink->n_own_macs)
		return false;
	for (unsigned i = 0; i < n; i++)
		if (memcmp(uplink->own_macs[i].mac, macs[i].mac, sizeof(macs[i].mac)) != 0)
			return false;
	return true;
}

/* Tells the gate which addresses are the stack's own. Returns 1 where they have changed, 0 or
 * -errno. */
static int write_own_macs(struct xb_uplink *uplink, struct xb_own_macs *stack, struct xb_error *err)
{
	const struct xb_program *program = &uplink->own->program;
	unsigned n = 0;
	bool changed;
	int ret;

	/* what others than the host have behind its bridge is left alone where all of it is */
	if (!uplink->shared)
		stack->n_macs -= stack->n_bridged;
	for (unsigned i = 0; i < stack->n_macs; i++)
		if (!uplink->options.lends_mac || uplink->shared ||
		    memcmp(stack->macs[i].mac, uplink->mac, sizeof(uplink->mac)))
			stack->macs[n++] = stack->macs[i];
	ret = program->ops->set_own_macs(program->arg, uplink->slot, stack->macs, n, err);
	if (ret < 0)
		return ret;
	changed = !has_own_macs(uplink, stack->macs, n);
	memcpy(uplink->own_macs, stack->macs, n * sizeof(stack->macs[0]));
	uplink->n_own_macs = n;
	return changed;
}

/* Readies the gate for the interface, closed: everything that it would redirect passes. */
static int prepare(struct xb_uplink *uplink, struct xb_own_macs *stack, struct xb_error *err)
{
	struct xb_uplink_private *own = uplink->own;
	int ret;

	for (uint32_t q = 0; q < XB_QUEUES_MAX; q++) {
		ret = own->program.ops->set_socket(own->program.arg, uplink->slot, q, -1, err);
		if (ret < 0)
			return ret;
	}
	ret = write_config(uplink, err);
	if (ret < 0)
		return ret;
	ret = write_own_macs(uplink, stack, err);
	if (ret < 0)
		return ret;
	xb_cleanup_close(&own->promisc_fd);
	own->promisc_fd = xb_netdev_promisc(uplink->ifindex);
	if (own->promisc_fd < 0) {
		ret = own->promisc_fd;
		own->promisc_fd = -1;
		xb_fail(err, ret, "make %s promiscuous", uplink->options.ifname);
		if (ret == -EPERM)
			xb_hint(err, "CAP_NET_RAW is needed");
		else if (ret == -EAFNOSUPPORT)
			xb_netdev_hint_family(err, "AF_PACKET", "PACKET");
		return ret;
	}
	return 0;
}

/* How the program is to sit on the interface: on a bond above it, since what a member's driver
 * redirects never arrives. */
struct xb_attach_options xb_uplink_how_to_attach(const struct xb_uplink *uplink)
{
	struct xb_attach_options how = uplink->options.xdp;

	if (uplink->aggregate && how.mode == XB_XDP_AUTO)
		how.mode = XB_XDP_GENERIC;
	how.keep_mode = uplink->own->attached; /* it was tried in this run */
	return how;
}

void xb_uplink_attached(struct xb_uplink *uplink, const struct xb_attachment *attachment)
{
	uplink->attachment = *attachment;
	uplink->own->attached = true;
}

/* ---- made and freed ---- */

static int make_storage(struct xb_uplink *uplink, unsigned n_queues,
			const struct xb_program *program, struct xb_arena *arena)
{
	struct xb_uplink_private *own = calloc(1, sizeof(*own));
	int ret;

	if (!own)
		return -ENOMEM;
	uplink->own = own;
	own->program = *program;
	own->arena = arena;
	own->promisc_fd = own->wake_epoll_fd = own->tap.fd = own->packet_tx.fd = -1;
	ret = xb_port_init(&uplink->port, xb_uplink_ops(XB_UPLINK_TX_XDP), uplink->options.ifname,
			   n_queues);
	if (ret < 0)
		return ret;
	uplink->port.id = uplink->options.port_id;
	own->missed = calloc(n_queues, sizeof(*own->missed));
	own->marks = calloc(n_queues, sizeof(*own->marks));
	own->deliveries = calloc(n_queues, sizeof(*own->deliveries));
	own->lanes = aligned_alloc(alignof(struct xb_lane), n_queues * sizeof(*own->lanes));
	if (!own->missed || !own->marks || !own->deliveries || !own->lanes)
		return -ENOMEM;
	memset(own->lanes, 0, n_queues * sizeof(*own->lanes));
	for (unsigned q = 0; q < n_queues; q++) {
		ret = xb_lane_init(&own->lanes[q], &uplink->port, q, arena);
		if (ret < 0)
			return ret;
	}
	return 0;
}

static void free_storage(struct xb_uplink *uplink)
{
	struct xb_uplink_private *own = uplink->own;

	if (own) {
		xb_cleanup_close(&own->promisc_fd);
		for (unsigned q = 0; own->lanes && q < uplink->port.queues_max; q++)
			xb_lane_fini(&own->lanes[q]);
		free(own->lanes);
		free(own->missed);
		free(own->marks);
		free(own->deliveries);
		free(own);
	}
	if (uplink->port.queues)
		xb_port_fini(&uplink->port);
	free(uplink);
}

static int make(struct xb_uplink *uplink, const struct xb_program *program, struct xb_arena *arena,
		struct xb_own_macs *stack, struct xb_error *err)
{
	struct xb_netdev netdev = {0};
	unsigned n_queues;
	int ret;

	ret = check_options(&uplink->options, err);
	if (!ret)
		ret = xb_uplink_look_up(uplink, &netdev, err);
	if (!ret)
		ret = xb_own_macs_read(netdev.ifindex, stack, err);
	if (ret < 0)
		return ret;
	n_queues = netdev.rx_queues_max < uplink->options.queues_max ? netdev.rx_queues_max
								     : uplink->options.queues_max;
	ret = make_storage(uplink, n_queues, program, arena);
	if (ret < 0)
		return xb_fail(err, ret, "make the uplink %s", uplink->options.ifname);
	decide_sharing(uplink);
	adopt(uplink, &netdev);
	ret = program->ops->claim(program->arg, netdev.ifindex, uplink->options.ifname,
				  &uplink->slot, err);
	if (ret < 0)
		return ret;
	ret = prepare(uplink, stack, err);
	if (ret < 0)
		program->ops->release(program->arg, uplink->slot, false);
	return ret;
}

int xb_uplink_new(const struct xb_uplink_options *options, const struct xb_program *program,
		  struct xb_arena *arena, struct xb_uplink **ret_uplink, struct xb_error *err)
{
	xb_auto_free struct xb_own_macs *stack = calloc(1, sizeof(*stack));
	struct xb_uplink *uplink = aligned_alloc(64, (sizeof(*uplink) + 63) / 64 * 64);
	int ret;

	if (!stack || !uplink) {
		free(uplink);
		return xb_fail(err, -ENOMEM, "make the uplink %s", options->ifname);
	}
	memset(uplink, 0, sizeof(*uplink));
	uplink->options = *options;
	ret = make(uplink, program, arena, stack, err);
	if (ret < 0) {
		free_storage(uplink);
		return ret;
	}
	*ret_uplink = uplink;
	return 0;
}

void xb_uplink_free(struct xb_uplink *uplink, struct xb_cache *cache)
{
	const struct xb_program *program;

	if (!uplink)
		return;
	program = &uplink->own->program;
	if (cache)
		while (xb_uplink_stop(uplink, cache) == -EAGAIN)
			;
	xb_xsk_set_close(&uplink->own->set);
	program->ops->release(program->arg, uplink->slot, uplink->own->attached);
	free_storage(uplink);
}

int xb_uplink_reopen(struct xb_uplink *uplink, struct xb_error *err)
{
	xb_auto_free struct xb_own_macs *stack = calloc(1, sizeof(*stack));
	struct xb_netdev netdev;
	int ret;

	if (!stack)
		return xb_fail(err, -ENOMEM, "reopen the uplink %s", uplink->options.ifname);
	if (uplink->running)
		return xb_fail(err, -EBUSY, "reopen the uplink %s: it is not stopped",
			       uplink->options.ifname);
	ret = xb_uplink_look_up(uplink, &netdev, err);
	if (!ret)
		ret = xb_own_macs_read(netdev.ifindex, stack, err);
	if (ret < 0)
		return ret;
	adopt(uplink, &netdev);
	return prepare(uplink, stack, err);
}

/* ---- started and stopped ---- */

static int post_frames(struct xb_uplink *uplink, struct xb_cache *cache, struct xb_error *err)
{
	struct xb_uplink_private *own = uplink->own;
	uint32_t target = xb_arena_share(own->arena, uplink->port.n_queues,
					 uplink->options.fill_frames);
	uint32_t fill = 0;

	/* in rounds, so that where frames are short every queue gets some */
	while (fill < target) {
		fill = target - fill > XB_BATCH ? fill + XB_BATCH : target;
		for (unsigned q = 0; q < uplink->port.n_queues; q++) {
			own->lanes[q].fill_frames = fill;
			xb_lane_fill(&own->lanes[q], cache);
		}
	}
	for (unsigned q = 0; q < uplink->port.n_queues; q++) {
		if (own->lanes[q].posted >= XB_BATCH)
			continue;
		xb_fail(err, -ENOMEM, "post frames for receiving on queue %u of %s", q,
			uplink->options.ifname);
		xb_hint(err, "the arena is too small for all ports and queues: give more --frames");
		return -ENOMEM;
	}
	return 0;
}

/* On a shared uplink queue 0 is woken by either of two sockets. */
static int open_tap(struct xb_uplink *uplink, struct xb_error *err)
{
	struct xb_uplink_private *own = uplink->own;
	struct epoll_event event = {.events = EPOLLIN};
	int ret;

	ret = xb_group_tap_open(&own->tap, uplink->ifindex, uplink->options.ifname, err);
	if (ret < 0)
		return ret;
	own->wake_epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (own->wake_epoll_fd < 0 ||
	    epoll_ctl(own->wake_epoll_fd, EPOLL_CTL_ADD, own->set.queue[0].fd, &event) < 0 ||
	    epoll_ctl(own->wake_epoll_fd, EPOLL_CTL_ADD, own->tap.fd, &event) < 0)
		return xb_fail(err, -errno, "join the sockets of %s", uplink->options.ifname);
	return 0;
}

static int open_gate(struct xb_uplink *uplink, struct xb_error *err)
{
	struct xb_uplink_private *own = uplink->own;
	struct xb_port *port = &uplink->port;
	uint64_t now_ns = xb_clock_ns(CLOCK_MONOTONIC_COARSE);
	int ret;

	for (unsigned q = 0; q < port->n_queues; q++) {
		ret = own->program.ops->set_socket(own->program.arg, uplink->slot, q,
						   own->set.queue[q].fd, err);
		if (ret < 0)
			return ret;
		port->queues[q].wake_fd = q == 0 && uplink->shared ? own->wake_epoll_fd
								   : own->set.queue[q].fd;
	}
	for (unsigned q = 0; q < port->n_queues; q++)
		xb_program_beat(&own->program, uplink->slot, q, now_ns);
	return 0;
}

/* Makes room for the sockets. Those of before have let go of their frames first. */
static int open_set(struct xb_uplink *uplink, struct xb_cache *cache, struct xb_error *err)
{
	struct xb_uplink_private *own = uplink->own;
	/* with zero copy the driver runs the program */
	const bool in_driver = uplink->attachment.mode == XB_XDP_NATIVE;
	const struct xb_xsk_options options = {
		.ifname = uplink->options.ifname,
		.n_queues = uplink->port.n_queues,
		.ring_size = uplink->options.ring_size,
		.mode = in_driver ? uplink->options.mode : XB_XSK_COPY,
	};
	int ret;

	if (!in_driver && uplink->options.mode == XB_XSK_ZEROCOPY) {
		xb_refuse(err, -EOPNOTSUPP,
			  "%s can't do zero copy: its XDP program runs above the driver (generic)",
			  options.ifname);
		xb_hint(err, "xdp=native asks the driver; mode=auto falls back to copy");
		return -EOPNOTSUPP;
	}
	ret = xb_uplink_stop(uplink, cache);
	if (ret < 0)
		return xb_refuse(err, ret, "%s can't start: the kernel still holds its frames",
				 uplink->options.ifname);
	return xb_xsk_set_open(&own->set, own->arena, &options, err);
}

/* All sockets are bound: what is left to be done. */
static int finish_start(struct xb_uplink *uplink, struct xb_cache *cache, struct xb_error *err)
{
	struct xb_uplink_private *own = uplink->own;
	int ret;

	uplink->running = true;
	uplink->zerocopy = own->set.zerocopy;
	own->tap_turn = 0;
	own->since = xb_in_force_read(own->program.in_force).generation;
	for (unsigned q = 0; q < uplink->port.n_queues; q++) {
		own->missed[q] = 0;
		own->marks[q] = 0;
		own->lanes[q].xsk = &own->set.queue[q];
	}
	ret = post_frames(uplink, cache, err);
	if (!ret && uplink->shared)
		ret = open_tap(uplink, err);
	if (!ret)
		ret = xb_uplink_open_tx(uplink, err);
	if (!ret)
		ret = open_gate(uplink, err);
	if (ret < 0) {
		while (xb_uplink_stop(uplink, cache) == -EAGAIN)
			;
		return ret;
	}
	xb_uplink_start_delivery(uplink);
	xb_uplink_refresh_link(uplink);
	return 0;
}

int xb_uplink_start(struct xb_uplink *uplink, struct xb_cache *cache, struct xb_error *err)
{
	struct xb_xsk_set *set = &uplink->own->set;
	int ret = 0;

	if (!set->queue || uplink->running)
		ret = open_set(uplink, cache, err);
	if (!ret)
		ret = xb_xsk_set_bind(set, err);
	return ret ? ret : finish_start(uplink, cache, err);
}

/* Closes the gate, and takes a last look at the sockets, which are to be closed next; returns
 * whether the kernel may still hold frames when they are. */
static bool leave_sockets(struct xb_uplink *uplink, struct xb_cache *cache)
{
	struct xb_uplink_private *own = uplink->own;
	struct xb_port *port = &uplink->port;
	bool held = own->set.zerocopy;

	for (unsigned q = 0; q < port->n_queues; q++)
		own->program.ops->set_socket(own->program.arg, uplink->slot, q, -1, NULL);
	xb_uplink_refresh_stats(uplink);
	for (unsigned q = 0; q < port->n_queues; q++) {
		struct xb_lane *lane = &own->lanes[q];

		if (lane->xsk) {
			xb_lane_drain(lane, cache);
			/* redirected, and never taken */
			xb_count(&port->queues[q].rx_missed, xb_lane_rx_waiting(lane));
		}
		held = held || lane->sent;
		lane->xsk = NULL;
		port->queues[q].wake_fd = -1;
	}
	xb_cleanup_close(&own->wake_epoll_fd);
	own->wake_epoll_fd = -1;
	xb_group_tap_close(&own->tap, cache);
	xb_packet_tx_close(&own->packet_tx);
	return held;
}

int xb_uplink_stop(struct xb_uplink *uplink, struct xb_cache *cache)
{
	struct xb_uplink_private *own = uplink->own;

	if (uplink->running) {
		own->unreleased = leave_sockets(uplink, cache) ? uplink->port.n_queues : 0;
		uplink->running = false; /* now: the last look at the counters was part of that */
		own->unreleased_ifindex = uplink->ifindex;
	}
	if (xb_xsk_set_close_next(&own->set) < 0)
		return -EAGAIN;
	if (own->unreleased && xb_xsk_look_released(own->unreleased_ifindex, own->unreleased) < 0)
		return -EBUSY;
	own->unreleased = 0;
	for (unsigned q = 0; q < uplink->port.queues_max; q++)
		xb_lane_reclaim(&own->lanes[q], cache);
	return 0;
}

/* ---- while it lives ---- */

int xb_uplink_refresh_macs(struct xb_uplink *uplink, struct xb_error *err)
{
	xb_auto_free struct xb_own_macs *stack = calloc(1, sizeof(*stack));
	int ret;

	if (!stack)
		return xb_fail(err, -ENOMEM, "read own MACs of %s", uplink->options.ifname);
	ret = xb_own_macs_read(uplink->ifindex, stack, err);
	return ret < 0 ? ret : write_own_macs(uplink, stack, err);
}

void xb_uplink_mark(struct xb_uplink *uplink)
{
	struct xb_uplink_private *own = uplink->own;

	for (unsigned q = 0; uplink->running && q < own->set.n; q++)
		own->marks[q] = __atomic_load_n(own->set.queue[q].rx.producer, __ATOMIC_ACQUIRE);
}

bool xb_uplink_has_passed(const struct xb_uplink *uplink)
{
	const struct xb_uplink_private *own = uplink->own;

	/* a difference: positions start again at some time */
	for (unsigned q = 0; uplink->running && q < own->set.n; q++)
		if ((int32_t)(__atomic_load_n(own->set.queue[q].rx.consumer, __ATOMIC_ACQUIRE) -
			      own->marks[q]) < 0)
			return false;
	return true;
}

/* Has the interface left this namespace, if only for a moment? The kernel has unbound the sockets
 * then. */
static bool sockets_are_dead(const struct xb_uplink *uplink)
{
	const struct xb_uplink_private *own = uplink->own;

	for (unsigned q = 0; uplink->running && q < own->set.n; q++) {
		int error = 0;
		socklen_t bytes = sizeof(error);

		if (getsockopt(own->set.queue[q].fd, SOL_SOCKET, SO_ERROR, &error, &bytes) == 0 &&
		    error == ENETDOWN)
			return true;
	}
	return false;
}

int xb_uplink_refresh_link(struct xb_uplink *uplink)
{
	const struct xb_program *program = &uplink->own->program;
	struct xb_netdev netdev;
	int attached = 1;
	int ret;

	ret = xb_uplink_read(uplink, &netdev);
	if (ret == -EAGAIN)
		return 0; /* it is renamed again and again: it is there */
	if (xb_is_shortage(ret))
		return ret;
	if (ret < 0 || sockets_are_dead(uplink)) {
		uplink->own->gone = true;
		atomic_store(&uplink->port.up, false);
		return -ENODEV;
	}
	if (uplink->running)
		attached = program->ops->is_attached(program->arg, uplink->slot, uplink->ifindex);
	if (attached < 0)
		return attached;
	if (!attached) {
		atomic_store(&uplink->port.up, false);
		return -ENOLINK;
	}
	memcpy(uplink->mac, netdev.mac, sizeof(uplink->mac));
	uplink->mtu = netdev.mtu;
	uplink->rx_queues = netdev.rx_queues;
	uplink->tx_queues = netdev.tx_queues;
	look_at_tags(uplink, &netdev); /* what can't be looked at is as it was */
	atomic_store(&uplink->port.up, netdev.up);
	return 0;
}
