/* SPDX-License-Identifier: BSD-2-Clause */
#include "vhost/virtio_user.h"

#include "core/calls.h"
#include "core/cleanup.h"
#include "virtio/features.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

XB_CALL(control, eventfd2);

#define QUEUE_SIZE_MAX 32768u

/* What the device does itself, whatever the backend. The control virtqueue is not among them: the
 * driver uses set_pairs. */
#define DEVICE_ITSELF (XB_F(VIRTIO_NET_F_MAC) | XB_F(VIRTIO_NET_F_MTU) | XB_F(VIRTIO_NET_F_STATUS))

/* What the device lets the backend do. */
#define DEVICE_BY_BACKEND                                                                        \
	(XB_F(VIRTIO_F_VERSION_1) | XB_F(VIRTIO_F_RING_PACKED) | XB_F(VIRTIO_RING_F_EVENT_IDX) | \
	 XB_F(VIRTIO_RING_F_INDIRECT_DESC) | XB_F(VIRTIO_NET_F_MRG_RXBUF) | XB_F_OFFLOADS)

static struct xb_virtio_user *user_of(struct xb_virtio_transport *transport)
{
	return (struct xb_virtio_user *)transport;
}

static void pair_fini(struct xb_virtio_user_pair *pair)
{
	for (unsigned i = 0; i < 2; i++) {
		xb_cleanup_close(&pair->kick_fd[i]);
		xb_cleanup_close(&pair->err_fd[i]);
	}
	xb_cleanup_close(&pair->call_fd);
}

