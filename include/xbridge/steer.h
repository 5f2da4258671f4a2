/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The steering ABI: what the XDP program and the daemon share through BPF maps.
 *
 * The maps are pinned under XB_PIN_ROOT/<instance>/; whoever changes a layout here raises
 * XB_SCHEMA, and a daemon that meets pins of another schema replaces them.
 */
#ifndef XBRIDGE_STEER_H
#define XBRIDGE_STEER_H

#include "gcra.h"
#include "rule.h"

#include <linux/bpf.h>
#include <linux/types.h>
#include <stddef.h>

#define XB_SCHEMA   10u
#define XB_PIN_ROOT "/sys/fs/bpf/xbridge" /* by default */

/** Most queues of one uplink, own MACs of all uplinks, ports of an instance. */
#define XB_QUEUES_MAX   64u
#define XB_OWN_MACS_MAX 1024u
#define XB_PORTS_MAX    64u

/** Where a packet goes. A port's verdict is XB_VERDICT_PORT(id). */
enum xb_verdict {
	XB_VERDICT_NONE,       /* nobody has decided yet */
	XB_VERDICT_PASS,       /* stay on the uplink's own netdev (XDP_PASS) */
	XB_VERDICT_BRIDGE,     /* learned L2 forwarding, in userspace */
	XB_VERDICT_DROP,       /* nobody gets it */
	XB_VERDICT_PORT0 = 16, /* to the port of id 0; that of id N is 16 + N */
};
#define XB_VERDICT_PORT(id) ((__u16)(XB_VERDICT_PORT0 + (id)))

/** Which step of the order in which a frame is judged gave the verdict. */
enum xb_stage {
	XB_STAGE_NONE,
	XB_STAGE_RULE,    /* a rule of the steering table */
	XB_STAGE_OWN_MAC, /* the uplink's own address, or that of a device stacked on it */
	XB_STAGE_GROUP,   /* a group frame on a shared uplink; before the rules */
	XB_STAGE_DEFAULT, /* the default verdict */
	XB_STAGE_UNTOLD,  /* userspace only: the program has judged the frame, and charged a rule
			     for it, but its metadata is missing or out of date */
};

/** One program is loaded for each uplink; its slot, constant in the program, is its index in the
 *  arrays `config` and `verdict_stats` and the upper part of that in `xsks` and `queues`. All
 * of an instance's programs share these maps. */
#define XB_UPLINKS_MAX             16u
#define XB_QUEUE_SLOT(slot, queue) ((slot)*XB_QUEUES_MAX + (queue))

/** What the program knows of its uplink, written by the daemon: an element of the array `config`.
 */
struct xb_steer_config {
	__u32 schema;    /* of all these maps, XB_SCHEMA; 0: the slot is free */
	__u32 ifindex;   /* of the uplink's interface */
	__u32 shared;    /* 1: the uplink keeps its own MACs and group frames */
	__u32 port;      /* the uplink's id among the ports */
	__u64 stall_ns;  /* where the heartbeat is older than so many nanoseconds, nobody reads the
			    queue */
	char ifname[16]; /* the name by which xbridge was given the interface */
};

_Static_assert(sizeof(struct xb_steer_config) == 40, XB_PINNED);

/** An address that belongs to an uplink's stack, its own or that of a device stacked on it: a key
 * of the hash map `own_macs`. */
struct xb_own_mac {
	__u8 mac[6]; /* the address */
	__u16 slot;  /* of that uplink */
};

_Static_assert(sizeof(struct xb_own_mac) == 8, XB_PINNED);

/** Longest frame that is redirected: what fits after the headroom of an AF_XDP chunk. AF_XDP would
 *  drop a longer one. */
#define XB_REDIRECT_BYTES_MAX 3840u

/** Metadata in front of a redirected frame: sizeof(struct xb_meta) bytes that end where the frame
 *  starts. Userspace clears `magic` before it posts a frame for receiving, so what it finds there
 *  was written by the program. */
