/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory. A change goes in two steps. `prepare` makes the new list with its ids and slots
 * (adopt.c), turns names into ports and builds the image; whatever can be wrong with the rules
 * shows there. `put_in_force` flips to it. Only then does anything of the steering's own state
 * change.
 *
 * The programs keep a table on trial in force only as long as this process extends the trial, a
 * little at a time, so the trial also ends soon after a kill.
 */
#include "steer/steering.h"

#include "core/cleanup.h"
#include "core/clock.h"
#include "steer/adopt.h"
#include "steer/verdict.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define NS_PER_SEC 1000000000ull

/* How long the programs keep a table on trial without a tick from here; there is one a second. */
#define LEASE_NS (3 * NS_PER_SEC)

/* ---- life ---- */

static struct xb_steered_list empty_list(void)
{
	return (struct xb_steered_list){.word = XB_VERDICT_DEFAULT, .verdict = XB_VERDICT_BRIDGE};
}

static int open_counters(struct xb_steering *steering)
{
	const struct xb_steer_maps *maps = &steering->store.maps;
	struct xb_rules *rules = &steering->rules;

	rules->stats = maps->stats ? maps->stats : calloc(XB_RULES_MAX, sizeof(*rules->stats));
	rules->limits = maps->limits ? (__u64 *)maps->limits
				     : calloc(XB_RULES_MAX, sizeof(*rules->limits));
	return rules->stats && rules->limits ? 0 : -ENOMEM;
}

int xb_steering_init(struct xb_steering *steering, const struct xb_steer_maps *maps,
		     const struct xb_rule_names *names, struct xb_error *err)
{
	int ret;

	*steering = (struct xb_steering){
		.names = *names, .now = empty_list(), .verdict = XB_VERDICT_BRIDGE};
	ret = xb_image_store_init(&steering->store, maps);
	if (!ret)
		ret = open_counters(steering);
	if (ret < 0) {
		xb_steering_fini(steering);
		return xb_fail(err, ret, "allocate the steering table");
	}
	return 0;
}

void xb_steering_fini(struct xb_steering *steering)
{
	xb_steered_list_free(&steering->now);
	xb_steered_list_free(&steering->before);
	if (!steering->store.maps.stats) {
		free(steering->rules.stats);
		free(steering->rules.limits);
	}
	xb_image_store_fini(&steering->store);
	*steering = (struct xb_steering){0};
}

/* ---- making a table ---- */

static struct xb_adoptable adoptable(const struct xb_steering *steering)
{
	return (struct xb_adoptable){&steering->now, &steering->before, &steering->store,
				     steering->counts};
}

struct prepared {
	struct xb_steered_list list;
	struct xb_steered_counts counts;
	struct xb_image *image;
};

static void discard(struct prepared *prepared)
{
	xb_steered_list_free(&prepared->list);
	free(prepared->image);
}

static uint64_t port_bit(uint32_t verdict)
{
	return verdict >= XB_VERDICT_PORT0 ? 1ull << (verdict - XB_VERDICT_PORT0) : 0;
}

static void note_ports(struct xb_steered_list *list, const struct xb_ranked_rule *ranked)
{
	list->ports |= port_bit(ranked->verdict);
	if (XB_RULE_TESTS(ranked->rule, XB_MATCH_IN))
		list->ports |= ranked->in;
	list->names_uplinks = list->names_uplinks || xb_rule_names_uplinks(ranked->rule);
}

static int build(const struct xb_steering *steering, struct prepared *prepared,
		 struct xb_error *err)
{
	struct xb_steered_list *list = &prepared->list;
	xb_auto_free struct xb_ranked_rule *ranked = calloc(list->n + 1, sizeof(*ranked));

