/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a verdict of the XDP program costs, beside xdp-filter's, on the same packet in one run.
 *
 * Everything runs by BPF_PROG_TEST_RUN, in turns of a few thousand packets, so that a machine whose
 * speed comes and goes slows all alike; a figure is the median of its turns.
 */
#include "daemon/image.h"
#include "daemon/rule_text.h"
#include "steer.skel.h"
#include "xbridge/classify.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define SLOT    0u
#define TURNS   41
#define PACKETS 20000

#define die(...)                              \
	do {                                  \
		fprintf(stderr, __VA_ARGS__); \
		fputc('\n', stderr);          \
		exit(1);                      \
	} while (0)

static struct xb_rule rules[XB_RULES_MAX];
static struct xb_ranked_rule ranked[XB_RULES_MAX];

/* UDP from 198.51.100.1 to 198.51.100.2, ports 4000 and 53. */
static uint8_t packet[64] = {0x02, 0, 0,   0,  0,   1, 0x02, 0,    0,  0,  0, 9, 0x08, 0,
			     0x45, 0, 0,   50, 0,   0, 0,    0,    64, 17, 0, 0, 198,  51,
			     100,  1, 198, 51, 100, 2, 0x0f, 0xa0, 0,  53, 0, 30};

/* One thing to measure. */
struct contender {
	const char *name;
	int prog_fd;
	double ns[TURNS];
};

static int load_steer(bool forgetful, void (*fill)(unsigned i, char *text, size_t bytes),
		      unsigned n)
{
	struct steer_bpf *skeleton = steer_bpf__open();
	struct xb_steer_config config = {
		.schema = XB_SCHEMA, .verdict = XB_VERDICT_DROP, .stall_ns = 1000000000u};
	struct xb_error err = {0};
	struct xb_table table = {.in_force = XB_IN_FORCE(1, n)};
	struct xb_image *image;
	uint32_t key = 0, place = 1;
	uint8_t *at;

	if (!skeleton)
		die("open the BPF object: %s", strerror(errno));
	skeleton->rodata->slot = SLOT;
	skeleton->rodata->forgetful = forgetful;
	if (steer_bpf__load(skeleton) < 0)
		die("load the BPF object: %s", strerror(errno));
	for (unsigned i = 0; i < n; i++) {
		char text[128];

		fill(i, text, sizeof(text));
		if (xb_rule_parse(text, &rules[i], &err) < 0)
			die("%s: %s", text, err.what);
		rules[i].id = i + 1;
		ranked[i] = (struct xb_ranked_rule){
			.rule = &rules[i], .slot = i, .verdict = XB_VERDICT_DROP};
	}
	if (xb_image_build(ranked, n, 1, &image, &err) < 0)
		die("%s", err.what);
	at = mmap(NULL, XB_IMAGES * sizeof(struct xb_image), PROT_READ | PROT_WRITE, MAP_SHARED,
		  bpf_map__fd(skeleton->maps.images), 0);
	if (at == MAP_FAILED)
		die("map the images: %s", strerror(errno));
	memcpy(at + place * sizeof(struct xb_image), image, image->head.bytes);
	free(image);
	key = SLOT;
	if (bpf_map_update_elem(bpf_map__fd(skeleton->maps.config), &key, &config, 0) < 0)
		die("configure: %s", strerror(errno));
	key = 0;
	if (bpf_map_update_elem(bpf_map__fd(skeleton->maps.table), &key, &table, 0) < 0)
		die("flip: %s", strerror(errno));
	return bpf_program__fd(skeleton->progs.steer); /* all of it lives as long as we do */
}

/* xdp-filter with all that it can look at, and a rule on a UDP port that does not match. */
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

static double measure(int prog_fd)
{
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = packet, .data_size_in = sizeof(packet),
		    .repeat = PACKETS);

	if (bpf_prog_test_run_opts(prog_fd, &opts) < 0)
		die("run: %s", strerror(errno));
	return opts.duration;
}

