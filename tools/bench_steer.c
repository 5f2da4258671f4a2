/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a verdict of the XDP program costs, beside xdp-filter's and nftables', on the same packets.
 *
 * Everything runs by BPF_PROG_TEST_RUN, in turns of some thousand packets, so that a machine whose
 * speed comes and goes slows all alike; what a packet costs is the median of its turns. Beside a
 * ratio stands the highest that it should have.
 */
#include "bench_rules.h"
#include "steer/image.h"
#include "steer.skel.h"
#include "xbridge/classify.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <errno.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define SLOT     0u
#define TURNS    5     /* few: the kernel waits for all CPUs before and after each */
#define REPEATS  10000 /* of a packet, in a turn */
#define PACKETS  32    /* of a set of rules */
#define CPUS_MAX 256

#define MISSED 3 /* exit status where a target was */

/* What a ratio should not exceed. */
#define KNOWN_MAX 0.65 /* a flow that the cache knows, beside xdp-filter */
#define WALK_MAX  2.0  /* a walk of a published set, beside a flow that the cache knows */
#define WORST_MAX 5.0  /* a walk of the worst sets, beside that of one rule of the set */

/* ---- who is measured ---- */

static struct steer_bpf *load_steer(bool forgetful)
{
	struct steer_bpf *steer = steer_bpf__open();
	struct xb_steer_config config = {.schema = XB_SCHEMA, .stall_ns = 1000000000u};
	uint32_t key = SLOT;

	if (!steer)
		die("open the BPF object: %s", strerror(errno));
	steer->rodata->slot = SLOT;
	steer->rodata->forgetful = forgetful;
	if (steer_bpf__load(steer) < 0)
		die("load the BPF object: %s", strerror(errno));
	if (bpf_map_update_elem(bpf_map__fd(steer->maps.config), &key, &config, 0) < 0)
		die("configure: %s", strerror(errno));
	return steer;
}

/* The rule of a set that one of its packets meets. */
static unsigned met_by(unsigned packet, unsigned n)
{
	return (packet + 1) * n / PACKETS - 1;
}

/* All rules drop; or those alone that packets meet do, and the others are to another port, so that
 * the table asks where a frame comes from. */
static void put_rules(struct steer_bpf *steer, const struct xb_rule *rules, unsigned n,
		      bool to_port)
{
	static struct xb_ranked_rule ranked[XB_RULES_MAX];
	const size_t bytes = XB_IMAGES * sizeof(struct xb_image);
	struct xb_error err = {0};
	struct xb_table table;
	struct xb_image *image;
	uint32_t key = 0, generation;
	uint8_t *images;

	if (bpf_map_lookup_elem(bpf_map__fd(steer->maps.table), &key, &table) < 0)
		die("read the table: %s", strerror(errno));
	generation = table.in_force.generation + 1;
	for (unsigned i = 0; i < n; i++) {
		ranked[i] = (struct xb_ranked_rule){
			.rule = &rules[i], .slot = i, .verdict = XB_VERDICT_DROP, .in = XB_IN_ANY};
		if (to_port)
			ranked[i].verdict = XB_VERDICT_PORT(1);
		if (XB_RULE_TESTS(&rules[i], XB_MATCH_IN))
			ranked[i].in = 1ull << !strcmp(rules[i].in, "tap0");
		memcpy(ranked[i].dmac, rules[i].dmac, sizeof(ranked[i].dmac));
	}
	for (unsigned i = 0; to_port && i < PACKETS; i++)
		ranked[met_by(i, n)].verdict = XB_VERDICT_DROP;
	if (xb_image_build(ranked, n, generation, &image, &err) < 0)
		die("%s", err.what);
	images = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED,
		      bpf_map__fd(steer->maps.images), 0);
	if (images == MAP_FAILED)
		die("map the images: %s", strerror(errno));
	memcpy(images + generation % XB_IMAGES * sizeof(*image), image, image->head.bytes);
	munmap(images, bytes);
	free(image);
	table.in_force = (struct xb_in_force){
		.generation = generation, .n_rules = (uint16_t)n, .verdict = XB_VERDICT_DROP};
	if (bpf_map_update_elem(bpf_map__fd(steer->maps.table), &key, &table, 0) < 0)
		die("flip: %s", strerror(errno));
}

/* xdp-filter with all that it can look at, and no rule that matches. */
static int load_filter(const char *path)
{
	struct bpf_object *object = bpf_object__open_file(path, NULL);
	struct bpf_program *program;
	struct bpf_map *map;

	if (!object)
		die("open %s: %s", path, strerror(errno));
	bpf_object__for_each_map(map, object)
		bpf_map__set_pin_path(map, NULL); /* it would pin them */
	program = bpf_object__next_program(object, NULL);
	bpf_program__set_type(program, BPF_PROG_TYPE_XDP);
	if (bpf_object__load(object) < 0)
		die("load %s: %s", path, strerror(errno));
	return bpf_program__fd(program);
}

