/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The gate: the XDP programs of an instance and the maps that they share with it.
 *
 * One program is loaded for each uplink, in a slot of its own; all programs of an instance share
 * one set of maps. Everything is pinned, and closing the gate leaves it in force:
 *
 *      /sys/fs/bpf/xbridge/<instance>/config, own_macs, table, rules, rule_stats,
 *                                     rule_stats_user, fdb, verdict_stats
 *                                     internal/xsks, queues, images, rule_limits, dropped,
 *                                              prog_<slot>, and, where it is alone on its
 *                                              interface, link_<slot>
 *
 * What is in them: docs/steering-maps.md. (bpffs allows no dot in a name: one in an instance's name
 * becomes a colon, which no interface has.)
 *
 * A program whose daemon is gone passes everything that it would redirect: the sockets' entries
 * leave `xsks` with them, and the heartbeats grow stale. The next start takes the maps over, and
 * puts its program into the old one's place (xb_gate_attach).
 *
 * The kernel wants order where devices stand on each other (below.h): a program is put on before
 * those of the devices upon it, and taken off after them. Where the instance's own are in the way
 * they go first, and have to be put on again; where somebody else's are, that is an error.
 *
 * Control thread. Needs CAP_BPF and CAP_NET_ADMIN (and CAP_SYS_ADMIN to
 * mount bpffs where nobody did).
 */
#ifndef XB_GATE_GATE_H
#define XB_GATE_GATE_H

#include "core/error.h"
#include "gate/grace.h"
#include "netdev/own_macs.h"
#include "netdev/xdp.h"
#include "xbridge/image.h"
#include "xbridge/steer.h"

#include <net/if.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define XB_INSTANCE_BYTES 64u

/** Something to be done to an interface. */
struct xb_gate_order {
	bool attach; /* else the slot's program is taken off, wherever it is */
	uint32_t slot;
	uint32_t ifindex; /* this and the rest: to attach */
	char ifname[IF_NAMESIZE];
	struct xb_attach_options options;
};

/** What became of an order. */
struct xb_gate_outcome {
	int code; /* 0 or -errno, then with `err` */
	struct xb_error err;
	uint32_t prog_id;
	struct xb_attachment attachment;
	uint32_t cleared; /* slots whose programs had to go first, upon that interface, as a mask */
};

struct xb_gate {
	char instance[XB_INSTANCE_BYTES];
	bool taken_over; /* pins of an earlier run were taken over */
	bool replaced; /* pins of another schema or other sizes were there and were replaced: say so
			*/
	uint32_t claimed;                  /* slots in use by this process, as a mask */
	uint32_t prog_ids[XB_UPLINKS_MAX]; /* by slot: the program that was attached last; 0: none
					    */
	/* the maps */
	int config_fd;
	int own_macs_fd;
	int stats_fd;
	int xsks_fd;
	int queues_fd;
	int rules_fd;
	int rule_stats_fd;
	int rule_user_stats_fd;
	int rule_limits_fd;
	int fdb_fd; /* see fdb_mirror.h */
	int table_fd;
	int images_fd;
	int dropped_fd;
	struct xb_grace grace;
	/* what of them is mapped */
	struct xb_queue_state *queues; /* XB_UPLINKS_MAX * XB_QUEUES_MAX, see XB_QUEUE_SLOT */
	struct xb_rule_user_stats *rule_user_stats; /* XB_RULES_MAX */
	uint64_t *rule_limits;                      /* XB_RULES_MAX, see xbridge/gcra.h */
	struct xb_table *table;
	struct xb_image *images; /* XB_IMAGES; of each as much as was asked for */
	size_t image_bytes[XB_IMAGES];
};

/**
 * Opens an instance's maps: takes over those that are pinned, makes and pins those that are not.
 * Mounts bpffs at /sys/fs/bpf where nothing is mounted there. Nothing is attached yet.
 *
 * @instance: 1 to XB_INSTANCE_BYTES - 1 bytes, letters, digits, `_-.@+` and not starting with a
 * dot.
 *
 * Returns 0, -EINVAL (name), -EPERM, or what the kernel says.
 */
