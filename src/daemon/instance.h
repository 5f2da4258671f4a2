/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One running instance: an arena, its ports, its workers, and what the control thread does with
 * them. Everything here belongs to the control thread.
 *
 * Theory. Making an instance goes from what may fail to what others see: the arena is made, uplinks
 * are looked up and their programs attached (they pass everything as yet), the kernel port is
 * opened and started, sockets are bound, and only when the workers run are the ports published.
 * Going goes the other way round. In between each change of a port is: publish a snapshot without
 * what changes, wait until no worker sees it any more, act, publish again.
 *
 * All of this takes time, and none of it makes the control thread wait: the instance's life and the
 * life of each port are jobs (job.h). Meanwhile queries are answered, and an end may come at any
 * moment.
 *
 *      instance.c      start and end              door_uplink.c   each uplink
 *      publish.c       what the workers see       door_kernel.c   the kernel's port
 *      own.c           the ports' addresses       check.c         looks after all of them
 */
#ifndef XB_DAEMON_INSTANCE_H
#define XB_DAEMON_INSTANCE_H

#include "core/worker.h"
#include "daemon/config.h"
#include "daemon/cpus.h"
#include "daemon/deputy.h"
#include "daemon/doorman.h"
#include "daemon/job.h"
#include "daemon/kernel_port.h"
#include "daemon/loop.h"
#include "daemon/loops.h"
#include "daemon/reader.h"
#include "daemon/remarks.h"
#include "gate/drop_feed.h"
#include "gate/fdb_mirror.h"
#include "gate/gate.h"
#include "steer/steering.h"
#include "xsk/uplink.h"

#define XB_TROUBLE_BYTES 512u

/** Captures, those included that have ended and are still seen by a thread. */
#define XB_CAPTURES_LEFT_MAX (2 * XB_CAPTURES_MAX)

/** An uplink and where it stands in its life (door_uplink.c). */
struct xb_instance_uplink {
	struct xb_job job; /* first */
	struct xb_instance *instance;
	struct xb_uplink *uplink;
	bool attached;     /* its program is on the interface, or has been */
	bool published;    /* where it runs, the workers serve it */
	bool lost;         /* the interface is gone, or can't be used; it is looked for again */
	bool cleared;      /* its program had to go for one below it, and is put on again */
	uint64_t digest;   /* of addresses that change without an event (xb_own_macs_digest) */
	bool macs_due;     /* own addresses may have changed since they were read */
	bool unseen;       /* as last said: descriptors were too short to look at it */
	uint64_t again_ns; /* not before then (CLOCK_MONOTONIC) */
	uint64_t change;   /* of what is published: without it */
	struct xb_errand attach;        /* for the doorman */
	struct xb_errand detach;        /* at the end */
	struct xb_error failed;         /* why the start can't go on; code 0: it can */
	char trouble[XB_TROUBLE_BYTES]; /* why it can't be used, as last said; "": nothing said */
	struct xb_mtu_remarks mtus;
};

/** A change that takes time, for whoever waits for it. */
struct xb_change {
	bool is_done;
	int code; /* 0 or -errno, then with `err` */
	struct xb_error err;
	void (*done)(struct xb_change *change); /* called then; NULL: nobody */
};

/** Where the kernel's port stands in its life (door_kernel.c). */
struct xb_kernel_door {
	struct xb_job job;
	bool published;           /* where it runs, the workers serve it … */
	unsigned queues;          /* … these queues of it, from the first on */
	uint64_t change;          /* of what is published */
	bool is_whole;            /* it stops to be started again as it is */
	bool moves;               /* it leaves its interface for one in another namespace */
	struct xb_error failed;   /* why the start can't go on */
	unsigned wanted;          /* queues */
	struct xb_change *resize; /* who waits for that */
	bool moved;               /* no flow goes to the queues that are to go */
	unsigned times_empty;     /* looks at them that found nothing */
	uint64_t empty_by_ns;     /* until when they may run empty */
};

/** A capture that has ended, and the change without it. */
struct xb_capture_left {
	struct xb_capture *capture;
	uint64_t change;
};

/** What the workers see (publish.c). */
struct xb_published {
	struct xb_job job;
	struct xb_snapshot snapshots[2]; /* the published one, and one to fill next */
	unsigned newest;                 /* which */
	uint64_t generation;             /* of the workers */
	/* changes: that have been asked for, that are published, that all workers have seen */
	uint64_t wanted, offered, quiet;
};

/** An address of a port itself, in the forwarding table. */
struct xb_instance_own {
	uint8_t mac[6];
	uint16_t port;
};

