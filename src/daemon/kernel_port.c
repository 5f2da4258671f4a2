/* SPDX-License-Identifier: BSD-2-Clause */
#include "daemon/kernel_port.h"

#include "netdev/netdev.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

unsigned xb_kernel_port_queues_max(const struct xb_kernel_config *config)
{
	if (config->queues > XB_KERNEL_QUEUES_SPARE || config->queue_size > XB_KERNEL_SPARE_SIZE)
		return config->queues;
	return XB_KERNEL_QUEUES_SPARE;
}

size_t xb_kernel_port_ring_bytes(const struct xb_kernel_config *config)
{
	return xb_kernel_port_queues_max(config) *
	       (xb_vring_bytes(config->queue_size, 0) +
		xb_vring_bytes(config->queue_size, XB_F(VIRTIO_RING_F_INDIRECT_DESC)));
}

/* ---- the TAP ---- */

static int init_tap(struct xb_kernel_port *kernel, const struct xb_kernel_config *config,
		    const struct xb_kernel_lent *lent, struct xb_error *err)
{
	struct xb_tap_options options = {
		.ifname = config->ifname,
		.netns = config->netns[0] ? config->netns : NULL,
		.queues = config->queues,
	};

	if (config->tap_fds.n) {
		options.ifname = NULL;
		options.fds = config->tap_fds.fds;
		options.n_fds = config->tap_fds.n;
		return xb_tap_init(&kernel->tap, &options, err);
	}
	options.mtu = config->mtu;
	options.default_mtu = lent->mtu;
	if (config->mac_source == XB_MAC_GIVEN)
		options.mac = config->mac;
	else if (config->mac_source == XB_MAC_UPLINK)
		options.mac = options.default_mac = lent->uplink_mac;
	else
		options.default_mac = lent->stable_mac;
	return xb_tap_init(&kernel->tap, &options, err);
}

static int open_tap(struct xb_kernel_port *kernel, const struct xb_kernel_config *config,
		    const struct xb_kernel_lent *lent, struct xb_error *err)
{
	int ret = init_tap(kernel, config, lent, err);

	if (!ret && config->netns[0])
		xb_tap_home_note(&kernel->home, config->netns, &kernel->tap.netns);
	return ret;
}

static void read_link(struct xb_kernel_port *kernel)
{
	if (xb_tap_get_mac(&kernel->tap, kernel->mac) < 0)
		memset(kernel->mac, 0, sizeof(kernel->mac));
	if (xb_tap_get_mtu(&kernel->tap, &kernel->mtu) < 0)
		kernel->mtu = 1500;
}

/* ---- with vhost-net ---- */

static int open_vhost(struct xb_kernel_port *kernel, const struct xb_kernel_config *config,
		      struct xb_arena *arena, struct xb_error *err)
{
	struct xb_vhost_region region = {arena->base, arena->bytes, arena->fd};
	unsigned max = kernel->tap.multi_queue ? xb_kernel_port_queues_max(config) : 1;
	struct xb_virtio_net_options options = {
		.name = kernel->tap.name,
		.queue_size = config->queue_size,
		.mtu = kernel->mtu,
		.offload = config->offload,
	};
	int ret;

	options.queues_max = max < kernel->tap.queues_max ? max : kernel->tap.queues_max;
	ret = xb_vhost_kernel_init(&kernel->backend, &kernel->tap, config->vhost_fds.fds,
				   config->vhost_fds.n, options.queues_max, err);
	if (ret < 0)
		return ret;
	ret = xb_virtio_user_init(&kernel->device, &kernel->backend.backend, &region, 1,
				  kernel->mac, kernel->mtu, err);
	if (ret < 0) {
		xb_vhost_kernel_fini(&kernel->backend);
		return ret;
	}
	ret = xb_virtio_net_init(&kernel->net, &kernel->device.transport, arena, &options, err);
	if (ret < 0) {
		xb_virtio_user_fini(&kernel->device);
		xb_vhost_kernel_fini(&kernel->backend);
		return ret;
	}
	kernel->port = &kernel->net.port;
	kernel->port->id = kernel->id;
	kernel->vhost = true;
	return 0;
}

