/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The host as such: kernel, capabilities, memory, io_uring.
 */
#include "cli/doctor_checks.h"
#include "core/frame.h"
#include "daemon/limits.h"
#include "xsk/uplink.h"

#include <cap-ng.h>
#include <errno.h>
#include <liburing.h>
#include <linux/capability.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

#define KERNEL_MAJOR 6u
#define KERNEL_MINOR 1u

#define HUGE_PAGES "/sys/kernel/mm/hugepages/hugepages-2048kB/"
#define HUGE_BYTES (2ul << 20)

/* What `run` takes by default (daemon/instance.c), in frames: rings and packets under way of an
 * instance, and what each queue of its uplink adds. */
#define FRAMES_BASE      5120ul
#define FRAMES_PER_QUEUE ((unsigned long)XB_UPLINK_RING_DEFAULT)

int xb_doctor_number(const char *path, long *ret_value)
{
	FILE *file = fopen(path, "re");
	int n;

	if (!file)
		return -errno;
	n = fscanf(file, "%ld", ret_value);
	fclose(file);
	return n == 1 ? 0 : -EINVAL;
}

void xb_check_kernel(struct xb_checkup *checkup)
{
	struct utsname name;
	unsigned major = 0;
	unsigned minor = 0;

	if (uname(&name) < 0 || sscanf(name.release, "%u.%u", &major, &minor) != 2) {
		xb_found(checkup, XB_FINDING_WARN, "the kernel's version can't be read");
		xb_remedy(checkup, "uname -r; %u.%u or later is needed", KERNEL_MAJOR,
			  KERNEL_MINOR);
		return;
	}
	if (major < KERNEL_MAJOR || (major == KERNEL_MAJOR && minor < KERNEL_MINOR)) {
		xb_found(checkup, XB_FINDING_FAIL, "%s %s is older than %u.%u", name.sysname,
			 name.release, KERNEL_MAJOR, KERNEL_MINOR);
		xb_remedy(checkup,
			  "boot a kernel of %u.%u or later (apt-get install "
			  "linux-image-amd64 on Debian 12)",
			  KERNEL_MAJOR, KERNEL_MINOR);
		return;
	}
	xb_found(checkup, XB_FINDING_OK, "%s %s (%u.%u or later is needed)", name.sysname,
		 name.release, KERNEL_MAJOR, KERNEL_MINOR);
}

/* ---- capabilities ---- */

static const struct need {
	unsigned capability;
	const char *name;
	bool required; /* else it is asked for by some options or kernels only */
	const char *what_for;
} needs[] = {
	{CAP_NET_ADMIN, "CAP_NET_ADMIN", true, "TAPs are made and XDP programs attached with it"},
	{CAP_NET_RAW, "CAP_NET_RAW", true, "AF_XDP and packet sockets are opened with it"},
	{CAP_BPF, "CAP_BPF", true, "the XDP program and its maps are loaded with it"},
	{CAP_SYS_ADMIN, "CAP_SYS_ADMIN", false,
	 "--netns, and mounting bpffs where nobody did, take it"},
	{CAP_IPC_LOCK, "CAP_IPC_LOCK", false, "without it the frames count against RLIMIT_MEMLOCK"},
	{CAP_PERFMON, "CAP_PERFMON", false, "extension programs are loaded with it"},
};
#define N_NEEDS (sizeof(needs) / sizeof(needs[0]))

bool xb_doctor_capable(unsigned capability)
{
	return capng_have_capability(CAPNG_EFFECTIVE, capability) > 0;
}

void xb_check_capabilities(struct xb_checkup *checkup)
{
	char held[160] = "";
	size_t used = 0;

	capng_get_caps_process();
	for (size_t i = 0; i < N_NEEDS; i++)
		if (xb_doctor_capable(needs[i].capability))
			used += (size_t)snprintf(held + used, sizeof(held) - used, "%s%s",
						 used ? " " : "", needs[i].name);
	if (used)
		xb_found(checkup, XB_FINDING_OK, "held here: %s", held);
	for (size_t i = 0; i < N_NEEDS; i++) {
		if (xb_doctor_capable(needs[i].capability))
			continue;
		xb_found(checkup, needs[i].required ? XB_FINDING_WARN : XB_FINDING_NOTE,
			 "%s is not held here: %s", needs[i].name, needs[i].what_for);
		xb_remedy(checkup, "sudo xbridge …, or in a service AmbientCapabilities=%s",
			  needs[i].name);
	}
}

/* ---- memory ---- */

/* The frames of a default instance, on the interface asked for or on one of one queue. */
static unsigned long default_frames(const struct xb_checkup *checkup)
{
	unsigned long queues = checkup->netdev.rx_queues ? checkup->netdev.rx_queues : 1;

	if (queues > XB_QUEUES_MAX)
		queues = XB_QUEUES_MAX;
	return FRAMES_BASE + queues * FRAMES_PER_QUEUE;
}

static unsigned long arena_bytes(const struct xb_checkup *checkup)
{
	return default_frames(checkup) * XB_FRAME_BYTES;
}

