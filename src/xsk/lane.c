/* SPDX-License-Identifier: BSD-2-Clause */
#include "xsk/lane.h"

#include "core/calls.h"
#include "xbridge/steer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

XB_CALL(worker, recvfrom);
XB_CALL(worker, sendto);
XB_CALL(control, recvfrom);
XB_CALL(control, sendto);

/* Frames that the kernel sends in one call in copy mode. */
#define TX_CALL_FRAMES 32u

static size_t map_bytes(const struct xb_arena *arena)
{
	return ((size_t)arena->n_frames + 63) / 64 * sizeof(uint64_t);
}

static void mark(uint64_t *map, const struct xb_arena *arena, const struct xb_frame *frame)
{
	size_t i = (size_t)(frame - arena->frames);

	map[i / 64] |= 1ull << i % 64;
}

/* Returns whether the frame was marked. */
static bool unmark(uint64_t *map, const struct xb_arena *arena, const struct xb_frame *frame)
{
	size_t i = (size_t)(frame - arena->frames);
	uint64_t bit = 1ull << i % 64;

	if (!(map[i / 64] & bit))
		return false;
	map[i / 64] &= ~bit;
	return true;
}

int xb_lane_init(struct xb_lane *lane, struct xb_port *port, unsigned q, struct xb_arena *arena)
{
	*lane = (struct xb_lane){.port = port, .q = q, .arena = arena};
	lane->rx_out = calloc(1, map_bytes(arena));
	lane->tx_out = calloc(1, map_bytes(arena));
	pthread_mutex_init(&lane->lock, NULL);
	if (!lane->rx_out || !lane->tx_out) {
		xb_lane_fini(lane);
		return -ENOMEM;
	}
	return 0;
}

void xb_lane_fini(struct xb_lane *lane)
{
	free(lane->rx_out);
	free(lane->tx_out);
	pthread_mutex_destroy(&lane->lock);
	lane->rx_out = lane->tx_out = NULL;
}

/* ---- receiving ---- */

void xb_lane_fill(struct xb_lane *lane, struct xb_cache *cache)
{
	struct xsk_ring_prod *fill = &lane->xsk->fill;
	uint32_t want = lane->fill_frames - lane->posted;
	uint32_t room;
	uint32_t n;

	if (!want)
		return;
	/* the kernel may hand a frame over before it says that its place here is free */
	room = xsk_prod_nb_free(fill, want);
	if (want > room)
		want = room;
	for (n = 0; n < want; n++) {
		struct xb_frame *frame = xb_frame_alloc(cache);

		if (!frame)
			break;
		/* so that what stands there when it comes back was written by the program */
		memset(frame->base + XB_FRAME_HEADROOM - sizeof(struct xb_meta), 0,
		       sizeof(struct xb_meta));
		xb_frame_give(frame, XB_OWNER_WORKER, XB_OWNER_RX);
		mark(lane->rx_out, lane->arena, frame);
		*xsk_ring_prod__fill_addr(fill, fill->cached_prod++) =
			xb_arena_off(lane->arena, frame->base).bytes;
	}
	if (!n)
		return;
	lane->posted += n;
	xsk_ring_prod__submit(fill, n);
}

/* What the program says of a frame that it has redirected. */
static void read_meta(struct xb_frame *frame, uint32_t since)
{
	struct xb_meta meta;

	frame->fate.stage = XB_STAGE_UNTOLD;
	/* elsewhere nobody has cleared the place */
	if (frame->head != XB_FRAME_HEADROOM)
		return;
	memcpy(&meta, xb_frame_data(frame) - sizeof(meta), sizeof(meta));
	/* a difference: generations start again at some time */
	if (meta.magic != XB_META_MAGIC || (int32_t)(meta.generation - since) < 0)
		return;
	frame->fate =
		(struct xb_fate){.verdict = meta.verdict, .stage = meta.stage, .rule = meta.rule};
}

/* The frame that a descriptor speaks of, in the worker's hands; NULL where it speaks of none that
 * we posted, or of bytes beyond it. */
static struct xb_frame *harvest(struct xb_lane *lane, struct xb_cache *cache, uint64_t addr,
				uint32_t len)
{
	struct xb_frame *frame = xb_arena_frame(lane->arena, (struct xb_off){addr});
	uint32_t head = (uint32_t)(addr % XB_FRAME_BYTES);

	if (!frame || !unmark(lane->rx_out, lane->arena, frame)) {
		xb_port_refuse(lane->port, lane->q, cache, NULL, 0, XB_DROP_BAD_RING);
		return NULL;
	}
	lane->posted--;
	xb_frame_give(frame, XB_OWNER_RX, XB_OWNER_WORKER);
	if (len > XB_FRAME_BYTES - head) {
		xb_packet_init(frame, 0, 0);
		xb_packet_free(cache, frame);
		xb_port_refuse(lane->port, lane->q, cache, NULL, 0, XB_DROP_BAD_RING);
		return NULL;
	}
	xb_packet_init(frame, head, len);
	return frame;
}

unsigned xb_lane_rx(struct xb_lane *lane, struct xb_cache *cache, struct xb_frame **pkts,
		    unsigned max, uint32_t since, uint8_t csum)
{
	struct xsk_ring_cons *rx = &lane->xsk->rx;
	uint32_t first = 0;
	uint32_t n = xsk_ring_cons__peek(rx, max, &first);
	unsigned got = 0;

	if (!n) {
		/* frames may have been short before */
		xb_lane_fill(lane, cache);
		return 0;
	}
	for (uint32_t i = 0; i < n; i++) {
		const struct xdp_desc *desc = xsk_ring_cons__rx_desc(rx, first + i);

		__builtin_prefetch(lane->arena->base + desc->addr - sizeof(struct xb_meta));
	}
	for (uint32_t i = 0; i < n; i++) {
		const struct xdp_desc *desc = xsk_ring_cons__rx_desc(rx, first + i);
		struct xb_frame *frame = harvest(lane, cache, desc->addr, desc->len);

		if (!frame)
			continue;
		read_meta(frame, since);
		frame->offload.csum = csum;
		pkts[got++] = frame;
	}
	xsk_ring_cons__release(rx, n);
	xb_lane_fill(lane, cache);
	return got;
}