static void close_vhost(struct xb_kernel_port *kernel)
{
	xb_virtio_net_fini(&kernel->net);
	xb_virtio_user_fini(&kernel->device);
	xb_vhost_kernel_fini(&kernel->backend);
}

/* ---- without ---- */

static int open_plain(struct xb_kernel_port *kernel, struct xb_error *err)
{
	struct xb_tap_port_options options = {.name = kernel->tap.name, .offload = kernel->offload};
	int ret = xb_tap_port_init(&kernel->tap_port, &kernel->tap, &options, err);

	if (ret < 0)
		return ret;
	if (kernel->port)
		kernel->tap_port.port.domain = kernel->port->domain;
	kernel->port = &kernel->tap_port.port;
	kernel->port->id = kernel->id;
	kernel->vhost = false;
	return 0;
}

/* ---- either ---- */

static void say_why_plain(struct xb_kernel_port *kernel, const struct xb_error *err)
{
	snprintf(kernel->why, sizeof(kernel->why),
		 "through the TAP alone, without vhost-net (%.150s: %s)", err->what,
		 strerror(-err->code));
}

static int open_port(struct xb_kernel_port *kernel, const struct xb_kernel_config *config,
		     struct xb_arena *arena, struct xb_error *err)
{
	enum xb_kernel_backend wanted = config->backend;
	int ret;

	if (wanted == XB_KERNEL_TAP) {
		snprintf(kernel->why, sizeof(kernel->why),
			 "through the TAP alone, as --tap asks for");
		return open_plain(kernel, err);
	}
	ret = open_vhost(kernel, config, arena, err);
	if (!ret) {
		snprintf(kernel->why, sizeof(kernel->why), "through vhost-net%s",
			 wanted == XB_KERNEL_VHOST_NET ? ", as --vhost-net asks for"
						       : ", since this host has it");
		kernel->may_do_without = wanted == XB_KERNEL_AUTO;
		return 0;
	}
	if (wanted == XB_KERNEL_VHOST_NET)
		return ret;
	say_why_plain(kernel, err);
	return open_plain(kernel, err);
}

int xb_kernel_port_open(struct xb_kernel_port *kernel, uint16_t id,
			const struct xb_kernel_config *config, const struct xb_kernel_lent *lent,
			struct xb_arena *arena, struct xb_error *err)
{
	int ret;

	kernel->id = id;
	kernel->offload = config->offload;

	kernel->home.pid_fd = -1;
	ret = open_tap(kernel, config, lent, err);
	if (ret < 0)
		return ret;
	kernel->carrier = true;
	read_link(kernel);
	ret = open_port(kernel, config, arena, err);
	if (ret < 0) {
		xb_tap_fini(&kernel->tap);
		xb_tap_home_fini(&kernel->home);
		return ret;
	}
	return 0;
}

int xb_kernel_port_settle(struct xb_kernel_port *kernel, const struct xb_kernel_config *config,
			  struct xb_error *err)
{
	return config->persist ? xb_tap_persist(&kernel->tap, err) : 0;
}

/* Whether --netns named a process's namespace and the process has ended: its number may be
 * another's by now. */
static bool has_lost_home(struct xb_kernel_port *kernel, const struct xb_kernel_config *config)
{
	return config->netns[0] && xb_tap_home_look(&kernel->home, config->netns) == XB_HOME_GONE &&
	       kernel->home.ended;
}

