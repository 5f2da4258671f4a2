/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The BPF file system that programs and maps are pinned in: that at /sys/fs/bpf, or another.
 *
 * A mount namespace can have one of its own, as under `ip netns exec`. What is pinned there is seen
 * by nobody elsewhere and vanishes with the last process of the namespace.
 */
#ifndef XB_GATE_BPFFS_H
#define XB_GATE_BPFFS_H

#include "core/error.h"

#include <stdbool.h>
#include <sys/types.h>

#define XB_BPFFS_DEFAULT "/sys/fs/bpf"

/** Room for the path; pins' paths (pins.h) are longer. */
#define XB_BPFFS_BYTES 96u

/** The same, for one that is seen through a process (xb_bpffs_use_of). */
#define XB_BPFFS_SEEN_BYTES (XB_BPFFS_BYTES + 24)

/** Uses the one at `path` from now on, libxdp too. Before there are threads. Returns 0 or -EINVAL:
 *  no bpffs is mounted there, or the path is too long. */
int xb_bpffs_use(const char *path, struct xb_error *err);

/** Uses the one that process `pid` has at `path`: at that path where this mount namespace has it
 *  there, too, otherwise through /proc. A `pid` of 0 is one that can't be seen. Returns 0 or
 *  -errno. */
int xb_bpffs_use_of(pid_t pid, const char *path, struct xb_error *err);

/** Whether the one that process `pid` has at `path` is there in this mount namespace, too. False,
 * too, where that can't be told. */
bool xb_bpffs_is_shared_with(pid_t pid, const char *path);

/** The path of the one in use. */
const char *xb_bpffs(void);

/** Whether a bpffs is mounted at `path`. */
bool xb_is_bpffs(const char *path);

/** The same: 1, 0, or -errno where that can't be said. */
int xb_bpffs_look(const char *path);

/** Whether the one in use is mounted nowhere in the mount namespace of process 1. False, too, where
 *  that can't be read. */
bool xb_bpffs_is_private(void);

/** Whether this mount namespace is another one than process 1's, so that a bpffs mounted here is
 * this one's own. False, too, where that can't be read. */
bool xb_bpffs_would_be_private(void);

#endif
