/* SPDX-License-Identifier: BSD-2-Clause */
#include "vhost/kernel.h"

#include "core/cleanup.h"
#include "core/offload.h"
#include "virtio/features.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/vhost.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

/* The module's default, where it doesn't tell. */
#define REGIONS_DEFAULT   64u
#define REGIONS_PARAMETER "/sys/module/vhost/parameters/max_mem_regions"

/* What is left to the module: the rings. Of what it offers besides, VIRTIO_F_ACCESS_PLATFORM would
 * have it ask us for the translation of each address, and VHOST_NET_F_VIRTIO_NET_HDR have it make
 * up the headers that are the TAP's. */
#define BY_MODULE                                                                                \
	(XB_F(VIRTIO_F_VERSION_1) | XB_F(VIRTIO_F_RING_PACKED) | XB_F(VIRTIO_RING_F_EVENT_IDX) | \
	 XB_F(VIRTIO_RING_F_INDIRECT_DESC) | XB_F(VIRTIO_NET_F_MRG_RXBUF))

static struct xb_vhost_kernel *kernel_of(struct xb_vhost_backend *backend)
{
	return (struct xb_vhost_kernel *)backend;
}

/* An ioctl, its name in the error. */
#define vhost_ioctl(fd, request, arg, err) do_ioctl(fd, request, arg, #request, err)
static int do_ioctl(int fd, unsigned long request, void *arg, const char *name,
		    struct xb_error *err)
{
	if (ioctl(fd, request, arg) < 0)
		return xb_fail(err, -errno, "%s on %s", name, XB_VHOST_NET_PATH);
	return 0;
}

/* ---- features ---- */

static uint64_t host_features(uint32_t takes)
{
	return (takes & XB_TAKES_CSUM ? XB_F(VIRTIO_NET_F_CSUM) : 0) |
	       (takes & XB_TAKES_TSO4 ? XB_F(VIRTIO_NET_F_HOST_TSO4) : 0) |
	       (takes & XB_TAKES_TSO6 ? XB_F(VIRTIO_NET_F_HOST_TSO6) : 0) |
	       (takes & XB_TAKES_ECN ? XB_F(VIRTIO_NET_F_HOST_ECN) : 0) |
	       (takes & XB_TAKES_USO ? XB_F(VIRTIO_NET_F_HOST_USO) : 0);
}

static uint64_t guest_features(uint32_t gives)
{
	return (gives & XB_TAKES_CSUM ? XB_F(VIRTIO_NET_F_GUEST_CSUM) : 0) |
	       (gives & XB_TAKES_TSO4 ? XB_F(VIRTIO_NET_F_GUEST_TSO4) : 0) |
	       (gives & XB_TAKES_TSO6 ? XB_F(VIRTIO_NET_F_GUEST_TSO6) : 0) |
	       (gives & XB_TAKES_ECN ? XB_F(VIRTIO_NET_F_GUEST_ECN) : 0) |
	       (gives & XB_TAKES_USO ? XB_F(VIRTIO_NET_F_GUEST_USO4) | XB_F(VIRTIO_NET_F_GUEST_USO6)
				     : 0);
}

static uint32_t gives_of(uint64_t features)
{
	return (xb_has(features, VIRTIO_NET_F_GUEST_CSUM) ? XB_TAKES_CSUM : 0u) |
	       (xb_has(features, VIRTIO_NET_F_GUEST_TSO4) ? XB_TAKES_TSO4 : 0u) |
	       (xb_has(features, VIRTIO_NET_F_GUEST_TSO6) ? XB_TAKES_TSO6 : 0u) |
	       (xb_has(features, VIRTIO_NET_F_GUEST_ECN) ? XB_TAKES_ECN : 0u) |
	       (xb_has(features, VIRTIO_NET_F_GUEST_USO4) ? XB_TAKES_USO : 0u);
}

