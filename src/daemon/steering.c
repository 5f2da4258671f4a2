/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory. A change goes in three steps: `adopt` gives each wanted rule its id and its slot, sorted
 * into the order of asking; `xb_rule_resolve` turns names into ports; `put_in_force` makes the
 * image and flips to it. Only behind the flip does anything of the steering's own state change.
 *
 * Whoever judges a frame counts it in its rule's slot, and may be about to when the table is not in
 * force any more: a program that runs, until the next image is written, which waits for it. So a
 * new rule gets a slot that neither the table in force has nor the one before it; what is written
 * there before the flip stands. Only where too few of such are left, slots are used again at once.
 */
#include "daemon/steering.h"

#include "core/cleanup.h"
#include "daemon/log.h"

#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define NS_PER_SEC 1000000000ull

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * NS_PER_SEC + (uint64_t)now.tv_nsec;
}

/* ---- life ---- */

static void free_list(struct xb_steered_list *list)
{
	free(list->rules);
	*list = (struct xb_steered_list){0};
}

static int own_memory(struct xb_steering *steering)
{
	for (unsigned i = 0; i < XB_IMAGES; i++) {
		steering->own[i] = calloc(1, sizeof(*steering->own[i]));
		if (!steering->own[i])
			return -ENOMEM;
	}
	steering->rules.stats = calloc(XB_RULES_MAX, sizeof(*steering->rules.stats));
	steering->rules.limits = calloc(XB_RULES_MAX, sizeof(*steering->rules.limits));
	return steering->rules.stats && steering->rules.limits ? 0 : -ENOMEM;
}

int xb_steering_init(struct xb_steering *steering, struct xb_gate *gate,
		     const struct xb_rule_names *names, struct xb_error *err)
{
	*steering = (struct xb_steering){.gate = gate, .names = *names};
	if (gate) {
		steering->rules.stats = gate->rule_stats;
		steering->rules.limits = (__u64 *)gate->rule_limits;
		return 0;
	}
	if (own_memory(steering) < 0) {
		xb_steering_fini(steering);
		return xb_fail(err, -ENOMEM, "allocate the steering table");
	}
	return 0;
}

void xb_steering_fini(struct xb_steering *steering)
{
	free_list(&steering->now);
	free_list(&steering->before);
	if (!steering->gate) {
		free(steering->rules.stats);
		free(steering->rules.limits);
	}
	for (unsigned i = 0; i < XB_IMAGES; i++)
		free(steering->own[i]);
	*steering = (struct xb_steering){0};
}

/* ---- ids and slots ---- */

#define BUCKETS (2 * XB_RULES_MAX)
#define NO_RANK XB_RULES_MAX

/* What is given out, while a new list is made. */
struct adoption {
	const struct xb_steering *steering;
	bool kept[XB_RULES_MAX];  /* rules in force, by rank, that the new list has too */
	bool taken[XB_RULES_MAX]; /* slots */
	uint32_t last_id, next_slot;
	uint32_t gap;  /* the last id that was given for want of one above last_id */
	uint32_t *ids; /* that the new list names, sorted */
	unsigned n_ids;
	/* rules in force by what they say */
	uint16_t first[BUCKETS];     /* ranks, by hash; NO_RANK: none */
	uint16_t next[XB_RULES_MAX]; /* of the same bucket */
};

static_assert(offsetof(struct xb_rule, id) == 0, "what a rule says is all behind its id");

static const uint8_t *what_it_says(const struct xb_rule *rule)
{
	return (const uint8_t *)rule + sizeof(rule->id);
}

#define SAID_BYTES (sizeof(struct xb_rule) - sizeof(__u32))

static bool says_the_same(const struct xb_rule *a, const struct xb_rule *b)
{
	return !memcmp(what_it_says(a), what_it_says(b), SAID_BYTES);
}

/* FNV-1a */
static uint32_t bucket_of(const struct xb_rule *rule)
{
	const uint8_t *said = what_it_says(rule);
	uint32_t hash = 2166136261u;

	for (size_t i = 0; i < SAID_BYTES; i++)
		hash = (hash ^ said[i]) * 16777619u;
	return hash % BUCKETS;
}

