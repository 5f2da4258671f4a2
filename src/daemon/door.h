/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A door: what a port is to the daemon. Each kind has a file (door_kernel.c, door_uplink.c) that
 * opens, starts, stops and looks after its ports; everything else works on all doors alike, in the
 * order of their ids, and never asks which kind one is.
 *
 * Control thread.
 */
#ifndef XB_DAEMON_DOOR_H
#define XB_DAEMON_DOOR_H

#include "core/offload.h"
#include "core/snapshot.h"
#include "daemon/change.h"
#include "daemon/job.h"
#include "daemon/remarks.h"
#include "xbridge/steer.h"

#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>

#define XB_TROUBLE_BYTES 512u

struct xb_instance;
struct xb_door;

/** What is wrong with a port while it runs, for people. */
struct xb_trouble {
	char text[320];   /* what is wrong, without the port's name */
	char remedy[256]; /* what a person can do */
};

/** What a kind of port does. All but `check` and `follow` may be NULL: there is nothing to do. */
struct xb_door_ops {
	const char *kind; /* as in `status` */
	/** Looks at what the port stands on, and follows what has changed: once a second, and when
	 * links have changed (`links`). Never waits: what takes long is the door's job. */
	void (*check)(struct xb_door *door, bool links);
	/** Follows what others have become, after all have looked. */
	void (*follow)(struct xb_door *door);
	/** Reads counters that others keep for the port. */
	void (*refresh_stats)(struct xb_door *door);
	/** What a program has done with the port's frames before they got here. */
	void (*read_xdp)(const struct xb_door *door, struct xb_xdp_stats *ret_stats);
	/** Looks, twice a second, for what may go wrong, and says in the log when it begins or
	 * ends.
	 */
	void (*watch)(struct xb_door *door, uint64_t now_ns);
	/** What has gone wrong; false: nothing. */
	bool (*trouble)(const struct xb_door *door, struct xb_trouble *ret_trouble);
	/** Adds to a snapshot what the port has beside its queues. */
	void (*publish)(const struct xb_door *door, struct xb_snapshot *snapshot);
	/** Adds what only this kind has to what `status` says of the port. */
	void (*describe)(const struct xb_door *door, struct json_object *to);
	/** Whether the port was called so before. */
	bool (*was_called)(const struct xb_door *door, const char *name);
	/** Notes how far frames that a program has judged up to now have come, … */
	void (*mark)(struct xb_door *door);
	/** … and tells whether all of them have been taken. */
	bool (*has_passed)(const struct xb_door *door);
	/** The port goes, and no worker serves it: begins to take back all that it has given to
	 * others, and to give back what it holds. Calls xb_ports_closed when that is done. */
	void (*close)(struct xb_door *door);
	/** Begins to change the number of its queues; `change` is filled when it is done. Returns
	 * 0, -EAGAIN (it is at something: ask again), or another -errno. */
	int (*set_queues)(struct xb_door *door, unsigned queues, struct xb_change *change,
			  struct xb_error *err);
	/** Begins to change what may be left undone between it and the other side; the same. */
	int (*set_offload)(struct xb_door *door, struct xb_offload_set offload,
			   struct xb_change *change, struct xb_error *err);
	/** Nothing refers to the port any more. Frees the door. */
	void (*free)(struct xb_door *door);
};

/** The common part, embedded as the first member of each kind's own. */
struct xb_door {
	struct xb_job job; /* first: what it is at, where that takes time */
	const struct xb_door_ops *ops;
	struct xb_instance *instance;
	uint16_t id;          /* the port's, and the door's place in the table */
	struct xb_port *port; /* of that id; NULL: not open yet */
	const char *alias;    /* a name that stays whatever the port is called; NULL: none */
	uint8_t mac[6];       /* the port's own address */
	unsigned mtu;         /* bytes */
	bool loses_tags;      /* VLAN tags are lost before rules see a frame */
	bool of_vlan;         /* a VLAN's device: its frames have lost the tag that says so, … */
	uint16_t vlan;        /* … of this VLAN */
	uint32_t ifindex;     /* of an interface of this network namespace; 0: it has none there */
	bool running;         /* started */
	bool published;       /* where it runs, the workers serve it … */
	unsigned queues;      /* … these queues, from the first on */
	bool lost;   /* what it stands on is gone, or can't be used; it is looked for again */
	bool coming; /* it is being added while the instance runs */
	bool going;  /* it is being removed */
	bool hidden; /* and is not in snapshots any more */
	uint32_t generation;        /* of the last table that may mean it, while it goes */
	uint64_t change;            /* of what is published: without it */
	uint64_t again_ns;          /* what has failed is not tried before then (CLOCK_MONOTONIC) */
	struct xb_change *waiting;  /* what waits for its queues, its coming or its going */
	struct xb_mtu_remarks mtus; /* of an uplink */
	struct xb_error failed;     /* why the start can't go on; code 0: it can */
	char trouble[XB_TROUBLE_BYTES]; /* why it can't be used, as last said; "": nothing said */
};

/** Queues that the workers serve. */
static inline unsigned xb_door_queues(const struct xb_door *door)
{
	return door->running && door->published ? door->queues : 0;
}

#endif