/* ---- measuring ---- */

struct contender {
	const char *name;
	struct steer_bpf *steer; /* or: */
	int prog_fd;
	unsigned flags;   /* of a test run */
	double ratio_max; /* 0: no target */
	double turns[TURNS];
	double ns[PACKETS]; /* medians */
};

struct frame {
	uint8_t data[FRAME_BYTES];
	unsigned bytes;
};

static struct frame frame_of(const struct xb_rule *rule)
{
	struct frame frame;

	frame.bytes = frame_for(rule, frame.data);
	return frame;
}

static double run(struct contender *it, const struct frame *frame, int repeats)
{
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = frame->data, .data_size_in = frame->bytes,
		    .repeat = repeats, .flags = it->flags);
	const int fd = it->steer ? bpf_program__fd(it->steer->progs.steer) : it->prog_fd;

	if (bpf_prog_test_run_opts(fd, &opts) < 0)
		die("run %s: %s", it->name, strerror(errno));
	return opts.duration;
}

static void measure(struct contender *it, unsigned turn, const struct frame *frame)
{
	const bool live = it->flags & BPF_F_TEST_XDP_LIVE_FRAMES;

	it->turns[turn] = run(it, frame, live ? REPEATS / 40 : REPEATS);
}

static int by_size(const void *a, const void *b)
{
	const double *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

/* All contenders in turn, with the packet that is `which` of its set. */
static void take_turns(struct contender *all, size_t n, unsigned which, const struct frame *frame)
{
	for (unsigned turn = 0; turn < TURNS; turn++)
		for (size_t i = 0; i < n; i++)
			measure(&all[i], turn, frame);
	for (size_t i = 0; i < n; i++) {
		qsort(all[i].turns, TURNS, sizeof(double), by_size);
		all[i].ns[which] = all[i].turns[TURNS / 2];
	}
}

static bool all_met = true;

/* What it costs, on average over the packets. */
static void report(const struct contender *it, const struct contender *beside, unsigned packets)
{
	double sum = 0, others = 0, worst = 0;

	for (unsigned i = 0; i < packets; i++) {
		const double ratio = it->ns[i] / beside->ns[i];

		sum += it->ns[i];
		others += beside->ns[i];
		worst = ratio > worst ? ratio : worst;
	}
	printf("  %-42s %6.0f ns", it->name, sum / packets);
	if (it != beside)
		printf("  %6.2f of %s", sum / others, beside->name);
	if (it != beside && packets > 1)
		printf(" (at worst %.2f)", worst);
	if (it->ratio_max > 0) {
		const bool met = sum / others <= it->ratio_max;

		printf("  target %.2f: %s", it->ratio_max, met ? "met" : "MISSED");
		all_met = all_met && met;
	}
	putchar('\n');
}

/* ---- nftables ---- */

static void nft_rule(FILE *nft, const struct xb_rule *rule)
{
	char address[INET_ADDRSTRLEN];

	fputs("add rule netdev bench verdict ", nft);
	if (XB_RULE_TESTS(rule, XB_MATCH_PROTO))
		fprintf(nft, "ip protocol %u ", rule->proto);
	if (XB_RULE_TESTS(rule, XB_MATCH_SRC))
		fprintf(nft, "ip saddr %s/%u ",
			inet_ntop(AF_INET, rule->src.addr, address, sizeof(address)),
			rule->src.bits);
	if (XB_RULE_TESTS(rule, XB_MATCH_DST))
		fprintf(nft, "ip daddr %s/%u ",
			inet_ntop(AF_INET, rule->dst.addr, address, sizeof(address)),
			rule->dst.bits);
	if (XB_RULE_TESTS(rule, XB_MATCH_SPORT))
		fprintf(nft, "th sport %u-%u ", rule->sport.first, rule->sport.last);
	if (XB_RULE_TESTS(rule, XB_MATCH_DPORT))
		fprintf(nft, "th dport %u-%u ", rule->dport.first, rule->dport.last);
	fputs("drop\n", nft);
}

/* Puts the rules into the ingress hook of this namespace's loopback device, and behind them a
 * counter of what they let through. */
static void put_nft_rules(const struct xb_rule *rules, unsigned n)
{
	FILE *nft = popen("nft -f -", "w");

	if (!nft)
		die("start nft: %s", strerror(errno));
	fputs("table netdev bench\ndelete table netdev bench\n", nft);
	fputs("table netdev bench {\n"
	      "	counter missed { }\n"
	      "	chain verdict { type filter hook ingress device lo priority 0; }\n"
	      "	chain rest { type filter hook ingress device lo priority 1; counter name missed drop; }\n"
	      "}\n",
	      nft);
	for (unsigned i = 0; i < n; i++)
		nft_rule(nft, &rules[i]);
	if (pclose(nft) != 0)
		die("nft refused the rules");
}

static bool nft_missed_some(void)
{
	FILE *nft = popen("nft list counter netdev bench missed", "r");
	unsigned long missed = 1;
	char line[128];

	while (nft && fgets(line, sizeof(line), nft))
		sscanf(line, " packets %lu", &missed);
	if (nft)
		pclose(nft);
	return missed != 0;
}

/* A program that passes each frame on to the stack. */
static int load_passer(void)
{
	const struct bpf_insn insns[] = {
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = XDP_PASS},
		{.code = BPF_JMP | BPF_EXIT},
	};
	int fd = bpf_prog_load(BPF_PROG_TYPE_XDP, "pass", "GPL", insns, 2, NULL);

	if (fd < 0)
		die("load a program that passes: %s", strerror(errno));
	return fd;
}

