/* SPDX-License-Identifier: BSD-2-Clause */
#include "sim/sim_rings.h"

#include "support/must.h"
#include "virtio/features.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define RX 0u
#define TX 1u

const uint64_t sim_all_features = XB_F(VIRTIO_F_VERSION_1) | XB_F(VIRTIO_F_RING_PACKED) |
				  XB_F(VIRTIO_RING_F_EVENT_IDX) |
				  XB_F(VIRTIO_RING_F_INDIRECT_DESC) | XB_F(VIRTIO_NET_F_MRG_RXBUF) |
				  XB_F(VIRTIO_NET_F_MAC) | XB_F(VIRTIO_NET_F_MTU) |
				  XB_F(VIRTIO_NET_F_STATUS) | XB_F(VIRTIO_NET_F_CTRL_VQ) |
				  XB_F(VIRTIO_NET_F_MQ) | XB_F_OFFLOADS;

static struct sim_device *sim_of(struct xb_virtio_transport *transport)
{
	return (struct sim_device *)transport;
}

/* ---- the transport ---- */

/* What the driver tells the device to do, by a call of the transport. */
struct sim_order {
	void (*carry_out)(struct sim_device *sim, const struct sim_order *order);
	uint8_t status;
	uint64_t features;
	unsigned index; /* of a virtqueue */
	const struct xb_virtqueue *queue;
	unsigned pairs;
};

static void carry_out(struct sim_device *sim)
{
	const struct sim_order *order = atomic_load(&sim->order);

	if (!order)
		return;
	order->carry_out(sim, order);
	atomic_store(&sim->order, NULL);
	MUST(eventfd_write(sim->done_fd, 1) == 0);
}

/* Returns when the device has done it. Until then it goes on with what it does. */
static void tell(struct sim_device *sim, const struct sim_order *order)
{
	eventfd_t count;

	if (!sim->threaded) {
		order->carry_out(sim, order);
		return;
	}
	atomic_store(&sim->order, order);
	MUST(eventfd_write(sim->wake_fd, 1) == 0);
	MUST(eventfd_read(sim->done_fd, &count) == 0);
	MUST(!atomic_load(&sim->order));
}

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
	note(sim, what);
	if (++sim->calls != sim->fail_at)
		return 0;
	return xb_fail(err, -EIO, "the device's call %u ('%c')", sim->fail_at, what);
}

static uint64_t features(struct xb_virtio_transport *transport)
{
	struct sim_device *sim = sim_of(transport);

	note(sim, 'o');
	return sim->offers;
}

static uint8_t status(struct xb_virtio_transport *transport)
{
	return atomic_load(&sim_of(transport)->status);
}

static void take_features(struct sim_device *sim, const struct sim_order *order)
{
	sim->features = order->features;
}

static int set_features(struct xb_virtio_transport *transport, uint64_t wanted,
			struct xb_error *err)
{
	struct sim_device *sim = sim_of(transport);
	int ret = begin(sim, 'f', err);

	if (ret)
		return ret;
	check(sim, status(transport) == (VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER),
	      "3.1.1: features between DRIVER and FEATURES_OK");
	check(sim, !(wanted & ~sim->offers), "2.2.1: a feature that was not offered");
	check(sim, xb_features_consistent(wanted) == wanted, "2.2.1: a feature without its base");
	tell(sim, &(struct sim_order){.carry_out = take_features, .features = wanted});
	return 0;
}

static void reset(struct sim_device *sim, const struct sim_order *order)
{
	for (unsigned p = 0; p < SIM_PAIRS_MAX; p++) {
		struct sim_pair *pair = &sim->pair[p];
		eventfd_t count;

		sim_pair_leave(sim, pair);
		for (unsigned dir = 0; dir < 2; dir++)
			eventfd_read(pair->kick_fd[dir], &count);
		eventfd_read(pair->call_fd, &count);
		memset(pair->queue, 0, sizeof(pair->queue));
	}
	(void)order;
	atomic_store(&sim->status, 0);
	sim->features = 0;
	sim->pairs = 0;
	atomic_store(&sim->failed, false);
}

static void take_status(struct sim_device *sim, const struct sim_order *order)
{
	atomic_store(&sim->status, sim->refuse_features_ok
					   ? order->status & (uint8_t)~VIRTIO_CONFIG_S_FEATURES_OK
					   : order->status);
}

