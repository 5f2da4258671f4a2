/* SPDX-License-Identifier: BSD-2-Clause */
#include "bench_rules.h"

#include "steer/text.h"

#include <errno.h>
#include <linux/if_ether.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <string.h>

/* ---- sets ---- */

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

static struct rule_set *new_set(const char *name)
{
	struct rule_set *set = calloc(1, sizeof(*set));

	if (!set)
		die("no memory");
	snprintf(set->name, sizeof(set->name), "%s", name);
	return set;
}

struct rule_set *rules_from(const char *path)
{
	struct rule_set *set = new_set(strrchr(path, '/') ? strrchr(path, '/') + 1 : path);
	FILE *file = fopen(path, "re");
	char line[512];

	if (!file)
		die("open %s: %s", path, strerror(errno));
	while (fgets(line, sizeof(line), file)) {
		line[strcspn(line, "\n")] = '\0';
		add_rule(set, line);
	}
	fclose(file);
	return set;
}

void rules_write(const struct rule_set *set, const char *path)
{
	FILE *file = fopen(path, "we");

	if (!file)
		die("open %s: %s", path, strerror(errno));
	for (unsigned i = 0; i < set->n; i++) {
		struct xb_rule rule = set->rules[i];

		rule.id = 0;
		xb_rule_print(&rule, file);
		fputc('\n', file);
	}
	if (fclose(file) != 0)
		die("write %s: %s", path, strerror(errno));
}

/* ---- the worst kinds ----
 *
 * A walk asks each axis that the table uses and the frame can be asked about, and then, for each
 * word of 64 rules in which every axis has some rule left, reads that word of one set after the
 * other until no rule is left. So the worst tables use all axes, and in each word there is a rule
 * that matches on every axis but the last, and another that matches there. Then each axis can be
 * made dear to ask: by as many values as there is room for, and by sets that are kept in two parts
 * (image.h), as what the frame meets has no rule in common with its neighbours. */

#define LAST_AXIS (AXES - 1)
#define AXES      13u /* that one frame with ports can be asked about, and a rule at once */

struct words {
	char in[16], vlan[16], smac[32], dmac[32], ethertype[24], proto[16], src[64], dst[64],
		sport[32], dport[32], flags[32], dscp[16], frag[24];
};

/* What a frame of the family and all rules that matter have in common. */
static struct words matching(int family)
{
	struct words words = {
		.in = "in eth0",
		.vlan = "vlan 4000",
		.smac = "smac 02:00:00:00:00:09",
		.dmac = "dmac 02:00:00:00:00:01",
		.ethertype = "ethertype ipv4",
		.proto = "proto tcp",
		.src = "src 198.51.100.1",
		.dst = "dst 198.51.100.2",
		.sport = "sport 28670",
		.dport = "dport 28670",
		.flags = "tcp-flags syn/syn,ack",
		.dscp = "dscp 46",
		.frag = "frag no",
	};

	if (family == 6) {
		strcpy(words.ethertype, "ethertype ipv6");
		strcpy(words.src, "src 2001:db8::1");
		strcpy(words.dst, "dst 2001:db8::2");
	}
	return words;
}

/* Lets a rule miss its frame on one axis and on no other. */
static void miss(struct words *words, unsigned axis)
{
	switch (axis) {
	case 0:
		strcpy(words->in, "in tap0");
		break;
	case 1:
		strcpy(words->vlan, "vlan 4001");
		break;
	case 2:
		strcpy(words->smac, "smac 02:00:00:00:00:0a");
		break;
	case 3:
		strcpy(words->dmac, "dmac 02:00:00:00:00:02");
		break;
	case 4: /* addresses would have to be of that type's family */
		strcpy(words->ethertype, strcmp(words->ethertype, "ethertype ipv4")
						 ? "ethertype ipv4"
						 : "ethertype ipv6");
		words->src[0] = words->dst[0] = '\0';
		break;
	case 5: /* only TCP has flags */
		strcpy(words->proto, "proto udp");
		words->flags[0] = '\0';
		break;
	case 6:
		strcat(words->src, "1");
		break;
	case 7:
		strcat(words->dst, "1");
		break;
	case 8:
		strcpy(words->sport, "sport 28671");
		break;
	case 9:
		strcpy(words->dport, "dport 28671");
		break;
	case 10:
		strcpy(words->flags, "tcp-flags ack/syn,ack");
		break;
	case 11:
		strcpy(words->dscp, "dscp 45");
		break;
	case 12:
		strcpy(words->frag, "frag first");
	}
}