int xb_gate_open(struct xb_gate *gate, const char *instance, struct xb_error *err);

/** Lets go of the maps. Programs, links and pins stay. */
void xb_gate_close(struct xb_gate *gate);

/**
 * Claims the slot for an uplink: the one whose pinned program sits on the interface, else one whose
 * program sits nowhere, whose statistics and heartbeats then start at zero.
 *
 * Returns 0, -EEXIST where this process has claimed a slot for the interface already, or -ENOSPC
 * where XB_UPLINKS_MAX slots are taken.
 */
int xb_gate_claim_slot(struct xb_gate *gate, uint32_t ifindex, const char *ifname,
		       uint32_t *ret_slot, struct xb_error *err);

/** Gives the claim back. What sits on the interface stays, and passes everything. */
void xb_gate_release_slot(struct xb_gate *gate, uint32_t slot);

/** The same where nothing came of it: what was written for the slot goes, unless a program of an
 * earlier run obeys it. */
void xb_gate_abandon_slot(struct xb_gate *gate, uint32_t slot);

/**
 * Loads a program for `slot` and attaches it, replacing the one of an earlier run without a moment
 * in which neither is in force; but for a change of the mode or the way, which takes the old one
 * off first. Write config and own MACs before.
 *
 * By libxdp's dispatcher (dispatcher.h), unless it is to be exclusive or the kernel refuses; then
 * by a link of our own (attach.h).
 *
 * Returns 0, -EBUSY where a program is in the way (`err` names it and the remedy), or another
 * -errno. Needs the capabilities that dispatcher.h names.
 */
int xb_gate_attach(struct xb_gate *gate, uint32_t slot, uint32_t ifindex, const char *ifname,
		   const struct xb_attach_options *options, struct xb_attachment *ret_attachment,
		   struct xb_error *err);

/** Whether the program of a slot is still on the interface: 1, 0, or -errno where descriptors or
 * memory are too short to find out. */
int xb_gate_is_attached(const struct xb_gate *gate, uint32_t slot, uint32_t ifindex);

/** Removes the program of a claimed slot from its interface, and releases the slot; the maps stay
 * (see xb_gate_remove). */
int xb_gate_detach_slot(struct xb_gate *gate, uint32_t slot, struct xb_error *err);

/* The same in two parts, of which another process may do the first, with capabilities that this one
 * has given up. */

/** Does what an order says. */
void xb_gate_carry_out(struct xb_gate *gate, const struct xb_gate_order *order,
		       struct xb_gate_outcome *ret_outcome);
/** An order to attach has succeeded, here or elsewhere. */
void xb_gate_attached(struct xb_gate *gate, const struct xb_gate_order *order,
		      const struct xb_gate_outcome *outcome);
/** An order to take a claimed slot's program off has succeeded. */
void xb_gate_detached(struct xb_gate *gate, uint32_t slot);

/** Writes an uplink's configuration; `schema` is filled in. */
int xb_gate_set_config(struct xb_gate *gate, uint32_t slot, const struct xb_steer_config *config,
		       struct xb_error *err);
int xb_gate_get_config(const struct xb_gate *gate, uint32_t slot,
		       struct xb_steer_config *ret_config);

/** Makes the own MACs of `slot` be exactly `macs`: adds what is new, then removes what is gone, so
 * that those which stay are never missing. Returns 0, -ENOSPC or -errno (what was added stays). */
int xb_gate_set_own_macs(struct xb_gate *gate, uint32_t slot, const struct xb_own_mac_entry *macs,
			 unsigned n, struct xb_error *err);

/** Puts a queue's socket into the map, so that its frames are redirected as soon as it beats; -1
 *  takes it out and clears the heartbeat, so that they pass. */
