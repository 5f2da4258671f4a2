/* SPDX-License-Identifier: BSD-2-Clause */
#include "gate/bpffs.h"

#include <errno.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>

static char in_use[XB_BPFFS_SEEN_BYTES] = XB_BPFFS_DEFAULT;

int xb_bpffs_look(const char *path)
{
	struct statfs fs;

	if (statfs(path, &fs) < 0)
		return errno == ENOENT ? 0 : -errno;
	return (unsigned long)fs.f_type == BPF_FS_MAGIC;
}

bool xb_is_bpffs(const char *path)
{
	return xb_bpffs_look(path) > 0;
}

static int use(const char *path, struct xb_error *err)
{
	snprintf(in_use, sizeof(in_use), "%s", path);
	return setenv("LIBXDP_BPFFS", path, 1) < 0 ? xb_fail(err, -errno, "tell libxdp") : 0;
}

int xb_bpffs_use(const char *path, struct xb_error *err)
{
	if (*path != '/' || strlen(path) >= XB_BPFFS_BYTES)
		return xb_refuse(err, -EINVAL,
				 "bpffs '%.128s': a path from / on, of at most %u characters, is "
				 "expected",
				 path, XB_BPFFS_BYTES - 1);
	if (!xb_is_bpffs(path)) {
		xb_refuse(err, -EINVAL, "bpffs: no BPF file system is mounted at %s", path);
		xb_hint(err, "mount -t bpf bpf %s, or mount --bind " XB_BPFFS_DEFAULT " %s", path,
			path);
		return -EINVAL;
	}
	return use(path, err);
}

/* The path of the one that a process has at `path`. Returns 0 or -errno. */
static int look_through(pid_t pid, const char *path, char ret_path[XB_BPFFS_SEEN_BYTES],
			struct stat *ret_stat)
{
	if (!pid)
		return -ESRCH;
	snprintf(ret_path, XB_BPFFS_SEEN_BYTES, "/proc/%d/root%.*s", pid, (int)XB_BPFFS_BYTES,
		 path);
	return stat(ret_path, ret_stat) < 0 ? -errno : 0;
}

bool xb_bpffs_is_shared_with(pid_t pid, const char *path)
{
	char through[XB_BPFFS_SEEN_BYTES];
	struct stat theirs, ours;

	return look_through(pid, path, through, &theirs) == 0 && stat(path, &ours) == 0 &&
	       theirs.st_dev == ours.st_dev;
}

int xb_bpffs_use_of(pid_t pid, const char *path, struct xb_error *err)
{
	char through[XB_BPFFS_SEEN_BYTES];
	struct stat theirs, ours;
	int ret = look_through(pid, path, through, &theirs);

	if (stat(path, &ours) == 0 && (ret ? xb_is_bpffs(path) : ours.st_dev == theirs.st_dev))
		return xb_bpffs_use(path, err);
	if (!ret)
		return use(through, err);
	xb_fail(err, ret, "look at %s in the mount namespace of process %d", path, pid);
	xb_hint(err, "as root, where that process can be seen");
	return ret;
}

const char *xb_bpffs(void)
{
	return in_use;
}

bool xb_bpffs_is_private(void)
{
	FILE *mounts = fopen("/proc/1/mountinfo", "re");
	char *line = NULL;
	size_t room = 0;
	struct stat st;
	bool found = !mounts || stat(in_use, &st) < 0;

	while (!found && getline(&line, &room, mounts) > 0) {
		unsigned major, minor;

		found = sscanf(line, "%*d %*d %u:%u", &major, &minor) == 2 &&
			makedev(major, minor) == st.st_dev;
	}
	free(line);
	if (mounts)
		fclose(mounts);
	return !found;
}

bool xb_bpffs_would_be_private(void)
{
	struct stat first, ours;

	return stat("/proc/1/ns/mnt", &first) == 0 && stat("/proc/self/ns/mnt", &ours) == 0 &&
	       (first.st_dev != ours.st_dev || first.st_ino != ours.st_ino);
}
