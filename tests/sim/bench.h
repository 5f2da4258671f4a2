/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A virtio-net driver on a simulated device, alone: what the tests of the driver are done on.
 */
#ifndef XB_TESTS_BENCH_H
#define XB_TESTS_BENCH_H

#include "sim/sim_device.h"
#include "support/must.h"
#include "support/room.h"
#include "virtio/net.h"

#include <string.h>

/* Whether the driver asks for packed rings, which the device offers. */
static bool bench_packed;

struct bench {
	struct xb_arena arena;
	struct xb_cache cache;
	struct sim_device sim;
	struct xb_virtio_net net;
	uint64_t posted; /* packets that the driver took for sending */
	uint64_t taken;  /* packets that it handed over */
};

static inline void bench_init(struct bench *b, uint32_t frames, unsigned pairs, unsigned queue_size)
{
	struct xb_virtio_net_options options = {.name = "v0",
						.queues_max = pairs,
						.queue_size = queue_size,
						.mtu = 1500,
						.offload = XB_OFFLOAD_ALL,
						.packed = bench_packed};

	memset(b, 0, sizeof(*b));
	MUST(xb_arena_init(&b->arena, frames, 4u << 20, NULL) == 0);
	xb_cache_init(&b->cache, &b->arena);
	sim_device_init(&b->sim, pairs);
	b->sim.arena = &b->arena;
	MUST(xb_virtio_net_init(&b->net, &b->sim.transport, &b->arena, &options, NULL) == 0);
}

/* The rings' room in the arena is free. */
static inline void bench_must_hold_no_rings(const struct bench *b)
{
	for (uint32_t i = 0; i < b->arena.n_ring_pages; i++)
		MUST(!b->arena.ring_pages[i]);
}

static inline void bench_fini(struct bench *b)
{
	xb_virtio_net_stop(&b->net, &b->cache);
	bench_must_hold_no_rings(b);
	must_be_free(&b->arena);
	if (b->sim.wrong)
		fprintf(stderr, "the driver broke %s (%s)\n", b->sim.wrong, b->sim.log);
	MUST(!b->sim.wrong);
	xb_virtio_net_fini(&b->net);
	sim_device_fini(&b->sim);
	xb_cache_fini(&b->cache);
	xb_arena_fini(&b->arena);
}

/* A packet of `len` bytes in frames of at most `step`, all its bytes a function of `salt`. */
static inline struct xb_frame *bench_packet(struct bench *b, uint32_t salt, uint32_t len,
					    uint32_t step)
{
	struct xb_frame *pkt = NULL, *last = NULL;

	for (uint32_t at = 0; at < len;) {
		struct xb_frame *frame = xb_frame_alloc(&b->cache);
		uint32_t part = step < XB_FRAME_ROOM ? step : XB_FRAME_ROOM;

		if (!frame) {
			xb_packet_free(&b->cache, pkt);
			return NULL;
		}
		part = part < len - at ? part : len - at;
		xb_packet_init(frame, XB_FRAME_HEADROOM, part);
		for (uint32_t i = 0; i < part; i++)
			xb_frame_data(frame)[i] = (uint8_t)((at + i) * 31 + salt);
		if (pkt)
			xb_packet_append(pkt, last, frame);
		else
			pkt = frame;
		last = frame;
		at += part;
	}
	return pkt;
}

/* What bench_packet made, whatever its frames. */
static inline bool bench_is_packet(const struct xb_frame *pkt, uint32_t salt, uint32_t len)
{
	uint32_t at = 0;

	for (; pkt; pkt = pkt->next)
		for (uint32_t i = 0; i < pkt->len; i++, at++)
			if (xb_frame_data(pkt)[i] != (uint8_t)(at * 31 + salt))
				return false;
	return at == len;
}

/* Sends on queue `q`; frees what the driver doesn't take. */
static inline void bench_send(struct bench *b, unsigned q, struct xb_frame **pkts, unsigned n)
{
	struct xb_port *port = &b->net.port;
	unsigned sent;

	pthread_mutex_lock(&port->queues[q].tx_lock);
	sent = port->ops->tx_batch(port, q, &b->cache, pkts, n);
	port->ops->kick(port, q, &b->cache);
	pthread_mutex_unlock(&port->queues[q].tx_lock);
	b->posted += sent;
	for (; sent < n; sent++)
		xb_packet_free(&b->cache, pkts[sent]);
}

/* Takes back what was sent, and one batch of what came in; frees it. */
static inline unsigned bench_receive(struct bench *b, unsigned q)
{
	struct xb_port *port = &b->net.port;
	struct xb_frame *pkts[XB_BATCH];
	unsigned n = port->ops->rx_batch(port, q, &b->cache, pkts, XB_BATCH);

	for (unsigned i = 0; i < n; i++)
		xb_packet_free(&b->cache, pkts[i]);
	pthread_mutex_lock(&port->queues[q].tx_lock);
	port->ops->kick(port, q, &b->cache);
	pthread_mutex_unlock(&port->queues[q].tx_lock);
	b->taken += n;
	return n;
}

#endif
