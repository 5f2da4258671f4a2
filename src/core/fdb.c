/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/fdb.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

static_assert(XB_FDB_BUCKETS * XB_FDB_WAYS == XB_FDB_MAX, "the map `fdb` has room for all of it");

static uint64_t pack(uint16_t port, enum xb_fdb_kind kind, uint32_t seen_s)
{
	return (uint64_t)seen_s << 32 | (uint64_t)kind << 16 | port;
}

static uint16_t port_of(uint64_t value)
{
	return (uint16_t)value;
}

static enum xb_fdb_kind kind_of(uint64_t value)
{
	return (enum xb_fdb_kind)(value >> 16 & 0xffff);
}

static uint32_t seen_of(uint64_t value)
{
	return (uint32_t)(value >> 32);
}

static unsigned bucket_of(const struct xb_fdb *fdb, uint64_t key)
{
	uint64_t hash = (key ^ fdb->seed) * 0x9e3779b97f4a7c15u;

	hash = (hash ^ hash >> 32) * (fdb->seed | 1);
	return (unsigned)(hash >> 40) % XB_FDB_BUCKETS;
}

struct xb_fdb *xb_fdb_new(void)
{
	struct xb_fdb *fdb = calloc(1, sizeof(*fdb));

	if (!fdb)
		return NULL;
	while (getrandom(&fdb->seed, sizeof(fdb->seed), 0) != sizeof(fdb->seed)) {
		if (errno == EINTR)
			continue;
		free(fdb);
		return NULL;
	}
	fdb->age_s = XB_FDB_AGE_S;
	for (unsigned port = 0; port < XB_PORTS_MAX; port++)
		atomic_init(&fdb->learn_max[port], XB_FDB_LEARN_MAX);
	pthread_mutex_init(&fdb->lock, NULL);
	return fdb;
}

void xb_fdb_free(struct xb_fdb *fdb)
{
	if (!fdb)
		return;
	pthread_mutex_destroy(&fdb->lock);
	free(fdb);
}

/* The entry of a key and its value, or NULL. The key is read again after the value: an entry that
 * was freed and filled anew in between is not taken for the old one. */
static struct xb_fdb_entry *find(const struct xb_fdb *fdb, uint64_t key, uint64_t *ret_value)
{
	const struct xb_fdb_entry *bucket = fdb->bucket[bucket_of(fdb, key)];

	for (unsigned way = 0; way < XB_FDB_WAYS; way++) {
		const struct xb_fdb_entry *entry = &bucket[way];
		uint64_t value;

		if (atomic_load_explicit(&entry->key, memory_order_acquire) != key)
			continue;
		value = atomic_load_explicit(&entry->value, memory_order_acquire);
		if (!value || atomic_load_explicit(&entry->key, memory_order_relaxed) != key)
			continue;
		*ret_value = value;
		return (struct xb_fdb_entry *)entry;
	}
	return NULL;
}

/* The address of all zeroes, which means that there is none. */
static bool is_nobody(struct xb_fdb_key key)
{
	return !(key.bits << 4 >> 16);
}

static struct xb_fdb_key any_vlan(struct xb_fdb_key key)
{
	return (struct xb_fdb_key){key.bits | XB_FDB_VLAN_ANY};
}

/* The entry that speaks for a key: that of the address in any VLAN, otherwise the key's own. */
static struct xb_fdb_entry *find_for(const struct xb_fdb *fdb, struct xb_fdb_key key,
				     uint64_t *ret_value)
{
	struct xb_fdb_entry *entry = NULL;

	if (atomic_load_explicit(&fdb->n_any, memory_order_relaxed))
		entry = find(fdb, any_vlan(key).bits, ret_value);
	return entry ? entry : find(fdb, key.bits, ret_value);
}

int xb_fdb_lookup(const struct xb_fdb *fdb, struct xb_fdb_key key)
{
	uint64_t value;

	return find_for(fdb, key, &value) ? port_of(value) : -1;
}

