/* SPDX-License-Identifier: BSD-2-Clause */
#include "support/steering.h"

#include <stdbool.h>
#include <string.h>

#define PORTS 4u /* ports that frames come from */

struct xb_rule steering_rules[XB_RULES_MAX];
struct xb_ranked_rule steering_ranked[XB_RULES_MAX];

/* xorshift64*: the same tables each time, everywhere */
static uint64_t draw(void)
{
	static uint64_t seed = 1;

	seed ^= seed >> 12;
	seed ^= seed << 25;
	seed ^= seed >> 27;
	return seed * 2685821657736338717ull;
}

uint32_t steering_below(uint32_t n)
{
	return (uint32_t)(draw() >> 33) % n;
}

#define below steering_below

/* ---- the reference ---- */

static bool in_prefix(const struct xb_prefix *prefix, uint8_t family, const uint8_t *addr)
{
	if (family != prefix->family)
		return false;
	for (unsigned bit = 0; bit < prefix->bits; bit++)
		if ((addr[bit / 8] ^ prefix->addr[bit / 8]) & 0x80 >> bit % 8)
			return false;
	return true;
}

static bool in_range(const struct xb_range *range, uint16_t n)
{
	return range->first <= n && n <= range->last;
}

static bool satisfies(const struct xb_ranked_rule *wanted, enum xb_match what,
		      const struct xb_key *key)
{
	const struct xb_rule *rule = wanted->rule;
	bool known = key->has >> what & 1;

	switch (what) {
	case XB_MATCH_IN:
		return wanted->in >> key->in & 1;
	case XB_MATCH_VLAN:
		return known && key->vlan == rule->vlan;
	case XB_MATCH_SMAC:
		return !memcmp(key->smac, rule->smac, 6);
	case XB_MATCH_DMAC:
		return !memcmp(key->dmac, wanted->dmac, 6);
	case XB_MATCH_DMAC_OWN:
		return key->own != XB_OWN_NO;
	case XB_MATCH_ETHERTYPE:
		return key->ethertype == rule->ethertype;
	case XB_MATCH_PROTO:
		return known && key->proto == rule->proto;
	case XB_MATCH_SRC:
		return in_prefix(&rule->src, key->family, key->src);
	case XB_MATCH_DST:
		return in_prefix(&rule->dst, key->family, key->dst);
	case XB_MATCH_SPORT:
		return known && in_range(&rule->sport, key->sport);
	case XB_MATCH_DPORT:
		return known && in_range(&rule->dport, key->dport);
	case XB_MATCH_TCP_FLAGS:
		return known && (key->tcp_flags & rule->tcp_flags.mask) == rule->tcp_flags.set;
	case XB_MATCH_ICMP_TYPE:
		return known && in_range(&rule->icmp_type, key->icmp_type);
	case XB_MATCH_DSCP:
		return known && key->dscp == rule->dscp;
	case XB_MATCH_FRAG:
		return known && key->frag == rule->frag;
	default:
		return false;
	}
}

uint32_t steering_reference(unsigned n, const struct xb_key *key)
{
	for (uint32_t rank = 0; rank < n; rank++) {
		bool all = steering_ranked[rank].verdict != XB_VERDICT_PORT(key->in) &&
			   (key->own != XB_OWN_KEPT ||
			    XB_RULE_TESTS(&steering_rules[rank], XB_MATCH_DMAC_OWN));

		for (unsigned what = 0; all && what < XB_MATCH_COUNT; what++)
			all = !XB_RULE_TESTS(&steering_rules[rank], what) ||
			      satisfies(&steering_ranked[rank], what, key);
		if (all)
			return rank;
	}
	return XB_RANK_NONE;
}

/* ---- random rules ---- */

static struct xb_prefix some_prefix(const struct steering_style *style)
{
	struct xb_prefix prefix = {.family = below(2) ? 4 : 6};
	unsigned max = prefix.family == 4 ? 32 : 128;
	uint64_t upper = below(style->values) * 0x9e3779b97f4a7c15ull;
	uint64_t lower = below(4) ? 0 : draw();

	for (unsigned i = 0; i < 8; i++) {
		prefix.addr[i] = (uint8_t)(upper >> (56 - 8 * i));
		prefix.addr[8 + i] = (uint8_t)(lower >> (56 - 8 * i));
	}
	prefix.bits = (uint8_t)(below(3) ? max - below(below(2) ? max : 4) : below(max + 1));
	for (unsigned bit = prefix.bits; bit < 128; bit++)
		prefix.addr[bit / 8] &= (uint8_t) ~(0x80 >> bit % 8);
	return prefix;
}

static struct xb_range some_range(const struct steering_style *style, uint32_t max)
{
	uint32_t first = below(4) ? below(style->values) * 7919u % (max + 1) : below(2) * max;
	uint32_t width = below(3) ? below(2) * below(8) : below(max + 1);

