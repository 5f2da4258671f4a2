/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The gate: the XDP programs of an instance and the maps that they share with it.
 *
 * One program is loaded for each uplink, in a slot of its own; all programs of an instance share
 * one set of maps. Everything is pinned, and closing the gate leaves it in force:
 *
 *      /sys/fs/bpf/xbridge/<instance>/config, own_macs, verdict_stats, rules, rule_stats, fdb
 *                                     internal/xsks, heartbeats, table, images, rule_limits,
 * dropped, prog_<slot>, link_<slot>
 *
 * What is in them: docs/steering-maps.md. (bpffs allows no dot in a name: one in an instance's name
 * becomes a colon, which no interface has.)
 *
 * A program whose daemon is gone passes everything that it would redirect: the sockets' entries
 * leave `xsks` with them, and the heartbeats grow stale. The next start takes link and maps over,
 * the program in the link is replaced atomically.
 *
 * Control thread only, but for xb_gate_beat. Needs CAP_BPF and CAP_NET_ADMIN (and CAP_SYS_ADMIN to
 * mount bpffs where nobody did).
 */
#ifndef XB_XSK_GATE_H
#define XB_XSK_GATE_H

#include "core/error.h"
#include "xbridge/image.h"
#include "xbridge/steer.h"
#include "xsk/attach.h"

#include <net/if.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define XB_INSTANCE_BYTES 64u