int xb_kernel_port_reopen(struct xb_kernel_port *kernel, const struct xb_kernel_config *config,
			  const struct xb_kernel_lent *lent, struct xb_error *err)
{
	int ret = kernel->tap.queues_max ? xb_tap_check(&kernel->tap) : -ENODEV;

	if (ret < 0 && config->tap_fds.n)
		return xb_refuse(err, ret, "%s was handed in, and can't be changed from here",
				 kernel->tap.name);
	if (ret < 0 && has_lost_home(kernel, config))
		return xb_refuse(
			err, -ESRCH,
			"the process of --netns %s has ended: %s can't be made there again",
			config->netns, kernel->port->name);
	if (ret < 0) {
		xb_tap_fini(&kernel->tap);
		ret = open_tap(kernel, config, lent, err);
	}
	if (!ret)
		ret = xb_kernel_port_settle(kernel, config, err);
	if (!ret)
		read_link(kernel);
	return ret;
}

void xb_kernel_port_leave(struct xb_kernel_port *kernel)
{
	if (kernel->tap.queues_max && !kernel->tap.found)
		xb_tap_let_go(&kernel->tap);
	xb_tap_fini(&kernel->tap);
}

void xb_kernel_port_close(struct xb_kernel_port *kernel, struct xb_cache *cache)
{
	if (kernel->port->n_queues)
		xb_kernel_port_stop(kernel, cache);
	if (kernel->vhost)
		close_vhost(kernel);
	else
		xb_tap_port_fini(&kernel->tap_port);
	kernel->port = NULL;
	if (!kernel->carrier && kernel->tap.handed_in)
		xb_tap_set_carrier(&kernel->tap, true); /* somebody else may hold it */
	xb_tap_fini(&kernel->tap);
	xb_tap_home_fini(&kernel->home);
}

int xb_kernel_port_set_carrier(struct xb_kernel_port *kernel, bool on)
{
	int ret;

	if (kernel->tap.macvtap)
		return 0;
	kernel->carrier = on;
	if (!kernel->tap.queues_max)
		return 0;
	ret = xb_tap_set_carrier(&kernel->tap, on);
	if (ret < 0 && ret != -ENODEV)
		kernel->carrier = true;
	return ret;
}

/* Where the capability is missing, an interface that was there before is taken as it is. */
static int bring_up(struct xb_kernel_port *kernel, struct xb_error *err)
{
	bool up = false;
	int ret;

	if (kernel->tap.handed_in || (xb_tap_get_up(&kernel->tap, &up) == 0 && up))
		return 0;
	ret = xb_tap_set_up(&kernel->tap, true);
	if (ret == -EPERM && !kernel->tap.made)
		return 0;
	return ret < 0 ? xb_fail(err, ret, "bring %s up", kernel->tap.name) : 0;
}

bool xb_kernel_port_is_here(const struct xb_kernel_port *kernel)
{
	unsigned ifindex;
	uint8_t mac[6];
	struct xb_netdev here;

	if (kernel->tap.netns_fd >= 0) {
		struct stat theirs, ours;

		return !fstat(kernel->tap.netns_fd, &theirs) &&
		       !stat("/proc/thread-self/ns/net", &ours) && theirs.st_dev == ours.st_dev &&
		       theirs.st_ino == ours.st_ino;
	}
	/* One that was handed in may lie anywhere, under a name that exists here too. */
	return !xb_netdev_read(kernel->tap.name, &here, NULL) &&
	       !xb_tap_get_ifindex(&kernel->tap, &ifindex) && here.ifindex == ifindex &&
	       !xb_tap_get_mac(&kernel->tap, mac) && !memcmp(here.mac, mac, sizeof(mac));
}

/* What vhost-net can't do shows in part only when it is to serve: memory, rings, further pairs. */
static int start_without_vhost(struct xb_kernel_port *kernel, unsigned queues, struct xb_error *err)
{
	int ret;

	say_why_plain(kernel, err);
	ret = open_plain(kernel, err);
	if (ret < 0)
		return ret;
	close_vhost(kernel);
	return xb_tap_port_start(&kernel->tap_port, queues, err);
}

