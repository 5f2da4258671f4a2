/* SPDX-License-Identifier: BSD-2-Clause */
#include "sim/sim_device.h"

#include "support/must.h"
#include "virtio/features.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define RX           0u
#define TX           1u
#define HEADER_BYTES ((uint32_t)sizeof(struct virtio_net_hdr_v1))

const uint64_t sim_all_features = XB_F(VIRTIO_F_VERSION_1) | XB_F(VIRTIO_RING_F_EVENT_IDX) |
				  XB_F(VIRTIO_RING_F_INDIRECT_DESC) | XB_F(VIRTIO_NET_F_MRG_RXBUF) |
				  XB_F(VIRTIO_NET_F_MAC) | XB_F(VIRTIO_NET_F_MTU) |
				  XB_F(VIRTIO_NET_F_STATUS) | XB_F(VIRTIO_NET_F_CTRL_VQ) |
				  XB_F(VIRTIO_NET_F_MQ) | XB_F_OFFLOADS;

static struct sim_device *sim_of(struct xb_virtio_transport *transport)
{
	return (struct sim_device *)transport;
}

/* ---- packets ---- */

static void list_init(struct sim_list *list)
{
	*list = (struct sim_list){.tail = &list->head};
}

static void list_put(struct sim_list *list, struct sim_packet *pkt)
{
	pkt->next = NULL;
	*list->tail = pkt;
	list->tail = &pkt->next;
	list->n++;
}

static struct sim_packet *list_get(struct sim_list *list)
{
	struct sim_packet *pkt = list->head;

	if (!pkt)
		return NULL;
	list->head = pkt->next;
	if (!list->head)
		list->tail = &list->head;
	list->n--;
	return pkt;
}

static void lose(struct sim_device *sim, struct sim_pair *pair)
{
	struct sim_packet *pkt;

	while ((pkt = list_get(&pair->to_driver))) {
		atomic_fetch_add(&sim->lost, 1);
		free(pkt);
	}
}

/* ---- access to the driver's memory ---- */

/* Whether a frame of the driver's is the device's to read or to write. What lies elsewhere, in a
 * ring's tables, is not looked at. */
static bool is_posted(const struct sim_device *sim, const uint8_t *addr, unsigned dir)
{
	const struct xb_arena *arena = sim->arena;
	enum xb_owner owner;
	size_t i;

	if (!arena || addr < arena->base)
		return true;
	i = (size_t)(addr - arena->base) / XB_FRAME_BYTES;
	if (i >= arena->n_frames)
		return true;
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
		device_ring_put(ring, ring->vring.num + 5, 0);
	} else if (fault == (int)first + 1) { /* …_ID_FREE */
		device_ring_put(ring, head, first == SIM_RX_ID_BEYOND ? HEADER_BYTES : 0);
		device_ring_put(ring, head, first == SIM_RX_ID_BEYOND ? HEADER_BYTES : 0);
	} else if (fault == (int)first + 2) { /* …_INDEX_JUMP */
		ring->next_used = (uint16_t)(ring->next_used + ring->vring.num + 1);
	} else if (fault == SIM_RX_LEN_LONG && first == SIM_RX_ID_BEYOND) {
		device_ring_put(ring, head, bytes + 1);
	} else {
		return false;
	}
	device_ring_flush(ring);
	atomic_store(&sim->fault, SIM_HONEST);
	return true;
}

static unsigned take_sent(struct sim_device *sim, struct sim_pair *pair)
{
	struct device_ring *ring = &pair->ring[TX];
	struct device_chain chain;
	unsigned n = 0;

	if (!is_awake(pair, TX))
		return 0;
	do {
		while (device_ring_get(ring, &chain)) {
			struct sim_packet *pkt;

			MUST(!chain.writable);
			must_be_posted(sim, &chain, 1, TX);
			pkt = gather(&chain);
			take_time(sim);
			must_be_posted(sim, &chain, 1, TX);
			list_put(sim->loop ? &pair->to_driver : &pair->from_driver, pkt);
			atomic_fetch_add(&sim->received, 1);
			n++;
			if (!misbehave(sim, ring, SIM_TX_ID_BEYOND, chain.head, 0))
				device_ring_put(ring, chain.head, 0);
		}
		device_ring_flush(ring);
	} while (fall_asleep(pair, TX, 0));
	return n;
}