static int pair_init(struct xb_virtio_user *user, struct xb_virtio_user_pair *pair)
{
	*pair = (struct xb_virtio_user_pair){
		.kick_fd = {-1, -1}, .err_fd = {-1, -1}, .call_fd = -1};
	pair->call_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (pair->call_fd < 0)
		return -errno;
	for (unsigned i = 0; i < 2; i++) {
		struct epoll_event event = {.events = EPOLLIN};

		pair->kick_fd[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		pair->err_fd[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		if (pair->kick_fd[i] < 0 || pair->err_fd[i] < 0)
			return -errno;
		if (epoll_ctl(user->err_epoll_fd, EPOLL_CTL_ADD, pair->err_fd[i], &event) < 0)
			return -errno;
	}
	return 0;
}

/* ---- the transport ---- */

static uint64_t features(struct xb_virtio_transport *transport)
{
	struct xb_vhost_backend *backend = user_of(transport)->backend;

	return DEVICE_ITSELF | (DEVICE_BY_BACKEND & backend->ops->features(backend));
}

static int set_features(struct xb_virtio_transport *transport, uint64_t wanted,
			struct xb_error *err)
{
	struct xb_virtio_user *user = user_of(transport);
	uint64_t foreign = wanted & ~features(transport);

	if (foreign)
		return xb_fail(err, -EINVAL, "features %#llx were not offered",
			       (unsigned long long)foreign);
	user->features = wanted;
	return 0;
}

static uint8_t status(struct xb_virtio_transport *transport)
{
	return user_of(transport)->status;
}

static int start_pair(struct xb_virtio_user *user, unsigned index, struct xb_error *err)
{
	struct xb_virtio_user_pair *pair = &user->pair[index];
	struct xb_vhost_vring vrings[2] = {
		{pair->queue[0], pair->kick_fd[0], pair->call_fd, pair->err_fd[0]},
		{pair->queue[1], pair->kick_fd[1], -1, pair->err_fd[1]},
	};
	int ret;

	if (pair->started)
		return 0;
	if (!pair->queue[0].size || !pair->queue[1].size)
		return xb_fail(err, -EINVAL, "queue pair %u has no rings", index);
	ret = user->backend->ops->start_pair(user->backend, index, vrings, err);
	pair->started = !ret;
	return ret;
}

static void drain(int fd)
{
	uint64_t count;
	ssize_t got = read(fd, &count, sizeof(count));

	(void)got; /* EAGAIN: it was empty */
}

static void stop_pair(struct xb_virtio_user *user, unsigned index)
{
	struct xb_virtio_user_pair *pair = &user->pair[index];

	uint32_t bases[2];

	if (!pair->started)
		return;
	if (!user->backend->ops->stop_pair(user->backend, index, bases))
		for (unsigned i = 0; i < 2; i++)
			pair->queue[i].base = bases[i];
	pair->started = false;
	drain(pair->call_fd);
	for (unsigned i = 0; i < 2; i++) {
		drain(pair->kick_fd[i]);
		drain(pair->err_fd[i]);
	}
}

static int use_pairs(struct xb_virtio_user *user, unsigned pairs, struct xb_error *err)
{
	for (unsigned i = 0; i < pairs; i++) {
		int ret = start_pair(user, i, err);

		if (ret < 0) {
			while (i-- > user->pairs)
				stop_pair(user, i);
			return ret;
		}
	}
	for (unsigned i = user->transport.pairs_max; i-- > pairs;)
		stop_pair(user, i);
	return 0;
}

static void reset(struct xb_virtio_user *user)
{
	for (unsigned i = user->transport.pairs_max; i-- > 0;) {
		stop_pair(user, i);
		memset(user->pair[i].queue, 0, sizeof(user->pair[i].queue));
	}
	user->status = 0;
	user->features = 0;
	user->pairs = 0;
}

static int set_status(struct xb_virtio_transport *transport, uint8_t wanted, struct xb_error *err)
{
	struct xb_virtio_user *user = user_of(transport);
	uint8_t new = wanted &(uint8_t)~user->status;
	int ret = 0;

	if (!wanted) {
		reset(user);
		return 0;
	}
	if (new &VIRTIO_CONFIG_S_FEATURES_OK)
		ret = user->backend->ops->configure(user->backend, user->features, user->regions,
						    user->n_regions, err);
	if (!ret && new &VIRTIO_CONFIG_S_DRIVER_OK)
		ret = use_pairs(user, user->pairs, err);
	if (!ret)
		user->status = wanted;
	return ret;
}

static int config(struct xb_virtio_transport *transport, unsigned offset, void *ret_buf,
		  unsigned bytes)
{
	const struct virtio_net_config *space = &user_of(transport)->config;

	if (offset > sizeof(*space) || bytes > sizeof(*space) - offset)
		return -EINVAL;
	memcpy(ret_buf, (const uint8_t *)space + offset, bytes);
	return 0;
}

static int set_queue(struct xb_virtio_transport *transport, unsigned index,
		     const struct xb_virtqueue *queue, struct xb_error *err)
{
	struct xb_virtio_user *user = user_of(transport);

	if (index / 2 >= transport->pairs_max)
		return xb_fail(err, -EINVAL, "virtqueue %u on a device of %u", index,
			       2 * transport->pairs_max);
	if (user->pair[index / 2].started)
		return xb_fail(err, -EBUSY, "virtqueue %u is in use", index);
	if (queue->packed != xb_has(user->features, VIRTIO_F_RING_PACKED))
		return xb_fail(err, -EINVAL, "virtqueue %u of the format that was not negotiated",
			       index);
	user->pair[index / 2].queue[index % 2] = *queue;
	return 0;
}

static int get_queue(struct xb_virtio_transport *transport, unsigned index,
		     struct xb_virtqueue *ret_queue)
{
	const struct xb_virtio_user *user = user_of(transport);

	if (index / 2 >= transport->pairs_max || !user->pair[index / 2].queue[index % 2].size)
		return -EINVAL;
	*ret_queue = user->pair[index / 2].queue[index % 2];
	return 0;
}

static int set_pairs(struct xb_virtio_transport *transport, unsigned pairs, struct xb_error *err)
{
	struct xb_virtio_user *user = user_of(transport);
	int ret = 0;

	if (!pairs || pairs > transport->pairs_max)
		return xb_fail(err, -EINVAL, "%u queue pairs on a device of %u", pairs,
			       transport->pairs_max);
	if (user->status & VIRTIO_CONFIG_S_DRIVER_OK)
		ret = use_pairs(user, pairs, err);
	if (ret < 0)
		return ret;
	user->pairs = pairs;
	return 0;
}

static void notify(struct xb_virtio_transport *transport, unsigned index)
{
	uint64_t one = 1;
	ssize_t written = write(user_of(transport)->pair[index / 2].kick_fd[index % 2], &one,
				sizeof(one));

	(void)written; /* EAGAIN: 2^64 - 2 kicks are waiting */
}

static int call_fd(struct xb_virtio_transport *transport, unsigned index)
{
	return index % 2 ? -1 : user_of(transport)->pair[index / 2].call_fd;
}

static int early_fd(struct xb_virtio_transport *transport, unsigned index)
{
	struct xb_vhost_backend *backend = user_of(transport)->backend;

	return backend->ops->early_fd ? backend->ops->early_fd(backend, index / 2) : -1;
}

static void clear_calls(struct xb_virtio_transport *transport, unsigned index)
{
	drain(call_fd(transport, index));
}

static bool broken(struct xb_virtio_transport *transport)
{
	struct pollfd err = {.fd = user_of(transport)->err_epoll_fd, .events = POLLIN};

	return poll(&err, 1, 0) > 0;
}

static const struct xb_virtio_transport_ops transport_ops = {
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
	.early_fd = early_fd,
	.clear_calls = clear_calls,
	.broken = broken,
};

/* ---- making one ---- */

int xb_virtio_user_init(struct xb_virtio_user *user, struct xb_vhost_backend *backend,
			const struct xb_vhost_region *regions, unsigned n_regions,
			const uint8_t mac[6], unsigned mtu, struct xb_error *err)
{
	*user = (struct xb_virtio_user){
		.transport = {.ops = &transport_ops,
			      .pairs_max = backend->pairs_max,
			      .queue_size_max = QUEUE_SIZE_MAX},
		.backend = backend,
		.n_regions = n_regions,
		.config = {.status = VIRTIO_NET_S_LINK_UP,
			   .max_virtqueue_pairs = (uint16_t)backend->pairs_max,
			   .mtu = (uint16_t)mtu},
	};
	memcpy(user->config.mac, mac, sizeof(user->config.mac));
	user->err_epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (user->err_epoll_fd < 0)
		return xb_fail(err, -errno, "make an epoll descriptor");
	user->regions = calloc(n_regions, sizeof(*regions));
	user->pair = user->regions ? calloc(backend->pairs_max, sizeof(*user->pair)) : NULL;
	if (user->regions)
		memcpy(user->regions, regions, n_regions * sizeof(*regions));
	for (unsigned i = 0; user->pair && i < backend->pairs_max; i++) {
		int ret = pair_init(user, &user->pair[i]);

		if (ret < 0) {
			user->transport.pairs_max = i + 1;
			xb_virtio_user_fini(user);
			xb_fail(err, ret, "make eventfds for queue pair %u", i);
			xb_hint(err, "raise the limit of open files (ulimit -n)");
			return ret;
		}
	}
	if (!user->pair) {
		free(user->regions);
		close(user->err_epoll_fd);
		return xb_fail(err, -ENOMEM, "allocate %u queue pairs", backend->pairs_max);
	}
	return 0;
}

void xb_virtio_user_fini(struct xb_virtio_user *user)
{
	if (!user->pair)
		return;
	reset(user);
	for (unsigned i = 0; i < user->transport.pairs_max; i++)
		pair_fini(&user->pair[i]);
	free(user->pair);
	free(user->regions);
	user->pair = NULL;
	user->regions = NULL;
	close(user->err_epoll_fd);
}
