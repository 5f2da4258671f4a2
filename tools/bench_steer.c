/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a verdict of the XDP program costs, beside xdp-filter's and nftables', on the same packets.
 *
 * Everything runs by BPF_PROG_TEST_RUN, in turns of some thousand packets, so that a machine whose
 * speed comes and goes slows all alike; what a packet costs is the median of its turns. Beside a
 * ratio stands the highest that it should have.
 */
#include "daemon/image.h"
#include "daemon/rule_text.h"
#include "steer.skel.h"
#include "xbridge/classify.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <netinet/ip.h>
#include <netinet/udp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define SLOT    0u
#define TURNS   5     /* few: the kernel waits for all CPUs before and after each */
#define REPEATS 10000 /* of a packet, in a turn */
#define PACKETS 32    /* of a set of rules */

/* What a ratio should not exceed. */
#define KNOWN_MAX 0.65 /* a flow that the cache knows, beside xdp-filter */
#define WALK_MAX  2.2  /* a walk of a published set, beside that of one rule */
#define WORST_MAX 5.0  /* a walk of the worst set, beside that of one rule */

#define die(...)                              \
	do {                                  \
		fprintf(stderr, __VA_ARGS__); \
		fputc('\n', stderr);          \
		exit(1);                      \
	} while (0)

/* ---- rules and packets ---- */

struct rule_set {
	const char *name;
	unsigned n;
	struct xb_rule rules[XB_RULES_MAX];
};

static void add_rule(struct rule_set *set, const char *text)
{
	struct xb_error err = {0};
	struct xb_rule *rule = &set->rules[set->n];

	if (set->n == XB_RULES_MAX)
		die("%s: more than %u rules", set->name, XB_RULES_MAX);
	if (xb_rule_parse(text, rule, &err) < 0)
		die("%s: %s: %s", set->name, text, err.what);
	rule->id = ++set->n;
}

static struct rule_set *read_rules(const char *path)
{
	struct rule_set *set = calloc(1, sizeof(*set));
	FILE *file = fopen(path, "re");
	char line[256];

	if (!set || !file)
		die("open %s: %s", path, strerror(errno));
	set->name = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
	while (fgets(line, sizeof(line), file)) {
		line[strcspn(line, "\n")] = '\0';
		add_rule(set, line);
	}
	fclose(file);
	return set;
}

#define ALL_OF_IT "proto udp src 198.51.100.0/24 dst 198.51.100.0/24 sport 4000 dport 53 to drop"

/* Each rule matches on each axis but one, so no summary rules a word out; the last one matches. */
static struct rule_set *worst_rules(void)
{
	static const char *const misses[] = {
		"proto tcp src 198.51.100.0/24 dst 198.51.100.0/24 dport 1-100 sport 4000-5000",
		"proto udp src 198.51.101.0/24 dst 198.51.100.0/24 dport 1-100 sport 4000-5000",
		"proto udp src 198.51.100.0/24 dst 198.51.101.0/24 dport 1-100 sport 4000-5000",
		"proto udp src 198.51.100.0/24 dst 198.51.100.0/24 dport 100-200 sport 4000-5000",
		"proto udp src 198.51.100.0/24 dst 198.51.100.0/24 dport 1-100 sport 5000-6000",
	};
	struct rule_set *set = calloc(1, sizeof(*set));
	char text[128];

	if (!set)
		die("no memory");
	set->name = "the worst kind";
	while (set->n < XB_RULES_MAX - 1) {
		snprintf(text, sizeof(text), "%s to drop", misses[set->n % 5]);
		add_rule(set, text);
	}
	add_rule(set, ALL_OF_IT);
	return set;
}

struct packet {
	struct ethhdr eth;
	struct iphdr ip;
	struct udphdr l4; /* TCP's ports lie there as well */
	uint8_t rest[22];
} __attribute__((packed));

