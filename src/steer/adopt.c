/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory. A rule of the new list that says the same as one in force keeps its id and its slot, and
 * so its counters. A new rule gets an id above all others, and a slot.
 *
 * A program counts a frame in its rule's slot, and may do so when the table is no longer in force,
 * until the next image is written, which waits for it. So a new rule gets a slot that neither the
 * table in force has nor the one before it, and its counters stay as they were written before the
 * flip. Slots are used again at once only where too few others are left.
 */
#include "steer/adopt.h"

#include "core/cleanup.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BUCKETS (2 * XB_RULES_MAX)
#define NO_RANK XB_RULES_MAX

/* What is given out, while a new list is made. */
struct adoption {
	const struct xb_adoptable *from;
	bool kept[XB_RULES_MAX];  /* rules in force, by rank, that the new list has too */
	bool taken[XB_RULES_MAX]; /* slots */
	uint32_t last_id, next_slot;
	uint32_t gap;  /* the last id that was given out when none above last_id was left */
	uint32_t *ids; /* that the new list names, sorted */
	unsigned n_ids;
	/* rules in force by what they say */
	uint16_t first[BUCKETS];     /* ranks, by hash; NO_RANK: none */
	uint16_t next[XB_RULES_MAX]; /* of the same bucket */
};

static uint16_t *bucket_of(struct adoption *adoption, const struct xb_rule *rule)
{
	return &adoption->first[xb_steered_hash(rule) % BUCKETS];
}

static void index_now(struct adoption *adoption)
{
	const struct xb_steered_list *now = adoption->from->now;

	for (unsigned i = 0; i < BUCKETS; i++)
		adoption->first[i] = NO_RANK;
	for (unsigned rank = now->n; rank--;) {
		uint16_t *first = bucket_of(adoption, &now->rules[rank].rule);

		adoption->next[rank] = *first;
		*first = (uint16_t)rank;
	}
}