	return (struct xb_range){(uint16_t)first,
				 (uint16_t)(first + width < max ? first + width : max)};
}

static void some_mac(const struct steering_style *style, uint8_t mac[6])
{
	uint32_t n = below(style->values) * 2654435761u;

	mac[0] = below(8) ? 2 : 0xff;
	memcpy(mac + 1, &n, sizeof(n));
	mac[5] = below(8) ? 0 : 0xff;
}

struct xb_ranked_rule steering_rank(const struct xb_rule *rule, uint32_t slot, uint32_t verdict)
{
	struct xb_ranked_rule ranked = {
		.rule = rule, .slot = slot, .verdict = verdict, .in = XB_IN_ANY};

	memcpy(ranked.dmac, rule->dmac, sizeof(ranked.dmac));
	return ranked;
}

/* A port in three of four, so that many rules would send frames back. */
static uint32_t some_verdict(void)
{
	return below(4) ? XB_VERDICT_PORT(below(PORTS)) : XB_VERDICT_PASS + below(3);
}

static void make_rule(const struct steering_style *style, struct xb_ranked_rule *out,
		      struct xb_rule *rule)
{
	*rule = (struct xb_rule){.prio = XB_RULE_PRIO_DEFAULT};
	for (unsigned what = 0; what < XB_MATCH_COUNT; what++)
		if (style->fields >> what & 1 && !below(style->odds))
			rule->match |= 1u << what;
	/* a rule asks for one destination only; addresses are of one family */
	if (XB_RULE_TESTS(rule, XB_MATCH_DMAC))
		rule->match &= ~(1u << XB_MATCH_DMAC_OWN);
	rule->vlan = (uint16_t)(below(8) ? below(below(2) ? 4 : 4095) : XB_VLAN_NONE);
	some_mac(style, rule->smac);
	some_mac(style, rule->dmac);
	rule->ethertype = (uint16_t)(below(2) ? 0x0800 : 0x0600 + below(style->values));
	rule->proto = (uint16_t)(below(2) ? 6 : below(256));
	rule->src = some_prefix(style);
	do
		rule->dst = some_prefix(style);
	while (rule->dst.family != rule->src.family);
	rule->sport = some_range(style, UINT16_MAX);
	rule->dport = some_range(style, UINT16_MAX);
	rule->icmp_type = some_range(style, UINT8_MAX);
	rule->tcp_flags.mask = (uint8_t)below(256);
	rule->tcp_flags.set = rule->tcp_flags.mask & (uint8_t)below(256);
	rule->dscp = (uint16_t)below(64);
	rule->frag = (uint16_t)below(3);
	*out = steering_rank(rule, 0, some_verdict());
	if (XB_RULE_TESTS(rule, XB_MATCH_IN))
		out->in = below(2) ? 1ull << below(PORTS) : draw();
}

void steering_make_rule(unsigned rank, const struct steering_style *style)
{
	make_rule(style, &steering_ranked[rank], &steering_rules[rank]);
	steering_rules[rank].id = rank + 1;
	steering_ranked[rank].slot = rank;
}

struct steering_style steering_some_style(void)
{
	return (struct steering_style){
		.fields = below(4) ? (uint32_t)draw() : ~0u,
		.odds = 1 + below(8),
		.values = 1 + below(below(2) ? 8 : 5000),
	};
}

unsigned steering_some_size(unsigned table)
{
	if (table < 8)
		return table < 4 ? 1 + table : XB_RULES_MAX;
	return below(3) ? 1 + below(200) : 1 + below(XB_RULES_MAX);
}

/* ---- frames around a rule ---- */

/* An address in the prefix, at one of its ends, or just beyond. */
static void near_prefix(const struct xb_prefix *prefix, uint8_t addr[16])
{
	unsigned bytes = prefix->family == 4 ? 4 : 16;
	uint8_t fill = (uint8_t)(below(2) ? 0 : 0xff);
	int carry = (int)below(3) - 1;

	memset(addr, 0, 16);
	memcpy(addr, prefix->addr, bytes);
	for (unsigned bit = prefix->bits; bit < bytes * 8; bit++)
		addr[bit / 8] |= (uint8_t)(fill & 0x80 >> bit % 8);
	for (unsigned i = bytes; carry && i--;) {
		int sum = addr[i] + carry;

		addr[i] = (uint8_t)sum;
		carry = sum < 0 ? -1 : sum > 255;
	}
}

static uint16_t near_range(const struct xb_range *range)
{
	return (uint16_t)((below(2) ? range->first : range->last) + below(3) - 1);
}

