/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The steering table in the XDP program: on random tables and a million frames, half of them plain
 * ones around a rule, half of all the shapes that headers can have, the program, its twin,
 * userspace and a reference agree on the rule and the verdict. The reference parses by itself, asks
 * rule after rule and takes the verdict from the list that the table was made of; nothing that it
 * says has been through an image or through classify.h. A second frame of a flow, which the cache
 * answers, is judged as the first.
 */
#include "core/rules.h"
#include "steer.skel.h"
#include "support/headers.h"
#include "support/steering.h"
#include "xbridge/classify.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#define TABLES 200u
#define FRAMES 5000u /* a table, each twice */
#define SLOT   2u
#define PORT   1u

static struct steer_bpf *skeleton;
static struct steer_bpf *twin; /* over the same maps, to be asked */
static struct xb_image *images;
static struct xb_table *table;
static uint64_t *rule_limits;
static bool shared;
static uint16_t default_verdict;

static const uint8_t own_mac[6] = {0x02, 0x0a, 0, 0, 0, 1};

static void *map_memory(const struct bpf_map *map)
{
	size_t bytes = (size_t)bpf_map__max_entries(map) * bpf_map__value_size(map);
	void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, bpf_map__fd(map), 0);

	assert_true(at != MAP_FAILED);
	return at;
}

static struct steer_bpf *load_twin(void)
{
	struct steer_bpf *made = steer_bpf__open();
	const struct {
		struct bpf_map *ours, *theirs;
	} shared_maps[] = {
		{made->maps.config, skeleton->maps.config},
		{made->maps.own_macs, skeleton->maps.own_macs},
		{made->maps.verdict_stats, skeleton->maps.verdict_stats},
		{made->maps.rule_stats, skeleton->maps.rule_stats},
		{made->maps.rule_limits, skeleton->maps.rule_limits},
		{made->maps.table, skeleton->maps.table},
		{made->maps.images, skeleton->maps.images},
	};

	made->rodata->slot = SLOT;
	made->rodata->explain = 1;
	for (size_t i = 0; i < sizeof(shared_maps) / sizeof(shared_maps[0]); i++)
		if (bpf_map__reuse_fd(shared_maps[i].ours, bpf_map__fd(shared_maps[i].theirs)) < 0)
			return NULL;
	return steer_bpf__load(made) < 0 ? NULL : made;
}

static int load(void **state)
{
	struct xb_own_mac own = {.slot = SLOT};
	uint32_t ifindex = 1;

	(void)state;
	skeleton = steer_bpf__open();
	if (!skeleton)
		return -1;
	skeleton->rodata->slot = SLOT;
	if (steer_bpf__load(skeleton) < 0)
		return -1;
	twin = load_twin();
	if (!twin)
		return -1;
	images = map_memory(skeleton->maps.images);
	table = map_memory(skeleton->maps.table);
	rule_limits = map_memory(skeleton->maps.rule_limits);
	memcpy(own.mac, own_mac, sizeof(own.mac));
	table->own_bits[SLOT] = XB_OWN_BIT(own_mac);
	return bpf_map_update_elem(bpf_map__fd(skeleton->maps.own_macs), &own, &ifindex, 0);
}

static int unload(void **state)
{
	(void)state;
	steer_bpf__destroy(twin);
	steer_bpf__destroy(skeleton);
	return 0;
}

static void configure(bool is_shared, uint16_t verdict)
{
	struct xb_steer_config config = {
		.schema = XB_SCHEMA, .shared = is_shared, .port = PORT, .stall_ns = 1000000000ull};
	uint32_t slot = SLOT;

	shared = is_shared;
	default_verdict = verdict;
	table->in_force.verdict = verdict;
	assert_int_equal(bpf_map_update_elem(bpf_map__fd(skeleton->maps.config), &slot, &config, 0),
			 0);
}

