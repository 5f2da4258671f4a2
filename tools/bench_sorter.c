/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the sorting room costs for each packet, by what it has to do with one: from a port that
 * makes packets up to one that throws them away. Nothing but userspace is measured, and no memory
 * but the caches is touched.
 *
 * Prints CPU nanoseconds a packet, the median of some turns. To compare two builds run them in
 * turns, several times.
 */
#include "core/sorter.h"
#include "core/sum.h"
#include "steer/image.h"
#include "steer/text.h"

#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define TURNS  9
#define ROUNDS 2000 /* in a turn, of XB_BATCH packets */
#define FRAMES 4096u
#define FLOWS  16u

#define HDR_BYTES (ETH_HLEN + sizeof(struct iphdr) + sizeof(struct tcphdr))

/* What a case's packets are, and what is done with them. */
struct trial {
	const char *name;
	uint8_t proto;
	uint32_t payload;
	uint16_t gso_size;
	uint8_t csum;
	uint16_t verdict; /* that came with them */
	bool rules;
	uint32_t takes; /* of the port that they leave by */
	uint8_t frames_max;
};

static const uint32_t all = XB_TAKES_CSUM | XB_TAKES_TSO4 | XB_TAKES_TSO6 | XB_TAKES_ECN |
			    XB_TAKES_USO;

static const struct trial trials[] = {
	{"bridge, judged by XDP", 17, 64, 0, XB_CSUM_COMPLETE, XB_VERDICT_BRIDGE, false, 0, 1},
	{"bridge", 17, 64, 0, XB_CSUM_COMPLETE, 0, false, 0, 1},
	{"rules", 17, 64, 0, XB_CSUM_COMPLETE, 0, true, 0, 1},
	{"rules, checksum finished", 17, 64, 0, XB_CSUM_TRUSTED, 0, true, 0, 1},
	{"checksum finished", 17, 64, 0, XB_CSUM_TRUSTED, XB_VERDICT_BRIDGE, false, 0, 1},
	{"looked at, not joined", 17, 64, 0, XB_CSUM_TRUSTED, XB_VERDICT_BRIDGE, false, all, 48},
	{"rules, looked at, not joined", 17, 64, 0, XB_CSUM_TRUSTED, 0, true, all, 48},
	{"joined", 6, 1448, 0, XB_CSUM_TRUSTED, XB_VERDICT_BRIDGE, false, all, 48},
	{"rules, joined", 6, 1448, 0, XB_CSUM_TRUSTED, 0, true, all, 48},
	{"cut in two", 6, 2000, 1000, XB_CSUM_PARTIAL, XB_VERDICT_BRIDGE, false, 0, 1},
	{"rules, cut in two", 6, 2000, 1000, XB_CSUM_PARTIAL, 0, true, 0, 1},
};

static const struct trial *trial;
static uint8_t template[HDR_BYTES];
static uint32_t sequence;

static struct xb_arena arena;
static struct xb_sorter *sorter;
static struct xb_snapshot snapshot;
static struct xb_port ports[2];
static struct xb_rule_user_stats stats[XB_RULES_MAX];
static __u64 limits[XB_RULES_MAX];

/* ---- the ports ---- */

static void make_template(void)
{
	static const uint8_t macs[2 * ETH_ALEN] = {2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1};
	uint8_t *ip = template + ETH_HLEN, *l4 = ip + sizeof(struct iphdr);
	uint16_t l4_bytes = trial->proto == 6 ? 20 : 8;

	memset(template, 0, sizeof(template));
	memcpy(template, macs, sizeof(macs));
	template[12] = 8;
	ip[0] = 0x45;
	*(uint16_t *)(ip + 2) = htons((uint16_t)(20 + l4_bytes + trial->payload));
	ip[6] = 0x40; /* DF */
	ip[8] = 64;
	ip[9] = trial->proto;
	memcpy(ip + 12, "\x0a\0\0\x01\x0a\0\0\x02", 8);
	{
		uint64_t sum = xb_csum_add(0, ip, 20);
		uint16_t check = (uint16_t)~xb_csum_fold(sum);

		memcpy(ip + 10, &check, 2);
	}
	if (trial->proto == 6) {
		l4[12] = 5 << 4;
		l4[13] = 0x10;
	} else {
		*(uint16_t *)(l4 + 4) = htons((uint16_t)(8 + trial->payload));
		l4[6] = l4[7] = 1;
	}
}

static void make_packet(struct xb_frame *pkt, unsigned i)
{
	uint32_t hdr_bytes = trial->proto == 6 ? 54 : 42;
	uint8_t *data = xb_frame_data(pkt);
	uint32_t seq = htonl(sequence);

	xb_packet_init(pkt, XB_FRAME_HEADROOM, hdr_bytes + trial->payload);
	memcpy(data, template, sizeof(template));
	if (trial->proto == 6) {
		memcpy(data + 38, &seq, 4);
		sequence += trial->payload;
		i = 0;
	}
	data[35] = (uint8_t)(i % FLOWS);
	pkt->fate.verdict = trial->verdict;
	pkt->offload.csum = trial->csum;
	if (trial->csum == XB_CSUM_PARTIAL) {
		pkt->offload.csum_start = 34;
		pkt->offload.csum_offset = 16;
	}
	if (trial->gso_size) {
		pkt->offload.gso = XB_GSO_TCP4;
		pkt->offload.gso_size = trial->gso_size;
		pkt->offload.hdr_bytes = (uint16_t)hdr_bytes;
	}
}