static void near_rule_in_l2(const struct xb_ranked_rule *near, struct xb_key *key)
{
	const struct xb_rule *rule = near->rule;

	key->has = 1u << XB_MATCH_IN | 1u << XB_MATCH_VLAN | 1u << XB_MATCH_SMAC |
		   1u << XB_MATCH_DMAC | 1u << XB_MATCH_ETHERTYPE;
	key->own = (uint8_t)below(3);
	if (key->own)
		key->has |= 1u << XB_MATCH_DMAC_OWN;
	key->in = (uint8_t)below(PORTS);
	key->vlan = below(4) ? (uint16_t)(rule->vlan + below(2)) : XB_VLAN_NONE;
	memcpy(key->smac, rule->smac, 6);
	memcpy(key->dmac, rule->dmac, 6);
	key->smac[5] = (uint8_t)(key->smac[5] + (below(4) ? 0 : below(3) - 1));
	key->dmac[5] = (uint8_t)(key->dmac[5] + (below(4) ? 0 : below(3) - 1));
	key->ethertype = (uint16_t)(rule->ethertype + (below(4) ? 0 : below(3) - 1));
}

void steering_key_near(unsigned rank, struct xb_key *key)
{
	const struct xb_ranked_rule *near = &steering_ranked[rank];
	const struct xb_rule *rule = near->rule;

	memset(key, 0, sizeof(*key));
	near_rule_in_l2(near, key);
	if (below(16) == 0)
		return;
	key->family = rule->src.family;
	near_prefix(&rule->src, key->src);
	near_prefix(&rule->dst, key->dst);
	key->proto = (uint8_t)(rule->proto + (below(8) ? 0 : 1));
	key->sport = near_range(&rule->sport);
	key->dport = near_range(&rule->dport);
	key->icmp_type = (uint8_t)near_range(&rule->icmp_type);
	key->tcp_flags = (uint8_t)(rule->tcp_flags.set | (below(256) & ~rule->tcp_flags.mask));
	if (below(8) == 0)
		key->tcp_flags ^= (uint8_t)(1u << below(8));
	key->dscp = (uint8_t)((rule->dscp + !below(8)) & 63);
	key->frag = (uint8_t)(below(8) ? rule->frag : below(3));
	key->has |= (below(4) ? ~0u : (uint32_t)draw()) & (~0u << XB_MATCH_PROTO);
}

/* ---- frames ---- */

static uint8_t *put(uint8_t *at, uint32_t value)
{
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
	return at + 2;
}

static unsigned add_transport(const struct xb_key *key, uint8_t proto, uint8_t *at)
{
	memset(at, 0, 20);
	if (proto == XB_PROTO_ICMP || proto == XB_PROTO_ICMPV6) {
		at[0] = key->icmp_type;
		return 8;
	}
	put(put(at, key->sport), key->dport);
	at[13] = key->tcp_flags;
	return 20;
}

static unsigned add_ipv4(const struct xb_key *key, uint8_t *ip)
{
	unsigned bytes = 20 + add_transport(key, key->proto, ip + 20);

	memset(ip, 0, 20);
	ip[0] = 0x45;
	ip[1] = (uint8_t)(key->dscp << 2 | below(4));
	put(ip + 2, bytes);
	put(ip + 6, key->frag == XB_FRAG_LATER   ? 1 + below(8191)
		    : key->frag == XB_FRAG_FIRST ? 0x2000
						 : 0);
	ip[9] = key->proto;
	memcpy(ip + 12, key->src, 4);
	memcpy(ip + 16, key->dst, 4);
	return bytes;
}

static unsigned add_ipv6(const struct xb_key *key, uint8_t *ip)
{
	unsigned fragment = key->frag == XB_FRAG_NO ? 0 : 8;
	unsigned bytes = fragment + add_transport(key, key->proto, ip + 40 + fragment);

	memset(ip, 0, 40 + fragment);
	ip[0] = (uint8_t)(0x60 | key->dscp >> 2);
	ip[1] = (uint8_t)(key->dscp << 6);
	put(ip + 4, bytes);
	ip[6] = fragment ? XB_PROTO_FRAG : key->proto;
	memcpy(ip + 8, key->src, 16);
	memcpy(ip + 24, key->dst, 16);
	if (fragment) {
		ip[40] = key->proto;
		put(ip + 42, key->frag == XB_FRAG_LATER ? 8 * (1 + below(8191)) : 1);
	}
	return 40 + bytes;
}

unsigned steering_make_frame(const struct xb_key *key, uint8_t *frame)
{
	uint8_t *at = frame + 12;

	memcpy(frame, key->dmac, 6);
	memcpy(frame + 6, key->smac, 6);
	if (key->vlan < XB_VLAN_NONE)
		at = put(put(at, 0x8100), key->vlan);
	if (key->family == 4)
		at = put(at, 0x0800) + add_ipv4(key, at + 2);
	else if (key->family == 6)
		at = put(at, 0x86dd) + add_ipv6(key, at + 2);
	else
		at = put(at, key->ethertype);
	if (at - frame < 60) {
		memset(at, 0, 60 - (size_t)(at - frame));
		return 60;
	}
	return (unsigned)(at - frame);
}