#define XB_META_MAGIC 0x58425247u /* "XBRG" */
struct xb_meta {
	__u32 magic;      /* XB_META_MAGIC */
	__u32 generation; /* of the table that decided */
	__u16 verdict;
	__u16 stage; /* enum xb_stage */
	__u32 rule;  /* id of the rule, 0 where none matched */
};

_Static_assert(sizeof(struct xb_meta) == 16,
	       "the kernel takes metadata of a multiple of 4 bytes, 32 at most");

/** What became of an uplink's frames in the program: an element of the per-CPU array
 * `verdict_stats`. Each CPU counts for itself; `xbridge stats --json` has the sums, under `xdp`.
 * Numbers of frames, and bytes of those that were kept from both stacks. */
struct xb_xdp_stats {
	__u64 pass_verdict;     /* passed: a rule, or the default verdict */
	__u64 pass_own;         /* passed: own MAC */
	__u64 pass_group;       /* passed: group frame on a shared uplink */
	__u64 pass_noqueue;     /* passed: its queue has no socket */
	__u64 pass_stall;       /* passed: stale heartbeat */
	__u64 pass_undelivered; /* passed: what is redirected from its queue does not arrive */
	__u64 pass_runt;        /* passed: shorter than an Ethernet header */
	__u64 pass_long;        /* passed: longer than XB_REDIRECT_BYTES_MAX */
	__u64 redirect;         /* given to the AF_XDP socket */
	__u64 drop;             /* dropped: a rule, or the default verdict */
	__u64 drop_bytes;       /* of these frames */
	__u64 limit;            /* dropped: beyond a rule's limit */
	__u64 limit_bytes;      /* of these frames */
};

_Static_assert(sizeof(struct xb_xdp_stats) == 104, XB_PINNED);

/** What the program and the daemon tell each other about a queue: a cache line of its own, since
 *  the queue's CPU writes it for each frame. */
struct xb_queue_state {
	__u64 beat_ns;    /* when its owner was alive last (CLOCK_MONOTONIC_COARSE); 0: no socket */
	__u64 withheld;   /* 1: what is redirected does not arrive, so it is to pass */
	__u64 redirected; /* frames given to its socket; counted by the program, not atomically:
			     where several CPUs run it for one queue some may be missing */
	__u64 unused[5];
};

_Static_assert(sizeof(struct xb_queue_state) == 64, XB_PINNED);

/** What a rule has met in the programs since it has its slot: an element of the per-CPU array
 * `rule_stats`, at that slot. Each CPU counts for itself; `xbridge steer list -s` adds them up,
 * with `rule_stats_user`. */
struct xb_rule_stats {
	__u64 packets; /* frames that matched, those beyond the limit too */
	__u64 bytes;   /* of these frames */
	__u64 last_ns; /* when it matched last, in nanoseconds of CLOCK_MONOTONIC, to a second; 0:
			  never */
};

_Static_assert(sizeof(struct xb_rule_stats) == 24, XB_PINNED);

/** What a rule has met in userspace, which asks the rules about frames that no program has judged:
 * an element of the array `rule_stats_user`, at the rule's slot. */
struct xb_rule_user_stats {
	struct xb_rule_stats met; /* since the rule has its slot, by all workers */
	/* what it and all CPUs of `rule_stats` had counted at the last `xbridge stats reset` */
	__u64 packets_at_reset; /* not shown by `xbridge steer list -s`: frames */
	__u64 bytes_at_reset;   /* the same: bytes of these frames */
};

_Static_assert(sizeof(struct xb_rule_user_stats) == 40, XB_PINNED);

/** Most entries of the forwarding table. */
#define XB_FDB_MAX 32768u

/** The VLAN of an entry that holds in every VLAN; no VLAN has this identifier. */
#define XB_FDB_VLAN_ANY 4095u

/** Where an entry of the forwarding table comes from. */
enum xb_fdb_kind {
	XB_FDB_LEARNED = 1, /* from its frames; ages, and moves with the sender */
	XB_FDB_STATIC,      /* set by a person; neither ages nor moves */
	XB_FDB_OWN,         /* the address of a port itself; neither ages nor moves */
};

