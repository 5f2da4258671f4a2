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
 *      instance.c      start and end              doors.c         the table of ports
 *      publish.c       what the workers see       door_uplink.c   each uplink
 *      own.c           the ports' addresses       door_kernel.c   the kernel's port
 */
#ifndef XB_DAEMON_INSTANCE_H
#define XB_DAEMON_INSTANCE_H

#include "core/worker.h"
#include "daemon/config.h"
#include "daemon/cpus.h"
#include "daemon/deputy.h"
#include "daemon/door.h"
#include "daemon/doorman.h"
#include "daemon/job.h"
#include "daemon/loop.h"
#include "daemon/loops.h"
#include "daemon/port_ids.h"
#include "daemon/reader.h"
#include "gate/drop_feed.h"
#include "gate/fdb_mirror.h"
#include "gate/gate.h"
#include "steer/steering.h"

/** Captures, those included that have ended and are still seen by a thread. */
#define XB_CAPTURES_LEFT_MAX (2 * XB_CAPTURES_MAX)

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
	uint8_t domain;
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
	struct xb_door *doors[XB_PORTS_MAX]; /* whose ports are open, by id (doors.h) */
	struct xb_port_id ids[XB_PORTS_MAX];
	char domains[XB_DOMAINS_MAX][XB_NAME_BYTES]; /* names, by number (domains.h) */
	uint16_t next_id;                            /* where the search for a free one starts */
	unsigned n_uplinks;
	struct xb_fdb *fdb;
	struct xb_loop_watch loops;
	uint64_t storms[XB_PORTS_MAX];        /* group frames dropped, by port, as last seen */
	uint64_t storm_said_ns[XB_PORTS_MAX]; /* when that was said last */
	struct xb_fdb_mirror *fdb_mirror;     /* NULL: no uplink, so no maps */
	bool fdb_mirror_lags;                 /* it could not be written, as last said */
	unsigned n_own;
	struct xb_instance_own own[XB_PORTS_MAX]; /* as the forwarding table has them */
	struct xb_workers workers;
	struct xb_pinning pinning;       /* of the workers, to CPUs */
	_Atomic bool workers_privileged; /* one could not give up its capabilities */
	struct xb_published published;
	struct xb_steering steering;
	struct xb_books *books_at_reset; /* stats.h; NULL: nobody has reset them */
	struct xb_books *departed;       /* likewise, of ports that were removed; NULL: none */
	struct xb_timer trial_end;       /* of the steering table */
	/* daemon/capturing.h */
	struct xb_captures captures;
	uint64_t captures_began_ns[XB_CAPTURES_MAX]; /* likewise */
	struct xb_job captures_job;                  /* frees those that are left */
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

/* The steering table (instance_steering.c). */

/** Puts the configuration's rules and default verdict in force; the ports have their names. */
int xb_instance_start_steering(struct xb_instance *instance, struct xb_error *err);

/** After each change of the steering table: shows it to the workers. */
void xb_instance_steered(struct xb_instance *instance);

/** Whether the table may be changed now; `joins`: by a change that joins a trial, if there is one.
 * Where not, ask again soon. */
bool xb_instance_may_steer(struct xb_instance *instance, bool joins);

/** Lets the table hold for the ports and addresses of now. What is on trial stays as it is. Returns
 * 0, -EAGAIN (ask again soon), or why the table can't be made. */
int xb_instance_refresh_steering(struct xb_instance *instance, struct xb_error *err);

/** Once a second, and after own addresses were read anew. */
void xb_instance_check_steering(struct xb_instance *instance);

/** Once a second: ages the forwarding table, reads the kernel's counters. */
void xb_instance_tick(struct xb_instance *instance);

/** Lets the pinned map `fdb` show the forwarding table of now. */
void xb_instance_mirror_fdb(struct xb_instance *instance);

#endif
