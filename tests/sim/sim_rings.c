/* SPDX-License-Identifier: BSD-2-Clause */
#include "sim/sim_rings.h"

#include "support/must.h"
#include "virtio/features.h"

#include <sched.h>
#include <string.h>
#include <sys/eventfd.h>

#define RX           0u
#define TX           1u
#define HEADER_BYTES ((uint32_t)sizeof(struct virtio_net_hdr_v1))

/* ---- packets ---- */

/* The lists alone are shared with the test's threads; what is in the first place of one stays there
 * until the device takes it. */
static struct sim_packet *first(struct sim_device *sim, struct sim_list *list)
{
	struct sim_packet *pkt;

	pthread_mutex_lock(&sim->lists);
	pkt = STAILQ_FIRST(list);
	pthread_mutex_unlock(&sim->lists);
	return pkt;
}

struct sim_packet *sim_list_take(struct sim_device *sim, struct sim_list *list)
{
	struct sim_packet *pkt;

	pthread_mutex_lock(&sim->lists);
	pkt = STAILQ_FIRST(list);
	if (pkt)
		STAILQ_REMOVE_HEAD(list, next);
	pthread_mutex_unlock(&sim->lists);
	return pkt;
}

static void put(struct sim_device *sim, struct sim_list *list, struct sim_packet *pkt)
{
	pthread_mutex_lock(&sim->lists);
	STAILQ_INSERT_TAIL(list, pkt, next);
	pthread_mutex_unlock(&sim->lists);
}

static void lose(struct sim_device *sim, struct sim_pair *pair)
{
	struct sim_packet *pkt;

	while ((pkt = sim_list_take(sim, &pair->to_driver))) {
		atomic_fetch_add(&sim->lost, 1);
		free(pkt);
	}
}

void sim_device_push(struct sim_device *sim, unsigned pair, const struct virtio_net_hdr_v1 *hdr,
		     const void *data, uint32_t len)
{
	struct sim_packet *pkt = malloc(sizeof(*pkt) + len);

	MUST(pkt);
	*pkt = (struct sim_packet){.len = len};
	if (hdr)
		pkt->hdr = *hdr;
	memcpy(pkt->data, data, len);
	pthread_mutex_lock(&sim->lists);
	if (sim->steer && pair >= sim->steer)
		pair %= sim->steer;
	STAILQ_INSERT_TAIL(&sim->pair[pair].to_driver, pkt, next);
	pthread_mutex_unlock(&sim->lists);
	MUST(eventfd_write(sim->wake_fd, 1) == 0);
}

struct sim_packet *sim_device_pop(struct sim_device *sim, unsigned pair)
{
	return sim_list_take(sim, &sim->pair[pair].from_driver);
}

/* ---- access to the driver's memory ---- */

/* Whether the driver has posted this buffer, so that the device may read or write it. */
static bool is_posted(const struct sim_device *sim, const uint8_t *addr, unsigned dir)
{
	const struct xb_arena *arena = sim->arena;
	enum xb_owner owner;
	size_t i;

	if (!arena)
		return true;
	i = (size_t)(addr - arena->base) / XB_FRAME_BYTES;
	if (addr < arena->base || i >= arena->n_frames)
		return false;
	owner = xb_frame_owner(&arena->frames[i]);
	return dir == RX ? owner == XB_OWNER_RX : owner == XB_OWNER_TX || owner == XB_OWNER_REST;
}

/* To be asked before and after: a buffer may have been taken back meanwhile. */
static void must_be_posted(const struct sim_device *sim, const struct device_chain *chains,
			   unsigned n, unsigned dir)
{
	for (unsigned c = 0; c < n; c++)
		for (unsigned i = 0; i < chains[c].n; i++)
			MUST(is_posted(sim, chains[c].bufs[i].addr, dir));
}

/* A device is slower than we are, and knows nothing of the driver's threads. */
static void take_time(const struct sim_device *sim)
{
	if (sim->threaded)
		sched_yield();
}

/* A buffer is the device's from when it is posted until it is used, or until a reset has ended: it
 * may read and write there at any time, whatever it makes of it. */
static void touch_posted(struct sim_device *sim, const struct sim_pair *pair, unsigned dir)
{
	static _Thread_local struct device_chain chain;
	struct device_ring ring = pair->ring[dir];
	volatile uint8_t seen;

	while (pair->set[dir] && device_ring_get(&ring, &chain)) {
		must_be_posted(sim, &chain, 1, dir);
		for (unsigned i = 0; i < chain.n; i++) {
			if (dir == RX)
				memset(chain.bufs[i].addr, 0xdb, chain.bufs[i].len);
			for (uint32_t at = 0; dir == TX && at < chain.bufs[i].len; at++)
				seen = chain.bufs[i].addr[at];
		}
		take_time(sim);
		must_be_posted(sim, &chain, 1, dir);
	}
	(void)seen;
}

