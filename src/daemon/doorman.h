/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The doorman: a process of its own that puts XDP programs on uplinks and takes them off.
 *
 * Theory. Whoever changes what is behind a dispatcher has to look programs up by their ids and to
 * load programs, with CAP_SYS_ADMIN, CAP_PERFMON and CAP_BPF; and there is something to change
 * whenever an interface comes back, and at the end. A daemon that reads what others send must not
 * keep such rights. So they stay with a process that reads nothing but the daemon's orders: put the
 * program of a slot on an interface that the configuration names, take it off, and make a process
 * like yourself. It is made before there are threads, has nothing open but its socket, and ends
 * with the daemon, however that ends.
 *
 * There are two of them, one on duty and one in reserve. Where either ends, the other makes a new
 * one: the daemon could not, without the rights. Where the one on duty ends, the other carries out
 * the order that it was at.
 *
 *      daemon ──┬── on duty ──── a child for each order
 *               └── in reserve
 *
 * Each order is carried out by a child of the doorman: libxdp 1.3 leaves descriptors open, and what
 * they refer to would stay in the kernel. The child ends with its doorman.
 *
 * An order may take long: libxdp waits for a lock, which others may hold as long as they like. The
 * daemon goes on meanwhile. Orders are carried out in turn, and one that takes longer than it may
 * costs the doorman its life: what was begun is undone, or finished, by the next order. The driver
 * of a NIC may take a second, too, to do without a program: more than there is for a stop. The
 * doorman goes on with that when the daemon has ended, and keeps its name for so long.
 */
#ifndef XB_DAEMON_DOORMAN_H
#define XB_DAEMON_DOORMAN_H

#include "core/error.h"
#include "daemon/config.h"
#include "daemon/loop.h"
#include "gate/gate.h"

#include <stdbool.h>
#include <sys/types.h>

/** How long a doorman may take for what a daemon that has ended has left to it. */
#define XB_LEFT_S 5u

/** An order on its way. It lives in the struct that it serves. */
struct xb_errand {
	struct xb_gate_order order;
	struct xb_gate_outcome outcome; /* -ETIMEDOUT: it took too long; -EPIPE: there is no doorman
					 */
	void (*done)(struct xb_errand *errand); /* called once, from the loop */
	struct xb_errand *next;
	bool on_its_way;
	bool sent; /* the doorman on duty has the order */
};

/** One of the two processes. */
struct xb_doorman_seat {
	struct xb_watch watch; /* first; its socket, -1: nobody is there */
	struct xb_doorman *doorman;
	pid_t pid;   /* 0: it has not said so yet */
	bool here;   /* it has said so */
	bool reaped; /* it has ended, and the number may be another process's */
};

struct xb_doorman {
	struct xb_loop *loop; /* NULL: there is none */
	struct xb_doorman_seat seats[2];
	struct xb_doorman_seat *on_duty;
	struct xb_errand *first; /* those that wait; the first one's order is being carried out */
	struct xb_timer limit;   /* of that */
	struct xb_timer refill;  /* when to try again to have one in reserve */
	bool lacks_reserve;      /* as last said */
	bool hurried;
};

/** Makes both processes. The caller has one thread, and the capabilities yet. `config` is finished,
 * and stays. Orphans of this process's children become its own: it has to wait(2) for them. */
int xb_doorman_start(struct xb_doorman *doorman, struct xb_loop *loop,
		     const struct xb_config *config, struct xb_error *err);

/** Tells both that an interface is an uplink's from now on, or is not any more. */
void xb_doorman_tell(struct xb_doorman *doorman, const char *ifname, bool is_uplink);

/** Has an order carried out. Never waits: `done` is called when it has been, or has taken too long,
 * and not before this has returned. */
void xb_doorman_give(struct xb_doorman *doorman, struct xb_errand *errand,
		     void (*done)(struct xb_errand *errand));

/** Forgets an errand: its `done` is not called. Where it is being carried out, that goes on. */
void xb_doorman_call_off(struct xb_doorman *doorman, struct xb_errand *errand);

/** Whether an answer has come that the loop has not read yet. */
bool xb_doorman_has_answered(const struct xb_doorman *doorman);

/** The daemon is about to end: nothing may take longer than a moment any more. */
void xb_doorman_hurry(struct xb_doorman *doorman);

/** A child of this process has been waited for. */
void xb_doorman_reaped(struct xb_doorman *doorman, pid_t pid);

/**
 * Leaves it to the one on duty to take off all programs of the instance, and to remove what is
 * pinned, when this process has ended: the doorman is given XB_LEFT_S for it, twice at most.
 *
 * @lock_fd: the name's (name_lock.h). The doorman has it from now on: the caller closes its own,
 * and no more.
 *
 * Returns 0, or -errno: nobody does it.
 */
int xb_doorman_leave(struct xb_doorman *doorman, int lock_fd);

/** Ends both, by force, but for one that was left. Errands are forgotten. Harmless where there is
 * none. */
void xb_doorman_stop(struct xb_doorman *doorman);

#endif