static uint64_t features(struct xb_vhost_backend *backend)
{
	const struct xb_vhost_kernel *kernel = kernel_of(backend);

	return (kernel->vhost_features & BY_MODULE) | kernel->tap_features;
}

/* ---- memory ---- */

static int by_address(const void *a, const void *b)
{
	const uint8_t *one = ((const struct xb_vhost_region *)a)->addr;
	const uint8_t *other = ((const struct xb_vhost_region *)b)->addr;

	return (one > other) - (one < other);
}

unsigned xb_vhost_regions_join(struct xb_vhost_region *regions, unsigned n)
{
	unsigned kept = 0;

	if (n)
		qsort(regions, n, sizeof(*regions), by_address);
	for (unsigned i = 0; i < n; i++) {
		struct xb_vhost_region *last = kept ? &regions[kept - 1] : NULL;

		/* vhost-net reads by address alone: what touches is one region to it. */
		if (last && last->addr + last->bytes == regions[i].addr)
			last->bytes += regions[i].bytes;
		else
			regions[kept++] = regions[i];
	}
	return kept;
}

static int set_mem_table(const struct xb_vhost_kernel *kernel, int fd, struct xb_error *err)
{
	xb_auto_free struct vhost_memory *table = NULL;

	table = calloc(1, sizeof(*table) + kernel->n_regions * sizeof(table->regions[0]));
	if (!table)
		return xb_fail(err, -ENOMEM, "allocate a memory table");
	table->nregions = kernel->n_regions;
	for (unsigned i = 0; i < kernel->n_regions; i++) {
		uint64_t addr = (uint64_t)(uintptr_t)kernel->regions[i].addr;

		table->regions[i] = (struct vhost_memory_region){
			.guest_phys_addr = addr,
			.memory_size = kernel->regions[i].bytes,
			.userspace_addr = addr,
		};
	}
	return vhost_ioctl(fd, VHOST_SET_MEM_TABLE, table, err);
}

static int take_regions(struct xb_vhost_kernel *kernel, const struct xb_vhost_region *regions,
			unsigned n, struct xb_error *err)
{
	xb_auto_free struct xb_vhost_region *joined = calloc(n, sizeof(*joined));
	int ret;

	if (n && !joined)
		return xb_fail(err, -ENOMEM, "allocate %u memory regions", n);
	if (n)
		memcpy(joined, regions, n * sizeof(*joined));
	n = xb_vhost_regions_join(joined, n);
	if (n > kernel->regions_max) {
		ret = xb_fail(err, -E2BIG, "%u memory regions; vhost takes %u", n,
			      kernel->regions_max);
		xb_hint(err, "raise the module's parameter: " REGIONS_PARAMETER);
		return ret;
	}
	free(kernel->regions);
	kernel->regions = XB_TAKE_PTR(joined);
	kernel->n_regions = n;
	return 0;
}

static int configure(struct xb_vhost_backend *backend, uint64_t wanted,
		     const struct xb_vhost_region *regions, unsigned n_regions,
		     struct xb_error *err)
{
	struct xb_vhost_kernel *kernel = kernel_of(backend);
	int ret;

	ret = take_regions(kernel, regions, n_regions, err);
	if (ret < 0)
		return ret;
	ret = xb_tap_set_offload(kernel->tap, gives_of(wanted));
	if (ret < 0)
		return xb_fail(err, ret, "TUNSETOFFLOAD on %s", kernel->tap->name);
	kernel->features = wanted;
	return 0;
}

/* ---- queue pairs ---- */

/* vhost-net takes a ring's areas by their addresses in this process, which are the device's. */
static uint64_t user_addr(struct xb_iova iova)
{
	return (uint64_t)(uintptr_t)xb_iova_ptr((struct xb_iova_map){0}, iova);
}