static const struct xb_image *image_in_force(void)
{
	return &images[table->in_force.generation % XB_IMAGES];
}

/* One frame an hour where a rule has a limit: time plays no part, and its burst is all it lets
 * through. */
static void publish(unsigned n)
{
	const uint64_t hour_ns = 3600ull * 1000000000ull;
	uint32_t generation = table->in_force.generation + 1;
	struct xb_error err = {0};
	struct xb_image *built;

	assert_int_equal(xb_image_build(steering_ranked, n, generation, &built, &err), 0);
	for (unsigned rank = 0; rank < n; rank++) {
		struct xb_image_rule *rule =
			(void *)((uint8_t *)built + built->head.rules + rank * sizeof(*rule));

		if (!rule->each_ns)
			continue;
		rule->ahead_ns = rule->ahead_ns / rule->each_ns * hour_ns;
		rule->each_ns = hour_ns;
	}
	memcpy(&images[generation % XB_IMAGES], built, built->head.bytes);
	free(built);
	table->in_force.generation = generation;
	table->in_force.n_rules = (uint16_t)n;
}

static int run_in(const struct steer_bpf *which, uint8_t *frame, unsigned bytes)
{
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = frame, .data_size_in = bytes);

	assert_int_equal(bpf_prog_test_run_opts(bpf_program__fd(which->progs.steer), &opts), 0);
	return (int)opts.retval;
}

static int run(uint8_t *frame, unsigned bytes)
{
	return run_in(skeleton, frame, bytes);
}

/* What the twin tells of a frame; its key is of an earlier one where rules are not asked. */
static struct xb_explained ask_twin(uint8_t *frame, unsigned bytes)
{
	struct xb_explained told = {0};
	uint32_t only = 0;

	assert_int_equal(run_in(twin, frame, bytes), XDP_PASS);
	assert_int_equal(bpf_map_lookup_elem(bpf_map__fd(twin->maps.told), &only, &told), 0);
	return told;
}

/* A frame that comes in by the uplink, as the reference sees it. */
struct judged {
	bool asked; /* the rules */
	struct xb_key key;
	uint32_t rank; /* or XB_RANK_NONE */
	struct xb_decision decision;
};

static struct xb_decision decided(uint16_t verdict, enum xb_stage stage, uint32_t rule)
{
	return (struct xb_decision){.verdict = verdict, .stage = (uint16_t)stage, .rule = rule};
}

/* The order of DESIGN.md, 5, in its words. */
static struct judged judge(unsigned n, const uint8_t *frame, unsigned bytes)
{
	bool own = !memcmp(frame, own_mac, 6);
	struct xb_origin origin = {.in = PORT, .own = XB_OWN_NO};
	struct judged judged = {.asked = !(shared && frame[0] & 1), .rank = XB_RANK_NONE};

	if (own)
		origin.own = shared ? XB_OWN_KEPT : XB_OWN_YES;
	headers_reference(frame, bytes, &origin, &judged.key);
	if (judged.asked)
		judged.rank = steering_reference(n, &judged.key);
	if (!judged.asked)
		judged.decision = decided(XB_VERDICT_PASS, XB_STAGE_GROUP, 0);
	else if (judged.rank != XB_RANK_NONE)
		judged.decision = decided((uint16_t)steering_ranked[judged.rank].verdict,
					  XB_STAGE_RULE, steering_rules[judged.rank].id);
	else if (own)
		judged.decision = decided(XB_VERDICT_PASS, XB_STAGE_OWN_MAC, 0);
	else
		judged.decision = decided(default_verdict == XB_VERDICT_PORT(PORT)
						  ? XB_VERDICT_BRIDGE
						  : default_verdict,
					  XB_STAGE_DEFAULT, 0);
	return judged;
}

