/* SPDX-License-Identifier: BSD-2-Clause */
#include "daemon/limits.h"

#include "core/cleanup.h"
#include "core/frame.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define CGROUPS   "/sys/fs/cgroup"
#define UNLIMITED (1ull << 60) /* cgroup v1 has a number about as large in place of "max" */

/* What there is beside the frames: tables, rings, stacks; with an uplink also maps and the
 * processes that load programs (28 MiB were measured, of which 16 are images of rules, and 7
 * without). */
#define BESIDE_BYTES     (8ull << 20)
#define GATE_BYTES       (22ull << 20)
#define GATE_BYTES_A_CPU (1ull << 20)

#define FRAME_BYTES (uint64_t)(XB_FRAME_BYTES + sizeof(struct xb_frame))
#define FRAMES_STEP 1024u /* numbers of frames are proposed in such steps */
#define NEAR        8u    /* so many tasks from a limit it may be what was met */

struct files {
	const char *controller;
	const char *most_v2, *used_v2;
	const char *most_v1, *used_v1;
};

static const struct files kinds[] = {
	{"memory", "memory.max", "memory.current", "memory.limit_in_bytes",
	 "memory.usage_in_bytes"},
	{"pids", "pids.max", "pids.current", "pids.max", "pids.current"},
};

static bool read_number(const char *folder, const char *file, uint64_t *ret_number)
{
	char path[512];
	unsigned long long number;
	FILE *in;
	bool got;

	snprintf(path, sizeof(path), "%s/%s", folder, file);
	in = fopen(path, "re");
	if (!in)
		return false;
	got = fscanf(in, "%llu", &number) == 1; /* not where it is "max" */
	fclose(in);
	*ret_number = got ? number : 0;
	return got;
}

/* Looks at a cgroup and those above it, up to `root`. `folder` is used up. */
static void look_up(char *folder, const char *root, const char *most, const char *used,
		    struct xb_cgroup_limit *limit)
{
	for (;;) {
		uint64_t here;
		char *slash;

		if (read_number(folder, most, &here) && here < UNLIMITED && here < limit->most) {
			limit->most = here;
			read_number(folder, used, &limit->used);
			snprintf(limit->path, sizeof(limit->path), "%.200s/%s", folder, most);
		}
		slash = strrchr(folder, '/');
		if (strlen(folder) <= strlen(root) || !slash)
			return;
		*slash = '\0';
	}
}

/* Whether a comma-separated list has the word. */
static bool lists(const char *list, const char *word)
{
	size_t len = strlen(word);

	for (const char *at = list; (at = strstr(at, word)); at += len)
		if ((at == list || at[-1] == ',') && (!at[len] || at[len] == ','))
			return true;
	return false;
}

/* One line of /proc/self/cgroup: "ID:CONTROLLERS:PATH"; v2 has no controllers. */
static void look_at_line(char *line, const struct files *files, struct xb_cgroup_limit *limit)
{
	char *controllers = strchr(line, ':');
	char *path = controllers ? strchr(controllers + 1, ':') : NULL;
	char root[64] = CGROUPS, folder[512];
	bool v2;

	if (!path)
		return;
	*path++ = '\0';
	controllers++;
	path[strcspn(path, "\n")] = '\0';
	v2 = !*controllers;
	if (!v2 && !lists(controllers, files->controller))
		return;
	if (!v2)
		snprintf(root, sizeof(root), CGROUPS "/%s", files->controller);
	snprintf(folder, sizeof(folder), "%s%s", root, strcmp(path, "/") ? path : "");
	look_up(folder, root, v2 ? files->most_v2 : files->most_v1,
		v2 ? files->used_v2 : files->used_v1, limit);
}

bool xb_limits_cgroup(const char *controller, struct xb_cgroup_limit *ret_limit)
{
	struct xb_cgroup_limit limit = {.most = UNLIMITED};
	FILE *own = fopen("/proc/self/cgroup", "re");
	const struct files *files = kinds;
	char line[512];

	while (strcmp(files->controller, controller) != 0)
		files++;
	while (own && fgets(line, sizeof(line), own))
		look_at_line(line, files, &limit);
	if (own)
		fclose(own);
	*ret_limit = limit;
	return limit.most < UNLIMITED;
}