int xb_gate_set_socket(struct xb_gate *gate, uint32_t slot, uint32_t queue, int socket_fd,
		       struct xb_error *err);

/** Waits until no program looks at an image that is not in force any more. Returns 0 or -errno. */
int xb_gate_wait_grace(struct xb_gate *gate, struct xb_error *err);

/** Tells the programs what time it is (CLOCK_MONOTONIC), for rules' last hits. Once a second. */
static inline void xb_gate_tick(struct xb_gate *gate, uint64_t now_ns)
{
	__atomic_store_n(&gate->table->now_ns, now_ns, __ATOMIC_RELAXED);
}

/** Makes the map `rules`, which shows people what is in force, hold these `n` rules, each at its
 *  slot, and no other. */
int xb_gate_show_rules(struct xb_gate *gate, const uint32_t *slots, const struct xb_rule *rules,
		       unsigned n, struct xb_error *err);

/** Maps the first `bytes` of an image; the rest reads as zeroes. What is mapped counts as memory of
 * this process: megabytes for a large table. Returns 0 or -errno,
 * with the image as before. */
int xb_gate_map_image(struct xb_gate *gate, unsigned place, size_t bytes, struct xb_error *err);

/** The table in force. Any thread. */
static inline struct xb_in_force xb_gate_in_force(const struct xb_gate *gate)
{
	return xb_in_force_read(&gate->table->in_force);
}

/** What became of an uplink's frames in the program since the maps were made, all CPUs summed. */
int xb_gate_read_stats(const struct xb_gate *gate, uint32_t slot, struct xb_xdp_stats *ret_stats);

/** Lets what became of an uplink's frames start at nothing; for a slot whose program sits nowhere.
 */
void xb_gate_clear_stats(const struct xb_gate *gate, uint32_t slot);

/** What a rule's slot has met in the programs, all CPUs summed. Returns 0 or -errno. */
int xb_gate_read_rule_stats(const struct xb_gate *gate, uint32_t rule_slot,
			    struct xb_rule_stats *ret_stats);

/** Lets that start at nothing, at `n` slots; a CPU whose program counts at the same time may not
 * take notice. Returns 0 or -errno. */
int xb_gate_clear_rule_stats(const struct xb_gate *gate, const uint32_t *rule_slots, unsigned n);

/* ---- without a running instance: detach, doctor ---- */

/** A program that some instance, running or not, has left on an interface. */
struct xb_gate_pin {
	char instance[XB_INSTANCE_BYTES];
	uint32_t slot;
	uint32_t ifindex; /* 0: the interface is gone, or, behind a dispatcher, perhaps elsewhere */
	uint32_t prog_id;
	char ifname[IF_NAMESIZE]; /* "" where the interface is gone or in another network namespace
				   */
	char given[IF_NAMESIZE];  /* the name by which xbridge was given it; "": not known */
	enum xb_attach_way way;
};

/** Lists the pinned programs of all instances, at most `max`. Returns their number, which may be
 * over `max`, or -errno (-ENOENT, where there is no bpffs, counts as none). */
int xb_gate_list(struct xb_gate_pin *ret_pins, unsigned max);

/** The pin of the interface that is called `name`, has it as an altname, or was given to xbridge
 * under it; NULL: none of them. */
const struct xb_gate_pin *xb_gate_find(const struct xb_gate_pin *pins, unsigned n,
				       const char *name);

/**
 * Takes xbridge's program off an interface of this network namespace and removes its pins; with the
 * last one of an instance, all pins of the instance.
 *
 * Returns 0, or -ENOENT where no program of xbridge is on the interface.
 */
int xb_gate_detach(const char *ifname, struct xb_error *err);

/** Removes everything that an instance has pinned, and so its programs from their interfaces. */
int xb_gate_remove(const char *instance, struct xb_error *err);

/** Whether the kernel interprets programs (net.core.bpf_jit_enable is 0, which only the first
 *  network namespace shows): ours, with its calls, is refused then. */
bool xb_gate_interprets(void);

#endif
