/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The forwarding table: which port a MAC address in a VLAN lies behind.
 *
 * Workers look up and refresh without a lock. A thread that changes the set of entries (a worker
 * that learns, the control thread) holds the table's mutex. A worker only tries the mutex; if it is
 * taken, the address is learned from a later packet instead. Buckets hash with a seed of the
 * table's own, so that a guest can't aim at one.
 */
#ifndef XB_CORE_FDB_H
#define XB_CORE_FDB_H

#include "xbridge/steer.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define XB_FDB_WAYS      8u
#define XB_FDB_BUCKETS   4096u
#define XB_FDB_AGE_S     300u  /* default ageing time of learned entries */
#define XB_FDB_LEARN_MAX 4096u /* default limit of learned entries behind one port */

/** Domains that one table tells apart. */
#define XB_DOMAINS_MAX 16u

/** A MAC address in a VLAN of a domain: domain << 60 | mac << 12 | vlan. The address of all zeroes
 *  is never learned. */
struct xb_fdb_key {
	uint64_t bits;
};

static inline struct xb_fdb_key xb_fdb_key(uint8_t domain, const uint8_t mac[6], uint16_t vlan)
{
	uint64_t bits = domain;

	for (unsigned i = 0; i < 6; i++)
		bits = bits << 8 | mac[i];
	return (struct xb_fdb_key){bits << 12 | (vlan & 0xfff)};
}

static inline uint8_t xb_fdb_key_domain(struct xb_fdb_key key)
{
	return (uint8_t)(key.bits >> 60);
}

struct xb_fdb_entry {
	_Atomic uint64_t key; /* struct xb_fdb_key, 0: free */
	_Atomic uint64_t
		value; /* seen_s << 32 | kind << 16 | port; 0: about to be filled or freed */
};

struct xb_fdb {
	uint64_t seed;
	uint32_t age_s;    /* 0: no ageing */
	uint32_t oldest_s; /* no learned entry was seen before; control thread */
	_Atomic uint32_t learn_max[XB_PORTS_MAX]; /* learned entries that a port may have */
	pthread_mutex_t lock;
	_Atomic uint64_t n_changes;
	_Atomic uint32_t n_any; /* entries of XB_FDB_VLAN_ANY */
	_Atomic uint32_t n_learned[XB_PORTS_MAX];
	_Atomic uint64_t n_refused[XB_PORTS_MAX]; /* addresses not learned: limit, or bucket full */
	/* addresses that moved from one port to another, and the VLAN of the last one */
	_Atomic uint32_t n_moved[XB_PORTS_MAX][XB_PORTS_MAX];
	_Atomic uint16_t moved_vlan[XB_PORTS_MAX][XB_PORTS_MAX];
	struct xb_fdb_entry bucket[XB_FDB_BUCKETS][XB_FDB_WAYS];
};

enum xb_fdb_learned {
	XB_FDB_FINE,  /* known, learned, moved, or left for a later packet */
	XB_FDB_TAKEN, /* a static or own entry says that it lies behind another port */
	XB_FDB_OURS,  /* it is the address of this very port */
};

/** A new, empty table on the heap; NULL without memory. */
struct xb_fdb *xb_fdb_new(void);
void xb_fdb_free(struct xb_fdb *fdb);

/** The id of the port behind which the address lies, or -1. Any thread. */
int xb_fdb_lookup(const struct xb_fdb *fdb, struct xb_fdb_key key);

/** What xb_fdb_learn would answer; learns nothing. Any thread.
 *
 * @ret_here: whether xb_fdb_lookup would then find the address behind `port`. */
enum xb_fdb_learned xb_fdb_ask(const struct xb_fdb *fdb, struct xb_fdb_key key, uint16_t port,
			       bool *ret_here);

/** Notes that a packet from `key` came in on `port`. Any worker. */
enum xb_fdb_learned xb_fdb_learn(struct xb_fdb *fdb, struct xb_fdb_key key, uint16_t port,
				 uint32_t now_s);

/** Sets an entry, over a learned one if need be. Returns 0, -EEXIST (a static or own entry of
 *  another port speaks for the key, or an own one of this port for which another kind is asked),
 *  -ENOSPC (its bucket is full of entries that don't age). Control thread. */
int xb_fdb_set(struct xb_fdb *fdb, struct xb_fdb_key key, uint16_t port, enum xb_fdb_kind kind);

/** Removes an entry of this kind. Returns 0 or -ENOENT. Control thread. */
int xb_fdb_del(struct xb_fdb *fdb, struct xb_fdb_key key, enum xb_fdb_kind kind);

/** What to walk over, remove or keep. */
struct xb_fdb_row {
	struct xb_fdb_key key;
	uint16_t port;
	enum xb_fdb_kind kind;
	uint32_t seen_s;
	uint32_t place; /* below XB_FDB_MAX; place / XB_FDB_WAYS, the bucket, is the same whenever
			   the key is found */
};

/** Counts the changes of what a walk shows: where this is what it was before a walk, the next would
 *  show the same. Any thread. */
static inline uint64_t xb_fdb_changes(const struct xb_fdb *fdb)
{
	return atomic_load_explicit(&fdb->n_changes, memory_order_acquire);
}

/** Calls `see` for each entry, while workers go on learning: what they change during the walk may
 * be seen or not. Control thread. */
void xb_fdb_walk(const struct xb_fdb *fdb, void (*see)(const struct xb_fdb_row *row, void *arg),
		 void *arg);

/** Calls `keep` for each entry, with the table locked, and removes those for which it says false.
 *  Control thread. Ageing and flushing are this. */
void xb_fdb_sweep(struct xb_fdb *fdb, bool (*keep)(const struct xb_fdb_row *row, void *arg),
		  void *arg);

/** Removes all entries of a port, of whatever kind: it is about to go. Control thread. */
void xb_fdb_forget_port(struct xb_fdb *fdb, uint16_t port);
/** Lets what is counted and set for a port begin anew, for one that no worker knows. */
void xb_fdb_reset_port(struct xb_fdb *fdb, uint16_t port);

/** Removes learned entries that were not seen for age_s; looks at the table only when there may be
 *  one. Control thread, about once a second. */
void xb_fdb_age(struct xb_fdb *fdb, uint32_t now_s);

#endif
