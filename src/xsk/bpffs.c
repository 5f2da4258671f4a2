/* SPDX-License-Identifier: BSD-2-Clause */
#include "xsk/bpffs.h"

#include <errno.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>

static char in_use[XB_BPFFS_BYTES] = XB_BPFFS_DEFAULT;

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

int xb_bpffs_use(const char *path, struct xb_error *err)
{
	size_t len = strlen(path);

	if (*path != '/' || len >= sizeof(in_use))
		return xb_refuse(err, -EINVAL,
				 "bpffs '%.128s': a path from / on, of at most %zu characters, is "
				 "expected",
				 path, sizeof(in_use) - 1);
	if (!xb_is_bpffs(path)) {
		xb_refuse(err, -EINVAL, "bpffs: no BPF file system is mounted at %s", path);
		xb_hint(err, "mount -t bpf bpf %s, or mount --bind " XB_BPFFS_DEFAULT " %s", path,
			path);
		return -EINVAL;
	}
	memcpy(in_use, path, len + 1);
	return setenv("LIBXDP_BPFFS", path, 1) < 0 ? xb_fail(err, -errno, "tell libxdp") : 0;
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
