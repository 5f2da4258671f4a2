/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the daemon and its doormen say to each other, over a socket of SOCK_SEQPACKET: doorman.c is
 * the daemon's side, doorman_serve.c the process.
 */
#ifndef XB_DAEMON_DOORMAN_OWN_H
#define XB_DAEMON_DOORMAN_OWN_H

#include "daemon/config.h"
#include "gate/gate.h"

#include <stdbool.h>
#include <sys/types.h>

enum xb_doorman_duty {
	XB_DUTY_GATE,    /* `gate` */
	XB_DUTY_KNOW,    /* `gate.ifname` is an uplink's from now on */
	XB_DUTY_FORGET,  /* it is not any more */
	XB_DUTY_ANOTHER, /* make a doorman like this one, on the socket that comes with it */
	XB_DUTY_SWEEP,   /* remove all that is pinned, and give up the name whose lock comes with it
			  */
};

struct xb_doorman_order {
	enum xb_doorman_duty duty;
	struct xb_gate_order gate;
};

/** The first that a doorman says is that it is there; then one for each order to the gate. */
struct xb_doorman_answer {
	pid_t pid; /* whose */
	bool here; /* ready for orders; there is no outcome */
	struct xb_gate_outcome outcome;
};

/** Is a doorman, on `fd`, until the socket's other end closes, which it does when `maker`, the
 * daemon, ends: a program that is being put on is given up then, one that is being taken off is
 * not. */
_Noreturn void xb_doorman_serve(int fd, const struct xb_config *config, pid_t maker);

#endif