	if (!ranked)
		return xb_fail(err, -ENOMEM, "rank %u rules", list->n);
	for (unsigned i = 0; i < list->n; i++) {
		const struct xb_steered_rule *steered = &list->rules[i];
		int ret = xb_rule_resolve(&steering->names, &steered->rule, &steered->source.places,
					  &ranked[i], err);

		if (ret < 0)
			return xb_rule_source_blame(&steered->source, ret, err);
		ranked[i].slot = steered->slot;
		note_ports(list, &ranked[i]);
		if (!steered->rule.dmac_kernel)
			continue;
		list->names_kernel = true;
		memcpy(list->kernel_mac, ranked[i].dmac, sizeof(list->kernel_mac));
	}
	list->ports |= port_bit(list->verdict);
	list->uplinks = steering->names.uplinks(steering->names.arg);
	return xb_image_build(ranked, list->n, 0, &prepared->image, err);
}

/* On failure there is nothing to discard. */
static int prepare(const struct xb_steering *steering, const struct xb_rule_list *wanted,
		   struct prepared *ret_prepared, struct xb_error *err)
{
	struct prepared prepared = {0};
	const char *word = wanted->verdict[0] ? wanted->verdict : steering->now.word;
	const struct xb_adoptable from = adoptable(steering);
	int ret = xb_steered_adopt(&from, wanted, &prepared.list, &prepared.counts, err);

	if (ret < 0)
		return ret;
	memcpy(prepared.list.word, word, strlen(word) + 1);
	ret = xb_verdict_resolve(&steering->names, word, &prepared.list.verdict, err);
	if (ret < 0)
		ret = xb_rule_source_blame(&(struct xb_rule_source){.line = wanted->verdict_line},
					   ret, err);
	if (!ret)
		ret = build(steering, &prepared, err);
	if (ret < 0)
		discard(&prepared);
	else
		*ret_prepared = prepared;
	return ret;
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

/* Clears the counters and limits of new rules. Returns 1 where one of them has a slot that is in
 * use by the table in force, otherwise 0 or -errno. */
static int reset_new(const struct xb_steering *steering, const struct xb_steered_list *list)
{
	const struct xb_steer_maps *maps = &steering->store.maps;
	uint32_t given[XB_RULES_MAX]; /* slots of new rules */
	struct slots had = {0};
	bool reused = false;
	unsigned n = 0;
	int ret = 0;

	xb_steered_note_slots(xb_image_store_now(&steering->store), had.in_force);
	index_slots(&steering->before, &had);
	index_slots(&steering->now, &had);
	for (unsigned i = 0; i < list->n; i++) {
		const struct xb_rule *rule = &list->rules[i].rule;
		uint32_t slot = list->rules[i].slot;

		if (had.rules[slot] && had.rules[slot]->id == rule->id &&
		    xb_steered_same(had.rules[slot], rule))
			continue;
		reused = reused || had.in_force[slot];
		given[n++] = slot;
		steering->rules.stats[slot] = (struct xb_rule_user_stats){0};
		__atomic_store_n(&steering->rules.limits[slot], 0, __ATOMIC_RELAXED);
	}
	if (maps->clear_stats)
		ret = maps->clear_stats(maps->arg, given, n);
	return ret < 0 ? ret : reused;
}

/* The map that shows rules to people; the rules hold without it. */
static void show(struct xb_steering *steering)
{
	const struct xb_steer_maps *maps = &steering->store.maps;
	const struct xb_steered_list *list = &steering->now;
	xb_auto_free struct xb_rule *rules = calloc(list->n + 1, sizeof(*rules));
	xb_auto_free uint32_t *slots = calloc(list->n + 1, sizeof(*slots));

	steering->unshown = (struct xb_error){0};
	if (!maps->show)
		return;
	for (unsigned i = 0; rules && slots && i < list->n; i++) {
		rules[i] = list->rules[i].rule;
		slots[i] = list->rules[i].slot;
	}
	if (rules && slots)
		maps->show(maps->arg, slots, rules, list->n, &steering->unshown);
	else
		xb_fail(&steering->unshown, -ENOMEM, "show %u rules", list->n);
}

/* What the workers are to see from the next snapshot on. */
static void show_workers(struct xb_steering *steering, uint16_t verdict)
{
	steering->rules.image = xb_image_store_now(&steering->store);
	steering->verdict = verdict;
}

/* Puts a table in force. Its list becomes the steering's, unless this fails. */
static int put_in_force(struct xb_steering *steering, struct prepared *prepared,
			struct xb_steered_list *ret_replaced, struct xb_error *err)
{
	int reused = reset_new(steering, &prepared->list), ret;

