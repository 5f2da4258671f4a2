/* SPDX-License-Identifier: BSD-2-Clause */
#include "sim/sim_vhost_kernel.h"

#include "support/must.h"
#include "virtio/features.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/vhost.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>

#define FDS_MAX 1024

struct sim_vhost {
	bool open, owned, has_memory;
	uint64_t features;
	struct {
		bool num, base, addr, kick, call, err;
		int backend, err_fd;
		unsigned index; /* next available entry */
	} vring[2];
};

uint64_t sim_vhost_features = XB_F(VIRTIO_F_VERSION_1) | XB_F(VIRTIO_RING_F_EVENT_IDX) |
			      XB_F(VIRTIO_RING_F_INDIRECT_DESC) | XB_F(VIRTIO_NET_F_MRG_RXBUF) |
			      XB_F(VHOST_NET_F_VIRTIO_NET_HDR) | XB_F(VHOST_F_LOG_ALL) |
			      XB_F(VIRTIO_F_NOTIFY_ON_EMPTY);

const char *sim_vhost_max_mem_regions;

unsigned long sim_tap_request;
int sim_tap_answer;

static struct sim_vhost vhost[FDS_MAX];
static unsigned calls, fail_at;
static int fail_code;
static unsigned long failed_request;
static const char *wrong;
static bool steered;
static uint64_t acknowledged;

void sim_vhost_fail(unsigned at, int code)
{
	calls = 0;
	fail_at = at;
	fail_code = code;
	failed_request = 0;
}

unsigned sim_vhost_calls(void)
{
	return calls;
}

unsigned long sim_vhost_failed_request(void)
{
	return failed_request;
}

const char *sim_vhost_wrong(void)
{
	return wrong;
}

unsigned sim_vhost_open_count(void)
{
	unsigned n = 0;

	for (unsigned fd = 0; fd < FDS_MAX; fd++)
		n += vhost[fd].open;
	return n;
}

unsigned sim_vhost_serving_count(void)
{
	unsigned n = 0;

	for (unsigned fd = 0; fd < FDS_MAX; fd++)
		n += vhost[fd].open && vhost[fd].vring[0].backend >= 0 &&
		     vhost[fd].vring[1].backend >= 0;
	return n;
}

void sim_vhost_break(unsigned vring)
{
	for (unsigned fd = 0; fd < FDS_MAX; fd++)
		if (vhost[fd].open && vhost[fd].vring[vring].backend >= 0)
			MUST(eventfd_write(vhost[fd].vring[vring].err_fd, 1) == 0);
}

uint64_t sim_vhost_acknowledged(void)
{
	return acknowledged;
}

bool sim_vhost_is_steered(void)
{
	return steered;
}

void sim_vhost_advance(unsigned n)
{
	for (unsigned fd = 0; fd < FDS_MAX; fd++)
		for (unsigned i = 0; vhost[fd].open && i < 2; i++)
			if (vhost[fd].vring[i].backend >= 0)
				vhost[fd].vring[i].index += n + i;
}

bool sim_vhost_serves_at(unsigned rx, unsigned tx)
{
	for (unsigned fd = 0; fd < FDS_MAX; fd++)
		if (vhost[fd].open && vhost[fd].vring[0].backend >= 0 &&
		    vhost[fd].vring[0].index == rx && vhost[fd].vring[1].index == tx)
			return true;
	return false;
}

static int refuse(int code, const char *why)
{
	if (!wrong)
		wrong = why;
	errno = code;
	return -1;
}

static bool fails(unsigned long request)
{
	if (++calls != fail_at)
		return false;
	failed_request = request;
	errno = fail_code;
	return true;
}

/* ---- the requests ---- */

static void vhost_reset(struct sim_vhost *dev)
{
	*dev = (struct sim_vhost){.open = true};
	dev->vring[0].backend = dev->vring[1].backend = -1;
}

static bool is_eventfd(int fd)
{
	eventfd_t count;

	/* the only thing that takes 8 bytes and gives them back, without blocking */
	return fd >= 0 && eventfd_write(fd, 1) == 0 && eventfd_read(fd, &count) == 0;
}

static int set_file(struct sim_vhost *dev, unsigned long request,
		    const struct vhost_vring_file *file)
{
	if (file->index > 1)
		return refuse(ENOBUFS, "a virtqueue beyond the second");
	if (request == VHOST_NET_SET_BACKEND) {
		if (file->fd >= 0 && !(dev->has_memory && dev->vring[file->index].num &&
				       dev->vring[file->index].addr))
			return refuse(EFAULT, "a backend before memory and rings");
		dev->vring[file->index].backend = file->fd;
		return 0;
	}
	if (file->fd >= 0 && !is_eventfd(file->fd))
		return refuse(EINVAL, "a call, kick or error descriptor that is none");
	dev->vring[file->index].kick |= request == VHOST_SET_VRING_KICK;
	if (request == VHOST_SET_VRING_ERR)
		dev->vring[file->index].err_fd = file->fd;
	return 0;
}