static unsigned rx_batch(struct xb_port *port, unsigned q, struct xb_cache *cache,
			 struct xb_frame **pkts, unsigned max)
{
	(void)q;
	if (port->id != 0 || !xb_frame_alloc_many(cache, pkts, max))
		return 0;
	for (unsigned i = 0; i < max; i++)
		make_packet(pkts[i], i);
	return max;
}

static unsigned tx_batch(struct xb_port *port, unsigned q, struct xb_cache *cache,
			 struct xb_frame **pkts, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		xb_frame_give(pkts[i], XB_OWNER_WORKER, XB_OWNER_TX);
		xb_port_sent(port, q, cache, pkts[i]);
	}
	return n;
}

static unsigned kick(struct xb_port *port, unsigned q, struct xb_cache *cache)
{
	(void)port, (void)q, (void)cache;
	return 0;
}

static const struct xb_port_ops ops = {.rx_batch = rx_batch, .tx_batch = tx_batch, .kick = kick};

/* ---- measuring ---- */

static void die(const char *what)
{
	fprintf(stderr, "bench-sorter: %s\n", what);
	exit(1);
}

static const struct xb_image *make_rules(void)
{
	static const char *const texts[] = {"proto tcp dport 22 to drop",
					    "src 192.0.2.0/24 to drop",
					    "proto udp dport 53 to drop"};
	static struct xb_rule rules[3];
	struct xb_ranked_rule ranked[3];
	struct xb_image *image;

	for (unsigned i = 0; i < 3; i++) {
		if (xb_rule_parse(texts[i], &rules[i], NULL) < 0)
			die("parse the rules");
		rules[i].id = i + 1;
		ranked[i] = (struct xb_ranked_rule){
			.rule = &rules[i], .slot = i, .verdict = XB_VERDICT_DROP, .in = XB_IN_ANY};
	}
	if (xb_image_build(ranked, 3, 1, &image, NULL) < 0)
		die("compile the rules");
	return image;
}

static void set_up(void)
{
	static const uint8_t second[6] = {2, 0, 0, 0, 0, 2};

	sorter = malloc(sizeof(*sorter));
	if (!sorter || xb_arena_init(&arena, FRAMES, 0, NULL) < 0)
		die("no memory");
	xb_sorter_init(sorter, &arena, 0);
	sorter->now_ns = 1000000000u;
	snapshot.verdict = XB_VERDICT_BRIDGE;
	snapshot.n_workers = 1;
	snapshot.fdb = xb_fdb_new();
	for (unsigned i = 0; i < 2; i++) {
		if (xb_port_init(&ports[i], &ops, i ? "out" : "in", 1) < 0)
			die("no memory");
		ports[i].id = (uint16_t)i;
		ports[i].n_queues = 1;
		ports[i].caps.bytes_max = XB_PACKET_BYTES_MAX;
		atomic_store(&ports[i].up, true);
		xb_snapshot_add(&snapshot, &ports[i]);
	}
	xb_fdb_set(snapshot.fdb, xb_fdb_key(second, XB_FDB_VLAN_ANY), 1, XB_FDB_OWN);
}

static uint64_t cpu_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static double turn(void)
{
	uint64_t before = cpu_ns(), packets = 0;

	for (unsigned i = 0; i < ROUNDS; i++)
		packets += xb_sorter_round(sorter, &snapshot).packets;
	return (double)(cpu_ns() - before) / (double)packets;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

int main(void)
{
	const struct xb_image *image = make_rules();

	set_up();
	for (unsigned t = 0; t < sizeof(trials) / sizeof(trials[0]); t++) {
		double ns[TURNS];

		trial = &trials[t];
		make_template();
		snapshot.rules = (struct xb_rules){
			.image = trial->rules ? image : NULL, .stats = stats, .limits = limits};
		ports[1].caps.takes = trial->takes;
		ports[1].caps.frames_max = trial->frames_max;
		turn();
		for (unsigned i = 0; i < TURNS; i++)
			ns[i] = turn();
		for (unsigned r = 0; r < XB_DROP_COUNT; r++)
			if (xb_counted(&ports[0].queues[0].drops[r]) ||
			    xb_counted(&ports[1].queues[0].drops[r]))
				die("packets were dropped");
		qsort(ns, TURNS, sizeof(ns[0]), by_value);
		printf("%-30s %7.1f\n", trial->name, ns[TURNS / 2]);
	}
	return 0;
}
