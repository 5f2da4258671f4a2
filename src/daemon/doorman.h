/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The doorman: a process of its own that puts XDP programs on uplinks and takes them off.
 *
 * Theory. Whoever changes what is behind a dispatcher has to look programs up by their ids and to
 * load programs, with CAP_SYS_ADMIN, CAP_PERFMON and CAP_BPF; and there is something to change
 * whenever an interface comes back, and at the end. A daemon that reads what others send must not
 * keep such rights. So they stay with a process that reads nothing but the daemon's orders, and
 * knows two: put the program of a slot on an interface that the configuration names, and take it
 * off. It is made before there are threads, has nothing open but its socket, and ends with the
 * daemon, however that ends.
 *
 * Each order is carried out by a child of the doorman: libxdp 1.3 leaves descriptors open, and what
 * they refer to would stay in the kernel.
 */
#ifndef XB_DAEMON_DOORMAN_H
#define XB_DAEMON_DOORMAN_H

#include "core/error.h"
#include "daemon/config.h"
#include "xsk/gate.h"

#include <stdbool.h>
#include <sys/types.h>

struct xb_doorman {
	pid_t pid; /* 0: none */
	int fd;
	bool late; /* it owes an answer that nobody waits for any more */
};

/** Makes the process. The caller has one thread, and the capabilities yet. `config` is finished. */
int xb_doorman_start(struct xb_doorman *doorman, const struct xb_config *config,
		     struct xb_error *err);

/** Ends it, by force where it is late. */
void xb_doorman_stop(struct xb_doorman *doorman);

/** struct xb_gate_delegate; waits until the order is carried out, but not for ever: -ETIMEDOUT,
 * also for orders that follow before the doorman is free again. */
void xb_doorman_carry_out(void *arg, const struct xb_gate_order *order,
			  struct xb_gate_outcome *ret_outcome);

#endif