/** Key of the hash map `fdb`: an address in a VLAN. */
struct xb_fdb_map_key {
	__u8 mac[6];  /* the address */
	__u16 vlan;   /* identifier of the outermost tag; 0: untagged; 4095: in any VLAN */
	__u32 domain; /* number of the domain in which it lies; 0: the default one */
};

_Static_assert(sizeof(struct xb_fdb_map_key) == 12, XB_PINNED);

/** Where frames to an address go: an element of the hash map `fdb`, which mirrors the daemon's
 *  forwarding table and is at most a second old. No program reads it. Whoever walks over it while
 *  it changes may see an entry twice, but misses none that stays. */
struct xb_fdb_map_entry {
	char port[XB_RULE_NAME_BYTES]; /* the name of the port through which it is reached */
	__u32 port_id;                 /* that port's id */
	enum xb_fdb_kind kind;         /* where the entry comes from */
	__u32 seen_s; /* when a frame came from it last, in seconds of CLOCK_MONOTONIC; 0: it does
			 not age */
	struct bpf_spin_lock lock; /* the kernel's, for changes in place */
};

_Static_assert(sizeof(struct xb_fdb_map_entry) == 48, XB_PINNED);

/** A steering table, in one word, so that it is read and replaced whole. */
struct xb_in_force {
	__u32 generation; /* its lowest bit tells which of the two `images` is asked */
	__u16 n_rules;    /* 0: none is asked */
	__u16 verdict;    /* the default verdict, enum xb_verdict; 0: there is no table yet, and
			     frames pass */
};

_Static_assert(sizeof(struct xb_in_force) == 8, XB_PINNED);

/** The steering table as the programs know it: the only element of the array `table`. */
struct xb_table {
	struct xb_in_force in_force;    /* the table that frames are judged by */
	struct xb_in_force confirmed;   /* the one that comes back at `confirm_by_ns` */
	__u64 confirm_by_ns;            /* CLOCK_MONOTONIC: a table on trial is in force until
					   then, unless it is confirmed; 0: none is on trial */
	__u64 now_ns;                   /* CLOCK_MONOTONIC, to a second */
	__u64 watched;                  /* 1: what is dropped goes into `dropped` */
	__u64 unseen;                   /* what found no room there */
	__u64 own_bits[XB_UPLINKS_MAX]; /* by slot: which XB_OWN_BIT have own MACs; a frame of
					   another is not looked for among them */
	__u32 turns[XB_UPLINKS_MAX]; /* by slot: the turn of the program that judges; other programs
					of the slot pass everything */
};

_Static_assert(sizeof(struct xb_table) == 240, XB_PINNED);
_Static_assert(offsetof(struct xb_table, in_force) % 8 == 0 &&
		       offsetof(struct xb_table, confirmed) % 8 == 0,
	       "each is one word");

/** A frame that a program has dropped, for `xbridge capture`: a record of the ring buffer
 * `dropped`. */
#define XB_DROPPED_BYTES 2048u
struct xb_dropped {
	__u64 time_ns; /* CLOCK_MONOTONIC */
	__u32 rule;    /* its id; 0: the default verdict */
	__u32 bytes;   /* of the frame */
	__u32 n;       /* of these */
	__u16 port;    /* id of the uplink's port */
	__u16 queue;
	__u16 verdict;
	__u16 stage;   /* enum xb_stage */
	__u32 limited; /* 1: it is beyond the rule's limit */
	__u8 data[XB_DROPPED_BYTES];
};

_Static_assert(sizeof(struct xb_dropped) == 2080, XB_PINNED);

#define XB_OWN_BIT(mac) (1ull << (((mac)[3] ^ (mac)[4] ^ (mac)[5]) & 63))
#define XB_IMAGES       2u

/** A table's word, to be read or written whole; it lies in struct xb_table at a multiple of 8. */
typedef __u64 __attribute__((may_alias)) xb_in_force_word;

static inline __attribute__((always_inline)) struct xb_in_force
xb_in_force_read(const struct xb_in_force *at)
{
	xb_in_force_word word = XB_LOAD_ONCE((const xb_in_force_word *)at);
	struct xb_in_force in_force;

	__builtin_memcpy(&in_force, &word, sizeof(in_force));
	return in_force;
}

#endif