int xb_kernel_port_start(struct xb_kernel_port *kernel, unsigned queues, struct xb_cache *cache,
			 struct xb_error *err)
{
	const unsigned mtu = kernel->mtu;
	int ret;

	kernel->net.mtu = mtu;
	ret = kernel->vhost ? xb_virtio_net_start(&kernel->net, queues, cache, err)
			    : xb_tap_port_start(&kernel->tap_port, queues, err);
	if (ret < 0 && kernel->may_do_without)
		ret = start_without_vhost(kernel, queues, err);
	kernel->may_do_without = false;
	if (ret < 0)
		return ret;
	/* an earlier run may have ended while it moved flows off queues */
	xb_tap_steer_to(&kernel->tap, 0);
	ret = bring_up(kernel, err);
	if (ret < 0) {
		xb_kernel_port_stop(kernel, cache);
		return ret;
	}
	xb_kernel_port_check(kernel);
	kernel->mtu = mtu; /* where it is another by now, the next check has to find that */
	return 0;
}

void xb_kernel_port_set_offload(struct xb_kernel_port *kernel, struct xb_offload_set offload)
{
	kernel->offload = offload;
	if (kernel->vhost)
		xb_virtio_net_set_offload(&kernel->net, offload);
	else
		kernel->tap_port.offload = offload;
}

void xb_kernel_port_stop(struct xb_kernel_port *kernel, struct xb_cache *cache)
{
	if (kernel->vhost)
		xb_virtio_net_stop(&kernel->net, cache);
	else
		xb_tap_port_stop(&kernel->tap_port, cache);
}

int xb_kernel_port_resize(struct xb_kernel_port *kernel, unsigned queues, struct xb_cache *cache,
			  struct xb_error *err)
{
	int ret = kernel->vhost ? xb_virtio_net_resize(&kernel->net, queues, cache, err)
				: xb_tap_port_resize(&kernel->tap_port, queues, cache, err);

	xb_tap_steer_to(&kernel->tap, 0); /* flows go where the kernel likes again */
	return ret;
}

bool xb_kernel_port_retire(struct xb_kernel_port *kernel, unsigned queues)
{
	return xb_tap_steer_to(&kernel->tap, queues) == 0;
}

bool xb_kernel_port_waiting(struct xb_kernel_port *kernel, unsigned queues)
{
	return kernel->vhost ? xb_vhost_kernel_pending(&kernel->backend, queues)
			     : xb_tap_pending(&kernel->tap, queues);
}

bool xb_kernel_port_unread(struct xb_kernel_port *kernel, unsigned queues)
{
	if (!kernel->vhost)
		return xb_tap_port_unread(&kernel->tap_port, queues);
	return xb_virtio_net_unread(&kernel->net, queues) ||
	       xb_vhost_kernel_pending(&kernel->backend, queues);
}

bool xb_kernel_port_recall(struct xb_kernel_port *kernel, unsigned queues, struct xb_cache *cache)
{
	return kernel->vhost || xb_tap_port_recall(&kernel->tap_port, queues, cache);
}

int xb_kernel_port_check(struct xb_kernel_port *kernel)
{
	bool up = true;

	if (xb_tap_check(&kernel->tap) < 0) {
		atomic_store_explicit(&kernel->port->up, false, memory_order_relaxed);
		return -ENODEV;
	}
	/* One that lies in another namespace can't be asked: it is up, and as it was, as far as we
	 * know. */
	xb_tap_get_up(&kernel->tap, &up);
	xb_tap_get_mtu(&kernel->tap, &kernel->mtu);
	atomic_store_explicit(&kernel->port->up, up, memory_order_relaxed);
	if (!kernel->vhost && xb_tap_port_check(&kernel->tap_port) < 0)
		return -ENODEV;
	if (kernel->vhost && xb_virtio_net_broken(&kernel->net))
		return -EPROTO;
	return 0;
}