static int set_vring(int fd, unsigned index, const struct xb_vhost_vring *vring,
		     struct xb_error *err)
{
	struct vhost_vring_state num = {.index = index, .num = vring->queue.size};
	struct vhost_vring_state base = {.index = index, .num = vring->queue.base};
	struct vhost_vring_addr addr = {
		.index = index,
		.desc_user_addr = user_addr(vring->queue.desc),
		.avail_user_addr = user_addr(vring->queue.driver),
		.used_user_addr = user_addr(vring->queue.device),
	};
	struct vhost_vring_file kick = {.index = index, .fd = vring->kick_fd};
	struct vhost_vring_file call = {.index = index, .fd = vring->call_fd};
	struct vhost_vring_file error = {.index = index, .fd = vring->err_fd};
	int ret = vhost_ioctl(fd, VHOST_SET_VRING_NUM, &num, err);

	if (!ret)
		ret = vhost_ioctl(fd, VHOST_SET_VRING_BASE, &base, err);
	if (!ret)
		ret = vhost_ioctl(fd, VHOST_SET_VRING_ADDR, &addr, err);
	if (!ret)
		ret = vhost_ioctl(fd, VHOST_SET_VRING_KICK, &kick, err);
	if (!ret)
		ret = vhost_ioctl(fd, VHOST_SET_VRING_CALL, &call, err);
	if (!ret)
		ret = vhost_ioctl(fd, VHOST_SET_VRING_ERR, &error, err);
	return ret;
}

/* For virtqueue 0, receive, or 1, transmit; a `tap_fd` of -1 takes the backend off. */
static int set_vring_backend(int fd, unsigned index, int tap_fd, struct xb_error *err)
{
	struct vhost_vring_file file = {.index = index, .fd = tap_fd};

	return vhost_ioctl(fd, VHOST_NET_SET_BACKEND, &file, err);
}

static int set_backend(int fd, int tap_fd, struct xb_error *err)
{
	int ret = set_vring_backend(fd, 0, tap_fd, err);

	return ret ? ret : set_vring_backend(fd, 1, tap_fd, err);
}

static int open_vhost(struct xb_error *err)
{
	int fd = open(XB_VHOST_NET_PATH, O_RDWR | O_CLOEXEC);
	int ret;

	if (fd >= 0)
		return fd;
	ret = xb_fail(err, -errno, "open %s", XB_VHOST_NET_PATH);
	if (ret == -ENOENT || ret == -ENODEV || ret == -ENXIO)
		xb_hint(err, "load the module (modprobe vhost_net), or use the TAP without it "
			     "(--tap)");
	else if (ret == -EACCES || ret == -EPERM)
		xb_hint(err, "give this user access to the device, hand it in (--vhost-fd), or use "
			     "the TAP without it (--tap)");
	return ret;
}

static int take_vhost(struct xb_vhost_kernel *kernel, struct xb_error *err)
{
	return kernel->n_spares ? kernel->spares[--kernel->n_spares] : open_vhost(err);
}

/* A descriptor that was handed in goes back to the spares, without an owner; our own is closed. */
static void give_back(struct xb_vhost_kernel *kernel, int fd)
{
	if (kernel->n_spares < kernel->n_handed_in && !ioctl(fd, VHOST_RESET_OWNER, NULL))
		kernel->spares[kernel->n_spares++] = fd;
	else
		close(fd);
}

static int serve(struct xb_vhost_kernel *kernel, int fd, unsigned pair,
		 const struct xb_vhost_vring vrings[2], struct xb_error *err)
{
	uint64_t acked = kernel->features & kernel->vhost_features & BY_MODULE;
	int ret = vhost_ioctl(fd, VHOST_SET_OWNER, NULL, err);

	if (!ret)
		ret = vhost_ioctl(fd, VHOST_SET_FEATURES, &acked, err);
	if (!ret)
		ret = set_mem_table(kernel, fd, err);
	for (unsigned index = 0; !ret && index < 2; index++)
		ret = set_vring(fd, index, &vrings[index], err);
	if (!ret)
		ret = set_backend(fd, xb_tap_queue_fd(kernel->tap, pair), err);
	return ret;
}