/* After each change of an entry: a thread that reads the count sees the change, too. */
static void count_change(struct xb_fdb *fdb)
{
	atomic_fetch_add_explicit(&fdb->n_changes, 1, memory_order_release);
}

/* ---- changes, under the lock ---- */

static void account(struct xb_fdb *fdb, uint64_t key, uint64_t value, int sign)
{
	if ((key & 0xfff) == XB_FDB_VLAN_ANY)
		atomic_fetch_add_explicit(&fdb->n_any, (uint32_t)sign, memory_order_relaxed);
	if (kind_of(value) == XB_FDB_LEARNED)
		atomic_fetch_add_explicit(&fdb->n_learned[port_of(value)], (uint32_t)sign,
					  memory_order_relaxed);
}

static void entry_free(struct xb_fdb *fdb, struct xb_fdb_entry *entry)
{
	uint64_t key = atomic_load_explicit(&entry->key, memory_order_relaxed);
	uint64_t value = atomic_exchange_explicit(&entry->value, 0, memory_order_acq_rel);

	account(fdb, key, value, -1);
	atomic_store_explicit(&entry->key, 0, memory_order_release);
	count_change(fdb);
}

static struct xb_fdb_entry *entry_for(const struct xb_fdb *fdb, uint64_t key)
{
	const struct xb_fdb_entry *bucket = fdb->bucket[bucket_of(fdb, key)];

	for (unsigned way = 0; way < XB_FDB_WAYS; way++)
		if (!atomic_load_explicit(&bucket[way].key, memory_order_relaxed))
			return (struct xb_fdb_entry *)&bucket[way];
	return NULL;
}

static struct xb_fdb_entry *oldest_learned(struct xb_fdb *fdb, uint64_t key)
{
	struct xb_fdb_entry *bucket = fdb->bucket[bucket_of(fdb, key)];
	struct xb_fdb_entry *oldest = NULL;
	uint32_t oldest_s = UINT32_MAX;

	for (unsigned way = 0; way < XB_FDB_WAYS; way++) {
		uint64_t value = atomic_load_explicit(&bucket[way].value, memory_order_relaxed);

		if (kind_of(value) == XB_FDB_LEARNED && seen_of(value) < oldest_s) {
			oldest = &bucket[way];
			oldest_s = seen_of(value);
		}
	}
	return oldest;
}

static void entry_fill(struct xb_fdb *fdb, struct xb_fdb_entry *entry, uint64_t key, uint64_t value)
{
	account(fdb, key, value, 1);
	atomic_store_explicit(&entry->key, key, memory_order_release);
	atomic_store_explicit(&entry->value, value, memory_order_release);
	count_change(fdb);
}

/* Whether an address may come to lie behind the port: below its limit, and with room in the bucket.
 */
static bool may_learn(const struct xb_fdb *fdb, struct xb_fdb_key key, uint16_t port,
		      bool has_place)
{
	return atomic_load_explicit(&fdb->n_learned[port], memory_order_relaxed) <
		       atomic_load_explicit(&fdb->learn_max[port], memory_order_relaxed) &&
	       (has_place || entry_for(fdb, key.bits));
}

static void refuse(struct xb_fdb *fdb, uint16_t port)
{
	atomic_fetch_add_explicit(&fdb->n_refused[port], 1, memory_order_relaxed);
}

static void count_move(struct xb_fdb *fdb, struct xb_fdb_key key, uint16_t from, uint16_t to)
{
	atomic_store_explicit(&fdb->moved_vlan[from][to], key.bits & 0xfff, memory_order_relaxed);
	atomic_fetch_add_explicit(&fdb->n_moved[from][to], 1, memory_order_relaxed);
}

static void learn_locked(struct xb_fdb *fdb, struct xb_fdb_key key, uint16_t port, uint32_t now_s)
{
	uint64_t value;
	struct xb_fdb_entry *entry = find(fdb, key.bits, &value);

	if (entry && (kind_of(value) != XB_FDB_LEARNED || port_of(value) == port))
		return;
	if (!may_learn(fdb, key, port, entry)) {
		refuse(fdb, port);
		return;
	}
	if (entry) {
		count_move(fdb, key, port_of(value), port);
		entry_free(fdb, entry);
	} else {
		entry = entry_for(fdb, key.bits);
	}
	entry_fill(fdb, entry, key.bits, pack(port, XB_FDB_LEARNED, now_s));
}