static int by_size(const void *a, const void *b)
{
	const double *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

static double median(double *ns)
{
	qsort(ns, TURNS, sizeof(*ns), by_size);
	return ns[TURNS / 2];
}

/* ---- tables ---- */

static void one_rule(unsigned i, char *text, size_t bytes)
{
	(void)i;
	snprintf(text, bytes, "proto udp dst 198.51.100.2 dport 53 to drop");
}

/* Shaped like a firewall's: prefixes of some networks, services, a few ranges; the packet's rule is
 * the last. */
static void many_rules(unsigned i, char *text, size_t bytes)
{
	static const char *const services[] = {"dport 22",     "dport 80",         "dport 443",
					       "dport 25",     "dport 1024-65535", "dport 3306",
					       "sport 1-1023", "dport 8000-8099"};

	if (i == XB_RULES_MAX - 1)
		one_rule(i, text, bytes);
	else
		snprintf(text, bytes, "proto %s src 10.%u.%u.0/%u dst 172.%u.%u.%u/%u %s to drop",
			 i % 3 ? "tcp" : "udp", i % 61, i % 251, 16 + i % 9, 16 + i % 16, i % 127,
			 i % 255, 24 + i % 9, services[i % 8]);
}

/* Each rule matches on each axis but one: no summary rules a word out. */
static void bad_rules(unsigned i, char *text, size_t bytes)
{
	static const char *const misses[] = {
		"proto tcp src 198.51.100.0/24 dst 198.51.100.0/24 dport 1-100 sport 4000-5000",
		"proto udp src 198.51.101.0/24 dst 198.51.100.0/24 dport 1-100 sport 4000-5000",
		"proto udp src 198.51.100.0/24 dst 198.51.101.0/24 dport 1-100 sport 4000-5000",
		"proto udp src 198.51.100.0/24 dst 198.51.100.0/24 dport 100-200 sport 4000-5000",
		"proto udp src 198.51.100.0/24 dst 198.51.100.0/24 dport 1-100 sport 5000-6000",
	};

	if (i == XB_RULES_MAX - 1)
		one_rule(i, text, bytes);
	else
		snprintf(text, bytes, "%s to drop", misses[i % 5]);
}

enum { FILTER, NO_RULES, ONE_KNOWN, MANY_KNOWN, ONE_WALK, MANY_WALK, BAD_WALK, N_CONTENDERS };

int main(int argc, char **argv)
{
	struct contender all[N_CONTENDERS] = {
		[FILTER] = {"xdp-filter, all that it can look at"},
		[NO_RULES] = {"no rules"},
		[ONE_KNOWN] = {"1 rule, a flow that the cache knows"},
		[MANY_KNOWN] = {"4096 rules, a flow that the cache knows"},
		[ONE_WALK] = {"1 rule, a walk"},
		[MANY_WALK] = {"4096 rules, a walk"},
		[BAD_WALK] = {"4096 rules of the worst kind, a walk"},
	};
	static const int beside[N_CONTENDERS] = {FILTER, FILTER,   FILTER,  FILTER,
						 FILTER, ONE_WALK, ONE_WALK};
	double ns[N_CONTENDERS];

	if (argc != 2)
		die("usage: %s XDPFILT_OBJECT", argv[0]);
	libbpf_set_print(NULL);
	all[FILTER].prog_fd = load_filter(argv[1]);
	all[NO_RULES].prog_fd = load_steer(false, NULL, 0);
	all[ONE_KNOWN].prog_fd = load_steer(false, one_rule, 1);
	all[MANY_KNOWN].prog_fd = load_steer(false, many_rules, XB_RULES_MAX);
	all[ONE_WALK].prog_fd = load_steer(true, one_rule, 1);
	all[MANY_WALK].prog_fd = load_steer(true, many_rules, XB_RULES_MAX);
	all[BAD_WALK].prog_fd = load_steer(true, bad_rules, XB_RULES_MAX);

	for (unsigned turn = 0; turn < TURNS; turn++)
		for (size_t i = 0; i < N_CONTENDERS; i++)
			all[i].ns[turn] = measure(all[i].prog_fd);
	for (size_t i = 0; i < N_CONTENDERS; i++)
		ns[i] = median(all[i].ns);
	for (size_t i = 0; i < N_CONTENDERS; i++)
		printf("%-40s %6.0f ns  %5.2f of %s\n", all[i].name, ns[i], ns[i] / ns[beside[i]],
		       all[beside[i]].name);
	return 0;
}