/* What userspace says of it, and what it parses. */
static struct xb_decision ask_userspace(const uint8_t *frame, unsigned bytes,
					struct xb_key *ret_key)
{
	const struct xb_rules rules = {.image = image_in_force()};
	struct xb_scene scene = {.shared = shared,
				 .verdict = default_verdict,
				 .in = PORT,
				 .uplink = 1,
				 .own = !memcmp(frame, own_mac, 6),
				 .group = frame[0] & 1};
	struct xb_origin origin = {.in = PORT, .own = (uint8_t)xb_own_of(&scene)};
	struct xb_image_rule rule;
	struct xb_walk walk;
	bool found;

	assert_int_equal(xb_parse_key(frame, frame + bytes, &origin, ret_key), 0);
	found = !xb_is_kept_group(&scene) &&
		xb_rules_look(&rules, &walk, frame, frame + bytes, &origin, &rule);
	return xb_classify(&scene, found ? &rule : NULL);
}

static uint16_t some_verdict(void)
{
	static const uint16_t verdicts[] = {XB_VERDICT_PASS, XB_VERDICT_BRIDGE, XB_VERDICT_DROP};
	unsigned n = steering_below(4);

	if (n < 3)
		return verdicts[n];
	/* often the uplink itself, which never gets its own frames back */
	return XB_VERDICT_PORT(steering_below(2) ? PORT : steering_below(XB_PORTS_MAX));
}

static uint32_t let_through[XB_RULES_MAX]; /* by rank: frames of a rule with a limit */

static void make_table(unsigned n)
{
	struct steering_style style = steering_some_style();

	configure(steering_below(2), some_verdict());
	for (unsigned rank = 0; rank < n; rank++) {
		steering_make_rule(rank, &style);
		steering_ranked[rank].verdict = some_verdict();
		steering_rules[rank].id = 1 + rank * 3;
		steering_ranked[rank].slot = (rank * 5 + 1) % XB_RULES_MAX;
		if (steering_below(4) == 0) {
			steering_rules[rank].limit_pps = 1 + steering_below(1000);
			steering_rules[rank].limit_burst = 1 + steering_below(9);
		}
	}
	memset(let_through, 0, sizeof(let_through));
	memset(rule_limits, 0, XB_RULES_MAX * sizeof(*rule_limits));
	publish(n);
}

/* A frame near a rule, for the uplink itself or a group as well; an odd one may have nothing of the
 * rule but its addresses, or not even those. */
static unsigned make_frame(unsigned n, bool odd, uint8_t *frame)
{
	struct xb_key key;
	unsigned bytes;

	steering_key_near(steering_below(n), &key);
	if (key.own)
		memcpy(key.dmac, own_mac, sizeof(own_mac));
	if (!odd)
		return steering_make_frame(&key, frame);
	bytes = headers_make_frame(steering_below, frame);
	if (steering_below(4))
		headers_put_addresses(&key, frame, bytes);
	return bytes;
}

/* Charges a rule's limit; false beyond it. */
static bool charge(uint32_t rank)
{
	const struct xb_rule *rule = &steering_rules[rank];

	if (!rule->limit_pps)
		return true;
	if (let_through[rank] == rule->limit_burst)
		return false;
	let_through[rank]++;
	return true;
}

/* What the program is to do with it, and where it counts that: no queue has a socket here, so what
 * would be redirected passes. */
static int expect(const struct judged *judged, unsigned bytes, struct xb_xdp_stats *stats)
{
	if (judged->rank != XB_RANK_NONE && !charge(judged->rank)) {
		stats->limit++;
		stats->limit_bytes += bytes;
		return XDP_DROP;
	}
	if (judged->decision.verdict == XB_VERDICT_DROP) {
		stats->drop++;
		stats->drop_bytes += bytes;
		return XDP_DROP;
	}
	if (judged->decision.verdict != XB_VERDICT_PASS)
		stats->pass_noqueue++;
	else if (judged->decision.stage == XB_STAGE_GROUP)
		stats->pass_group++;
	else if (judged->decision.stage == XB_STAGE_OWN_MAC)
		stats->pass_own++;
	else
		stats->pass_verdict++;
	return XDP_PASS;
}

