/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * An instance's name. The process that holds its lock file owns the name, and all files under
 * XB_RUN_DIR and in bpffs that bear it.
 *
 * The lock belongs to the open file description, so it can be handed on: a daemon that ends may
 * pass it to a doorman that still has to take a program off (doorman.h).
 */
#ifndef XB_DAEMON_NAME_LOCK_H
#define XB_DAEMON_NAME_LOCK_H

#include "core/error.h"

#include <stddef.h>

/** Takes a name. Returns the lock's descriptor, -EBUSY where another process has the name, or why
 * XB_RUN_DIR can't be written. */
int xb_name_lock(const char *name, struct xb_error *err);

/** Removes the lock's file of a name that is ours, and a control socket that a killed run has left.
 * The name is free when the lock's descriptor is closed, afterwards. */
void xb_name_leave(const char *name);

/** The path of a name's control socket. Returns its length, as snprintf(3) does. */
int xb_name_socket(const char *name, char *path, size_t bytes);

/** `path`, in XB_RUN_DIR, could not be used, as errno says: says what to do, too. Returns -errno.
 */
int xb_name_refuse(struct xb_error *err, const char *step, const char *path);

#endif
