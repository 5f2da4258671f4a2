/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Capabilities: workers keep none, the control thread what its later work needs.
 */
#ifndef XB_DAEMON_PRIVILEGES_H
#define XB_DAEMON_PRIVILEGES_H

#include "core/error.h"
#include "daemon/config.h"

/** Gives up all capabilities of the calling thread. */
void xb_privileges_drop_thread(void);

/**
 * Gives up the control thread's capabilities but for CAP_NET_ADMIN (unless its TAP was handed in
 * and there is no uplink), CAP_NET_RAW and CAP_BPF (with an uplink), CAP_SYS_ADMIN (with `netns`).
 */
int xb_privileges_drop_control(const struct xb_config *config, struct xb_error *err);

/** Locked memory counts against a limit that an arena exceeds at once: raises it as far as we may.
 */
void xb_privileges_raise_memlock(void);

#endif