/* An IPv4 packet that `rule` matches: the first address and the first port of each range. */
static struct packet packet_for(const struct xb_rule *rule)
{
	struct packet packet = {
		.eth = {.h_dest = {2, 0, 0, 0, 0, 1},
			.h_source = {2, 0, 0, 0, 0, 9},
			.h_proto = htons(ETH_P_IP)},
		.ip = {.ihl = 5,
		       .version = 4,
		       .tot_len = htons(sizeof(packet) - sizeof(packet.eth)),
		       .ttl = 64,
		       .protocol = IPPROTO_TCP,
		       .saddr = htonl(0xc6336401),
		       .daddr = htonl(0xc6336402)},
		.l4 = {.source = htons(4000), .dest = htons(80)},
	};

	if (XB_RULE_TESTS(rule, XB_MATCH_PROTO))
		packet.ip.protocol = (uint8_t)rule->proto;
	if (XB_RULE_TESTS(rule, XB_MATCH_SRC))
		memcpy(&packet.ip.saddr, rule->src.addr, 4);
	if (XB_RULE_TESTS(rule, XB_MATCH_DST))
		memcpy(&packet.ip.daddr, rule->dst.addr, 4);
	if (XB_RULE_TESTS(rule, XB_MATCH_SPORT))
		packet.l4.source = htons(rule->sport.first);
	if (XB_RULE_TESTS(rule, XB_MATCH_DPORT))
		packet.l4.dest = htons(rule->dport.first);
	if (packet.ip.protocol == IPPROTO_TCP)
		packet.rest[4] = 5 << 4; /* the header's length, in words of 32 bits */
	else
		packet.l4.len = htons(sizeof(packet.l4) + sizeof(packet.rest));
	return packet;
}

/* ---- who is measured ---- */

static struct steer_bpf *load_steer(bool forgetful)
{
	struct steer_bpf *steer = steer_bpf__open();
	struct xb_steer_config config = {
		.schema = XB_SCHEMA, .verdict = XB_VERDICT_DROP, .stall_ns = 1000000000u};
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

static void put_rules(struct steer_bpf *steer, const struct xb_rule *rules, unsigned n)
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
	generation = XB_IN_FORCE_GENERATION(table.in_force) + 1;
	for (unsigned i = 0; i < n; i++)
		ranked[i] = (struct xb_ranked_rule){
			.rule = &rules[i], .slot = i, .verdict = XB_VERDICT_DROP};
	if (xb_image_build(ranked, n, generation, &image, &err) < 0)
		die("%s", err.what);
	images = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED,
		      bpf_map__fd(steer->maps.images), 0);
	if (images == MAP_FAILED)
		die("map the images: %s", strerror(errno));
	memcpy(images + generation % XB_IMAGES * sizeof(*image), image, image->head.bytes);
	munmap(images, bytes);
	free(image);
	table.in_force = XB_IN_FORCE(generation, n);
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

static void measure(struct contender *it, unsigned turn, const struct packet *packet)
{
	const bool live = it->flags & BPF_F_TEST_XDP_LIVE_FRAMES;
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = packet, .data_size_in = sizeof(*packet),
		    .repeat = live ? REPEATS / 40 : REPEATS, .flags = it->flags);
	const int fd = it->steer ? bpf_program__fd(it->steer->progs.steer) : it->prog_fd;

	if (bpf_prog_test_run_opts(fd, &opts) < 0)
		die("run %s: %s", it->name, strerror(errno));
	it->turns[turn] = opts.duration;
}