/* Takes receive buffers for `bytes`; 0: there aren't enough, and none is taken. */
static unsigned take_buffers(struct sim_device *sim, struct device_ring *ring, uint32_t bytes,
			     struct device_chain *chains, uint32_t *used)
{
	uint16_t before = ring->next_avail;
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
	ring->next_avail = before;
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
	unsigned n = 0;

	if (!pair->to_driver.n || !is_awake(pair, RX))
		return 0;
	while (pair->to_driver.n) {
		unsigned waiting = device_ring_waiting(ring);

		if (deliver(sim, pair, pair->to_driver.head)) {
			free(list_get(&pair->to_driver));
			n++;
		} else if (waiting && !xb_has(sim->features, VIRTIO_NET_F_MRG_RXBUF)) {
			atomic_fetch_add(&sim->too_long, 1);
			free(list_get(&pair->to_driver));
		} else if (!fall_asleep(pair, RX, waiting)) {
			break;
		}
	}
	call(pair);
	return n;
}

static unsigned step_locked(struct sim_device *sim)
{
	unsigned n = 0;

	if (!(sim->status & VIRTIO_CONFIG_S_DRIVER_OK))
		return 0;
	for (unsigned p = 0; p < sim->pairs; p++) {
		n += take_sent(sim, &sim->pair[p]);
		n += give_received(sim, &sim->pair[p]);
	}
	return n;
}

unsigned sim_device_step(struct sim_device *sim)
{
	unsigned n;

	pthread_mutex_lock(&sim->lock);
	n = step_locked(sim);
	pthread_mutex_unlock(&sim->lock);
	return n;
}

/* ---- the transport ---- */

static void note(struct sim_device *sim, char what)
{
	size_t at = strlen(sim->log);

	if (at + 1 < sizeof(sim->log))
		sim->log[at] = what;
}

static void check(struct sim_device *sim, bool ok, const char *rule)
{
	if (!ok && !sim->wrong)
		sim->wrong = rule;
}

/* Counts a call that can fail; whether this one does. */
static int begin(struct sim_device *sim, char what, struct xb_error *err)
{
	pthread_mutex_lock(&sim->lock);
	note(sim, what);
	if (++sim->calls != sim->fail_at)
		return 0;
	pthread_mutex_unlock(&sim->lock);
	return xb_fail(err, -EIO, "the device's call %u ('%c')", sim->fail_at, what);
}

static uint64_t features(struct xb_virtio_transport *transport)
{
	struct sim_device *sim = sim_of(transport);

	note(sim, 'o');
	return sim->offers;
}

static int set_features(struct xb_virtio_transport *transport, uint64_t wanted,
			struct xb_error *err)
{
	struct sim_device *sim = sim_of(transport);
	int ret = begin(sim, 'f', err);

	if (ret)
		return ret;
	check(sim, sim->status == (VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER),
	      "3.1.1: features between DRIVER and FEATURES_OK");
	check(sim, !(wanted & ~sim->offers), "2.2.1: a feature that was not offered");
	check(sim, xb_features_consistent(wanted) == wanted, "2.2.1: a feature without its base");
	sim->features = wanted;
	pthread_mutex_unlock(&sim->lock);
	return 0;
}

static uint8_t status(struct xb_virtio_transport *transport)
{
	return sim_of(transport)->status;
}

static void reset(struct sim_device *sim)
{
	for (unsigned p = 0; p < SIM_PAIRS_MAX; p++) {
		struct sim_pair *pair = &sim->pair[p];
		eventfd_t count;

		lose(sim, pair);
		for (unsigned dir = 0; dir < 2; dir++) {
			pair->set[dir] = false;
			eventfd_read(pair->kick_fd[dir], &count);
		}
		eventfd_read(pair->call_fd, &count);
	}
	sim->status = 0;
	sim->features = 0;
	sim->pairs = 0;
	atomic_store(&sim->failed, false);
}