struct xb_instance {
	struct xb_config config;
	int argc; /* what `config` was parsed from, to be parsed again */
	char **argv;
	struct xb_loop loop;
	struct xb_job life; /* its start, and its end */
	bool ready;         /* the start is over, the end has not begun */
	bool ending;
	struct xb_job reloading; /* reload.c */
	struct xb_deputy deputy; /* none with an uplink */
	struct xb_reader reader; /* of the configuration file; none where there is none */
	void (*on_started)(struct xb_instance *instance, const struct xb_error *err);
	void (*on_ended)(struct xb_instance *instance);
	uint64_t end_by_ns; /* when the end has to be over */
	struct xb_error failed;
	unsigned n_detaching;
	bool programs_left; /* at the end: not all could be taken off */
	bool abandoned;     /* a worker could not be ended: the process has to */
	int lock_fd;        /* the name's (name_lock.h); -1: none */
	bool left;          /* at the end: a doorman has the name, and takes off what is left */
	struct xb_gate_pin unnamed[XB_UPLINKS_MAX * 4]; /* what an earlier run has left */
	unsigned n_unnamed;
	struct xb_errand unnamed_errand;
	struct xb_arena arena;
	struct xb_cache cache; /* the control thread's own */
	struct xb_doorman doorman;
	struct xb_gate gate;
	bool gate_open;
	bool bpffs_private; /* nobody outside the daemon's mount namespace sees its pins */
	bool keep_programs; /* a start has failed: what an earlier run had left stays in force */
	struct xb_kernel_port kernel;
	struct xb_kernel_door kernel_door;
	bool kernel_running;
	unsigned queues_read; /* of the kernel port, as the configuration said when it was last read
			       */
	uint64_t kernel_again_ns;              /* when to try again to make it run */
	unsigned followed_mtu;                 /* the first uplink's, when tap0 was last told */
	uint8_t followed_mac[6];               /* likewise */
	bool arp_said;                         /* that it lies beside a shared uplink */
	bool carrier_said;                     /* that its carrier can't be set */
	char kernel_trouble[XB_TROUBLE_BYTES]; /* why it can't be used, as last said */
	unsigned n_uplinks;
	struct xb_instance_uplink uplinks[XB_UPLINKS_MAX];
	struct xb_fdb *fdb;
	struct xb_loop_watch loops;
	uint64_t storms[XB_PORTS_MAX];        /* group frames dropped, by port, as last seen */
	uint64_t storm_said_ns[XB_PORTS_MAX]; /* when that was said last */
	struct xb_fdb_mirror *fdb_mirror;     /* NULL: no uplink, so no maps */
	bool fdb_mirror_lags;                 /* it could not be written, as last said */
	unsigned n_own;
	struct xb_instance_own own[1 + XB_UPLINKS_MAX]; /* as the forwarding table has them */
	struct xb_workers workers;
	struct xb_pinning pinning;       /* of the workers, to CPUs */
	_Atomic bool workers_privileged; /* one could not give up its capabilities */
	struct xb_published published;
	struct xb_steering steering;
	struct xb_books *books_at_reset; /* stats.h; NULL: nobody has reset them */
	struct xb_timer trial_end;       /* of the steering table */
	/* daemon/capturing.h */
	struct xb_captures captures;
	struct xb_job captures_job; /* frees those that are left */
	unsigned n_captures_left;
	struct xb_capture_left captures_left[XB_CAPTURES_LEFT_MAX]; /* until no thread sees them */
	struct xb_drop_feed *drops; /* NULL: nobody watches, or there is no gate */
	struct xb_watch drops_watch;
	uint64_t boot_ns;    /* from CLOCK_MONOTONIC to CLOCK_REALTIME */
	uint64_t started_ns; /* CLOCK_MONOTONIC */
};

/* ---- its life (instance.c) ---- */

/**
 * Begins to make all of it. From the loop `on_started` is called, with NULL when the ports are
 * published, otherwise with what failed: then it has to be ended. A start that fails leaves nothing
 * but the programs that an earlier, killed run had left on its uplinks.
 */
void xb_instance_start(struct xb_instance *instance,
		       void (*on_started)(struct xb_instance *instance,
					  const struct xb_error *err));

/**
 * Begins to take all of it back, at any moment of its life; within a second `on_ended` is called
 * from the loop. What could not be done by then is said: a program that stays passes everything,
 * and where `abandoned`, a worker did not end, so that the process has to end without
 * xb_instance_fini.
 */
void xb_instance_end(struct xb_instance *instance, void (*on_ended)(struct xb_instance *instance));

/** Frees what is left when it has ended. */
void xb_instance_fini(struct xb_instance *instance);

/* ---- what the workers see (publish.c) ---- */

/** Publishes the ports as they are now; those that don't run, or are not `published`, have no
 * queues there: nobody but the control thread touches them once it is quiet. Returns the number of
 * this change. */
uint64_t xb_instance_publish(struct xb_instance *instance);

/** The quiet point: whether all workers see that change, or a later one, and nothing older. */
bool xb_instance_is_quiet(struct xb_instance *instance, uint64_t change);

/** Whether they see all that was changed up to now. Whoever changes the steering rules asks before:
 * the new ones take the place of those before the last. */
bool xb_instance_is_settled(struct xb_instance *instance);

