/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One running instance: an arena, its ports, its workers, and what the control thread does with
 * them. Everything here belongs to the control thread.
 *
 * Theory. Making an instance goes from what may fail to what others see: the arena is made, uplinks
 * are looked up and their program attached (it passes everything as yet), the kernel port is opened
 * and started, sockets are bound, and only when the workers run are the ports published. Going goes
 * the other way round. In between each change of a port is: publish a snapshot without what
 * changes, act, publish again.
 */
#ifndef XB_DAEMON_INSTANCE_H
#define XB_DAEMON_INSTANCE_H

#include "core/worker.h"
#include "daemon/config.h"
#include "daemon/cpus.h"
#include "daemon/doorman.h"
#include "daemon/kernel_port.h"
#include "daemon/loop.h"
#include "daemon/remarks.h"
#include "daemon/steering.h"
#include "xsk/drop_feed.h"
#include "xsk/fdb_mirror.h"
#include "xsk/gate.h"
#include "xsk/uplink.h"

#define XB_TROUBLE_BYTES 512u

/** An uplink and where it stands in its life. */
struct xb_instance_uplink {
	struct xb_uplink *uplink;
	bool lost;                      /* the interface is gone or moved; it is looked for again */
	bool macs_due;                  /* own addresses may have changed since they were read */
	bool unseen;                    /* as last said: descriptors were too short to look at it */
	uint64_t again_ns;              /* not before then (CLOCK_MONOTONIC) */
	char trouble[XB_TROUBLE_BYTES]; /* why it can't be used, as last said; "": nothing said */
	struct xb_mtu_remarks mtus;
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
	struct xb_arena arena;
	struct xb_cache cache; /* the control thread's own */
	struct xb_doorman doorman;
	struct xb_gate gate;
	bool gate_open;
	bool keep_programs; /* a start has failed: what an earlier run had left stays in force */
	struct xb_kernel_port kernel;
	bool kernel_running;
	unsigned queues_read; /* of the kernel port, as the configuration said when it was last read
			       */
	uint64_t kernel_again_ns;              /* when to try again to make it run */
	unsigned followed_mtu;                 /* the first uplink's, when tap0 was last told */
	bool arp_said;                         /* that it lies beside a shared uplink */
	bool carrier_said;                     /* that its carrier can't be set */
	char kernel_trouble[XB_TROUBLE_BYTES]; /* why it can't be used, as last said */
	unsigned n_uplinks;
	struct xb_instance_uplink uplinks[XB_UPLINKS_MAX];
	struct xb_fdb *fdb;
	struct xb_fdb_mirror *fdb_mirror; /* NULL: no uplink, so no maps */
	bool fdb_mirror_lags;             /* it could not be written, as last said */
	unsigned n_own;
	struct xb_instance_own own[1 + XB_UPLINKS_MAX]; /* as the forwarding table has them */
	struct xb_workers workers;
	struct xb_pinning pinning;       /* of the workers, to CPUs */
	_Atomic bool workers_privileged; /* one could not give up its capabilities */
	struct xb_snapshot snapshots[2]; /* the published one, and one to fill next */
	unsigned published;              /* which */
	struct xb_steering steering;
	/* daemon/capturing.h */
	struct xb_captures captures;
	struct xb_drop_feed *drops; /* NULL: nobody watches, or there is no gate */
	struct xb_watch drops_watch;
	uint64_t boot_ns;    /* from CLOCK_MONOTONIC to CLOCK_REALTIME */
	uint32_t generation; /* of the default verdict */
	uint64_t started_ns; /* CLOCK_MONOTONIC */
};

/** Makes all of it, up to publishing. On failure nothing is left but the programs that an earlier,
 *  killed run had left on its uplinks. */
int xb_instance_start(struct xb_instance *instance, struct xb_error *err);
/** Takes all of it back. */
void xb_instance_stop(struct xb_instance *instance);

/** Publishes the ports; those that don't run have no queues there. */
void xb_instance_publish(struct xb_instance *instance);
/** The same, with `out` among those that don't run: nobody but the control thread touches its
 * queues then. */
void xb_instance_unpublish(struct xb_instance *instance, const struct xb_port *out);

/** What is published. */
const struct xb_snapshot *xb_instance_snapshot(const struct xb_instance *instance);

/* Parts of a start that are repeated when an interface comes back; the port's queues are
 * unpublished. */

/** Binds an uplink's sockets, and says how it runs. */
int xb_instance_start_uplink(struct xb_instance *instance, struct xb_instance_uplink *entry,
			     struct xb_error *err);
/** Starts the kernel port, which is open. */
int xb_instance_start_kernel(struct xb_instance *instance, struct xb_error *err);

/** Lets the kernel's interface have a carrier while an uplink has, or where there is none. */
void xb_instance_follow_carrier(struct xb_instance *instance);

/** Enters the ports' own addresses into the forwarding table, where they have changed. */
void xb_instance_refresh_own(struct xb_instance *instance);

/** The MTU that the kernel's interface gets where nobody names one: the first uplink's, as far as
 * one frame holds it; 0 without an uplink. */
unsigned xb_instance_lent_mtu(const struct xb_instance *instance);

/** The port of a name, `kernel` among them; NULL: none. */
struct xb_port *xb_instance_port(struct xb_instance *instance, const char *name);

/** Changes the number of the kernel port's queues without losing what they hold. */
int xb_instance_set_queues(struct xb_instance *instance, unsigned queues, struct xb_error *err);

/** Changes the default verdict, in the XDP programs and for the workers. */
int xb_instance_set_verdict(struct xb_instance *instance, uint16_t verdict, struct xb_error *err);

/** Looks at each port's interface (check.c): takes out what is gone or broken, brings back what has
 *  returned, adopts what has changed. After link events (then own addresses are read anew, too) and
 *  once a second. */
void xb_instance_check(struct xb_instance *instance, bool links_changed);

/** Once a second: ages the forwarding table, reads the kernel's counters. */
void xb_instance_tick(struct xb_instance *instance);

/** Lets the pinned map `fdb` show the forwarding table of now. */
void xb_instance_mirror_fdb(struct xb_instance *instance);

#endif