enum xb_fdb_learned xb_fdb_ask(const struct xb_fdb *fdb, struct xb_fdb_key key, uint16_t port,
			       bool *ret_here)
{
	uint64_t value;
	const struct xb_fdb_entry *entry = find_for(fdb, key, &value);

	*ret_here = false;
	if (is_nobody(key))
		return XB_FDB_FINE;
	*ret_here = entry && port_of(value) == port;
	if (!entry || kind_of(value) == XB_FDB_LEARNED) {
		*ret_here |= (key.bits & 0xfff) != XB_FDB_VLAN_ANY &&
			     may_learn(fdb, key, port, entry);
		return XB_FDB_FINE;
	}
	if (!*ret_here)
		return XB_FDB_TAKEN;
	return kind_of(value) == XB_FDB_OWN ? XB_FDB_OURS : XB_FDB_FINE;
}

enum xb_fdb_learned xb_fdb_learn(struct xb_fdb *fdb, struct xb_fdb_key key, uint16_t port,
				 uint32_t now_s)
{
	struct xb_fdb_entry *entry;
	uint64_t value;

	if (is_nobody(key))
		return XB_FDB_FINE;
	entry = find_for(fdb, key, &value);
	if (entry && port_of(value) == port) {
		/* Seen again. If the entry changes now, another thread has seen it more recently:
		 * leave it. */
		if (kind_of(value) == XB_FDB_LEARNED && seen_of(value) != now_s &&
		    atomic_compare_exchange_strong_explicit(
			    &entry->value, &value, pack(port, XB_FDB_LEARNED, now_s),
			    memory_order_relaxed, memory_order_relaxed))
			count_change(fdb);
		return kind_of(value) == XB_FDB_OWN ? XB_FDB_OURS : XB_FDB_FINE;
	}
	if (entry && kind_of(value) != XB_FDB_LEARNED)
		return XB_FDB_TAKEN;
	if ((key.bits & 0xfff) == XB_FDB_VLAN_ANY)
		return XB_FDB_FINE; /* a tag with the reserved id: it speaks for no other VLAN */
	/* Before the lock: a port that learns nothing more must not keep others from learning. */
	if (!may_learn(fdb, key, port, entry)) {
		refuse(fdb, port);
	} else if (!pthread_mutex_trylock(&fdb->lock)) {
		learn_locked(fdb, key, port, now_s);
		pthread_mutex_unlock(&fdb->lock);
	}
	return XB_FDB_FINE;
}

static int set_locked(struct xb_fdb *fdb, struct xb_fdb_key key, uint16_t port,
		      enum xb_fdb_kind kind)
{
	uint64_t value;
	struct xb_fdb_entry *entry = find_for(fdb, key, &value);

	if (entry && kind_of(value) != XB_FDB_LEARNED &&
	    (port_of(value) != port || (kind_of(value) == XB_FDB_OWN && kind != XB_FDB_OWN)))
		return -EEXIST;
	entry = find(fdb, key.bits, &value);
	if (entry && kind_of(value) == kind && port_of(value) == port)
		return 0; /* and never missing in between */
	if (!entry)
		entry = entry_for(fdb, key.bits);
	if (!entry)
		entry = oldest_learned(fdb, key.bits);
	if (!entry)
		return -ENOSPC;
	if (atomic_load_explicit(&entry->key, memory_order_relaxed))
		entry_free(fdb, entry);
	entry_fill(fdb, entry, key.bits, pack(port, kind, 0));
	return 0;
}

int xb_fdb_set(struct xb_fdb *fdb, struct xb_fdb_key key, uint16_t port, enum xb_fdb_kind kind)
{
	int ret;

	pthread_mutex_lock(&fdb->lock);
	ret = set_locked(fdb, key, port, kind);
	pthread_mutex_unlock(&fdb->lock);
	return ret;
}