	if (reused < 0)
		return xb_fail(err, reused, "clear the counters of new rules");
	ret = xb_image_store_flip(&steering->store, prepared->image, prepared->list.verdict, err);
	if (ret < 0)
		return ret;
	if (reused) /* the old table may have counted frames in between */
		reset_new(steering, &prepared->list);
	*ret_replaced = steering->now;
	steering->now = prepared->list;
	prepared->list = (struct xb_steered_list){0};
	steering->counts = prepared->counts;
	steering->stands_back = false;
	show_workers(steering, steering->now.verdict);
	show(steering);
	return 0;
}

/* ---- trials ---- */

static void extend_trial(struct xb_steering *steering, uint64_t time_ns)
{
	uint64_t by_ns = time_ns + LEASE_NS;

	xb_image_store_extend_trial(&steering->store, by_ns < steering->confirm_by_ns
							      ? by_ns
							      : steering->confirm_by_ns);
}

void xb_steering_stand_back(struct xb_steering *steering)
{
	steering->trial = xb_image_store_stand_back(&steering->store);
	steering->stands_back = true;
	show_workers(steering, steering->before.verdict);
}

bool xb_steering_must_stand_back(const struct xb_steering *steering, bool joins)
{
	return joins && steering->confirm_by_ns && !steering->stands_back;
}

bool xb_steering_resume(struct xb_steering *steering)
{
	if (!steering->stands_back)
		return false;
	xb_image_store_resume(&steering->store, steering->trial);
	steering->stands_back = false;
	show_workers(steering, steering->now.verdict);
	return true;
}

/* From now on no table comes back. */
static void keep(struct xb_steering *steering)
{
	xb_steering_resume(steering);
	xb_image_store_end_trial(&steering->store);
	steering->confirm_by_ns = 0;
	xb_steered_list_free(&steering->before);
}

static void take_back(struct xb_steering *steering)
{
	xb_image_store_stand_back(&steering->store);
	steering->stands_back = false;
	xb_image_store_end_trial(&steering->store);
	xb_steered_list_free(&steering->now);
	steering->now = steering->before;
	steering->before = (struct xb_steered_list){0};
	steering->confirm_by_ns = 0;
	show_workers(steering, steering->now.verdict);
	show(steering);
}

int xb_steering_confirm(struct xb_steering *steering, uint64_t time_ns, struct xb_error *err)
{
	if (!steering->confirm_by_ns) {
		xb_refuse(err, -ENOENT, "confirm: no change is on trial");
		xb_hint(err, "it follows a change with --confirm SECONDS");
		return -ENOENT;
	}
	if (time_ns >= steering->confirm_by_ns) {
		xb_refuse(err, -ETIME, "confirm: it is too late, the table from before is back");
		xb_hint(err, "make the change again, with more --confirm SECONDS");
		return -ETIME;
	}
	keep(steering);
	return 0;
}

int xb_steering_revert(struct xb_steering *steering, struct xb_error *err)
{
	if (!steering->confirm_by_ns) {
		xb_refuse(err, -ENOENT, "revert: no change is on trial");
		xb_hint(err, "it takes back a change with --confirm SECONDS");
		return -ENOENT;
	}
	take_back(steering);
	return 0;
}

int xb_steering_tick(struct xb_steering *steering, uint64_t time_ns)
{
	if (!steering->confirm_by_ns)
		return 0;
	if (time_ns < steering->confirm_by_ns) {
		extend_trial(steering, time_ns);
		return 0;
	}
	take_back(steering);
	return 1;
}

/* ---- changes ---- */

static int refuse_in_trial(const struct xb_steering *steering, unsigned confirm_s,
			   struct xb_error *err)
{
	if (!steering->confirm_by_ns || (confirm_s && steering->stands_back))
		return 0;
	if (confirm_s)
		return xb_fail(err, -EBUSY, "change the table on trial");
	xb_refuse(err, -EBUSY, "change the table: another change is on trial");
	xb_hint(err,
		"`xbridge steer confirm` keeps that one, `xbridge steer revert` takes it back, "
		"--confirm SECONDS joins it");
	return -EBUSY;
}

static int change(struct xb_steering *steering, const struct xb_rule_list *wanted,
		  unsigned confirm_s, struct xb_error *err)
{
	struct prepared prepared;
	struct xb_steered_list replaced;
	bool starts = confirm_s && !steering->confirm_by_ns;
	int ret = prepare(steering, wanted, &prepared, err);

	if (ret < 0)
		return ret;
	if (starts)
		xb_image_store_start_trial(&steering->store,
					   xb_clock_ns(CLOCK_MONOTONIC) + LEASE_NS);
	ret = put_in_force(steering, &prepared, &replaced, err);
	discard(&prepared);
	if (ret < 0) {
		if (starts)
			xb_image_store_end_trial(&steering->store);
		return ret;
	}
	if (starts)
		steering->before = replaced;
	else
		xb_steered_list_free(&replaced);
	if (confirm_s) {
		steering->confirm_by_ns = xb_clock_ns(CLOCK_MONOTONIC) + confirm_s * NS_PER_SEC;
		extend_trial(steering, xb_clock_ns(CLOCK_MONOTONIC));
	}
	return 0;
}

int xb_steering_load(struct xb_steering *steering, const struct xb_rule_list *wanted,
		     unsigned confirm_s, struct xb_error *err)
{
	int ret = confirm_s ? refuse_in_trial(steering, confirm_s, err) : 0;

	if (!confirm_s && steering->confirm_by_ns) { /* a load without `confirm_s` ends the trial */
		ret = xb_steering_check(steering, wanted, err);
		if (!ret)
			keep(steering);
	}
	return ret ? ret : change(steering, wanted, confirm_s, err);
}

int xb_steering_check(const struct xb_steering *steering, const struct xb_rule_list *wanted,
		      struct xb_error *err)
{
	struct prepared prepared;
	int ret = prepare(steering, wanted, &prepared, err);