uint32_t xb_lane_rx_waiting(const struct xb_lane *lane)
{
	const struct xsk_ring_cons *rx = &lane->xsk->rx;

	return __atomic_load_n(rx->producer, __ATOMIC_ACQUIRE) - rx->cached_cons;
}

void xb_lane_wake_rx(const struct xb_lane *lane)
{
	if (xsk_ring_prod__needs_wakeup(&lane->xsk->fill))
		recvfrom(lane->xsk->fd, NULL, 0, MSG_DONTWAIT, NULL, NULL);
}

/* ---- sending ---- */

static void lock(struct xb_lane *lane)
{
	if (lane->locked)
		pthread_mutex_lock(&lane->lock);
}

static void unlock(struct xb_lane *lane)
{
	if (lane->locked)
		pthread_mutex_unlock(&lane->lock);
}

static void complete(struct xb_lane *lane, struct xb_cache *cache)
{
	struct xsk_ring_cons *comp = &lane->xsk->comp;
	uint32_t first = 0;
	uint32_t n;

	while (lane->sent && (n = xsk_ring_cons__peek(comp, XB_BATCH, &first))) {
		for (uint32_t i = 0; i < n; i++) {
			uint64_t addr = *xsk_ring_cons__comp_addr(comp, first + i);
			struct xb_frame *frame = xb_arena_frame(lane->arena, (struct xb_off){addr});

			if (!frame || !unmark(lane->tx_out, lane->arena, frame))
				continue;
			lane->sent--;
			xb_port_sent(lane->port, lane->q, cache, frame);
		}
		xsk_ring_cons__release(comp, n);
	}
}

unsigned xb_lane_tx(struct xb_lane *lane, struct xb_cache *cache, struct xb_frame **pkts,
		    unsigned n)
{
	struct xsk_ring_prod *tx = &lane->xsk->tx;
	uint32_t room;

	lock(lane);
	complete(lane, cache);
	room = xsk_prod_nb_free(tx, n);
	if (n > room)
		n = room;
	for (unsigned i = 0; i < n; i++) {
		struct xdp_desc *desc = xsk_ring_prod__tx_desc(tx, tx->cached_prod++);

		assert(pkts[i]->count == 1 && pkts[i]->len >= 14);
		xb_frame_give(pkts[i], XB_OWNER_WORKER, XB_OWNER_TX);
		mark(lane->tx_out, lane->arena, pkts[i]);
		desc->addr = xb_arena_off(lane->arena, xb_frame_data(pkts[i])).bytes;
		desc->len = pkts[i]->len;
		desc->options = 0;
	}
	if (n) {
		lane->sent += n;
		xsk_ring_prod__submit(tx, n);
	}
	unlock(lane);
	return n;
}

/* Descriptors that the kernel has not said to have taken yet; it may say so late. */
static uint32_t untaken(const struct xsk_ring_prod *tx)
{
	return tx->cached_prod - __atomic_load_n(tx->consumer, __ATOMIC_ACQUIRE);
}

/* Empties the ring: one that stayed full would lose packets as soon as the other side pauses. */
static void wake_tx(struct xb_lane *lane)
{
	struct xsk_ring_prod *tx = &lane->xsk->tx;
	uint32_t calls = (untaken(tx) + TX_CALL_FRAMES - 1) / TX_CALL_FRAMES;

	while (calls-- && xsk_ring_prod__needs_wakeup(tx)) {
		if (sendto(lane->xsk->fd, NULL, 0, MSG_DONTWAIT, NULL, 0) == 0)
			break;
		/* EAGAIN: there is more, or the driver is busy. EBUSY: a frame was dropped, the
		 * next one may not be. Others (the link is down, the interface gone) show as frames
		 * that stay. */
		if (errno != EAGAIN && errno != EBUSY)
			break;
	}
}

unsigned xb_lane_kick(struct xb_lane *lane, struct xb_cache *cache)
{
	unsigned sent;

	lock(lane);
	wake_tx(lane);
	complete(lane, cache);
	sent = lane->sent;
	unlock(lane);
	return sent;
}

void xb_lane_drain(struct xb_lane *lane, struct xb_cache *cache)
{
	if (lane->xsk)
		complete(lane, cache);
}

/* ---- afterwards ---- */

/* The next marked frame from `*i` on, unmarked; NULL where there is none. */
static struct xb_frame *next_marked(uint64_t *map, const struct xb_arena *arena, uint32_t *i)
{
	for (; *i < arena->n_frames; ++*i) {
		if (unmark(map, arena, &arena->frames[*i]))
			return &arena->frames[*i];
	}
	return NULL;
}

void xb_lane_reclaim(struct xb_lane *lane, struct xb_cache *cache)
{
	struct xb_frame *frame;

	for (uint32_t i = 0; (frame = next_marked(lane->rx_out, lane->arena, &i));) {
		xb_frame_give(frame, XB_OWNER_RX, XB_OWNER_WORKER);
		xb_packet_init(frame, 0, 0);
		xb_packet_free(cache, frame);
	}
	for (uint32_t i = 0; (frame = next_marked(lane->tx_out, lane->arena, &i));)
		xb_port_unsent(lane->port, lane->q, cache, frame, XB_DROP_TX_RESET);
	lane->posted = 0;
	lane->sent = 0;
}