int xb_fdb_del(struct xb_fdb *fdb, struct xb_fdb_key key, enum xb_fdb_kind kind)
{
	struct xb_fdb_entry *entry;
	uint64_t value;
	int ret = -ENOENT;

	pthread_mutex_lock(&fdb->lock);
	entry = find(fdb, key.bits, &value);
	if (entry && kind_of(value) == kind) {
		entry_free(fdb, entry);
		ret = 0;
	}
	pthread_mutex_unlock(&fdb->lock);
	return ret;
}

void xb_fdb_walk(const struct xb_fdb *fdb, void (*see)(const struct xb_fdb_row *row, void *arg),
		 void *arg)
{
	const struct xb_fdb_entry *entry = &fdb->bucket[0][0];

	for (unsigned i = 0; i < XB_FDB_BUCKETS * XB_FDB_WAYS; i++, entry++) {
		uint64_t key = atomic_load_explicit(&entry->key, memory_order_acquire), value;
		struct xb_fdb_row row = {.key = {key}, .place = i};

		if (!key)
			continue;
		value = atomic_load_explicit(&entry->value, memory_order_acquire);
		if (!value || atomic_load_explicit(&entry->key, memory_order_relaxed) != key)
			continue;
		row.port = port_of(value);
		row.kind = kind_of(value);
		row.seen_s = seen_of(value);
		see(&row, arg);
	}
}

void xb_fdb_sweep(struct xb_fdb *fdb, bool (*keep)(const struct xb_fdb_row *row, void *arg),
		  void *arg)
{
	struct xb_fdb_entry *entry = &fdb->bucket[0][0];

	pthread_mutex_lock(&fdb->lock);
	for (unsigned i = 0; i < XB_FDB_MAX; i++, entry++) {
		uint64_t value = atomic_load_explicit(&entry->value, memory_order_relaxed);
		struct xb_fdb_row row = {
			.key = {atomic_load_explicit(&entry->key, memory_order_relaxed)},
			.port = port_of(value),
			.kind = kind_of(value),
			.seen_s = seen_of(value),
			.place = i,
		};

		if (row.key.bits && !keep(&row, arg))
			entry_free(fdb, entry);
	}
	pthread_mutex_unlock(&fdb->lock);
}

struct age {
	uint32_t now_s, age_s;
	uint32_t oldest_s; /* when the oldest that is young was seen */
};

/* A worker's clock may be ahead of ours: then the difference is negative, and young. */
static bool is_young(const struct age *age, uint32_t seen_s)
{
	return (int32_t)(age->now_s - seen_s) < (int32_t)age->age_s;
}

static bool young(const struct xb_fdb_row *row, void *arg)
{
	struct age *age = arg;

	if (row->kind != XB_FDB_LEARNED)
		return true;
	if (!is_young(age, row->seen_s))
		return false;
	if ((int32_t)(row->seen_s - age->oldest_s) < 0)
		age->oldest_s = row->seen_s;
	return true;
}

void xb_fdb_age(struct xb_fdb *fdb, uint32_t now_s)
{
	struct age age = {.now_s = now_s, .age_s = fdb->age_s, .oldest_s = now_s};

	if (!fdb->age_s || is_young(&age, fdb->oldest_s))
		return;
	xb_fdb_sweep(fdb, young, &age);
	fdb->oldest_s = age.oldest_s;
}

static bool is_of_another(const struct xb_fdb_row *row, void *arg)
{
	return row->port != *(const uint16_t *)arg;
}

void xb_fdb_forget_port(struct xb_fdb *fdb, uint16_t port)
{
	xb_fdb_sweep(fdb, is_of_another, &port);
}

void xb_fdb_reset_port(struct xb_fdb *fdb, uint16_t port)
{
	atomic_store(&fdb->learn_max[port], XB_FDB_LEARN_MAX);
	atomic_store(&fdb->n_refused[port], 0);
}
