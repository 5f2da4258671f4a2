/* SPDX-License-Identifier: BSD-2-Clause */
#include "virtio/net.h"

#include "core/cleanup.h"
#include "virtio/net_queue.h"

#include <errno.h>
#include <string.h>

/* Ethernet header and two VLAN tags, around the MTU. */
#define L2_BYTES 22u

/* What the driver can do. VERSION_1 is the only one that it insists on. */
#define DRIVER_FEATURES                                                                          \
	(XB_F(VIRTIO_F_VERSION_1) | XB_F(VIRTIO_F_RING_PACKED) | XB_F(VIRTIO_RING_F_EVENT_IDX) | \
	 XB_F(VIRTIO_RING_F_INDIRECT_DESC) | XB_F(VIRTIO_NET_F_MRG_RXBUF) |                      \
	 XB_F(VIRTIO_NET_F_MAC) | XB_F(VIRTIO_NET_F_MTU) | XB_F(VIRTIO_NET_F_STATUS) |           \
	 XB_F(VIRTIO_NET_F_MQ) | XB_F(VIRTIO_NET_F_CTRL_VQ) | XB_F_OFFLOADS)

int xb_virtio_net_init(struct xb_virtio_net *net, struct xb_virtio_transport *transport,
		       struct xb_arena *arena, const struct xb_virtio_net_options *options,
		       struct xb_error *err)
{
	uint64_t unwanted = options->packed ? 0 : XB_F(VIRTIO_F_RING_PACKED);
	xb_auto_free struct xb_virtio_net_queue *queues = NULL;
	int ret;

	if (!options->queues_max || options->queues_max > transport->pairs_max)
		return xb_fail(err, -EINVAL, "%u queue pairs on a device of %u",
			       options->queues_max, transport->pairs_max);
	if (!options->queue_size || options->queue_size & (options->queue_size - 1) ||
	    options->queue_size > transport->queue_size_max)
		return xb_fail(err, -EINVAL, "queue size %u: a power of two up to %u is needed",
			       options->queue_size, transport->queue_size_max);
	queues = calloc(options->queues_max, sizeof(*queues));
	if (!queues)
		return xb_fail(err, -ENOMEM, "allocate %u queue pairs", options->queues_max);
	*net = (struct xb_virtio_net){
		.transport = transport,
		.arena = arena,
		.wanted = DRIVER_FEATURES & ~unwanted,
		.queue_size = options->queue_size,
		.mtu = options->mtu,
	};
	ret = xb_port_init(&net->port, &xb_virtio_net_ops, options->name, options->queues_max);
	if (ret < 0)
		return xb_fail(err, ret, "make port '%s'", options->name);
	net->queues = XB_TAKE_PTR(queues);
	xb_virtio_net_set_offload(net, options->offload);
	return 0;
}

void xb_virtio_net_set_offload(struct xb_virtio_net *net, struct xb_offload_set offload)
{
	net->wanted = (net->wanted & ~XB_F_OFFLOADS) | xb_features_of_offload(offload);
}

void xb_virtio_net_fini(struct xb_virtio_net *net)
{
	free(net->queues);
	net->queues = NULL;
	xb_port_fini(&net->port);
}

bool xb_virtio_net_broken(const struct xb_virtio_net *net)
{
	for (unsigned q = 0; q < net->port.queues_max; q++)
		if (atomic_load_explicit(&net->queues[q].broken, memory_order_relaxed))
			return true;
	return net->features && net->transport->ops->broken(net->transport);
}

/* ---- rings ---- */

/* Only the transmit queue posts chains, and so has indirect tables. */
static uint64_t rx_features(const struct xb_virtio_net *net)
{
	return net->features & ~XB_F(VIRTIO_RING_F_INDIRECT_DESC);
}

static void ring_fini(struct xb_virtio_net *net, struct xb_vring *ring, void **mem,
		      uint64_t features)
{
	xb_vring_fini(ring);
	xb_arena_ring_free(net->arena, *mem, xb_vring_bytes(net->queue_size, features));
	*mem = NULL;
}

static int ring_init(struct xb_virtio_net *net, struct xb_vring *ring, void **mem,
		     uint64_t features)
{
	int ret;

	*mem = xb_arena_ring_alloc(net->arena, xb_vring_bytes(net->queue_size, features));
	if (!*mem)
		return -ENOMEM;
	ret = xb_vring_init(ring, *mem, net->queue_size, features, net->transport->map);
	if (ret < 0)
		ring_fini(net, ring, mem, features);
	return ret;
}