/** At the end: nothing is published any more. */
void xb_instance_unpublish_all(struct xb_instance *instance);

/** What was published last. */
const struct xb_snapshot *xb_instance_snapshot(const struct xb_instance *instance);

/* ---- ports (door_uplink.c, door_kernel.c) ---- */

/** Looks the configuration's uplink `i` up. */
int xb_uplink_door_open(struct xb_instance *instance, unsigned i, struct xb_error *err);
/** Has the programs of all that are open attached, those of lower devices first; the `life` is
 * poked when one is over: the entry is `attached`, or `failed`. */
void xb_uplink_doors_attach(struct xb_instance *instance);
/** The programs of these slots were taken off for another one's: they are put on again. */
void xb_uplink_doors_cleared(struct xb_instance *instance, uint32_t slots);
/** Binds its sockets; the `life` is poked when it is `published`, or `failed`. */
void xb_uplink_door_bind(struct xb_instance_uplink *entry);
void xb_uplink_door_check(struct xb_instance_uplink *entry);
/** Whether it can lend its address to tap0 (`mac uplink`). Returns 0, or -EINVAL: it is shared. */
int xb_uplink_door_may_lend(const struct xb_uplink *uplink, struct xb_error *err);
/** At the end: has all programs taken off, those of lower devices last, as soon as they have been
 * attached, but not one that a failed start has found there. Counted in n_detaching; the `life` is
 * poked when one is done. */
void xb_uplink_doors_end(struct xb_instance *instance);
/** There is no more time for that: says so. */
void xb_uplink_door_give_up(struct xb_instance_uplink *entry);

/** Opens and starts the kernel's port; the `life` is poked when it is `published`, or `failed`. */
void xb_kernel_door_open(struct xb_instance *instance);
void xb_kernel_door_check(struct xb_instance *instance);
/** Leaves the interface and makes it again where --netns leads now; the port runs, and is not busy.
 */
void xb_kernel_door_move(struct xb_instance *instance);
void xb_kernel_door_follow_mtu(struct xb_instance *instance);

/** Lets the kernel's interface have a carrier while an uplink has, or where there is none. */
void xb_instance_follow_carrier(struct xb_instance *instance);

/* Own addresses (own.c). */

/** Reads anew which addresses are those of an uplink's stack, and publishes them where they have
 * changed; they stay due where that is not possible just now. */
void xb_instance_refresh_macs(struct xb_instance *instance, struct xb_instance_uplink *entry);
/** Looks whether addresses have changed without an event: then they are due. */
void xb_instance_look_for_macs(struct xb_instance_uplink *entry);
/** Enters the ports' own addresses into the forwarding table, where they have changed; lets tap0
 * follow the uplink's with `mac uplink`, and an uplink lend its address to a tap0 that has taken
 * it. */
void xb_instance_refresh_own(struct xb_instance *instance);

/** The MTU that the kernel's interface gets where nobody names one: the first uplink's, as far as
 * one frame holds it; 0 without an uplink. */
unsigned xb_instance_lent_mtu(const struct xb_instance *instance);

/** The port of a name, `kernel` among them; NULL: none (port_names.c). */
struct xb_port *xb_instance_port(struct xb_instance *instance, const char *name);

/**
 * Begins to change the number of the kernel port's queues, without losing what they hold.
 *
 * @change: filled when it is done, perhaps before this returns; NULL: nobody asks.
 *
 * Returns 0 (it is begun, or done), -EAGAIN (the port is at something else: ask again), or another
 * -errno.
 */
int xb_instance_set_queues(struct xb_instance *instance, unsigned queues, struct xb_change *change,
			   struct xb_error *err);
/** Nobody waits for `change` any more. It goes on. */
void xb_instance_forget_change(struct xb_instance *instance, const struct xb_change *change);

/* The steering table (instance_steering.c). */

/** Puts the configuration's rules and default verdict in force; the ports have their names. */
int xb_instance_start_steering(struct xb_instance *instance, struct xb_error *err);

/** After each change of the steering table: shows it to the workers. */
void xb_instance_steered(struct xb_instance *instance);

/** Whether the table may be changed now; `joins`: by a change that joins a trial, if there is one.
 * Where not, ask again soon. */
bool xb_instance_may_steer(struct xb_instance *instance, bool joins);

/** Once a second, and after own addresses were read anew. */
void xb_instance_check_steering(struct xb_instance *instance);

/** Looks at each port's interface (check.c): takes out what is gone or broken, brings back what has
 *  returned, adopts what has changed. After link events (then own addresses are read anew, too) and
 *  once a second. */
void xb_instance_check(struct xb_instance *instance, bool links_changed);

/** Once a second: ages the forwarding table, reads the kernel's counters. */
void xb_instance_tick(struct xb_instance *instance);

/** Lets the pinned map `fdb` show the forwarding table of now. */
void xb_instance_mirror_fdb(struct xb_instance *instance);

#endif