static void same_decision(const char *who, const struct xb_decision *said,
			  const struct xb_decision *wanted)
{
	if (memcmp(said, wanted, sizeof(*said)) != 0)
		fail_msg("%s: verdict %u of stage %u, rule %u; not verdict %u of stage %u, rule %u",
			 who, said->verdict, said->stage, said->rule, wanted->verdict,
			 wanted->stage, wanted->rule);
}

#define WORDS_MAX 16u /* of an element that is summed */
#define CPUS_MAX  256u

static void sum_cpus(const struct bpf_map *map, uint32_t key, uint64_t *sum, size_t n_words)
{
	static uint64_t cpus[CPUS_MAX * WORDS_MAX];
	int n_cpus = libbpf_num_possible_cpus();

	assert_true(n_cpus > 0 && n_cpus <= (int)CPUS_MAX && n_words <= WORDS_MAX);
	assert_int_equal(bpf_map_lookup_elem(bpf_map__fd(map), &key, cpus), 0);
	memset(sum, 0, n_words * sizeof(*sum));
	for (size_t i = 0; i < (size_t)n_cpus * n_words; i++)
		sum[i % n_words] += cpus[i];
}

static struct xb_rule_stats hits_of(uint32_t slot)
{
	struct xb_rule_stats sum;

	sum_cpus(skeleton->maps.rule_stats, slot, (uint64_t *)&sum, sizeof(sum) / 8);
	return sum;
}

/* Returns whether a rule matched. */
static bool check(unsigned n, uint8_t *frame, unsigned bytes, struct xb_xdp_stats *stats)
{
	const struct judged judged = judge(n, frame, bytes);
	const bool matched = judged.rank != XB_RANK_NONE;
	const uint32_t slot = matched ? steering_ranked[judged.rank].slot : 0;
	const struct xb_rule_stats before = hits_of(slot);
	const struct xb_explained told = ask_twin(frame, bytes);
	struct xb_key key;
	const struct xb_decision said = ask_userspace(frame, bytes, &key);

	same_decision("the program", &told.decision, &judged.decision);
	same_decision("userspace", &said, &judged.decision);
	assert_memory_equal(&key, &judged.key, sizeof(key));
	if (judged.asked)
		assert_memory_equal(&told.key, &judged.key, sizeof(told.key));
	/* the walk, and then the cache */
	for (unsigned again = 1; again <= 2; again++) {
		int action = run(frame, bytes), wanted = expect(&judged, bytes, stats);

		if (action != wanted)
			fail_msg("%u rules: action %d, not %d; verdict %u of stage %u, rule %u", n,
				 action, wanted, judged.decision.verdict, judged.decision.stage,
				 judged.decision.rule);
		if (!matched)
			continue;
		assert_int_equal(hits_of(slot).packets, before.packets + again);
		assert_int_equal(hits_of(slot).bytes, before.bytes + again * bytes);
	}
	return matched;
}

/* What all CPUs have counted. */
static struct xb_xdp_stats counted(void)
{
	struct xb_xdp_stats sum;

	sum_cpus(skeleton->maps.verdict_stats, SLOT, (uint64_t *)&sum, sizeof(sum) / 8);
	return sum;
}

static uint64_t all_hits(void)
{
	uint64_t sum = 0;

	for (unsigned slot = 0; slot < XB_RULES_MAX; slot++)
		sum += hits_of(slot).packets;
	return sum;
}