	if (!ret)
		discard(&prepared);
	return ret;
}

int xb_steering_copy(const struct xb_steering *steering, struct xb_rule_list *ret_list,
		     struct xb_error *err)
{
	memcpy(ret_list->verdict, steering->now.word, sizeof(ret_list->verdict));
	for (unsigned rank = 0; rank < steering->now.n; rank++) {
		int ret = xb_rule_list_add(ret_list, &steering->now.rules[rank].rule,
					   (struct xb_rule_source){0}, err);

		if (ret < 0)
			return ret;
	}
	return 0;
}

/* A change of the list in force: of some rules, or of the default verdict. */
static int copy_to_change(const struct xb_steering *steering, unsigned confirm_s,
			  struct xb_rule_list *ret_list, struct xb_error *err)
{
	int ret = refuse_in_trial(steering, confirm_s, err);

	return ret ? ret : xb_steering_copy(steering, ret_list, err);
}

static int no_rule(uint32_t id, struct xb_error *err)
{
	xb_refuse(err, -ENOENT, "there is no rule %u", id);
	xb_hint(err, "`xbridge steer list` shows all rules");
	return -ENOENT;
}

int xb_steering_add(struct xb_steering *steering, const struct xb_rule *rule,
		    struct xb_rule_source source, unsigned confirm_s, uint32_t *ret_id,
		    struct xb_error *err)
{
	const struct xb_adoptable from = adoptable(steering);
	struct xb_rule_list list = {0};
	struct xb_rule added = *rule;
	int ret;