static int set_status(struct xb_virtio_transport *transport, uint8_t wanted, struct xb_error *err)
{
	struct sim_device *sim = sim_of(transport);
	uint8_t new = wanted &(uint8_t)~sim->status;
	int ret = begin(sim,
			!wanted                              ? '0'
			: new == VIRTIO_CONFIG_S_ACKNOWLEDGE ? 'A'
			: new == VIRTIO_CONFIG_S_DRIVER      ? 'D'
			: new == VIRTIO_CONFIG_S_FEATURES_OK ? 'F'
			: new == VIRTIO_CONFIG_S_DRIVER_OK   ? 'K'
							     : '?',
			err);

	if (ret)
		return ret;
	check(sim, !wanted || !(sim->status & ~wanted), "2.1.1: a status bit cleared");
	check(sim, new != VIRTIO_CONFIG_S_DRIVER_OK || sim->status &VIRTIO_CONFIG_S_FEATURES_OK,
	      "3.1.1: DRIVER_OK without FEATURES_OK");
	if (!wanted)
		reset(sim);
	else
		sim->status = sim->refuse_features_ok
				      ? wanted & (uint8_t)~VIRTIO_CONFIG_S_FEATURES_OK
				      : wanted;
	pthread_mutex_unlock(&sim->lock);
	return 0;
}

static int config(struct xb_virtio_transport *transport, unsigned offset, void *ret_buf,
		  unsigned bytes)
{
	(void)transport;
	(void)offset;
	memset(ret_buf, 0, bytes);
	return 0;
}

static int set_queue(struct xb_virtio_transport *transport, unsigned index,
		     const struct vring *vring, struct xb_error *err)
{
	struct sim_device *sim = sim_of(transport);
	struct sim_pair *pair = &sim->pair[index / 2];
	int ret = begin(sim, 'q', err);

	if (ret)
		return ret;
	MUST(index / 2 < transport->pairs_max);
	check(sim, sim->status & VIRTIO_CONFIG_S_FEATURES_OK, "3.1.1: a queue before FEATURES_OK");
	device_ring_init(&pair->ring[index % 2], vring, sim->features);
	check(sim, !vring->avail->idx && !vring->used->idx, "a queue that isn't empty");
	check(sim, vring->num <= transport->queue_size_max, "a queue that is too long");
	pair->set[index % 2] = true;
	pair->asleep[index % 2] = false;
	pthread_mutex_unlock(&sim->lock);
	return 0;
}

static int set_pairs(struct xb_virtio_transport *transport, unsigned pairs, struct xb_error *err)
{
	struct sim_device *sim = sim_of(transport);
	int ret = begin(sim, 'p', err);

	if (ret)
		return ret;
	MUST(pairs && pairs <= transport->pairs_max);
	for (unsigned p = pairs; p < sim->pairs; p++) {
		lose(sim, &sim->pair[p]);
		sim->pair[p].set[RX] = sim->pair[p].set[TX] = false;
	}
	for (unsigned p = 0; p < pairs; p++)
		check(sim, sim->pair[p].set[RX] && sim->pair[p].set[TX], "a pair without rings");
	sim->pairs = pairs;
	sim->steer = pairs;
	pthread_mutex_unlock(&sim->lock);
	return 0;
}

static bool retire_pairs(struct xb_virtio_transport *transport, unsigned pairs)
{
	struct sim_device *sim = sim_of(transport);

	pthread_mutex_lock(&sim->lock);
	sim->steer = pairs;
	pthread_mutex_unlock(&sim->lock);
	return true;
}

static bool has_waiting(struct xb_virtio_transport *transport, unsigned pairs)
{
	struct sim_device *sim = sim_of(transport);
	unsigned n = 0;

	pthread_mutex_lock(&sim->lock);
	for (; pairs < SIM_PAIRS_MAX; pairs++)
		n += sim->pair[pairs].to_driver.n;
	pthread_mutex_unlock(&sim->lock);
	return n;
}

static void notify(struct xb_virtio_transport *transport, unsigned index)
{
	struct sim_device *sim = sim_of(transport);

	/* `status` is changed by the control thread while no worker notifies */
	check(sim, sim->status & VIRTIO_CONFIG_S_DRIVER_OK, "3.1.1: notified before DRIVER_OK");
	atomic_fetch_add(&sim->notified, 1);
	MUST(eventfd_write(sim->pair[index / 2].kick_fd[index % 2], 1) == 0);
}

static int call_fd(struct xb_virtio_transport *transport, unsigned index)
{
	return index % 2 ? -1 : sim_of(transport)->pair[index / 2].call_fd;
}