static int by_size(const void *a, const void *b)
{
	const double *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

/* All contenders in turn, with the packet that is `which` of its set. */
static void take_turns(struct contender *all, size_t n, unsigned which, const struct packet *packet)
{
	for (unsigned turn = 0; turn < TURNS; turn++)
		for (size_t i = 0; i < n; i++)
			measure(&all[i], turn, packet);
	for (size_t i = 0; i < n; i++) {
		qsort(all[i].turns, TURNS, sizeof(double), by_size);
		all[i].ns[which] = all[i].turns[TURNS / 2];
	}
}

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
	printf("  %-40s %6.0f ns", it->name, sum / packets);
	if (it != beside)
		printf("  %6.2f of %s", sum / others, beside->name);
	if (it != beside && packets > 1)
		printf(" (at worst %.2f)", worst);
	if (it->ratio_max > 0)
		printf("  target %.2f: %s", it->ratio_max,
		       sum / others <= it->ratio_max ? "met" : "MISSED");
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
	enum { FILTER, NO_RULES, ONE_KNOWN, ALL_KNOWN, ONE_WALK, ALL_WALK, N };
	static struct contender all[N] = {
		[FILTER] = {"xdp-filter"},
		[NO_RULES] = {"no rules"},
		[ONE_KNOWN] = {"1 rule, a flow that the cache knows", .ratio_max = KNOWN_MAX},
		[ALL_KNOWN] = {"all rules, a flow that the cache knows", .ratio_max = KNOWN_MAX},
		[ONE_WALK] = {"1 rule, a walk"},
		[ALL_WALK] = {"all rules, a walk", .ratio_max = WALK_MAX},
	};
	static const int beside[N] = {FILTER, FILTER, FILTER, FILTER, FILTER, ONE_WALK};

	if (!all[FILTER].prog_fd) {
		all[FILTER].prog_fd = load_filter(filter_path);
		for (unsigned i = NO_RULES; i < N; i++)
			all[i].steer = load_steer(i >= ONE_WALK);
	}
	put_rules(all[ALL_KNOWN].steer, set->rules, set->n);
	put_rules(all[ALL_WALK].steer, set->rules, set->n);
	for (unsigned i = 0; i < PACKETS; i++) {
		const struct xb_rule *rule = &set->rules[(i + 1) * set->n / PACKETS - 1];
		const struct packet packet = packet_for(rule);

		put_rules(all[ONE_KNOWN].steer, rule, 1);
		put_rules(all[ONE_WALK].steer, rule, 1);
		take_turns(all, N, i, &packet);
	}
	printf("%s, %u rules, %u packets, each of another rule:\n", set->name, set->n, PACKETS);
	for (unsigned i = 0; i < N; i++)
		report(&all[i], &all[beside[i]], PACKETS);
}

static void compare_worst(void)
{
	const struct rule_set *set = worst_rules();
	const struct packet packet = packet_for(&set->rules[set->n - 1]);
	struct contender all[] = {
		{"1 rule, a walk", .steer = load_steer(true)},
		{"all rules, a walk", .steer = load_steer(true), .ratio_max = WORST_MAX}};

	put_rules(all[0].steer, &set->rules[set->n - 1], 1);
	put_rules(all[1].steer, set->rules, set->n);
	take_turns(all, 2, 0, &packet);
	printf("%s, %u rules, 1 packet:\n", set->name, set->n);
	report(&all[0], &all[0], 1);
	report(&all[1], &all[0], 1);
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
		const struct packet packet = packet_for(rule);

		put_nft_rules(rule, 1);
		take_turns(&one, 1, i, &packet);
		if (nft_missed_some())
			die("nftables' rule does not match its packet");
		put_nft_rules(set->rules, set->n);
		take_turns(&all, 1, i, &packet);
		if (nft_missed_some())
			die("nftables' rules do not match a packet");
	}
	printf("%s in nftables' ingress hook, %u rules, %u packets, with the making of an skb:\n",
	       set->name, set->n, NFT_PACKETS);
	report(&one, &one, NFT_PACKETS);
	report(&all, &one, NFT_PACKETS);
}

int main(int argc, char **argv)
{
	if (argc < 3)
		die("usage: %s XDPFILT_OBJECT RULES…", argv[0]);
	libbpf_set_print(NULL);
	if (unshare(CLONE_NEWNET) < 0)
		die("make a network namespace: %s", strerror(errno));
	for (int i = 2; i < argc; i++)
		compare_set(argv[1], read_rules(argv[i]));
	compare_worst();
	compare_nft(read_rules(argv[2]));
	return 0;
}
