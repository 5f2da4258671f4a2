/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory. Two pictures of the forwarding table are kept, place by place: what the map shows, and
 * what the table holds now. A key stays in its bucket, so what has become of it is found among the
 * few places of that bucket.
 *
 * What is gone is deleted first: the map has as many elements as the table, so there is room for
 * what is new then. What has changed is written where it lies (BPF_F_LOCK). The kernel would else
 * put a new element at the head of a chain, where nobody finds it who walks over the map and has
 * passed the head already, and take the old one away.
 */
#include "gate/fdb_mirror.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Elements that one system call writes. */
#define BATCH 256u

/* The forwarding table at some moment, by place; key 0: nothing lies there. */
struct picture {
	struct xb_fdb_row rows[XB_FDB_MAX];
};

struct xb_fdb_mirror {
	int map_fd; /* the gate's */
	struct picture pictures[2];
	struct picture *shown, *next; /* one each */
	uint64_t shown_changes;       /* the table's count of changes when it looked so */
	/* to be written */
	__u32 n;
	struct xb_fdb_map_key keys[BATCH];
	struct xb_fdb_map_entry entries[BATCH];
};

static int delete_all(struct xb_fdb_mirror *mirror)
{
	__u32 place;
	void *from = NULL;
	int ret;

	do {
		__u32 n = BATCH;

		ret = bpf_map_lookup_and_delete_batch(mirror->map_fd, from, &place, mirror->keys,
						      mirror->entries, &n, NULL);
		from = &place;
	} while (!ret);
	memset(mirror->shown, 0, sizeof(*mirror->shown));
	return ret == -ENOENT ? 0 : ret; /* nothing is left */
}

int xb_fdb_mirror_new(const struct xb_gate *gate, struct xb_fdb_mirror **ret_mirror,
		      struct xb_error *err)
{
	struct xb_fdb_mirror *mirror = calloc(1, sizeof(*mirror));
	int ret;

	if (!mirror)
		return xb_fail(err, -ENOMEM, "allocate the mirror of the forwarding table");
	mirror->map_fd = gate->fdb_fd;
	mirror->shown = &mirror->pictures[0];
	mirror->next = &mirror->pictures[1];
	ret = delete_all(mirror);
	if (ret < 0) {
		xb_fdb_mirror_free(mirror);
		return xb_fail(err, ret, "empty the map `fdb`");
	}
	*ret_mirror = mirror;
	return 0;
}

void xb_fdb_mirror_free(struct xb_fdb_mirror *mirror)
{
	free(mirror);
}

static void note(const struct xb_fdb_row *row, void *arg)
{
	struct picture *picture = arg;

	picture->rows[row->place] = *row;
}

/* The row of the same key in another picture, or NULL. */
static const struct xb_fdb_row *find(const struct picture *picture, const struct xb_fdb_row *row)
{
	const struct xb_fdb_row *bucket = &picture->rows[row->place - row->place % XB_FDB_WAYS];

	for (unsigned way = 0; way < XB_FDB_WAYS; way++)
		if (bucket[way].key.bits == row->key.bits)
			return &bucket[way];
	return NULL;
}

static struct xb_fdb_map_key map_key(struct xb_fdb_key key)
{
	struct xb_fdb_map_key ret = {.vlan = key.bits & 0xfff, .domain = xb_fdb_key_domain(key)};

	for (unsigned i = 0; i < sizeof(ret.mac); i++)
		ret.mac[i] = (__u8)(key.bits >> (52 - 8 * i));
	return ret;
}

static int delete_batch(struct xb_fdb_mirror *mirror)
{
	__u32 n = mirror->n;

	mirror->n = 0;
	return n ? bpf_map_delete_batch(mirror->map_fd, mirror->keys, &n, NULL) : 0;
}

static int delete_gone(struct xb_fdb_mirror *mirror)
{
	int ret = 0;

	mirror->n = 0;
	for (unsigned i = 0; !ret && i < XB_FDB_MAX; i++) {
		const struct xb_fdb_row *row = &mirror->shown->rows[i];

		if (!row->key.bits || find(mirror->next, row))
			continue;
		mirror->keys[mirror->n++] = map_key(row->key);
		if (mirror->n == BATCH)
			ret = delete_batch(mirror);
	}
	return ret ? ret : delete_batch(mirror);
}

static int write_batch(struct xb_fdb_mirror *mirror)
{
	LIBBPF_OPTS(bpf_map_batch_opts, opts, .elem_flags = BPF_F_LOCK);
	__u32 n = mirror->n;

	mirror->n = 0;
	return n ? bpf_map_update_batch(mirror->map_fd, mirror->keys, mirror->entries, &n, &opts)
		 : 0;
}

static bool says_the_same(const struct xb_fdb_row *a, const struct xb_fdb_row *b)
{
	return a->port == b->port && a->kind == b->kind && a->seen_s == b->seen_s;
}

static int write_changed(struct xb_fdb_mirror *mirror, const char *const names[XB_PORTS_MAX])
{
	int ret = 0;

	mirror->n = 0;
	for (unsigned i = 0; !ret && i < XB_FDB_MAX; i++) {
		const struct xb_fdb_row *row = &mirror->next->rows[i];
		const struct xb_fdb_row *shown;
		struct xb_fdb_map_entry *entry;

		if (!row->key.bits)
			continue;
		shown = find(mirror->shown, row);
		if (shown && says_the_same(shown, row))
			continue;
		mirror->keys[mirror->n] = map_key(row->key);
		entry = &mirror->entries[mirror->n++];
		*entry = (struct xb_fdb_map_entry){
			.port_id = row->port, .kind = row->kind, .seen_s = row->seen_s};
		snprintf(entry->port, sizeof(entry->port), "%s", names[row->port]);
		if (mirror->n == BATCH)
			ret = write_batch(mirror);
	}
	return ret ? ret : write_batch(mirror);
}

int xb_fdb_mirror_update(struct xb_fdb_mirror *mirror, const struct xb_fdb *fdb,
			 const char *const names[XB_PORTS_MAX], struct xb_error *err)
{
	uint64_t changes = xb_fdb_changes(fdb);
	struct picture *shown = mirror->shown;
	int ret;

	if (changes == mirror->shown_changes)
		return 0;
	memset(mirror->next, 0, sizeof(*mirror->next));
	xb_fdb_walk(fdb, note, mirror->next);
	ret = delete_gone(mirror);
	if (!ret)
		ret = write_changed(mirror, names);
	if (ret < 0) {
		delete_all(mirror); /* who knows what it holds */
		return xb_fail(err, ret, "write the map `fdb`");
	}
	mirror->shown = mirror->next;
	mirror->next = shown;
	mirror->shown_changes = changes;
	return 0;
}