static void add_words(struct rule_set *set, const struct words *words)
{
	char text[512];

	snprintf(text, sizeof(text), "%s %s %s %s %s %s %s %s %s %s %s %s %s to drop", words->in,
		 words->vlan, words->smac, words->dmac, words->ethertype, words->proto, words->src,
		 words->dst, words->sport, words->dport, words->flags, words->dscp, words->frag);
	add_rule(set, text);
}

/* The last rule, which the frame matches. */
static void add_match(struct rule_set *set, int family)
{
	const struct words words = matching(family);

	add_words(set, &words);
}

/* Rules that make the table use the axes on which no rule of the others asks, and some so far off
 * that the others' values lie close together beside them: they must be searched. */
static void use_all_axes(struct rule_set *set)
{
	add_rule(set, "dmac own vlan 1 to drop");
	add_rule(set, "proto icmp icmp-type 8 to drop");
	add_rule(set, "smac fe:ff:ff:ff:ff:ff dmac fe:ff:ff:ff:ff:ff src 223.255.255.1 "
		      "dst 223.255.255.1 to drop");
	add_rule(set, "src fe80::1 dst fe80::1 to drop");
}

/* Each rule misses on one axis alone: no word is ever empty before its last set. */
static struct rule_set *each_misses_once(int family)
{
	struct rule_set *set = new_set("worst-1: each rule misses on one axis of 13");

	use_all_axes(set);
	while (set->n < XB_RULES_MAX - 1) {
		struct words words = matching(family);

		miss(&words, set->n % AXES);
		add_words(set, &words);
	}
	add_match(set, family);
	return set;
}

/* A rule of the many: a value of its own wherever it can have one, and ranges that hold the
 * frame's ports, as all ranges do. */
static struct words one_of_many(int family, unsigned j)
{
	struct words words = matching(family);

	snprintf(words.vlan, sizeof(words.vlan), "vlan %u", j % 4000);
	snprintf(words.smac, sizeof(words.smac), "smac 02:00:00:00:%02x:%02x", 1 + (j >> 8),
		 j & 255);
	snprintf(words.dmac, sizeof(words.dmac), "dmac 02:00:00:00:%02x:%02x", 1 + (j >> 8),
		 j & 255);
	snprintf(words.src, sizeof(words.src),
		 family == 6 ? "src 2001:db8::%x:%x" : "src 198.51.%u.%u", 112 + (j >> 8), j & 255);
	snprintf(words.dst, sizeof(words.dst),
		 family == 6 ? "dst 2001:db8::%x:%x" : "dst 198.51.%u.%u", 112 + (j >> 8), j & 255);
	snprintf(words.sport, sizeof(words.sport), "sport %u-%u", j * 7, 28673 + j * 9);
	snprintf(words.dport, sizeof(words.dport), "dport %u-%u", j * 5, 28673 + j * 8);
	return words;
}

/* The many match on the axis that is asked last; one rule of each word misses there alone. */
static struct rule_set *many_values(int family)
{
	struct rule_set *set = new_set(family == 6 ? "worst-3: 4000 values an axis, IPv6"
						   : "worst-2: 4000 values an axis");

	use_all_axes(set);
	while (set->n < XB_RULES_MAX - 1) {
		struct words words = matching(family);

		if (set->n % 64 == 63)
			miss(&words, LAST_AXIS);
		else /* neighbours on an axis are of different words */
			words = one_of_many(family, set->n % 64 * 64 + set->n / 64);
		add_words(set, &words);
	}
	add_match(set, family);
	return set;
}

/* Prefixes in one another, each with room of its own in front and behind; eleven a chain. */
static void nest(char *word, size_t room, const char *keyword, unsigned number)
{
	unsigned chain = number / 11, bits = 10 + 2 * (1 + number % 11);
	uint32_t addr = chain << 22;

	for (unsigned bit = 11; bit < bits; bit += 2)
		addr |= 0x80000000u >> bit;
	snprintf(word, room, "%s %u.%u.%u.%u/%u", keyword, addr >> 24, addr >> 16 & 255,
		 addr >> 8 & 255, addr & 255, bits);
}

/* Ranges in one another, all below the frame's port. */
static void inward(char *word, size_t room, const char *keyword, unsigned number)
{
	snprintf(word, room, "%s %u-%u", keyword, number, 28668 - number);
}

/* Another order of the many, so that no two axes have sets in common. */
static unsigned shuffled(unsigned j, unsigned odd)
{
	return j * odd % 4032;
}

/* The many use up what room there is for sets in one part, on the axes that are written first, by
 * values that 17 rules share, prefixes that four do and ports that two do; the frame is one of
 * IPv6. */
static struct rule_set *sets_in_two_parts(void)
{
	struct rule_set *set = new_set("worst-4: sets in two parts");