static void queue_fini(struct xb_virtio_net *net, unsigned q)
{
	struct xb_virtio_net_queue *queue = &net->queues[q];

	if (queue->rx_mem)
		ring_fini(net, &queue->rx, &queue->rx_mem, rx_features(net));
	if (queue->tx_mem)
		ring_fini(net, &queue->tx, &queue->tx_mem, net->features);
	atomic_store_explicit(&queue->broken, false, memory_order_relaxed);
	net->port.queues[q].wake_fd = -1;
	net->port.queues[q].early_fd = -1;
}

/* Shows the rings of a queue pair, which it doesn't serve, to the device. */
static int queue_tell(struct xb_virtio_net *net, unsigned q, struct xb_error *err)
{
	const struct xb_virtio_transport_ops *ops = net->transport->ops;
	const struct xb_virtqueue rx = xb_vring_virtqueue(&net->queues[q].rx);
	const struct xb_virtqueue tx = xb_vring_virtqueue(&net->queues[q].tx);
	int ret = ops->set_queue(net->transport, XB_VQ_RX(q), &rx, err);

	return ret ? ret : ops->set_queue(net->transport, XB_VQ_TX(q), &tx, err);
}

/* Lays out both rings of a queue pair and shows them to the device. */
static int queue_init(struct xb_virtio_net *net, unsigned q, struct xb_error *err)
{
	const struct xb_virtio_transport_ops *ops = net->transport->ops;
	struct xb_virtio_net_queue *queue = &net->queues[q];
	int ret = ring_init(net, &queue->rx, &queue->rx_mem, rx_features(net));

	if (!ret)
		ret = ring_init(net, &queue->tx, &queue->tx_mem, net->features);
	if (ret < 0)
		return xb_fail(err, ret, "lay out the rings of queue pair %u of %s", q,
			       net->port.name);
	ret = queue_tell(net, q, err);
	if (!ret)
		net->port.queues[q].wake_fd = ops->call_fd(net->transport, XB_VQ_RX(q));
	return ret;
}

/* Decides how many frames pairs from `first` on may keep posted, before any has taken some. */
static void share_frames(struct xb_virtio_net *net, unsigned first, unsigned end)
{
	uint32_t share = first < end ? xb_arena_share(net->arena, end - first, net->queue_size) : 0;

	for (unsigned q = first; q < end; q++)
		net->queues[q].rx_frames = share;
}

static void queue_open(struct xb_virtio_net *net, unsigned q, struct xb_cache *cache)
{
	const struct xb_virtio_transport_ops *ops = net->transport->ops;
	struct xb_virtio_net_queue *queue = &net->queues[q];

	xb_net_queue_fill(queue, cache);
	if (xb_vring_must_notify(&queue->rx))
		ops->notify(net->transport, XB_VQ_RX(q));
	if (ops->early_fd)
		net->port.queues[q].early_fd = ops->early_fd(net->transport, XB_VQ_RX(q));
}

/* ---- the device's life (virtio 1.2, 3.1.1) ---- */

static int set_status(struct xb_virtio_net *net, uint8_t bits, struct xb_error *err)
{
	const struct xb_virtio_transport_ops *ops = net->transport->ops;

	return ops->set_status(net->transport, ops->status(net->transport) | bits, err);
}

/* Features whose packets don't fit in one receive buffer, which is a frame: without MRG_RXBUF they
 * would need buffers of 64 KiB (virtio 1.2, 5.1.6.3.1). */
#define NEED_MERGEABLE                                                   \
	(XB_F(VIRTIO_NET_F_GUEST_TSO4) | XB_F(VIRTIO_NET_F_GUEST_TSO6) | \
	 XB_F(VIRTIO_NET_F_GUEST_USO4) | XB_F(VIRTIO_NET_F_GUEST_USO6))

static int negotiate(struct xb_virtio_net *net, struct xb_error *err)
{
	const struct xb_virtio_transport_ops *ops = net->transport->ops;
	uint64_t features = net->wanted & ops->features(net->transport);
	int ret;

	if (!xb_has(features, VIRTIO_NET_F_MRG_RXBUF))
		features &= ~NEED_MERGEABLE;
	features = xb_features_consistent(features);
	if (!xb_has(features, VIRTIO_F_VERSION_1))
		return xb_fail(err, -EOPNOTSUPP, "device of %s offers no VIRTIO_F_VERSION_1",
			       net->port.name);
	ret = ops->set_features(net->transport, features, err);
	if (!ret)
		ret = set_status(net, VIRTIO_CONFIG_S_FEATURES_OK, err);
	if (ret < 0)
		return ret;
	if (!(ops->status(net->transport) & VIRTIO_CONFIG_S_FEATURES_OK))
		return xb_fail(err, -EOPNOTSUPP, "device of %s refuses the features %#llx",
			       net->port.name, (unsigned long long)features);
	net->features = features;
	return 0;
}

