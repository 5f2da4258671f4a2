/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * From the options that describe a port to the door that opens it.
 */
#ifndef XB_DAEMON_PORT_ADD_H
#define XB_DAEMON_PORT_ADD_H

#include "daemon/change.h"
#include "daemon/instance.h"

/**
 * Begins to add the ports that `run`'s options describe; one of them.
 *
 * @change: filled when it is done, perhaps before this returns.
 *
 * Returns 0, or why that can't be begun: -EINVAL (the options), -ENOSPC (there are as many ports as
 * can be), or another -errno.
 */
int xb_ports_add(struct xb_instance *instance, int argc, const char *const *argv,
		 struct xb_change *change, struct xb_error *err);

#endif