	use_all_axes(set);
	while (set->n < XB_RULES_MAX - 1) {
		unsigned j = set->n % 64 * 64 + set->n / 64;
		struct words words = matching(6);

		if (set->n % 64 >= 62) {
			miss(&words, set->n % 2 ? LAST_AXIS : 0);
		} else {
			words = one_of_many(4, j);
			snprintf(words.vlan, sizeof(words.vlan), "vlan %u", j / 17);
			snprintf(words.smac, sizeof(words.smac), "smac 02:01:00:00:00:%02x",
				 shuffled(j, 5) / 17);
			snprintf(words.dmac, sizeof(words.dmac), "dmac 02:01:00:00:00:%02x",
				 shuffled(j, 11) / 17);
			nest(words.src, sizeof(words.src), "src", j / 4);
			nest(words.dst, sizeof(words.dst), "dst", shuffled(j, 5) / 4);
			strcpy(words.flags, "tcp-flags ack/syn,ack");
			strcpy(words.dscp, "dscp 45");
			strcpy(words.frag, "frag first");
			inward(words.sport, sizeof(words.sport), "sport", j / 2);
			inward(words.dport, sizeof(words.dport), "dport", shuffled(j, 5) / 2);
		}
		add_words(set, &words);
	}
	add_match(set, 6);
	return set;
}

struct rule_set *rules_of_worst_kind(unsigned kind)
{
	switch (kind) {
	case 0:
		return each_misses_once(4);
	case 1:
		return many_values(4);
	case 2:
		return many_values(6);
	case 3:
		return sets_in_two_parts();
	default:
		return NULL;
	}
}

/* ---- frames ---- */

static uint8_t *put(uint8_t *at, unsigned value)
{
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
	return at + 2;
}

static uint8_t *put_ip(const struct xb_rule *rule, unsigned proto, uint8_t *at)
{
	static const uint8_t src[] = {198, 51, 100, 1}, dst[] = {198, 51, 100, 2};
	unsigned transport = proto == IPPROTO_TCP ? 20 : 30;

	if (rule->src.family == 6 || rule->dst.family == 6) {
		memset(at, 0, 40);
		put(at, 0x6000u | (unsigned)rule->dscp << 6);
		put(at + 4, transport);
		at[6] = (uint8_t)proto;
		at[7] = 64;
		memcpy(at + 8, rule->src.addr, 16);
		memcpy(at + 24, rule->dst.addr, 16);
		return at + 40;
	}
	memset(at, 0, 20);
	at[0] = 0x45;
	at[1] = (uint8_t)(rule->dscp << 2);
	put(at + 2, 20 + transport);
	at[8] = 64;
	at[9] = (uint8_t)proto;
	memcpy(at + 12, XB_RULE_TESTS(rule, XB_MATCH_SRC) ? rule->src.addr : src, 4);
	memcpy(at + 16, XB_RULE_TESTS(rule, XB_MATCH_DST) ? rule->dst.addr : dst, 4);
	return at + 20;
}

unsigned frame_for(const struct xb_rule *rule, uint8_t *frame)
{
	static const uint8_t dmac[] = {2, 0, 0, 0, 0, 1}, smac[] = {2, 0, 0, 0, 0, 9};
	bool v6 = rule->src.family == 6 || rule->dst.family == 6;
	unsigned proto = XB_RULE_TESTS(rule, XB_MATCH_PROTO) ? rule->proto : IPPROTO_TCP;
	uint8_t *at = frame + 12;

	memset(frame, 0, FRAME_BYTES);
	memcpy(frame, XB_RULE_TESTS(rule, XB_MATCH_DMAC) ? rule->dmac : dmac, ETH_ALEN);
	memcpy(frame + 6, XB_RULE_TESTS(rule, XB_MATCH_SMAC) ? rule->smac : smac, ETH_ALEN);
	if (XB_RULE_TESTS(rule, XB_MATCH_VLAN))
		at = put(put(at, ETH_P_8021Q), rule->vlan);
	at = put_ip(rule, proto, put(at, v6 ? ETH_P_IPV6 : ETH_P_IP));
	put(at, XB_RULE_TESTS(rule, XB_MATCH_SPORT) ? rule->sport.first : 4000u);
	put(at + 2, XB_RULE_TESTS(rule, XB_MATCH_DPORT) ? rule->dport.first : 80u);
	if (proto == IPPROTO_TCP) {
		at[12] = 5 << 4; /* the header's length, in words of 32 bits */
		at[13] = rule->tcp_flags.set;
		at += 20;
	} else {
		put(at + 4, 30);
		at += 30;
	}
	return at - frame < 64 ? 64 : (unsigned)(at - frame);
}