static struct sim_packet *gather(const struct device_chain *chain)
{
	struct sim_packet *pkt = malloc(sizeof(*pkt) + chain->bytes);
	uint32_t at = 0;
	uint8_t *all = malloc(chain->bytes);

	MUST(pkt && all && chain->bytes >= HEADER_BYTES);
	for (unsigned i = 0; i < chain->n; i++) {
		memcpy(all + at, chain->bufs[i].addr, chain->bufs[i].len);
		at += chain->bufs[i].len;
	}
	pkt->len = at - HEADER_BYTES;
	memcpy(&pkt->hdr, all, HEADER_BYTES);
	memcpy(pkt->data, all + HEADER_BYTES, pkt->len);
	free(all);
	return pkt;
}

/* ---- the rings ---- */

/* Whether the device looks at a virtqueue now: not while it waits for a notification. */
static bool is_awake(struct sim_pair *pair, unsigned dir)
{
	eventfd_t count;

	if (!pair->set[dir])
		return false;
	if (pair->asleep[dir] && eventfd_read(pair->kick_fd[dir], &count) < 0)
		return false;
	if (pair->asleep[dir])
		device_ring_hush(&pair->ring[dir]);
	pair->asleep[dir] = false;
	return true;
}

/* Finds nothing (more) of use in a ring; returns whether there is after all. */
static bool fall_asleep(struct sim_pair *pair, unsigned dir, unsigned seen)
{
	device_ring_ask(&pair->ring[dir]);
	atomic_thread_fence(memory_order_seq_cst);
	pair->asleep[dir] = device_ring_waiting(&pair->ring[dir]) == seen;
	return !pair->asleep[dir];
}

static void call(struct sim_pair *pair)
{
	if (device_ring_must_call(&pair->ring[RX]))
		MUST(eventfd_write(pair->call_fd, 1) == 0);
}

/* Breaks a rule of a ring as it uses a chain; false: it was honest. */
static bool misbehave(struct sim_device *sim, struct device_ring *ring, enum sim_fault first,
		      uint16_t head, uint32_t bytes)
{
	int fault = atomic_load(&sim->fault);

	if (fault == (int)first) { /* …_ID_BEYOND */
		device_ring_put(ring, device_ring_size(ring) + 5, 0);
	} else if (fault == (int)first + 1) { /* …_ID_FREE */
		device_ring_put(ring, head, first == SIM_RX_ID_BEYOND ? HEADER_BYTES : 0);
		device_ring_put(ring, head, first == SIM_RX_ID_BEYOND ? HEADER_BYTES : 0);
	} else if (fault == (int)first + 2) { /* …_INDEX_JUMP */
		device_ring_jump(ring);
	} else if (fault == SIM_RX_LEN_LONG && first == SIM_RX_ID_BEYOND) {
		device_ring_put(ring, head, bytes + 1);
	} else {
		return false;
	}
	device_ring_flush(ring);
	atomic_store(&sim->fault, SIM_HONEST);
	return true;
}

/* A thread has to look for orders now and then. */
static bool may_go_on(const struct sim_device *sim, unsigned n)
{
	return !sim->threaded || n < 64;
}

static unsigned take_sent(struct sim_device *sim, struct sim_pair *pair)
{
	struct device_ring *ring = &pair->ring[TX];
	struct device_chain chain;
	unsigned n = 0;

	if (!is_awake(pair, TX))
		return 0;
	do {
		while (may_go_on(sim, n) && device_ring_get(ring, &chain)) {
			struct sim_packet *pkt;

			MUST(!chain.writable);
			must_be_posted(sim, &chain, 1, TX);
			pkt = gather(&chain);
			take_time(sim);
			must_be_posted(sim, &chain, 1, TX);
			put(sim, sim->loop ? &pair->to_driver : &pair->from_driver, pkt);
			atomic_fetch_add(&sim->received, 1);
			n++;
			if (!misbehave(sim, ring, SIM_TX_ID_BEYOND, chain.head, 0))
				device_ring_put(ring, chain.head, 0);
		}
		device_ring_flush(ring);
	} while (may_go_on(sim, n) && fall_asleep(pair, TX, 0));
	return n;
}

/* Takes receive buffers for `bytes`; 0: there aren't enough, and none is taken. */
static unsigned take_buffers(struct sim_device *sim, struct device_ring *ring, uint32_t bytes,
			     struct device_chain *chains, uint32_t *used)
{
	unsigned n = 0;

