/* SPDX-License-Identifier: BSD-2-Clause */
#include "xsk/xsk.h"

#include "core/cleanup.h"
#include "netdev/netdev.h"

#include <errno.h>
#include <linux/if_xdp.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>

/* ---- the UMEM ---- */

static bool raise_memlock(void)
{
	struct rlimit limit = {RLIM_INFINITY, RLIM_INFINITY};

	if (setrlimit(RLIMIT_MEMLOCK, &limit) == 0)
		return true;
	if (getrlimit(RLIMIT_MEMLOCK, &limit) < 0 || limit.rlim_cur == limit.rlim_max)
		return false;
	limit.rlim_cur = limit.rlim_max;
	return setrlimit(RLIMIT_MEMLOCK, &limit) == 0;
}

static int open_umem(struct xb_xsk_set *set, struct xb_error *err)
{
	const struct xb_arena *arena = set->arena;
	const struct xsk_umem_config config = {
		.fill_size = set->options.ring_size,
		.comp_size = set->options.ring_size,
		.frame_size = XB_FRAME_BYTES,
	};
	uint64_t bytes = (uint64_t)arena->n_frames * XB_FRAME_BYTES;
	int ret;

	ret = xsk_umem__create(&set->umem, arena->base, bytes, &set->queue[0].fill,
			       &set->queue[0].comp, &config);
	if (ret == -ENOBUFS && raise_memlock())
		ret = xsk_umem__create(&set->umem, arena->base, bytes, &set->queue[0].fill,
				       &set->queue[0].comp, &config);
	if (ret == 0)
		return 0;
	set->umem = NULL;
	xb_fail(err, ret, "register %llu MiB as AF_XDP memory", (unsigned long long)bytes >> 20);
	if (ret == -ENOBUFS)
		xb_hint(err,
			"RLIMIT_MEMLOCK is too low: raise it (ulimit -l, LimitMEMLOCK=), grant "
			"CAP_IPC_LOCK, or give fewer --frames");
	else if (ret == -EPERM)
		xb_hint(err, "CAP_NET_RAW is needed");
	else if (ret == -EAFNOSUPPORT)
		xb_netdev_hint_family(err, "AF_XDP", "XDP");
	return ret;
}

/* ---- the sockets ---- */

static void close_queue(struct xb_xsk *xsk)
{
	if (xsk->socket)
		xsk_socket__delete(xsk->socket);
	xsk->socket = NULL;
	xsk->fd = -1;
}

static int bind_queue(struct xb_xsk_set *set, unsigned q)
{
	const struct xb_xsk_options *options = &set->options;
	struct xsk_socket_config config = {
		.rx_size = options->ring_size,
		.tx_size = options->ring_size,
		.libxdp_flags = XSK_LIBXDP_FLAGS__INHIBIT_PROG_LOAD,
		.bind_flags = XDP_USE_NEED_WAKEUP,
	};
	struct xb_xsk *xsk = &set->queue[q];
	int buffer_bytes = 8 << 20;
	int ret;

	if (options->mode != XB_XSK_AUTO)
		config.bind_flags |= options->mode == XB_XSK_COPY ? XDP_COPY : XDP_ZEROCOPY;
	ret = xsk_socket__create_shared(&xsk->socket, options->ifname, q, set->umem, &xsk->rx,
					&xsk->tx, &xsk->fill, &xsk->comp, &config);
	if (ret < 0) {
		xsk->socket = NULL;
		return ret;
	}
	xsk->fd = xsk_socket__fd(xsk->socket);
	/* copy mode: what may be under way to the driver; a full ring of short frames is more than
	 * the default. Failing that, sending is slower. */
	setsockopt(xsk->fd, SOL_SOCKET, SO_SNDBUFFORCE, &buffer_bytes, sizeof(buffer_bytes));
	return 0;
}

static bool is_zerocopy(const struct xb_xsk *xsk)
{
	struct xdp_options options = {0};
	socklen_t bytes = sizeof(options);

	return getsockopt(xsk->fd, SOL_XDP, XDP_OPTIONS, &options, &bytes) == 0 &&
	       options.flags & XDP_OPTIONS_ZEROCOPY;
}

/* Lets go of a UMEM on which nothing is bound. libxdp leaves its rings mapped then, and they would
 * hold the socket open. */
static void drop_umem(struct xb_xsk_set *set)
{
	struct xb_xsk *xsk = &set->queue[0];
	struct xdp_mmap_offsets off;
	socklen_t bytes = sizeof(off);

	if (getsockopt(xsk_umem__fd(set->umem), SOL_XDP, XDP_MMAP_OFFSETS, &off, &bytes) == 0) {
		munmap((char *)xsk->fill.ring - off.fr.desc,
		       off.fr.desc + xsk->fill.size * sizeof(__u64));
		munmap((char *)xsk->comp.ring - off.cr.desc,
		       off.cr.desc + xsk->comp.size * sizeof(__u64));
	}
	xsk_umem__delete(set->umem);
	set->umem = NULL;
	memset(xsk, 0, sizeof(*xsk));
}