static int by_id(const void *a, const void *b)
{
	const uint32_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

static bool is_named(const struct adoption *adoption, uint32_t id)
{
	return bsearch(&id, adoption->ids, adoption->n_ids, sizeof(id), by_id) != NULL;
}

/* The rank of the rule in force that `wanted` is, or NO_RANK. A rule without an id never becomes
 * one whose id another rule names. */
static unsigned find_kept(struct adoption *adoption, const struct xb_rule *wanted)
{
	unsigned rank = *bucket_of(adoption, wanted);

	for (; rank != NO_RANK; rank = adoption->next[rank]) {
		const struct xb_rule *rule = &adoption->from->now->rules[rank].rule;
		bool may = wanted->id ? wanted->id == rule->id : !is_named(adoption, rule->id);

		if (!adoption->kept[rank] && may && xb_steered_same(rule, wanted))
			break;
	}
	return rank;
}

void xb_steered_note_slots(const struct xb_image *image, bool *slots)
{
	for (uint32_t rank = 0; rank < image->head.n_rules && rank < XB_RULES_MAX; rank++)
		slots[xb_image_rule(image, rank).slot % XB_RULES_MAX] = true;
}

static uint32_t take_slot(struct adoption *adoption)
{
	uint32_t slot = adoption->next_slot;

	while (adoption->taken[slot]) /* there are as many slots as rules */
		slot = (slot + 1) % XB_RULES_MAX;
	adoption->taken[slot] = true;
	adoption->next_slot = (slot + 1) % XB_RULES_MAX;
	return slot;
}

static int by_order(const void *a, const void *b)
{
	const struct xb_rule *x = &((const struct xb_steered_rule *)a)->rule;
	const struct xb_rule *y = &((const struct xb_steered_rule *)b)->rule;

	if (x->prio != y->prio)
		return x->prio > y->prio ? -1 : 1;
	return (x->id > y->id) - (x->id < y->id);
}

static int refuse_twice(const struct xb_rule_list *wanted, uint32_t id, struct xb_error *err)
{
	unsigned i = 0;

	while (wanted->rules[i].id != id)
		i++;
	do
		i++;
	while (wanted->rules[i].id != id);
	xb_refuse(err, -EINVAL, "two rules have the id %u", id);
	return xb_rule_source_blame(&wanted->sources[i], -EINVAL, err);
}

/* Which ids the new list names itself; each once. */
static int name_ids(struct adoption *adoption, const struct xb_rule_list *wanted,
		    struct xb_error *err)
{
	adoption->ids = calloc(wanted->n + 1, sizeof(*adoption->ids));
	if (!adoption->ids)
		return xb_fail(err, -ENOMEM, "sort %u rules", wanted->n);
	for (unsigned i = 0; i < wanted->n; i++)
		if (wanted->rules[i].id)
			adoption->ids[adoption->n_ids++] = wanted->rules[i].id;
	qsort(adoption->ids, adoption->n_ids, sizeof(*adoption->ids), by_id);
	for (unsigned i = 1; i < adoption->n_ids; i++)
		if (adoption->ids[i] == adoption->ids[i - 1])
			return refuse_twice(wanted, adoption->ids[i], err);
	return 0;
}

static unsigned count_free(const struct adoption *adoption)
{
	unsigned n = 0;

	for (unsigned slot = 0; slot < XB_RULES_MAX; slot++)
		n += !adoption->taken[slot];
	return n;
}

static void reserve_list(struct adoption *adoption, const struct xb_steered_list *list)
{
	for (unsigned rank = 0; rank < list->n; rank++)
		adoption->taken[list->rules[rank].slot] = true;
}

/* Slots that new rules should not get: those of both images and of rules that may come back or,
 * where too few are left then, only those that the new list keeps. */
static void reserve_slots(struct adoption *adoption, unsigned needed)
{
	const struct xb_adoptable *from = adoption->from;

	for (unsigned place = 0; place < XB_IMAGES; place++)
		xb_steered_note_slots(&from->store->images[place], adoption->taken);
	reserve_list(adoption, from->before);
	if (count_free(adoption) >= needed)
		return;
	memset(adoption->taken, 0, sizeof(adoption->taken));
	xb_steered_note_slots(xb_image_store_now(from->store), adoption->taken);
	reserve_list(adoption, from->before);
	if (count_free(adoption) >= needed)
		return;
	memset(adoption->taken, 0, sizeof(adoption->taken));
	for (unsigned rank = 0; rank < from->now->n; rank++)
		if (adoption->kept[rank])
			adoption->taken[from->now->rules[rank].slot] = true;
}

#define SLOT_NONE XB_RULES_MAX

bool xb_steered_is_id_free(const struct xb_adoptable *from, uint32_t id)
{
	return id && !xb_steered_find(from->now, id) && !xb_steered_find(from->before, id);
}

/* An id above all others, so that what is older comes first among equals; where somebody has named
 * the highest of all, the lowest that nobody has. */
static uint32_t new_id(struct adoption *adoption)
{
	if (adoption->last_id < UINT32_MAX)
		return ++adoption->last_id;
	do
		adoption->gap++;
	while (!xb_steered_is_id_free(adoption->from, adoption->gap) ||
	       is_named(adoption, adoption->gap));
	return adoption->gap;
}

/* Gives ids to rules that are new and have none. */
static void number_new(struct adoption *adoption, struct xb_steered_list *list)
{
	for (unsigned i = 0; i < list->n; i++)
		if (list->rules[i].rule.id > adoption->last_id)
			adoption->last_id = list->rules[i].rule.id;
	for (unsigned i = 0; i < list->n; i++)
		if (!list->rules[i].rule.id)
			list->rules[i].rule.id = new_id(adoption);
}

static void adopt_all(struct adoption *adoption, const struct xb_rule_list *wanted,
		      struct xb_steered_list *list)
{
	unsigned fresh = 0;

	index_now(adoption);
	for (unsigned i = 0; i < list->n; i++) {
		const struct xb_rule *rule = &wanted->rules[i];
		unsigned rank = find_kept(adoption, rule);

		list->rules[i] = (struct xb_steered_rule){
			.rule = *rule, .slot = SLOT_NONE, .source = wanted->sources[i]};
		if (rank == NO_RANK) {
			fresh++;
			continue;
		}
		adoption->kept[rank] = true;
		list->rules[i].rule = adoption->from->now->rules[rank].rule;
		list->rules[i].slot = adoption->from->now->rules[rank].slot;
	}
	reserve_slots(adoption, fresh);
	for (unsigned i = 0; i < list->n; i++)
		if (list->rules[i].slot == SLOT_NONE)
			list->rules[i].slot = take_slot(adoption);
	number_new(adoption, list);
}

int xb_steered_adopt(const struct xb_adoptable *from, const struct xb_rule_list *wanted,
		     struct xb_steered_list *ret_list, struct xb_steered_counts *ret_counts,
		     struct xb_error *err)
{
	xb_auto_free struct adoption *adoption = calloc(1, sizeof(*adoption));
	struct xb_steered_list list = {.n = wanted->n};
	int ret;

	list.rules = calloc(wanted->n + 1, sizeof(*list.rules));
	if (!adoption || !list.rules) {
		free(list.rules);
		return xb_fail(err, -ENOMEM, "keep %u rules", wanted->n);
	}
	adoption->from = from;
	adoption->last_id = from->counts.last_id;
	adoption->next_slot = from->counts.next_slot;
	ret = name_ids(adoption, wanted, err);
	if (!ret)
		adopt_all(adoption, wanted, &list);
	free(adoption->ids);
	if (ret < 0) {
		free(list.rules);
		return ret;
	}
	qsort(list.rules, list.n, sizeof(*list.rules), by_order);
	*ret_list = list;
	*ret_counts = (struct xb_steered_counts){adoption->last_id, adoption->next_slot};
	return 0;
}