static void set_caps(struct xb_virtio_net *net)
{
	/* No chain is longer than the queue, in a table neither (virtio 1.2, 2.7.5.3.1). */
	unsigned chain = xb_has(net->features, VIRTIO_RING_F_INDIRECT_DESC) ? net->queue_size
									    : net->queue_size / 4;

	if (!chain)
		chain = 1;
	net->port.caps = (struct xb_port_caps){
		.takes = xb_features_takes(net->features),
		.bytes_max = net->mtu + L2_BYTES,
		.frames_max = (uint8_t)(chain < XB_VRING_CHAIN_MAX ? chain : XB_VRING_CHAIN_MAX),
	};
}

static int bring_up(struct xb_virtio_net *net, unsigned pairs, struct xb_error *err)
{
	int ret = set_status(net, VIRTIO_CONFIG_S_ACKNOWLEDGE, err);

	if (!ret)
		ret = set_status(net, VIRTIO_CONFIG_S_DRIVER, err);
	if (!ret)
		ret = negotiate(net, err);
	for (unsigned q = 0; !ret && q < net->port.queues_max; q++)
		ret = queue_init(net, q, err);
	if (!ret)
		ret = net->transport->ops->set_pairs(net->transport, pairs, err);
	if (!ret)
		ret = set_status(net, VIRTIO_CONFIG_S_DRIVER_OK, err);
	return ret;
}

int xb_virtio_net_start(struct xb_virtio_net *net, unsigned pairs, struct xb_cache *cache,
			struct xb_error *err)
{
	int ret;

	if (!pairs || pairs > net->port.queues_max)
		return xb_fail(err, -EINVAL, "%u queue pairs on %s, which has up to %u", pairs,
			       net->port.name, net->port.queues_max);
	ret = net->transport->ops->set_status(net->transport, 0, err);
	if (!ret)
		ret = bring_up(net, pairs, err);
	if (ret < 0) {
		xb_virtio_net_stop(net, cache);
		return ret;
	}
	set_caps(net);
	share_frames(net, 0, pairs);
	for (unsigned q = 0; q < pairs; q++)
		queue_open(net, q, cache);
	net->port.n_queues = (uint16_t)pairs;
	return 0;
}

void xb_virtio_net_stop(struct xb_virtio_net *net, struct xb_cache *cache)
{
	struct xb_error ignored;

	/* A device that can't be reset any more (its backend is gone) touches nothing either. */
	net->transport->ops->set_status(net->transport, 0, &ignored);
	for (unsigned q = 0; q < net->port.queues_max; q++) {
		if (net->queues[q].rx_mem && net->queues[q].tx_mem)
			xb_net_queue_reclaim(net, q, cache);
		queue_fini(net, q);
	}
	net->features = 0;
	net->port.n_queues = 0;
}

bool xb_virtio_net_unread(const struct xb_virtio_net *net, unsigned pairs)
{
	for (unsigned q = pairs; q < net->port.n_queues; q++)
		if (!atomic_load_explicit(&net->queues[q].broken, memory_order_relaxed) &&
		    xb_vring_has_used(&net->queues[q].rx))
			return true;
	return false;
}

/* Empties the rings of a pair that the device serves no more, for when it does again. */
static void queue_renew(struct xb_virtio_net *net, unsigned q, struct xb_cache *cache)
{
	struct xb_virtio_net_queue *queue = &net->queues[q];

	xb_net_queue_reclaim(net, q, cache);
	xb_vring_renew(&queue->rx);
	xb_vring_renew(&queue->tx);
	atomic_store_explicit(&queue->broken, false, memory_order_relaxed);
	net->port.queues[q].early_fd = -1;
}

/* What can fail comes before anything has changed. */
int xb_virtio_net_resize(struct xb_virtio_net *net, unsigned pairs, struct xb_cache *cache,
			 struct xb_error *err)
{
	const struct xb_virtio_transport_ops *ops = net->transport->ops;
	unsigned before = net->port.n_queues;
	int ret = 0;

	if (!pairs || pairs > net->port.queues_max)
		return xb_fail(err, -EINVAL, "%u queue pairs on %s, which has up to %u", pairs,
			       net->port.name, net->port.queues_max);
	/* the device may know the rings of pairs that were in use before as they were then */
	for (unsigned q = before; !ret && q < pairs; q++)
		ret = queue_tell(net, q, err);
	if (!ret)
		ret = ops->set_pairs(net->transport, pairs, err);
	if (ret < 0)
		return ret;
	net->port.n_queues = (uint16_t)pairs;
	for (unsigned q = pairs; q < before; q++)
		queue_renew(net, q, cache);
	share_frames(net, before, pairs);
	for (unsigned q = before; q < pairs; q++)
		queue_open(net, q, cache);
	return 0;
}