static void program_userspace_and_reference_agree(void **state)
{
	static uint8_t frame[HEADERS_FRAME_BYTES];
	uint32_t matched[2] = {0}; /* of plain frames, of odd ones */
	struct xb_xdp_stats wanted = counted(), got;

	(void)state;
	for (unsigned t = 0; t < TABLES; t++) {
		unsigned n = steering_some_size(t);
		uint64_t hits = all_hits();
		uint32_t before = matched[0] + matched[1];

		make_table(n);
		for (unsigned i = 0; i < FRAMES; i++)
			matched[i % 2] += check(n, frame, make_frame(n, i % 2, frame), &wanted);
		assert_int_equal(all_hits() - hits, 2 * (matched[0] + matched[1] - before));
		got = counted();
		assert_memory_equal(&got, &wanted, sizeof(got));
	}
	assert_true(matched[0] > TABLES * FRAMES / 2 / 8);
	assert_true(matched[1] > TABLES * FRAMES / 2 / 32);
}

/* ---- the cache ---- */

#define VALUES 4096u /* as many as the cache has places, so that most places are shared */

/* What two bytes of a key's word are, for each word that has two bytes which a frame may have in
 * any combination. */
enum varied {
	SRC_UPPER,
	SRC_LOWER,
	DST_UPPER,
	DST_LOWER,
	SMAC,
	DMAC,
	SPORT,
	FLAGS_AND_DSCP,
	VARIED
};

static const size_t varied_at[VARIED] = {
	[SRC_UPPER] = offsetof(struct xb_key, src) + 6,
	[SRC_LOWER] = offsetof(struct xb_key, src) + 14,
	[DST_UPPER] = offsetof(struct xb_key, dst) + 6,
	[DST_LOWER] = offsetof(struct xb_key, dst) + 14,
	[SMAC] = offsetof(struct xb_key, smac) + 2,
	[DMAC] = offsetof(struct xb_key, dmac) + 4,
	[SPORT] = offsetof(struct xb_key, sport),
	[FLAGS_AND_DSCP] = offsetof(struct xb_key, dscp),
};

/* Lets flow `i` and its rule differ from the others in one of the key's words alone. */
static void differ_in(enum varied what, unsigned i, struct xb_key *key, struct xb_rule *rule)
{
	uint8_t bytes[2] = {(uint8_t)(i >> 8), (uint8_t)i};
	struct xb_prefix all = {.family = 6, .bits = 128};

	switch (what) {
	case SMAC:
		rule->match = XB_HAS(SMAC);
		memcpy(key->smac + 2, bytes, 2);
		memcpy(rule->smac, key->smac, 6);
		break;
	case DMAC:
		rule->match = XB_HAS(DMAC);
		memcpy(key->dmac + 4, bytes, 2);
		memcpy(rule->dmac, key->dmac, 6);
		break;
	case SPORT:
		rule->match = XB_HAS(SPORT);
		key->sport = (uint16_t)i;
		rule->sport = (struct xb_range){key->sport, key->sport};
		break;
	case FLAGS_AND_DSCP:
		rule->match = XB_HAS(TCP_FLAGS) | XB_HAS(DSCP);
		key->proto = XB_PROTO_TCP;
		rule->tcp_flags = (struct xb_flags){bytes[1], 0xff};
		rule->dscp = bytes[0];
		key->tcp_flags = bytes[1];
		key->dscp = bytes[0];
		break;
	case SRC_UPPER:
	case SRC_LOWER:
		rule->match = XB_HAS(SRC);
		memcpy((uint8_t *)key + varied_at[what], bytes, 2);
		rule->src = all;
		memcpy(rule->src.addr, key->src, 16);
		break;
	default:
		rule->match = XB_HAS(DST);
		memcpy((uint8_t *)key + varied_at[what], bytes, 2);
		rule->dst = all;
		memcpy(rule->dst.addr, key->dst, 16);
	}
}

static void each_word_of_a_key_is_varied(void **state)
{
	unsigned words = 0;

	(void)state;
	for (unsigned what = 0; what < VARIED; what++)
		words |= 1u << varied_at[what] / 8;
	assert_int_equal(words, (1u << XB_KEY_WORDS) - 1);
	assert_int_equal(offsetof(struct xb_key, dscp) / 8, offsetof(struct xb_key, tcp_flags) / 8);
}