void xb_check_memlock(struct xb_checkup *checkup)
{
	unsigned long needed = arena_bytes(checkup);
	struct rlimit limit;

	if (xb_doctor_capable(CAP_IPC_LOCK)) {
		xb_found(checkup, XB_FINDING_OK,
			 "no limit on locked memory (CAP_IPC_LOCK); frames take about %lu MiB",
			 needed >> 20);
		return;
	}
	if (getrlimit(RLIMIT_MEMLOCK, &limit) < 0)
		limit.rlim_max = 0;
	if (limit.rlim_max == RLIM_INFINITY || limit.rlim_max >= needed) {
		xb_found(checkup, XB_FINDING_OK,
			 "enough memory may be locked for frames (about "
			 "%lu MiB)",
			 needed >> 20);
		return;
	}
	if (xb_doctor_capable(CAP_SYS_RESOURCE)) {
		xb_found(checkup, XB_FINDING_OK,
			 "RLIMIT_MEMLOCK is raised by xbridge itself "
			 "(CAP_SYS_RESOURCE)");
		return;
	}
	xb_found(checkup, XB_FINDING_WARN,
		 "%lu KiB may be locked (RLIMIT_MEMLOCK), frames take about %lu MiB",
		 (unsigned long)limit.rlim_max >> 10, needed >> 20);
	xb_remedy(checkup, "as root: ulimit -l unlimited; in a service: LimitMEMLOCK=infinity, or "
			   "CAP_IPC_LOCK; or fewer --frames");
}

#define TASKS_NEEDED 16ull /* of an instance of few queues, with its doormen */

static void check_tasks(struct xb_checkup *checkup)
{
	unsigned long long needed = TASKS_NEEDED + 2 * checkup->netdev.rx_queues;
	struct xb_cgroup_limit limit;

	if (!xb_limits_cgroup("pids", &limit) || limit.used + needed <= limit.most)
		return;
	xb_found(checkup, XB_FINDING_WARN,
		 "%llu processes and threads are allowed (%.200s), and about %llu more are needed; "
		 "since Linux 6.4 vhost-net's count, too",
		 (unsigned long long)limit.most, limit.path, needed);
	xb_remedy(checkup,
		  "in a service: TasksMax=infinity; in a container: a higher --pids-limit");
}

void xb_check_cgroup(struct xb_checkup *checkup)
{
	unsigned long frames = default_frames(checkup);
	unsigned long long needed = xb_limits_needed((uint32_t)frames, true);
	unsigned before = checkup->n;
	struct xb_cgroup_limit limit;

	if (xb_limits_cgroup("memory", &limit) && needed > limit.most) {
		xb_found(checkup, XB_FINDING_FAIL,
			 "the cgroup may have %llu MiB (%.200s), and xbridge takes about %llu MiB",
			 (unsigned long long)limit.most >> 20, limit.path, needed >> 20);
		xb_remedy(checkup,
			  "in a service: MemoryMax=%lluM; or fewer --frames (4 KiB each, %lu by "
			  "default)",
			  (needed >> 20) + 1, frames);
	}
	check_tasks(checkup);
	if (checkup->n == before)
		xb_found(checkup, XB_FINDING_OK, "no cgroup's limit is too low");
}

void xb_check_huge_pages(struct xb_checkup *checkup)
{
	unsigned long needed = (arena_bytes(checkup) + HUGE_BYTES - 1) / HUGE_BYTES;
	long reserved, unused;

	if (xb_doctor_number(HUGE_PAGES "nr_hugepages", &reserved) < 0 ||
	    xb_doctor_number(HUGE_PAGES "free_hugepages", &unused) < 0) {
		xb_found(checkup, XB_FINDING_NOTE,
			 "no huge pages of 2 MiB on this kernel: frames lie in ordinary pages");
		xb_remedy(checkup, "a kernel with CONFIG_HUGETLBFS has them");
		return;
	}
	if (unused >= 0 && (unsigned long)unused >= needed) {
		xb_found(checkup, XB_FINDING_OK,
			 "%ld of %ld huge pages free, frames take about %lu", unused, reserved,
			 needed);
		return;
	}
	xb_found(checkup, XB_FINDING_NOTE,
		 "%ld of %ld huge pages free, frames take about %lu: they will lie in ordinary "
		 "pages",
		 unused, reserved, needed);
	xb_remedy(checkup, "sysctl -w vm.nr_hugepages=%lu",
		  (unsigned long)(reserved - unused) + needed);
}

/* ---- io_uring ---- */

void xb_check_io_uring(struct xb_checkup *checkup)
{
	struct io_uring ring;
	long disabled = 0;
	int ret = io_uring_queue_init(2, &ring, 0);

	if (!ret) {
		io_uring_queue_exit(&ring);
		xb_found(checkup, XB_FINDING_OK, "io_uring works (for the TAP without vhost-net)");
		return;
	}
	xb_doctor_number("/proc/sys/kernel/io_uring_disabled", &disabled);
	xb_found(checkup, XB_FINDING_NOTE,
		 "no io_uring (%s%s): the TAP without vhost-net is read and written packet by "
		 "packet",
		 strerror(-ret), disabled ? "; kernel.io_uring_disabled is set" : "");
	if (disabled)
		xb_remedy(checkup, "sysctl -w kernel.io_uring_disabled=0");
	else if (ret == -ENOSYS)
		xb_remedy(checkup, "a kernel with CONFIG_IO_URING has it");
	else
		xb_remedy(checkup, "allow the io_uring_* system calls in the container's seccomp "
				   "profile");
}