	if (rule->id && xb_steered_find(&steering->now, rule->id)) {
		xb_refuse(err, -EEXIST, "there is a rule %u already", rule->id);
		xb_hint(err, "leave the id out, or `xbridge steer replace %u RULE`", rule->id);
		return -EEXIST;
	}
	if (!rule->id) { /* it is new even if another says the same */
		added.id = steering->counts.last_id + 1;
		while (!xb_steered_is_id_free(&from, added.id))
			added.id++;
	}
	ret = copy_to_change(steering, confirm_s, &list, err);
	if (!ret)
		ret = xb_rule_list_add(&list, &added, source, err);
	if (!ret)
		ret = change(steering, &list, confirm_s, err);
	xb_rule_list_free(&list);
	if (!ret)
		*ret_id = added.id;
	return ret;
}

/* The place of a rule in a list; list->n where it is not there. */
static unsigned place_of(const struct xb_rule_list *list, uint32_t id)
{
	unsigned i = 0;

	while (i < list->n && list->rules[i].id != id)
		i++;
	return i;
}

int xb_steering_replace(struct xb_steering *steering, uint32_t id, const struct xb_rule *rule,
			struct xb_rule_source source, unsigned confirm_s, struct xb_error *err)
{
	struct xb_rule_list list = {0};
	int ret = copy_to_change(steering, confirm_s, &list, err);
	unsigned i = place_of(&list, id);

	if (!ret && i == list.n)
		ret = no_rule(id, err);
	if (!ret) {
		list.rules[i] = *rule;
		list.rules[i].id = id;
		list.sources[i] = source;
		ret = change(steering, &list, confirm_s, err);
	}
	xb_rule_list_free(&list);
	return ret;
}

int xb_steering_del(struct xb_steering *steering, const uint32_t *ids, unsigned n,
		    unsigned confirm_s, struct xb_error *err)
{
	struct xb_rule_list list = {0};
	int ret = copy_to_change(steering, confirm_s, &list, err);

	for (unsigned k = 0; !ret && k < n; k++) {
		unsigned i = place_of(&list, ids[k]);

		if (i == list.n)
			ret = no_rule(ids[k], err);
		else
			xb_rule_list_remove(&list, i);
	}
	if (!ret)
		ret = change(steering, &list, confirm_s, err);
	xb_rule_list_free(&list);
	return ret;
}

int xb_steering_set_default(struct xb_steering *steering, const char *word, unsigned confirm_s,
			    struct xb_error *err)
{
	struct xb_rule_list list = {0};
	int ret = copy_to_change(steering, confirm_s, &list, err);