uint64_t xb_limits_needed(uint32_t n_frames, bool uplink)
{
	uint64_t bytes = BESIDE_BYTES + n_frames * FRAME_BYTES;

	if (uplink)
		bytes += GATE_BYTES + (uint64_t)sysconf(_SC_NPROCESSORS_CONF) * GATE_BYTES_A_CPU;
	return bytes;
}

int xb_limits_check_memory(uint32_t n_frames, uint32_t least, bool uplink, struct xb_error *err)
{
	uint64_t beside = xb_limits_needed(0, uplink), fit = 0;
	struct xb_cgroup_limit limit;

	if (!xb_limits_cgroup("memory", &limit) || xb_limits_needed(n_frames, uplink) <= limit.most)
		return 0;
	xb_refuse(err, -ENOMEM,
		  "%u frames take %llu MiB, and with what else is needed that exceeds the cgroup's "
		  "limit of %llu MiB (%.200s)",
		  n_frames, (unsigned long long)(n_frames * FRAME_BYTES) >> 20,
		  (unsigned long long)limit.most >> 20, limit.path);
	if (limit.most > beside)
		fit = (limit.most - beside) / FRAME_BYTES / FRAMES_STEP * FRAMES_STEP;
	if (fit >= least)
		xb_hint(err, "raise it (MemoryMax=), or give --frames %llu",
			(unsigned long long)fit);
	else
		xb_hint(err,
			"raise it (MemoryMax=) to %llu MiB at least: the rings alone take %u frames",
			((unsigned long long)xb_limits_needed(least, uplink) >> 20) + 1, least);
	return -ENOMEM;
}

/* Threads of a process, if it is this user's. */
static unsigned long tasks_of(const char *pid)
{
	unsigned long uid = 0, threads = 0;
	char path[64], line[128];
	FILE *status;

	snprintf(path, sizeof(path), "/proc/%.20s/status", pid);
	status = fopen(path, "re");
	while (status && fgets(line, sizeof(line), status))
		if (sscanf(line, "Uid: %lu", &uid) != 1)
			sscanf(line, "Threads: %lu", &threads);
	if (status)
		fclose(status);
	return uid == getuid() ? threads : 0;
}

/* As RLIMIT_NPROC counts them. */
static unsigned long count_tasks(void)
{
	xb_auto_dir DIR *proc = opendir("/proc");
	const struct dirent *entry;
	unsigned long n = 0;

	while (proc && (entry = readdir(proc)))
		if (isdigit((unsigned char)entry->d_name[0]))
			n += tasks_of(entry->d_name);
	return n;
}

/* Threads and processes: whose limit it is. */
static void explain_tasks(struct xb_error *err)
{
	struct xb_cgroup_limit limit;
	struct rlimit own;

	if (xb_limits_cgroup("pids", &limit) && limit.used + NEAR >= limit.most)
		xb_hint(err,
			"the cgroup allows %llu processes and threads (%.90s): raise it (TasksMax=)",
			(unsigned long long)limit.most, limit.path);
	else if (!getrlimit(RLIMIT_NPROC, &own) && count_tasks() + NEAR >= own.rlim_cur)
		xb_hint(err,
			"this user may have %llu processes and threads: raise it (ulimit -u, "
			"LimitNPROC=)",
			(unsigned long long)own.rlim_cur);
}

void xb_limits_explain(struct xb_error *err)
{
	switch (-err->code) {
	case EMFILE:
		xb_hint(err, "raise the limit of open files (ulimit -n, LimitNOFILE=)");
		break;
	case ENFILE:
		xb_hint(err, "the host has too many files open: sysctl fs.file-max");
		break;
	case EAGAIN: /* pthread_create, fork */
	case ENOMEM: /* vhost-net, for its thread */
	case ECHILD:
		explain_tasks(err);
		break;
	default:
		break;
	}
}

uint64_t xb_limits_resident(void)
{
	unsigned long long pages = 0;
	FILE *file = fopen("/proc/self/statm", "re");

	if (file && fscanf(file, "%*u %llu", &pages) != 1)
		pages = 0;
	if (file)
		fclose(file);
	return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}