static int set_status(struct xb_virtio_transport *transport, uint8_t wanted, struct xb_error *err)
{
	struct sim_device *sim = sim_of(transport);
	uint8_t old = atomic_load(&sim->status), new = wanted &(uint8_t)~old;
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
	check(sim, !wanted || !(old & ~wanted), "2.1.1: a status bit cleared");
	check(sim, new != VIRTIO_CONFIG_S_DRIVER_OK || old &VIRTIO_CONFIG_S_FEATURES_OK,
	      "3.1.1: DRIVER_OK without FEATURES_OK");
	tell(sim, &(struct sim_order){.carry_out = wanted ? take_status : reset, .status = wanted});
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

static void take_queue(struct sim_device *sim, const struct sim_order *order)
{
	struct sim_pair *pair = &sim->pair[order->index / 2];
	unsigned dir = order->index % 2;

	device_ring_init(&pair->ring[dir], order->queue, sim->transport.map, sim->features);
	pair->queue[dir] = *order->queue;
	device_ring_hush(&pair->ring[dir]); /* it is awake */
	pair->set[dir] = true;
	pair->asleep[dir] = false;
}

static bool is_empty(const struct sim_device *sim, const struct xb_virtqueue *queue)
{
	const struct vring_packed_desc *desc = xb_iova_ptr(sim->transport.map, queue->desc);
	const struct vring_avail *avail = xb_iova_ptr(sim->transport.map, queue->driver);
	const struct vring_used *used = xb_iova_ptr(sim->transport.map, queue->device);

	for (unsigned i = 0; queue->packed && i < queue->size; i++)
		if (desc[i].flags)
			return false;
	return queue->packed || (!avail->idx && !used->idx && !queue->base);
}

static int set_queue(struct xb_virtio_transport *transport, unsigned index,
		     const struct xb_virtqueue *queue, struct xb_error *err)
{
	struct sim_device *sim = sim_of(transport);
	int ret = begin(sim, 'q', err);

	if (ret)
		return ret;
	MUST(index / 2 < transport->pairs_max);
	check(sim, status(transport) & VIRTIO_CONFIG_S_FEATURES_OK,
	      "3.1.1: a queue before FEATURES_OK");
	check(sim, is_empty(sim, queue), "a queue that isn't empty");
	check(sim, queue->size <= transport->queue_size_max, "a queue that is too long");
	tell(sim, &(struct sim_order){.carry_out = take_queue, .index = index, .queue = queue});
	return 0;
}

static int get_queue(struct xb_virtio_transport *transport, unsigned index,
		     struct xb_virtqueue *ret_queue)
{
	const struct sim_pair *pair = &sim_of(transport)->pair[index / 2];

	if (index / 2 >= transport->pairs_max || !pair->queue[index % 2].size)
		return -EINVAL;
	*ret_queue = pair->queue[index % 2];
	return 0;
}

/* Packets for other pairs go to these from now on. */
static void steer(struct sim_device *sim, unsigned pairs)
{
	pthread_mutex_lock(&sim->lists);
	sim->steer = pairs;
	pthread_mutex_unlock(&sim->lists);
}

static void take_pairs(struct sim_device *sim, const struct sim_order *order)
{
	for (unsigned p = order->pairs; p < sim->pairs; p++)
		sim_pair_leave(sim, &sim->pair[p]);
	for (unsigned p = 0; p < order->pairs; p++)
		check(sim, sim->pair[p].set[RX] && sim->pair[p].set[TX], "a pair without rings");
	sim->pairs = order->pairs;
}

static int set_pairs(struct xb_virtio_transport *transport, unsigned pairs, struct xb_error *err)
{
	struct sim_device *sim = sim_of(transport);
	int ret = begin(sim, 'p', err);

	if (ret)
		return ret;
	MUST(pairs && pairs <= transport->pairs_max);
	steer(sim, pairs);
	tell(sim, &(struct sim_order){.carry_out = take_pairs, .pairs = pairs});
	return 0;
}

static void notify(struct xb_virtio_transport *transport, unsigned index)
{
	struct sim_device *sim = sim_of(transport);

	/* changed by the control thread while no worker notifies */
	check(sim, atomic_load(&sim->status) & VIRTIO_CONFIG_S_DRIVER_OK,
	      "3.1.1: notified before DRIVER_OK");
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
	.get_queue = get_queue,
	.set_pairs = set_pairs,
	.notify = notify,
	.call_fd = call_fd,
	.clear_calls = clear_calls,
	.broken = broken,
};

/* ---- the test's side ---- */

/* Nothing lies at these addresses: a driver that writes one of its own into a ring is found. */
static const struct xb_iova_map elsewhere = {0x4000000000000000u};

void sim_device_init(struct sim_device *sim, unsigned pairs_max)
{
	MUST(pairs_max <= SIM_PAIRS_MAX);
	*sim = (struct sim_device){
		.transport = {.ops = &ops,
			      .pairs_max = pairs_max,
			      .queue_size_max = 1024,
			      .map = elsewhere},
		.offers = sim_all_features,
		.loop = true,
		.wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
		.done_fd = eventfd(0, EFD_CLOEXEC),
	};
	pthread_mutex_init(&sim->lists, NULL);
	for (unsigned p = 0; p < SIM_PAIRS_MAX; p++) {
		struct sim_pair *pair = &sim->pair[p];

		STAILQ_INIT(&pair->to_driver);
		STAILQ_INIT(&pair->from_driver);
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

		while ((pkt = sim_list_take(sim, &pair->to_driver)))
			free(pkt);
		while ((pkt = sim_list_take(sim, &pair->from_driver)))
			free(pkt);
		close(pair->kick_fd[RX]);
		close(pair->kick_fd[TX]);
		close(pair->call_fd);
	}
	close(sim->wake_fd);
	close(sim->done_fd);
	pthread_mutex_destroy(&sim->lists);
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
		carry_out(sim);
		if (sim_device_step(sim))
			continue;
		poll(fds, 1 + 2 * sim->transport.pairs_max, 10000);
		eventfd_read(sim->wake_fd, &count);
		/* a notification that came while it was awake */
		for (unsigned i = 0; i < 2 * SIM_PAIRS_MAX; i++)
			if (!sim->pair[i / 2].asleep[i % 2])
				eventfd_read(fds[1 + i].fd, &count);
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
	sim->threaded = false;
}