	while (bytes && n < 64 && device_ring_get(ring, &chains[n])) {
		MUST(chains[n].writable);
		used[n] = chains[n].bytes;
		if (sim->use_max && used[n] > sim->use_max)
			used[n] = sim->use_max;
		if (used[n] > bytes)
			used[n] = bytes;
		bytes -= used[n++];
		if (!xb_has(sim->features, VIRTIO_NET_F_MRG_RXBUF))
			break;
	}
	if (!bytes)
		return n;
	while (n)
		device_ring_unget(ring, &chains[--n]);
	return 0;
}

static void scatter(const struct sim_packet *pkt, const struct device_chain *chains,
		    const uint32_t *used, unsigned n, uint16_t num_buffers)
{
	struct virtio_net_hdr_v1 hdr = pkt->hdr;
	uint32_t at = used[0] - HEADER_BYTES;

	hdr.num_buffers = num_buffers;
	MUST(used[0] >= HEADER_BYTES && chains[0].n == 1);
	memcpy(chains[0].bufs[0].addr, &hdr, HEADER_BYTES);
	memcpy(chains[0].bufs[0].addr + HEADER_BYTES, pkt->data, at);
	for (unsigned i = 1; i < n; i++) {
		memcpy(chains[i].bufs[0].addr, pkt->data + at, used[i]);
		at += used[i];
	}
	MUST(at == pkt->len);
}

static uint16_t claimed_buffers(struct sim_device *sim, unsigned n)
{
	int fault = atomic_load(&sim->fault);

	if (fault < SIM_RX_BUFFERS_0 || fault > SIM_RX_BUFFERS_MISSING)
		return (uint16_t)n;
	atomic_store(&sim->fault, SIM_HONEST);
	return (uint16_t)(fault == SIM_RX_BUFFERS_0      ? 0
			  : fault == SIM_RX_BUFFERS_MANY ? 65535
							 : n + 1);
}

/* Delivers one packet. False: there are too few buffers. */
static bool deliver(struct sim_device *sim, struct sim_pair *pair, const struct sim_packet *pkt)
{
	static _Thread_local struct device_chain chains[64];
	struct device_ring *ring = &pair->ring[RX];
	uint32_t used[64];
	unsigned n = take_buffers(sim, ring, HEADER_BYTES + pkt->len, chains, used);

	if (!n)
		return false;
	must_be_posted(sim, chains, n, RX);
	scatter(pkt, chains, used, n, claimed_buffers(sim, n));
	take_time(sim);
	must_be_posted(sim, chains, n, RX);
	if (!misbehave(sim, ring, SIM_RX_ID_BEYOND, chains[0].head, chains[0].bytes))
		for (unsigned i = 0; i < n; i++)
			device_ring_put(ring, chains[i].head, used[i]);
	device_ring_flush(ring);
	atomic_fetch_add(&sim->delivered, 1);
	return true;
}

static unsigned give_received(struct sim_device *sim, struct sim_pair *pair)
{
	struct device_ring *ring = &pair->ring[RX];
	const struct sim_packet *pkt = first(sim, &pair->to_driver);
	unsigned n = 0;

	if (!pkt || !is_awake(pair, RX))
		return 0;
	for (; pkt && may_go_on(sim, n); pkt = first(sim, &pair->to_driver)) {
		unsigned waiting = device_ring_waiting(ring);

		if (deliver(sim, pair, pkt)) {
			free(sim_list_take(sim, &pair->to_driver));
			n++;
		} else if (waiting && !xb_has(sim->features, VIRTIO_NET_F_MRG_RXBUF)) {
			atomic_fetch_add(&sim->too_long, 1);
			free(sim_list_take(sim, &pair->to_driver));
		} else if (!fall_asleep(pair, RX, waiting)) {
			break;
		}
	}
	call(pair);
	return n;
}

unsigned sim_device_step(struct sim_device *sim)
{
	unsigned n = 0;

	if (!(atomic_load(&sim->status) & VIRTIO_CONFIG_S_DRIVER_OK))
		return 0;
	for (unsigned p = 0; p < sim->pairs; p++) {
		n += take_sent(sim, &sim->pair[p]);
		n += give_received(sim, &sim->pair[p]);
	}
	return n;
}

void sim_pair_leave(struct sim_device *sim, struct sim_pair *pair)
{
	for (unsigned dir = 0; dir < 2; dir++) {
		pair->queue[dir].base = device_ring_base(&pair->ring[dir]);
		touch_posted(sim, pair, dir);
		pair->set[dir] = false;
	}
	lose(sim, pair);
}