struct xb_gate {
	char instance[XB_INSTANCE_BYTES];
	bool taken_over; /* pins of an earlier run were taken over */
	bool replaced; /* pins of another schema or other sizes were there and were replaced: say so
			*/
	uint32_t claimed;             /* slots in use by this process, as a mask */
	int prog_fds[XB_UPLINKS_MAX]; /* by slot: the program that this process has loaded; -1: none
					 yet */
	/* the maps */
	int config_fd;
	int own_macs_fd;
	int stats_fd;
	int xsks_fd;
	int heartbeats_fd;
	int rules_fd;
	int rule_stats_fd;
	int rule_limits_fd;
	int fdb_fd; /* see fdb_mirror.h */
	int table_fd;
	int images_fd;
	int dropped_fd;
	/* what of them is mapped */
	_Atomic uint64_t *heartbeats;     /* XB_UPLINKS_MAX * XB_QUEUES_MAX, see XB_QUEUE_SLOT */
	struct xb_rule_stats *rule_stats; /* XB_RULES_MAX */
	uint64_t *rule_limits;            /* XB_RULES_MAX, see xbridge/gcra.h */
	struct xb_table *table;
	struct xb_image *images; /* XB_IMAGES */
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
 * Claims the slot for an uplink: the one whose pinned link sits on the interface, else one without
 * a living link, whose statistics and heartbeats then start at zero.
 *
 * Returns 0, -EEXIST where this process has claimed a slot for the interface already, or -ENOSPC
 * where XB_UPLINKS_MAX slots are taken.
 */
int xb_gate_claim_slot(struct xb_gate *gate, uint32_t ifindex, const char *ifname,
		       uint32_t *ret_slot, struct xb_error *err);

/** Gives the claim back. What sits on the interface stays, and passes everything. */
void xb_gate_release_slot(struct xb_gate *gate, uint32_t slot);

/** Attaches the program of `slot` (xb_attach), replacing the one of an earlier run without a gap.
 *  Write config and own MACs before. The first time in a process it is loaded, which where Spectre
 *  mitigations are on takes CAP_PERFMON; after that what was loaded is attached again. */
int xb_gate_attach(struct xb_gate *gate, uint32_t slot, uint32_t ifindex, const char *ifname,
		   enum xb_xdp_mode mode, struct xb_attachment *ret_attachment,
		   struct xb_error *err);

/** Whether the program of a slot is still the one on the interface. */
bool xb_gate_is_attached(const struct xb_gate *gate, uint32_t slot, uint32_t ifindex);

/** Removes the program of a claimed slot from its interface, and releases the slot; the maps stay
 * (see xb_gate_remove). */
int xb_gate_detach_slot(struct xb_gate *gate, uint32_t slot, struct xb_error *err);

/** Writes an uplink's configuration; `schema` is filled in. */
int xb_gate_set_config(struct xb_gate *gate, uint32_t slot, const struct xb_steer_config *config,
		       struct xb_error *err);
int xb_gate_get_config(const struct xb_gate *gate, uint32_t slot,
		       struct xb_steer_config *ret_config);

/** An address that belongs to an uplink's stack, and the device whose address it is. */
struct xb_own_mac_entry {
	uint8_t mac[6];
	uint32_t ifindex;
};

/** Makes the own MACs of `slot` be exactly `macs`: adds what is new, then removes what is gone, so
 * that those which stay are never missing. Returns 0, -ENOSPC or -errno (what was added stays). */
int xb_gate_set_own_macs(struct xb_gate *gate, uint32_t slot, const struct xb_own_mac_entry *macs,
			 unsigned n, struct xb_error *err);

/** Puts a queue's socket into the map, so that its frames are redirected as soon as it beats; -1
 *  takes it out and clears the heartbeat, so that they pass. */
int xb_gate_set_socket(struct xb_gate *gate, uint32_t slot, uint32_t queue, int socket_fd,
		       struct xb_error *err);

/** Says that a queue's owner is alive. `now_ns` is CLOCK_MONOTONIC_COARSE, not 0. Any thread, one
 *  for each queue. */
static inline void xb_gate_beat(struct xb_gate *gate, uint32_t slot, uint32_t queue,
				uint64_t now_ns)
{
	atomic_store_explicit(&gate->heartbeats[XB_QUEUE_SLOT(slot, queue)], now_ns,
			      memory_order_relaxed);
}

/**
 * Makes `image` the one that frames are judged by: from one frame to the next, each meets the old
 * one or the new one whole. Its head.generation is filled in.
 *
 * Waits, if need be, until no program looks at the image before the old one, whose place it takes;
 * that userspace doesn't, the caller has seen to. Returns 0 or -errno.
 */
int xb_gate_set_image(struct xb_gate *gate, struct xb_image *image, struct xb_error *err);

/** Tells the programs what time it is (CLOCK_MONOTONIC), for rules' last hits. Once a second. */
static inline void xb_gate_tick(struct xb_gate *gate, uint64_t now_ns)
{
	__atomic_store_n(&gate->table->now_ns, now_ns, __ATOMIC_RELAXED);
}

/** Writes the map `rules`, which shows people what is in force: all XB_RULES_MAX elements, by slot.
 */
int xb_gate_show_rules(struct xb_gate *gate, const struct xb_rule *rules, struct xb_error *err);

/** The image that frames are judged by; good until the second xb_gate_set_image from now. Any
 *  thread. */
static inline const struct xb_image *xb_gate_image(const struct xb_gate *gate)
{
	uint64_t in_force = __atomic_load_n(&gate->table->in_force, __ATOMIC_ACQUIRE);

	return &gate->images[XB_IN_FORCE_GENERATION(in_force) % XB_IMAGES];
}

/** What became of an uplink's frames in the program since the maps were made, all CPUs summed. */
int xb_gate_read_stats(const struct xb_gate *gate, uint32_t slot, struct xb_xdp_stats *ret_stats);

/* ---- without a running instance: detach, doctor ---- */

/** A program that some instance, running or not, has left on an interface. */
struct xb_gate_pin {
	char instance[XB_INSTANCE_BYTES];
	uint32_t slot;
	uint32_t ifindex; /* 0: the interface is gone */
	uint32_t prog_id;
	char ifname[IF_NAMESIZE]; /* "" where the interface is gone or in another network namespace
				   */
};

/** Lists the pinned links of all instances, at most `max`. Returns their number, which may be over
 *  `max`, or -errno (-ENOENT, where there is no bpffs, counts as none). */
int xb_gate_list(struct xb_gate_pin *ret_pins, unsigned max);

/**
 * Takes xbridge's program off an interface of this network namespace and removes its pins; with the
 * last living link of an instance, all pins of the instance.
 *
 * Returns 0, or -ENOENT where no program of xbridge is on the interface.
 */
int xb_gate_detach(const char *ifname, struct xb_error *err);

/** Removes everything that an instance has pinned, and so its programs from their interfaces. */
int xb_gate_remove(const char *instance, struct xb_error *err);

#endif