static void flows_that_share_a_place_are_told_apart(void **state)
{
	static uint8_t frame[STEERING_FRAME_BYTES];
	const struct xb_key common = {.vlan = XB_VLAN_NONE,
				      .smac = {2, 1},
				      .dmac = {2, 2},
				      .proto = XB_PROTO_UDP,
				      .family = 6,
				      .src = {0xfd}};

	(void)state;
	configure(false, XB_VERDICT_PASS);
	for (unsigned what = 0; what < VARIED; what++) {
		struct xb_key key = common;

		for (unsigned i = 0; i < VALUES; i += 2) {
			struct xb_rule *rule = &steering_rules[i / 2];

			*rule = (struct xb_rule){.id = i + 1};
			differ_in(what, i, &key, rule);
			steering_ranked[i / 2] = steering_rank(rule, i, XB_VERDICT_DROP);
		}
		publish(VALUES / 2);
		for (unsigned n = 0; n < 2 * VALUES; n++) {
			unsigned i = n * 1103u % VALUES;
			struct xb_rule unused;

			key = common;
			differ_in(what, i, &key, &unused);
			if (run(frame, steering_make_frame(&key, frame)) !=
			    (i % 2 ? XDP_PASS : XDP_DROP))
				fail_msg("word %zu, flow %u", varied_at[what] / 8, i);
		}
	}
}

/* A flow that the cache knows is asked anew after a flip: now its rule is the second. */
static void a_new_table_is_obeyed_by_the_next_frame(void **state)
{
	uint8_t frame[64] = {0x02, 0, 0, 0, 0, 9, 0x02, 0, 0, 0, 0, 8, 0x88, 0xb5};

	(void)state;
	configure(false, XB_VERDICT_PASS);
	for (unsigned rank = 0; rank < 2; rank++)
		steering_ranked[rank] = steering_rank(&steering_rules[rank], rank,
						      rank ? XB_VERDICT_PASS : XB_VERDICT_DROP);
	steering_rules[1] = (struct xb_rule){.id = 2};
	for (unsigned round = 0; round < 1000; round++) {
		bool drop = round % 2;

		steering_rules[0] = (struct xb_rule){
			.id = 1, .match = XB_HAS(ETHERTYPE), .ethertype = drop ? 0x88b5 : 0x88b6};
		publish(2);
		for (unsigned i = 0; i < 3; i++)
			assert_int_equal(run(frame, sizeof(frame)), drop ? XDP_DROP : XDP_PASS);
	}
}

/* ---- limits ---- */

static void beyond_its_limit_a_rule_drops(void **state)
{
	uint8_t frame[64] = {0x02, 0, 0, 0, 0, 9, 0x02, 0, 0, 0, 0, 8, 0x88, 0xb5};
	uint64_t before = counted().limit;

	(void)state;
	configure(false, XB_VERDICT_PASS);
	steering_rules[0] = (struct xb_rule){.id = 1, .limit_pps = 1, .limit_burst = 5};
	steering_ranked[0] = steering_rank(&steering_rules[0], 77, XB_VERDICT_PASS);
	rule_limits[77] = 0;
	publish(1);
	for (unsigned i = 0; i < 9; i++)
		assert_int_equal(run(frame, sizeof(frame)), i < 5 ? XDP_PASS : XDP_DROP);
	assert_int_equal(counted().limit - before, 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(program_userspace_and_reference_agree),
		cmocka_unit_test(each_word_of_a_key_is_varied),
		cmocka_unit_test(flows_that_share_a_place_are_told_apart),
		cmocka_unit_test(a_new_table_is_obeyed_by_the_next_frame),
		cmocka_unit_test(beyond_its_limit_a_rule_drops),
	};

	return cmocka_run_group_tests_name("table", tests, load, unload);
}
