/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Capabilities: workers keep none, the control thread what its later work needs. Nobody gets any by
 * running another program. Which system calls are left is filter.h's.
 */
#ifndef XB_DAEMON_PRIVILEGES_H
#define XB_DAEMON_PRIVILEGES_H

#include "core/error.h"
#include "daemon/config.h"

/** From now on no program that this process or one of its children might run gets privileges: no
 * ambient and, as far as CAP_SETPCAP allows, no bounding capabilities, and no new privileges.
 * Before there are threads and children. 0 or -errno. */
int xb_privileges_seal(struct xb_error *err);

/** Gives up all capabilities of the calling thread. 0 or -EPERM. */
int xb_privileges_drop_thread(void);

/**
 * Gives up the control thread's capabilities but for CAP_NET_ADMIN, CAP_NET_RAW and CAP_BPF (with
 * an uplink), CAP_SYS_ADMIN (with `netns`). Without an uplink a deputy has CAP_NET_ADMIN
 * (deputy.h).
 *
 * Where locked memory is limited and the limit can't be raised, as in a container without
 * CAP_SYS_RESOURCE, CAP_IPC_LOCK stays permitted with an uplink, but not effective: see
 * xb_privileges_lock_memory.
 */
int xb_privileges_drop_control(const struct xb_config *config, struct xb_error *err);

/** Gives up the doorman's capabilities but for those that XDP programs are loaded and attached
 * with: CAP_NET_ADMIN, CAP_BPF, CAP_PERFMON, CAP_SYS_ADMIN. */
int xb_privileges_drop_doorman(struct xb_error *err);

/** Gives up all capabilities of this process but one. */
int xb_privileges_drop_helper(int capability, struct xb_error *err);

/** While on, memory may be locked beyond the limit, if that was permitted to us: an uplink that
 * comes back registers the arena anew. */
void xb_privileges_lock_memory(bool on);

/** Raises the limits of locked memory, which an arena exceeds at once, and of open descriptors as
 *  far as we may. */
void xb_privileges_raise_limits(void);

#endif