static void clear_calls(struct xb_virtio_transport *transport, unsigned index)
{
	eventfd_t count;

	eventfd_read(call_fd(transport, index), &count); /* EAGAIN: none came */
}

static bool broken(struct xb_virtio_transport *transport)
{
	return atomic_load(&sim_of(transport)->failed);
}

static const struct xb_virtio_transport_ops ops = {
	.features = features,
	.set_features = set_features,
	.status = status,
	.set_status = set_status,
	.config = config,
	.set_queue = set_queue,
	.set_pairs = set_pairs,
	.retire_pairs = retire_pairs,
	.has_waiting = has_waiting,
	.notify = notify,
	.call_fd = call_fd,
	.clear_calls = clear_calls,
	.broken = broken,
};

/* ---- the test's side ---- */

void sim_device_init(struct sim_device *sim, unsigned pairs_max)
{
	MUST(pairs_max <= SIM_PAIRS_MAX);
	*sim = (struct sim_device){
		.transport = {.ops = &ops, .pairs_max = pairs_max, .queue_size_max = 1024},
		.offers = sim_all_features,
		.loop = true,
		.wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
	};
	pthread_mutex_init(&sim->lock, NULL);
	for (unsigned p = 0; p < SIM_PAIRS_MAX; p++) {
		struct sim_pair *pair = &sim->pair[p];

		list_init(&pair->to_driver);
		list_init(&pair->from_driver);
		pair->call_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		for (unsigned dir = 0; dir < 2; dir++)
			pair->kick_fd[dir] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		MUST(pair->kick_fd[TX] >= 0 && pair->call_fd >= 0);
	}
}

void sim_device_fini(struct sim_device *sim)
{
	for (unsigned p = 0; p < SIM_PAIRS_MAX; p++) {
		struct sim_pair *pair = &sim->pair[p];
		struct sim_packet *pkt;

		lose(sim, pair);
		while ((pkt = list_get(&pair->from_driver)))
			free(pkt);
		close(pair->kick_fd[RX]);
		close(pair->kick_fd[TX]);
		close(pair->call_fd);
	}
	close(sim->wake_fd);
	pthread_mutex_destroy(&sim->lock);
}

static void *run(void *arg)
{
	struct sim_device *sim = arg;
	struct pollfd fds[1 + 2 * SIM_PAIRS_MAX];
	eventfd_t count;

	fds[0] = (struct pollfd){.fd = sim->wake_fd, .events = POLLIN};
	for (unsigned i = 0; i < 2 * SIM_PAIRS_MAX; i++)
		fds[1 + i] = (struct pollfd){.fd = sim->pair[i / 2].kick_fd[i % 2],
					     .events = POLLIN};
	while (!atomic_load(&sim->stop)) {
		if (sim_device_step(sim))
			continue;
		poll(fds, 1 + 2 * sim->transport.pairs_max, 10000);
		eventfd_read(sim->wake_fd, &count);
		/* a notification that came while it was awake */
		for (unsigned i = 0; i < 2 * SIM_PAIRS_MAX; i++) {
			pthread_mutex_lock(&sim->lock);
			if (!sim->pair[i / 2].asleep[i % 2])
				eventfd_read(fds[1 + i].fd, &count);
			pthread_mutex_unlock(&sim->lock);
		}
	}
	return NULL;
}

void sim_device_run(struct sim_device *sim)
{
	atomic_store(&sim->stop, false);
	sim->threaded = true;
	MUST(pthread_create(&sim->thread, NULL, run, sim) == 0);
}

void sim_device_halt(struct sim_device *sim)
{
	atomic_store(&sim->stop, true);
	MUST(eventfd_write(sim->wake_fd, 1) == 0);
	pthread_join(sim->thread, NULL);
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
	pthread_mutex_lock(&sim->lock);
	if (sim->steer && pair >= sim->steer)
		pair %= sim->steer;
	list_put(&sim->pair[pair].to_driver, pkt);
	pthread_mutex_unlock(&sim->lock);
	MUST(eventfd_write(sim->wake_fd, 1) == 0);
}

struct sim_packet *sim_device_pop(struct sim_device *sim, unsigned pair)
{
	struct sim_packet *pkt;

	pthread_mutex_lock(&sim->lock);
	pkt = list_get(&sim->pair[pair].from_driver);
	pthread_mutex_unlock(&sim->lock);
	return pkt;
}