	if (!ret)
		ret = xb_rule_list_set_verdict(&list, word, 0, err);
	if (!ret)
		ret = change(steering, &list, confirm_s, err);
	xb_rule_list_free(&list);
	return ret;
}

/* Whether what its names mean has changed. */
static bool is_stale(const struct xb_steering *steering)
{
	const struct xb_rule_names *names = &steering->names;
	const struct xb_steered_list *now = &steering->now;
	uint8_t mac[6];

	if (now->names_uplinks && names->uplinks(names->arg) != now->uplinks)
		return true;
	return now->names_kernel && names->kernel_mac(names->arg, mac) &&
	       memcmp(mac, now->kernel_mac, sizeof(mac)) != 0;
}

int xb_steering_renew(struct xb_steering *steering, struct xb_error *err)
{
	struct xb_rule_list list = {0};
	int ret = xb_steering_copy(steering, &list, err);

	if (!ret)
		ret = change(steering, &list, 0, err);
	xb_rule_list_free(&list);
	return ret;
}

int xb_steering_refresh(struct xb_steering *steering, struct xb_error *err)
{
	int ret;

	if (steering->confirm_by_ns || !is_stale(steering)) /* after the trial */
		return 0;
	ret = xb_steering_renew(steering, err);
	return ret < 0 ? ret : 1;
}

/* ---- questions ---- */

const struct xb_steered_rule *xb_steering_rule(const struct xb_steering *steering, uint32_t id)
{
	return xb_steered_find(&steering->now, id);
}

unsigned xb_steering_doubts(const struct xb_steering *steering, const struct xb_rule *rule,
			    const char *ret_doubts[XB_RULE_DOUBTS_MAX])
{
	const struct xb_rule_places nowhere = {0};
	struct xb_ranked_rule ranked;

	if (xb_rule_resolve(&steering->names, rule, &nowhere, &ranked, NULL) < 0)
		return 0;
	return xb_rule_doubts(&ranked, &steering->names, ret_doubts);
}

/* What the programs and userspace have counted at a slot since its rule got it. */
static int read_stats(const struct xb_steering *steering, uint32_t slot,
		      struct xb_rule_stats *ret_stats)
{
	const struct xb_steer_maps *maps = &steering->store.maps;
	const struct xb_rule_stats *met = &steering->rules.stats[slot].met;
	uint64_t last_ns = __atomic_load_n(&met->last_ns, __ATOMIC_RELAXED);
	struct xb_rule_stats sum = {0};

	if (maps->read_stats) {
		int ret = maps->read_stats(maps->arg, slot, &sum);

		if (ret < 0)
			return ret;
	}
	sum.packets += __atomic_load_n(&met->packets, __ATOMIC_RELAXED);
	sum.bytes += __atomic_load_n(&met->bytes, __ATOMIC_RELAXED);
	if (last_ns > sum.last_ns)
		sum.last_ns = last_ns;
	*ret_stats = sum;
	return 0;
}

int xb_steering_read_stats(const struct xb_steering *steering,
			   const struct xb_steered_rule *steered, struct xb_rule_stats *ret_stats)
{
	const struct xb_rule_user_stats *user = &steering->rules.stats[steered->slot];
	int ret = read_stats(steering, steered->slot, ret_stats);

	if (ret < 0)
		return ret;
	ret_stats->packets -= user->packets_at_reset;
	ret_stats->bytes -= user->bytes_at_reset;
	return 0;
}

int xb_steering_reset_stats(struct xb_steering *steering)
{
	for (unsigned rank = 0; rank < steering->now.n; rank++) {
		uint32_t slot = steering->now.rules[rank].slot;
		struct xb_rule_user_stats *user = &steering->rules.stats[slot];
		struct xb_rule_stats sum;
		int ret = read_stats(steering, slot, &sum);

		if (ret < 0)
			return ret;
		user->packets_at_reset = sum.packets;
		user->bytes_at_reset = sum.bytes;
	}
	return 0;
}

struct xb_rules xb_steering_rules(const struct xb_steering *steering)
{
	return steering->rules;
}

uint16_t xb_steering_verdict(const struct xb_steering *steering)
{
	return steering->verdict;
}

uint64_t xb_steering_ports(const struct xb_steering *steering)
{
	return steering->now.ports | steering->before.ports;
}

const struct xb_rule *xb_steering_find_naming(const struct xb_steering *steering, unsigned port,
					      bool *ret_default)
{
	const struct xb_steered_list *const lists[] = {&steering->now, &steering->before};

	*ret_default = false;
	for (unsigned l = 0; l < 2; l++) {
		const struct xb_steered_list *list = lists[l];

		for (unsigned rank = 0; rank < list->n; rank++)
			if (xb_rule_names_port(&steering->names, &list->rules[rank].rule, port,
					       false))
				return &list->rules[rank].rule;
		if (list->verdict == XB_VERDICT_PORT(port)) {
			*ret_default = true;
			return NULL;
		}
	}
	return NULL;
}