static int fail_bind(const struct xb_xsk_set *set, int code, struct xb_error *err)
{
	xb_fail(err, code, "bind an AF_XDP socket to queue %u of %s", set->n_bound,
		set->options.ifname);
	if (code == -EBUSY)
		xb_hint(err, "another process has an AF_XDP socket on that queue");
	else if (set->options.mode == XB_XSK_ZEROCOPY)
		xb_hint(err, "its driver may not do zero copy; mode=auto falls back to copy");
	return code;
}

int xb_xsk_set_open(struct xb_xsk_set *set, const struct xb_arena *arena,
		    const struct xb_xsk_options *options, struct xb_error *err)
{
	struct xb_xsk *queue = calloc(options->n_queues, sizeof(*queue));

	if (!queue)
		return xb_fail(err, -ENOMEM, "open %u AF_XDP sockets", options->n_queues);
	*set = (struct xb_xsk_set){
		.options = *options, .arena = arena, .queue = queue, .n = options->n_queues};
	return 0;
}

/* The first queue's socket is the UMEM's own, and does not survive a failed bind. */
static int bind_first(struct xb_xsk_set *set, struct xb_error *err)
{
	int ret = open_umem(set, err);

	if (ret < 0)
		return ret;
	ret = bind_queue(set, 0);
	if (ret < 0) {
		drop_umem(set);
		return fail_bind(set, ret, err);
	}
	set->zerocopy = is_zerocopy(&set->queue[0]);
	return 0;
}

static int bind_next(struct xb_xsk_set *set, struct xb_error *err)
{
	int ret;

	if (!set->n_bound)
		return bind_first(set, err);
	ret = bind_queue(set, set->n_bound);
	return ret < 0 ? fail_bind(set, ret, err) : 0;
}

/* Closes the last socket: queue 0, whose socket is the UMEM's, comes last of all. */
static void close_last(struct xb_xsk_set *set)
{
	if (set->n_bound)
		close_queue(&set->queue[--set->n_bound]);
	if (set->n_bound || !set->umem)
		return;
	xsk_umem__delete(set->umem);
	set->umem = NULL;
}

static void close_sockets(struct xb_xsk_set *set)
{
	do
		close_last(set);
	while (set->n_bound);
}

int xb_xsk_set_bind(struct xb_xsk_set *set, struct xb_error *err)
{
	int ret = bind_next(set, err);

	if (!ret)
		return ++set->n_bound < set->n ? -EAGAIN : 0;
	if (ret == -EBUSY)
		return ret;
	/* On the first queue the kernel falls back by itself; a later one has to do as the first
	 * did. */
	if (set->options.mode == XB_XSK_AUTO && (ret == -EOPNOTSUPP || ret == -EINVAL)) {
		close_sockets(set);
		set->options.mode = XB_XSK_COPY;
		return -EAGAIN;
	}
	xb_xsk_set_close(set);
	return ret;
}

int xb_xsk_set_close_next(struct xb_xsk_set *set)
{
	if (!set->queue)
		return 0;
	close_last(set);
	if (set->n_bound)
		return -EAGAIN;
	xb_xsk_set_close(set);
	return 0;
}

void xb_xsk_set_close(struct xb_xsk_set *set)
{
	if (set->queue)
		close_sockets(set);
	free(set->queue);
	*set = (struct xb_xsk_set){0};
}

/* ---- when the frames are free ---- */

/* Binds a queue to a frame of our own, and lets go of it again. */
static int probe_queue(uint32_t ifindex, unsigned q, void *page)
{
	xb_auto_fd int fd = socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0);
	struct xdp_umem_reg umem = {
		.addr = (uintptr_t)page, .len = XB_FRAME_BYTES, .chunk_size = XB_FRAME_BYTES};
	struct sockaddr_xdp addr = {.sxdp_family = AF_XDP,
				    .sxdp_flags = XDP_COPY,
				    .sxdp_ifindex = ifindex,
				    .sxdp_queue_id = q};
	int entries = 2;

	if (fd < 0 || setsockopt(fd, SOL_XDP, XDP_UMEM_REG, &umem, sizeof(umem)) < 0 ||
	    setsockopt(fd, SOL_XDP, XDP_UMEM_FILL_RING, &entries, sizeof(entries)) < 0 ||
	    setsockopt(fd, SOL_XDP, XDP_UMEM_COMPLETION_RING, &entries, sizeof(entries)) < 0 ||
	    setsockopt(fd, SOL_XDP, XDP_RX_RING, &entries, sizeof(entries)) < 0 ||
	    bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
		return -errno;
	return 0;
}

int xb_xsk_look_released(uint32_t ifindex, unsigned n_queues)
{
	void *page = mmap(NULL, XB_FRAME_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			  -1, 0);
	int ret = 0;

	if (page == MAP_FAILED)
		return -EBUSY;
	/* Gone (ENODEV), or fewer queues now (EINVAL): nothing is bound there. What keeps us from
	 * asking (ENOMEM …) may pass. */
	for (unsigned q = 0; q < n_queues && (!ret || ret == -EINVAL); q++)
		ret = probe_queue(ifindex, q, page);
	munmap(page, XB_FRAME_BYTES);
	return !ret || ret == -EINVAL || ret == -ENODEV ? 0 : -EBUSY;
}