static int start_on(struct xb_vhost_kernel *kernel, unsigned pair,
		    const struct xb_vhost_vring vrings[2], struct xb_error *err)
{
	int fd = take_vhost(kernel, err);
	int ret;

	if (fd < 0)
		return fd;
	ret = serve(kernel, fd, pair, vrings, err);
	if (ret < 0) {
		give_back(kernel, fd);
		return ret;
	}
	kernel->fds[pair] = fd;
	return 0;
}

static int start_pair(struct xb_vhost_backend *backend, unsigned pair,
		      const struct xb_vhost_vring vrings[2], struct xb_error *err)
{
	struct xb_vhost_kernel *kernel = kernel_of(backend);
	unsigned queues = kernel->tap->n_queues;
	struct xb_error ignored;
	int ret;

	if (pair >= queues) {
		ret = xb_tap_set_queues(kernel->tap, pair + 1, err);
		if (ret < 0)
			return ret;
	}
	ret = start_on(kernel, pair, vrings, err);
	/* A queue of the TAP that nobody serves would be given flows all the same. */
	if (ret < 0 && pair >= queues)
		xb_tap_set_queues(kernel->tap, queues, &ignored);
	return ret;
}

static int get_bases(int fd, uint32_t ret_bases[2])
{
	struct vhost_vring_state rx = {.index = 0}, tx = {.index = 1};

	if (ioctl(fd, VHOST_GET_VRING_BASE, &rx) < 0 || ioctl(fd, VHOST_GET_VRING_BASE, &tx) < 0)
		return -errno;
	ret_bases[0] = rx.num;
	ret_bases[1] = tx.num;
	return 0;
}

static int stop_pair(struct xb_vhost_backend *backend, unsigned pair, uint32_t ret_bases[2])
{
	struct xb_vhost_kernel *kernel = kernel_of(backend);
	struct xb_error ignored;
	int ret;

	if (kernel->fds[pair] < 0)
		return -EINVAL;
	/* Taking the backend off waits until the worker has let go of the rings; closing would too.
	 */
	ret = set_backend(kernel->fds[pair], -1, &ignored);
	if (!ret)
		ret = get_bases(kernel->fds[pair], ret_bases);
	give_back(kernel, kernel->fds[pair]);
	kernel->fds[pair] = -1;
	if (pair && pair + 1 == kernel->tap->n_queues)
		xb_tap_set_queues(kernel->tap, pair, &ignored);
	return ret;
}

/* Receiving, for the pairs from `pairs` on: either goes on, or stops and gives the TAP back what
 * vhost-net has taken out of it. A pair that can't go on is one that nobody counts on any more. */
static void receive(struct xb_vhost_kernel *kernel, unsigned pairs, bool on)
{
	struct xb_error ignored;

	for (unsigned pair = pairs; pair < kernel->backend.pairs_max; pair++)
		if (kernel->fds[pair] >= 0)
			set_vring_backend(kernel->fds[pair], 0,
					  on ? xb_tap_queue_fd(kernel->tap, pair) : -1, &ignored);
}

/* vhost-net takes up to 64 packets at once out of the TAP's queue and keeps those that there are no
 * buffers for. Nobody sees them there, so where the queue looks empty it has to show them. */
bool xb_vhost_kernel_pending(struct xb_vhost_kernel *kernel, unsigned pairs)
{
	bool waiting = xb_tap_pending(kernel->tap, pairs);

	if (!waiting) {
		receive(kernel, pairs, false);
		waiting = xb_tap_pending(kernel->tap, pairs);
		receive(kernel, pairs, true);
	}
	return waiting;
}

static int early_fd(struct xb_vhost_backend *backend, unsigned pair)
{
	return xb_tap_queue_fd(kernel_of(backend)->tap, pair);
}

