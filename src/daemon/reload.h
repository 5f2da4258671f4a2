/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * SIGHUP: reads the configuration file again and applies what has changed in it.
 */
#ifndef XB_DAEMON_RELOAD_H
#define XB_DAEMON_RELOAD_H

#include "daemon/instance.h"

/** Applies what can change while it runs; what can't is named, and stays. A file with a mistake
 * changes nothing. */
void xb_reload(struct xb_instance *instance);

#endif