static void index_now(struct adoption *adoption)
{
	const struct xb_steered_list *now = &adoption->steering->now;

	for (unsigned i = 0; i < BUCKETS; i++)
		adoption->first[i] = NO_RANK;
	for (unsigned rank = now->n; rank--;) {
		uint16_t *first = &adoption->first[bucket_of(&now->rules[rank].rule)];

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

/* The rank of the rule in force that `wanted` is, or NO_RANK. One that has no id of its own takes
 * none that another names. */
static unsigned find_kept(const struct adoption *adoption, const struct xb_rule *wanted)
{
	unsigned rank = adoption->first[bucket_of(wanted)];

	for (; rank != NO_RANK; rank = adoption->next[rank]) {
		const struct xb_rule *rule = &adoption->steering->now.rules[rank].rule;

		bool may = wanted->id ? wanted->id == rule->id : !is_named(adoption, rule->id);

		if (!adoption->kept[rank] && may && says_the_same(rule, wanted))
			break;
	}
	return rank;
}

/* Notes the slots of an image, whose bytes may be those that an earlier run has left. */
static void note_slots(const struct xb_image *image, bool *slots)
{
	for (uint32_t rank = 0; rank < image->head.n_rules && rank < XB_RULES_MAX; rank++)
		slots[xb_image_rule(image, rank).slot % XB_RULES_MAX] = true;
}

/* The image that is in force, and, in the other place, the one before it. */
static const struct xb_image *image_at(const struct xb_steering *steering, unsigned place)
{
	return steering->gate ? &steering->gate->images[place] : steering->own[place];
}

static const struct xb_image *image_in_force(const struct xb_steering *steering)
{
	return steering->gate ? xb_gate_image(steering->gate) : steering->rules.image;
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

/* Says where the rule stands that an error is about. */
static int at_place(struct xb_error *err, int code, const struct xb_rule_source *source)
{
	struct xb_error why;

	if (!err || (!source->line && !source->given))
		return code;
	why = *err;
	if (source->line)
		xb_fail(err, code, "line %u: %s", source->line, why.what);
	else if (!strncmp(why.what, "rule,", 5)) /* it goes on with the place in the rule */
		xb_fail(err, code, "rule %u%s", source->given, why.what + 4);
	else
		xb_fail(err, code, "rule %u: %s", source->given, why.what);
	err->whole = why.whole;
	xb_hint(err, "%s", why.hint);
	return code;
}

static int refuse_twice(const struct xb_rule_list *wanted, uint32_t id, struct xb_error *err)
{
	unsigned i = 0;

	while (wanted->rules[i].id != id)
		i++;
	do
		i++;
	while (wanted->rules[i].id != id);
	return at_place(err, xb_refuse(err, -EINVAL, "two rules have the id %u", id),
			&wanted->sources[i]);
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

/* Slots that new rules had better not get: those of both images and of rules that may come back;
 * where too few are left, only those that the new list keeps. */
static void reserve_slots(struct adoption *adoption, unsigned needed)
{
	const struct xb_steering *steering = adoption->steering;

	for (unsigned place = 0; place < XB_IMAGES; place++)
		note_slots(image_at(steering, place), adoption->taken);
	reserve_list(adoption, &steering->before);
	if (count_free(adoption) >= needed)
		return;
	memset(adoption->taken, 0, sizeof(adoption->taken));
	if (image_in_force(steering))
		note_slots(image_in_force(steering), adoption->taken);
	reserve_list(adoption, &steering->before);
	if (count_free(adoption) >= needed)
		return;
	memset(adoption->taken, 0, sizeof(adoption->taken));
	for (unsigned rank = 0; rank < steering->now.n; rank++)
		if (adoption->kept[rank])
			adoption->taken[steering->now.rules[rank].slot] = true;
}

#define SLOT_NONE XB_RULES_MAX

static const struct xb_rule *find_id(const struct xb_steered_list *list, uint32_t id)
{
	for (unsigned rank = 0; rank < list->n; rank++)
		if (list->rules[rank].rule.id == id)
			return &list->rules[rank].rule;
	return NULL;
}

static bool is_id_free(const struct xb_steering *steering, uint32_t id)
{
	return id && !find_id(&steering->now, id) && !find_id(&steering->before, id);
}

/* An id above all others, so that what is older comes first among equals; where somebody has named
 * the highest of all, the lowest that nobody has. */
static uint32_t new_id(struct adoption *adoption)
{
	if (adoption->last_id < UINT32_MAX)
		return ++adoption->last_id;
	do
		adoption->gap++;
	while (!is_id_free(adoption->steering, adoption->gap) || is_named(adoption, adoption->gap));
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

/* Makes the list that is to be in force. */
static int adopt(struct adoption *adoption, const struct xb_rule_list *wanted,
		 struct xb_steered_list *ret_list, struct xb_error *err)
{
	struct xb_steered_list list = {.n = wanted->n};
	unsigned fresh = 0;

	list.rules = calloc(wanted->n + 1, sizeof(*list.rules));
	*ret_list = list; /* the caller's, on failure too */
	if (!list.rules)
		return xb_fail(err, -ENOMEM, "keep %u rules", wanted->n);
	index_now(adoption);
	for (unsigned i = 0; i < list.n; i++) {
		const struct xb_rule *rule = &wanted->rules[i];
		unsigned rank = find_kept(adoption, rule);

		list.rules[i] = (struct xb_steered_rule){
			.rule = *rule, .slot = SLOT_NONE, .source = wanted->sources[i]};
		if (rank == NO_RANK) {
			fresh++;
			continue;
		}
		adoption->kept[rank] = true;
		list.rules[i].rule = adoption->steering->now.rules[rank].rule;
		list.rules[i].slot = adoption->steering->now.rules[rank].slot;
	}
	reserve_slots(adoption, fresh);
	for (unsigned i = 0; i < list.n; i++)
		if (list.rules[i].slot == SLOT_NONE)
			list.rules[i].slot = take_slot(adoption);
	number_new(adoption, &list);
	return 0;
}

/* ---- in force ---- */

/* Rules by their slots. */
struct slots {
	const struct xb_rule *rules[XB_RULES_MAX];
	bool in_force[XB_RULES_MAX];
};

static void index_slots(const struct xb_steered_list *list, struct slots *slots)
{
	for (unsigned i = 0; i < list->n; i++)
		slots->rules[list->rules[i].slot] = &list->rules[i].rule;
}

/* Counters of a rule that is new start at nothing, and its burst is whole. Returns whether one has
 * the slot of another that is in force. */
static bool reset_new(const struct xb_steering *steering, const struct xb_steered_list *list)
{
	struct slots had = {0};
	bool reused = false;

	if (image_in_force(steering))
		note_slots(image_in_force(steering), had.in_force);
	index_slots(&steering->before, &had);
	index_slots(&steering->now, &had);
	for (unsigned i = 0; i < list->n; i++) {
		const struct xb_rule *rule = &list->rules[i].rule;
		uint32_t slot = list->rules[i].slot;

		if (had.rules[slot] && had.rules[slot]->id == rule->id &&
		    says_the_same(had.rules[slot], rule))
			continue;
		reused = reused || had.in_force[slot];
		steering->rules.stats[slot] = (struct xb_rule_stats){0};
		__atomic_store_n(&steering->rules.limits[slot], 0, __ATOMIC_RELAXED);
	}
	return reused;
}

/* The map that shows rules to people; the rules hold without it. */
static void show(const struct xb_steering *steering, const struct xb_steered_list *list)
{
	xb_auto_free struct xb_rule *rules = calloc(XB_RULES_MAX, sizeof(*rules));
	struct xb_error err = {0};

	for (unsigned i = 0; rules && i < list->n; i++)
		rules[list->rules[i].slot] = list->rules[i].rule;
	if (!rules)
		xb_fail(&err, -ENOMEM, "show %u rules", list->n);
	if (!rules || xb_gate_show_rules(steering->gate, rules, &err) < 0)
		xb_log_error(XB_LOG_WARNING, "the pinned rules are not those in force", &err);
}

static int flip(struct xb_steering *steering, struct xb_image *image, struct xb_error *err)
{
	struct xb_image *own;
	int ret;

	if (steering->gate) {
		ret = xb_gate_set_image(steering->gate, image, err);
		if (!ret)
			steering->rules.image = xb_gate_image(steering->gate);
		return ret;
	}
	image->head.generation = ++steering->generation;
	own = steering->own[steering->generation % XB_IMAGES];
	memcpy(own, image, image->head.bytes);
	steering->rules.image = own;
	return 0;
}

static int put_in_force(struct xb_steering *steering, const struct xb_steered_list *list,
			struct xb_error *err)
{
	xb_auto_free struct xb_ranked_rule *ranked = calloc(list->n + 1, sizeof(*ranked));
	xb_auto_free struct xb_image *image = NULL;
	bool reused;
	int ret = 0;

	if (!ranked)
		return xb_fail(err, -ENOMEM, "rank %u rules", list->n);
	for (unsigned i = 0; !ret && i < list->n; i++) {
		const struct xb_steered_rule *steered = &list->rules[i];

		ranked[i].slot = steered->slot;
		ret = xb_rule_resolve(&steering->names, &steered->rule, &steered->source.places,
				      &ranked[i], err);
		if (ret < 0)
			ret = at_place(err, ret, &steered->source);
	}
	if (!ret)
		ret = xb_image_build(ranked, list->n, 0, &image, err);
	if (ret < 0)
		return ret;
	reused = reset_new(steering, list);
	ret = flip(steering, image, err);
	if (ret < 0)
		return ret;
	if (reused) /* frames that met the old table may have come in between */
		reset_new(steering, list);
	if (steering->gate)
		show(steering, list);
	return 0;
}

/* ---- changes ---- */

static int change(struct xb_steering *steering, const struct xb_rule_list *wanted,
		  unsigned confirm_s, struct xb_error *err)
{
	xb_auto_free struct adoption *adoption = calloc(1, sizeof(*adoption));
	struct xb_steered_list list = {0};
	int ret;

	if (!adoption)
		return xb_fail(err, -ENOMEM, "change the steering table");
	adoption->steering = steering;
	adoption->last_id = steering->last_id;
	adoption->next_slot = steering->next_slot;
	ret = name_ids(adoption, wanted, err);
	if (!ret)
		ret = adopt(adoption, wanted, &list, err);
	if (!ret) {
		qsort(list.rules, list.n, sizeof(*list.rules), by_order);
		ret = put_in_force(steering, &list, err);
	}
	free(adoption->ids);
	if (ret < 0) {
		free_list(&list);
		return ret;
	}
	if (confirm_s && !steering->confirm_by_ns)
		steering->before =
			steering->now; /* of several loads the first is what comes back */
	else
		free_list(&steering->now);
	if (confirm_s)
		steering->confirm_by_ns = now_ns() + confirm_s * NS_PER_SEC;
	steering->now = list;
	steering->last_id = adoption->last_id;
	steering->next_slot = adoption->next_slot;
	return 0;
}

/* Nothing comes back any more. */
static void keep(struct xb_steering *steering)
{
	steering->confirm_by_ns = 0;
	free_list(&steering->before);
}

int xb_steering_load(struct xb_steering *steering, const struct xb_rule_list *rules,
		     unsigned confirm_s, struct xb_error *err)
{
	int ret = change(steering, rules, confirm_s, err);

	/* what is loaded for good needs no confirmation any more */
	if (!ret && !confirm_s)
		keep(steering);
	return ret;
}

int xb_steering_copy(const struct xb_steering *steering, struct xb_rule_list *ret_list,
		     struct xb_error *err)
{
	for (unsigned rank = 0; rank < steering->now.n; rank++) {
		int ret = xb_rule_list_add(ret_list, &steering->now.rules[rank].rule,
					   (struct xb_rule_source){0}, err);

		if (ret < 0)
			return ret;
	}
	return 0;
}

/* What changes single rules now would be gone, unsaid, when unconfirmed ones are taken back. */
static int refuse_unconfirmed(const struct xb_steering *steering, const char *what,
			      struct xb_error *err)
{
	if (!steering->confirm_by_ns)
		return 0;
	xb_refuse(err, -EBUSY, "can't %s: the rules loaded last wait to be confirmed", what);
	xb_hint(err, "`xbridge steer confirm` keeps them, `steer load` replaces them");
	return -EBUSY;
}

int xb_steering_add(struct xb_steering *steering, const struct xb_rule *rule,
		    struct xb_rule_source source, uint32_t *ret_id, struct xb_error *err)
{
	struct xb_rule_list list = {0};
	struct xb_rule added = *rule;
	int ret = refuse_unconfirmed(steering, "add a rule", err);

	if (ret < 0)
		return ret;
	if (rule->id && find_id(&steering->now, rule->id)) {
		xb_refuse(err, -EEXIST, "there is a rule %u already", rule->id);
		xb_hint(err, "leave the id out, or `xbridge steer del %u` first", rule->id);
		return -EEXIST;
	}
	if (!rule->id) { /* one that says the same as another is new */
		added.id = steering->last_id + 1;
		while (!is_id_free(steering, added.id)) /* see new_id */
			added.id++;
	}
	ret = xb_steering_copy(steering, &list, err);
	if (!ret)
		ret = xb_rule_list_add(&list, &added, source, err);
	if (!ret)
		ret = change(steering, &list, 0, err);
	xb_rule_list_free(&list);
	if (!ret)
		*ret_id = added.id;
	return ret;
}

int xb_steering_del(struct xb_steering *steering, uint32_t id, struct xb_error *err)
{
	struct xb_rule_list list = {0};
	const struct xb_rule *rule = find_id(&steering->now, id);
	int ret = refuse_unconfirmed(steering, "delete a rule", err);

	if (ret < 0)
		return ret;
	if (!rule) {
		xb_refuse(err, -ENOENT, "there is no rule %u", id);
		xb_hint(err, "`xbridge steer list` shows what is there");
		return -ENOENT;
	}
	ret = xb_steering_copy(steering, &list, err);
	for (unsigned i = 0; !ret && i < list.n; i++) {
		if (list.rules[i].id != id)
			continue;
		list.n--;
		memmove(&list.rules[i], &list.rules[i + 1], (list.n - i) * sizeof(*list.rules));
		break;
	}
	if (!ret)
		ret = change(steering, &list, 0, err);
	xb_rule_list_free(&list);
	return ret;
}

int xb_steering_confirm(struct xb_steering *steering, uint64_t time_ns, struct xb_error *err)
{
	if (!steering->confirm_by_ns) {
		xb_refuse(err, -ENOENT, "nothing waits to be confirmed");
		xb_hint(err, "it follows `steer load FILE --confirm SECONDS`");
		return -ENOENT;
	}
	if (time_ns >= steering->confirm_by_ns) {
		xb_refuse(err, -ETIME, "it is too late to confirm: the previous rules come back");
		xb_hint(err, "load them again, with more --confirm SECONDS");
		return -ETIME;
	}
	keep(steering);
	return 0;
}

int xb_steering_expire(struct xb_steering *steering, uint64_t time_ns, struct xb_error *err)
{
	int ret;

	if (!steering->confirm_by_ns || time_ns < steering->confirm_by_ns)
		return 0;
	ret = put_in_force(steering, &steering->before, err);
	if (ret < 0)
		return ret;
	free_list(&steering->now);
	steering->now = steering->before;
	steering->before = (struct xb_steered_list){0};
	steering->confirm_by_ns = 0;
	return 1;
}

/* ---- questions ---- */

struct xb_rules xb_steering_rules(const struct xb_steering *steering)
{
	return steering->rules;
}