/* ---- what is compared ---- */

static void compare_set(const char *filter_path, const struct rule_set *set)
{
	enum { FILTER, NO_RULES, ONE_KNOWN, ALL_KNOWN, ONE_WALK, ALL_WALK, PORT_WALK, N };
	static struct contender all[N] = {
		[FILTER] = {"xdp-filter"},
		[NO_RULES] = {"no rules"},
		[ONE_KNOWN] = {"1 rule, a flow that the cache knows", .ratio_max = KNOWN_MAX},
		[ALL_KNOWN] = {"all rules, a flow that the cache knows", .ratio_max = KNOWN_MAX},
		[ONE_WALK] = {"1 rule, a walk"},
		[ALL_WALK] = {"all rules, a walk", .ratio_max = WALK_MAX},
		[PORT_WALK] = {"the same, other rules to a port", .ratio_max = WALK_MAX},
	};
	static const int beside[N] = {FILTER, FILTER, FILTER, FILTER, FILTER, ALL_KNOWN, ALL_KNOWN};

	if (!all[FILTER].prog_fd) {
		all[FILTER].prog_fd = load_filter(filter_path);
		for (unsigned i = NO_RULES; i < N; i++)
			all[i].steer = load_steer(i >= ONE_WALK);
	}
	if (set->n < PACKETS)
		die("%s: less than %u rules", set->name, PACKETS);
	put_rules(all[ALL_KNOWN].steer, set->rules, set->n, false);
	put_rules(all[ALL_WALK].steer, set->rules, set->n, false);
	put_rules(all[PORT_WALK].steer, set->rules, set->n, true);
	for (unsigned i = 0; i < PACKETS; i++) {
		const struct xb_rule *rule = &set->rules[met_by(i, set->n)];
		const struct frame frame = frame_of(rule);

		put_rules(all[ONE_KNOWN].steer, rule, 1, false);
		put_rules(all[ONE_WALK].steer, rule, 1, false);
		take_turns(all, N, i, &frame);
	}
	printf("%s, %u rules, %u packets, each of another rule:\n", set->name, set->n, PACKETS);
	for (unsigned i = 0; i < N; i++)
		report(&all[i], &all[beside[i]], PACKETS);
}

/* Dies unless the last rule of a set is the one that its frame meets. */
static void meets_the_last(const struct steer_bpf *steer, const struct rule_set *set)
{
	struct xb_rule_stats cpus[CPUS_MAX];
	uint32_t slot = set->n - 1;
	int n_cpus = libbpf_num_possible_cpus();
	uint64_t packets = 0;

	if (n_cpus > CPUS_MAX)
		die("more CPUs than %d", CPUS_MAX);
	if (bpf_map_lookup_elem(bpf_map__fd(steer->maps.rule_stats), &slot, cpus) < 0)
		die("read a rule's counters: %s", strerror(errno));
	for (int cpu = 0; cpu < n_cpus; cpu++)
		packets += cpus[cpu].packets;
	if (!packets)
		die("%s: its last rule does not match its frame", set->name);
}