static int set_memory(struct sim_vhost *dev, const struct vhost_memory *table)
{
	for (unsigned i = 0; i < table->nregions; i++)
		if (!table->regions[i].memory_size ||
		    table->regions[i].guest_phys_addr != table->regions[i].userspace_addr)
			return refuse(EFAULT, "a region that is empty or elsewhere");
	dev->has_memory = table->nregions;
	return 0;
}

static int set_addr(struct sim_vhost *dev, const struct vhost_vring_addr *addr)
{
	if (addr->index > 1 || !addr->desc_user_addr || addr->desc_user_addr % 16 ||
	    addr->avail_user_addr % 2 || addr->used_user_addr % 4)
		return refuse(EINVAL, "rings without an address, or not aligned");
	dev->vring[addr->index].addr = true;
	return 0;
}

static int set_state(struct sim_vhost *dev, unsigned long request, struct vhost_vring_state *state)
{
	if (state->index > 1 || dev->vring[state->index].backend >= 0)
		return refuse(EBUSY, "a ring changed, or asked for, while it is served");
	if (request == VHOST_GET_VRING_BASE) {
		state->num = dev->vring[state->index].index;
		return 0;
	}
	if (request == VHOST_SET_VRING_NUM)
		dev->vring[state->index].num = true;
	if (request == VHOST_SET_VRING_BASE) {
		dev->vring[state->index].base = true;
		dev->vring[state->index].index = state->num;
	}
	return 0;
}

static int vhost_ioctl(struct sim_vhost *dev, unsigned long request, void *arg)
{
	if (request == VHOST_GET_FEATURES) {
		memcpy(arg, &sim_vhost_features, sizeof(sim_vhost_features));
		return 0;
	}
	if (request == VHOST_SET_OWNER) {
		if (dev->owned)
			return refuse(EBUSY, "an owner twice");
		dev->owned = true;
		return 0;
	}
	if (!dev->owned) {
		errno = EPERM; /* asked for by who cleans up, too */
		return -1;
	}
	switch (request) {
	case VHOST_RESET_OWNER:
		vhost_reset(dev);
		return 0;
	case VHOST_SET_FEATURES:
		memcpy(&dev->features, arg, sizeof(dev->features));
		acknowledged |= dev->features;
		if (dev->features & ~sim_vhost_features)
			return refuse(EOPNOTSUPP, "features that it hasn't got");
		return 0;
	case VHOST_SET_MEM_TABLE:
		return set_memory(dev, arg);
	case VHOST_SET_VRING_NUM:
	case VHOST_SET_VRING_BASE:
	case VHOST_GET_VRING_BASE:
		return set_state(dev, request, arg);
	case VHOST_SET_VRING_ADDR:
		return set_addr(dev, arg);
	case VHOST_SET_VRING_KICK:
	case VHOST_SET_VRING_CALL:
	case VHOST_SET_VRING_ERR:
	case VHOST_NET_SET_BACKEND:
		return set_file(dev, request, arg);
	default:
		return refuse(ENOTTY, "a request that vhost-net hasn't got");
	}
}

/* ---- what the linker puts in place of the C library's ---- */

int __real_open(const char *path, int flags, ...);
FILE *__real_fopen(const char *path, const char *mode);
int __real_ioctl(int fd, unsigned long request, ...);
int __real_close(int fd);
int __wrap_open(const char *path, int flags, ...);
FILE *__wrap_fopen(const char *path, const char *mode);
int __wrap_ioctl(int fd, unsigned long request, ...);
int __wrap_close(int fd);

int __wrap_open(const char *path, int flags, ...)
{
	bool ours = !strcmp(path, "/dev/vhost-net");
	unsigned mode = 0;
	va_list args;
	int fd;

	if (flags & O_CREAT) {
		va_start(args, flags);
		mode = va_arg(args, unsigned);
		va_end(args);
	}
	if (fails(0))
		return -1;
	fd = __real_open(ours ? "/dev/null" : path, flags, mode);
	MUST(fd < FDS_MAX);
	if (fd >= 0 && ours)
		vhost_reset(&vhost[fd]);
	return fd;
}

FILE *__wrap_fopen(const char *path, const char *mode)
{
	if (strcmp(path, "/sys/module/vhost/parameters/max_mem_regions") != 0)
		return __real_fopen(path, mode);
	if (sim_vhost_max_mem_regions)
		return fmemopen((void *)sim_vhost_max_mem_regions,
				strlen(sim_vhost_max_mem_regions), "r");
	errno = ENOENT;
	return NULL;
}

int __wrap_ioctl(int fd, unsigned long request, ...)
{
	va_list args;
	void *arg;
	int ret;

	va_start(args, request);
	arg = va_arg(args, void *);
	va_end(args);
	if (fails(request))
		return -1;
	if (fd >= 0 && fd < FDS_MAX && vhost[fd].open)
		return vhost_ioctl(&vhost[fd], request, arg);
	ret = __real_ioctl(fd, request, arg);
	if (request == TUNSETSTEERINGEBPF && ret == 0)
		steered = *(const int *)arg >= 0;
	if (request == sim_tap_request && ret == 0)
		*(int *)arg = sim_tap_answer;
	return ret;
}

int __wrap_close(int fd)
{
	if (fd >= 0 && fd < FDS_MAX)
		vhost[fd].open = false;
	return __real_close(fd);
}