static const struct xb_vhost_backend_ops backend_ops = {
	.features = features,
	.configure = configure,
	.start_pair = start_pair,
	.stop_pair = stop_pair,
	.early_fd = early_fd,
};

/* ---- making one ---- */

static unsigned read_regions_max(void)
{
	FILE *file = fopen(REGIONS_PARAMETER, "re");
	unsigned value;

	if (!file)
		return REGIONS_DEFAULT;
	if (fscanf(file, "%u", &value) != 1 || !value)
		value = REGIONS_DEFAULT;
	fclose(file);
	return value;
}

static int probe(struct xb_vhost_kernel *kernel, const int *fds, unsigned n_fds,
		 struct xb_error *err)
{
	xb_auto_fd int opened = -1;
	uint64_t all;
	int ret;

	if (!n_fds) {
		opened = open_vhost(err);
		if (opened < 0)
			return opened;
	}
	ret = vhost_ioctl(n_fds ? fds[0] : opened, VHOST_GET_FEATURES, &all, err);
	if (ret < 0)
		return ret;
	if (!xb_has(all, VIRTIO_F_VERSION_1)) {
		ret = xb_fail(err, -EOPNOTSUPP, "%s without VIRTIO_F_VERSION_1", XB_VHOST_NET_PATH);
		xb_hint(err, "a kernel of 4.0 or later is needed");
		return ret;
	}
	kernel->vhost_features = all;
	/* Its owner gets a thread of the kernel: what that fails for is found out here, where there
	 * may be another way. */
	ret = n_fds ? 0 : vhost_ioctl(opened, VHOST_SET_OWNER, NULL, err);
	if (ret < 0)
		return ret;
	/* Everything that the TAP can give is asked for once, so that its answer tells. */
	ret = xb_tap_set_offload(kernel->tap, ~0u);
	if (ret < 0)
		return xb_fail(err, ret, "TUNSETOFFLOAD on %s", kernel->tap->name);
	kernel->tap_features = host_features(kernel->tap->takes) |
			       guest_features(kernel->tap->gives);
	return 0;
}

int xb_vhost_kernel_init(struct xb_vhost_kernel *kernel, struct xb_tap *tap, const int *fds,
			 unsigned n_fds, unsigned pairs_max, struct xb_error *err)
{
	int ret;

	*kernel = (struct xb_vhost_kernel){
		.backend = {.ops = &backend_ops, .pairs_max = pairs_max},
		.tap = tap,
		.regions_max = read_regions_max(),
	};
	ret = probe(kernel, fds, n_fds, err);
	if (ret < 0)
		return ret;
	kernel->fds = malloc(pairs_max * sizeof(int));
	kernel->spares = malloc((n_fds + 1) * sizeof(int));
	if (!kernel->fds || !kernel->spares) {
		free(kernel->fds);
		free(kernel->spares);
		kernel->fds = kernel->spares = NULL;
		return xb_fail(err, -ENOMEM, "allocate %u queue pairs", pairs_max);
	}
	for (unsigned i = 0; i < pairs_max; i++)
		kernel->fds[i] = -1;
	if (n_fds)
		memcpy(kernel->spares, fds, n_fds * sizeof(int));
	kernel->n_spares = kernel->n_handed_in = n_fds;
	return 0;
}

void xb_vhost_kernel_fini(struct xb_vhost_kernel *kernel)
{
	uint32_t ignored[2];

	for (unsigned i = 0; kernel->fds && i < kernel->backend.pairs_max; i++)
		stop_pair(&kernel->backend, i, ignored);
	while (kernel->n_spares)
		close(kernel->spares[--kernel->n_spares]);
	free(kernel->fds);
	free(kernel->spares);
	free(kernel->regions);
	kernel->fds = NULL;
	kernel->spares = NULL;
	kernel->regions = NULL;
}