#ifdef __x86_64__
/* What a frame costs whose table no CPU has looked at for long. */
static void measure_cold(struct contender *it, const struct frame *frame)
{
	enum { COLD_TURNS = 51 };
	const size_t bytes = XB_IMAGES * sizeof(struct xb_image);
	uint8_t *images = mmap(NULL, bytes, PROT_READ, MAP_SHARED,
			       bpf_map__fd(it->steer->maps.images), 0);
	double turns[COLD_TURNS];

	if (images == MAP_FAILED)
		die("map the images: %s", strerror(errno));
	for (unsigned turn = 0; turn < COLD_TURNS; turn++) {
		run(it, frame, REPEATS / 100); /* all else is */
		for (size_t at = 0; at < bytes; at += 64)
			__builtin_ia32_clflush(images + at);
		turns[turn] = run(it, frame, 1);
	}
	munmap(images, bytes);
	qsort(turns, COLD_TURNS, sizeof(double), by_size);
	it->ns[0] = turns[COLD_TURNS / 2];
}
#endif

static void compare_worst(const struct rule_set *set)
{
	enum { ONE, ALL, SIMPLE, N };
	const struct xb_rule *last = &set->rules[set->n - 1];
	const struct frame frame = frame_of(last);
	struct xb_rule simple = {
		.id = 1, .match = 1u << XB_MATCH_SRC, .src = last->src}; /* for scale */
	struct contender all[N] = {
		[ONE] = {"1 rule, a walk", .steer = load_steer(true)},
		[ALL] = {"all rules, a walk", .steer = load_steer(true), .ratio_max = WORST_MAX},
		[SIMPLE] = {"1 rule that asks for src alone, a walk", .steer = load_steer(true)},
	};

	put_rules(all[ONE].steer, last, 1, false);
	put_rules(all[ALL].steer, set->rules, set->n, false);
	put_rules(all[SIMPLE].steer, &simple, 1, false);
	take_turns(all, N, 0, &frame);
	meets_the_last(all[ALL].steer, set);
	printf("%s, %u rules, 1 packet:\n", set->name, set->n);
	for (unsigned i = 0; i < N; i++)
		report(&all[i], &all[ONE], 1);
#ifdef __x86_64__
	all[ONE].name = "1 rule, the image in no CPU cache";
	all[ALL].name = "all rules, the image in no CPU cache";
	for (unsigned i = ONE; i <= ALL; i++) {
		measure_cold(&all[i], &frame);
		report(&all[i], &all[ONE], 1);
	}
#endif
	for (unsigned i = 0; i < N; i++)
		steer_bpf__destroy(all[i].steer);
}

/* For scale: the same rules in nftables, one after another as they are written. Its packets are
 * real ones on their way into the stack, so making and freeing an skb is part of each figure. */
static void compare_nft(const struct rule_set *set)
{
	enum { NFT_PACKETS = 8 }; /* one takes it 100 us */
	static struct contender all = {"all rules", .flags = BPF_F_TEST_XDP_LIVE_FRAMES};
	static struct contender one = {"1 rule", .flags = BPF_F_TEST_XDP_LIVE_FRAMES};

	one.prog_fd = all.prog_fd = load_passer();
	for (unsigned i = 0; i < NFT_PACKETS; i++) {
		const struct xb_rule *rule = &set->rules[(i + 1) * set->n / NFT_PACKETS - 1];
		const struct frame frame = frame_of(rule);

		put_nft_rules(rule, 1);
		take_turns(&one, 1, i, &frame);
		if (nft_missed_some())
			die("nftables' rule does not match its packet");
		put_nft_rules(set->rules, set->n);
		take_turns(&all, 1, i, &frame);
		if (nft_missed_some())
			die("nftables' rules do not match a packet");
	}
	printf("%s in nftables' ingress hook, %u rules, %u packets, with the making of an skb:\n",
	       set->name, set->n, NFT_PACKETS);
	report(&one, &one, NFT_PACKETS);
	report(&all, &one, NFT_PACKETS);
}

static void write_worst(const char *folder)
{
	const struct rule_set *set;
	char path[256];

	for (unsigned kind = 0; (set = rules_of_worst_kind(kind)); kind++) {
		snprintf(path, sizeof(path), "%s/worst-%u", folder, kind + 1);
		rules_write(set, path);
	}
}

int main(int argc, char **argv)
{
	const struct rule_set *set;

	if (argc < 3)
		die("usage: %s XDPFILT_OBJECT RULES…\n       %s --write-worst FOLDER", argv[0],
		    argv[0]);
	if (!strcmp(argv[1], "--write-worst")) {
		write_worst(argv[2]);
		return 0;
	}
	libbpf_set_print(NULL);
	if (unshare(CLONE_NEWNET) < 0)
		die("make a network namespace: %s", strerror(errno));
	for (int i = 2; i < argc; i++)
		compare_set(argv[1], rules_from(argv[i]));
	for (unsigned kind = 0; (set = rules_of_worst_kind(kind)); kind++)
		compare_worst(set);
	compare_nft(rules_from(argv[2]));
	return all_met ? 0 : MISSED;
}
