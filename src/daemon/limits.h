/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The limits that a sandbox sets: those of cgroups and of processes. They are looked at to say
 * which of them stands in the way; none is changed.
 */
#ifndef XB_DAEMON_LIMITS_H
#define XB_DAEMON_LIMITS_H

#include "core/error.h"

#include <stdbool.h>
#include <stdint.h>

/** The strictest limit among a process's own cgroup and those above it. */
struct xb_cgroup_limit {
	uint64_t most, used;
	char path[256]; /* of the file that sets it */
};

/**
 * @controller: "memory" or "pids"; cgroup v2 and v1 are looked at.
 *
 * Returns whether there is a limit (and /sys/fs/cgroup, to see it).
 */
bool xb_limits_cgroup(const char *controller, struct xb_cgroup_limit *ret_limit);

/**
 * Checks that the memory of `n_frames` frames fits: who exceeds a cgroup's limit is killed, without
 * a word.
 *
 * @least:  how few would do; the error names what fits, if that is enough.
 * @uplink: whether there is one.
 *
 * Returns 0 or -ENOMEM.
 */
int xb_limits_check_memory(uint32_t n_frames, uint32_t least, bool uplink, struct xb_error *err);

/** What that many frames take, in bytes, with all that there is beside them. */
uint64_t xb_limits_needed(uint32_t n_frames, bool uplink);

/** Adds to a recorded failure which limit it came from, where it is one of descriptors, threads or
 *  processes. A hint that is there stays. */
void xb_limits_explain(struct xb_error *err);

/** This process's resident memory, in bytes; 0: it can't be read. */
uint64_t xb_limits_resident(void);

#endif
