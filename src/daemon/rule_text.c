/* SPDX-License-Identifier: BSD-2-Clause */
#include "daemon/rule_text.h"

#include "daemon/rule_words.h"

#include <errno.h>
#include <linux/if_ether.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define WORD_BYTES     64u /* an IPv6 prefix in its longest form fits */
#define ETHERTYPE_MIN  0x600u
#define BURST_FRACTION 10u /* of a second's worth: the default burst */

/* The rule as it is read: where we are, and where the word that is being read began. */
struct reader {
	const char *text;
	const char *at;
	const char *word_at;
	char word[WORD_BYTES]; /* "" at the end of the text */
	const char *value_at[XB_MATCH_COUNT];
	const char *verdict_at;
	struct xb_rule rule;
	bool prio_given;
	bool match_only; /* no rule, but what stands before `to` in one */
	struct xb_error *err;
};

/* ---- words ---- */

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

static void read_word(struct reader *in)
{
	size_t len = 0;

	while (is_blank(*in->at))
		in->at++;
	in->word_at = in->at;
	while (in->at[len] && !is_blank(in->at[len]))
		len++;
	in->at += len;
	/* a word that is too long is none that we know; its start is enough to name it */
	if (len >= WORD_BYTES)
		len = WORD_BYTES - 1;
	memcpy(in->word, in->word_at, len);
	in->word[len] = '\0';
}

#define NAMED_MAX 24 /* characters of a word that is wrong */

/* Says what is the matter with the word at `at`. */
static int wrong(const struct reader *in, const char *at, const char *first, const char *then)
{
	size_t len = strcspn(at, " \t");

	return xb_fail(in->err, -EINVAL, "rule, character %d, '%.*s': %s%s",
		       (int)(at - in->text) + 1, (int)(len < NAMED_MAX ? len : NAMED_MAX), at,
		       first, then);
}

static int unexpected(const struct reader *in, const char *expected)
{
	if (!*in->word)
		return xb_fail(in->err, -EINVAL, "rule, at its end: %s is expected", expected);
	return wrong(in, in->word_at, expected, " is expected");
}

/* The match `what` can't be true beside others. */
static int never(const struct reader *in, enum xb_match what, const char *why)
{
	return wrong(in, in->value_at[what], "no frame could match: ", why);
}

/* ---- matches ---- */

enum kind {
	OWN, /* the word `own`, and nothing to keep */
	NAME,
	NUMBER, /* __u16 */
	MAC,
	PREFIX,
	RANGE,
	FLAGS, /* two __u8: SET/MASK */
};

#define FIELD(name) offsetof(struct xb_rule, name)

static const char prefix_expected[] = "an address or a prefix like 10.0.0.0/8 or 2001:db8::/32";
static const char range_expected[] = "a port or a range like 1024-65535";

/* The grammar of matches, in the order of enum xb_match. */
static const struct match {
	const char *keyword;
	enum kind kind;
	size_t at; /* in struct xb_rule */
	uint16_t min, max;
	const struct xb_word *names; /* of numbers */
	const char *expected;
} matches[XB_MATCH_COUNT] = {
	[XB_MATCH_IN] = {"in", NAME, FIELD(in), .expected = "the name of a port"},
	[XB_MATCH_VLAN] = {"vlan", NUMBER, FIELD(vlan), 0, 4094,
			   .expected = "a VLAN's number from 0 to 4094"},
	[XB_MATCH_SMAC] = {"smac", MAC, FIELD(smac),
			   .expected = "a MAC address like 02:00:00:00:00:01"},
	[XB_MATCH_DMAC] = {"dmac", MAC, FIELD(dmac),
			   .expected = "'own' or a MAC address like 02:00:00:00:00:01"},
	[XB_MATCH_DMAC_OWN] = {.keyword = "dmac", .kind = OWN},
	[XB_MATCH_ETHERTYPE] = {"ethertype", NUMBER, FIELD(ethertype), ETHERTYPE_MIN, UINT16_MAX,
				xb_ethertype_words,
				"ipv4, ipv6, arp or a number from 0x0600 to 0xffff"},
	[XB_MATCH_PROTO] = {"proto", NUMBER, FIELD(proto), 0, UINT8_MAX, xb_proto_words,
			    "tcp, udp, icmp, icmpv6, sctp or a number from 0 to 255"},
	[XB_MATCH_SRC] = {"src", PREFIX, FIELD(src), .expected = prefix_expected},
	[XB_MATCH_DST] = {"dst", PREFIX, FIELD(dst), .expected = prefix_expected},
	[XB_MATCH_SPORT] = {"sport", RANGE, FIELD(sport), 0, UINT16_MAX,
			    .expected = range_expected},
	[XB_MATCH_DPORT] = {"dport", RANGE, FIELD(dport), 0, UINT16_MAX,
			    .expected = range_expected},
	[XB_MATCH_TCP_FLAGS] = {"tcp-flags", FLAGS, FIELD(tcp_flags),
				.expected = "SET/MASK, each a number or of "
					    "fin,syn,rst,psh,ack,urg,ece,cwr"},
	[XB_MATCH_ICMP_TYPE] = {"icmp-type", RANGE, FIELD(icmp_type), 0, UINT8_MAX,
				.expected = "a type or a range from 0 to 255"},
	[XB_MATCH_DSCP] = {"dscp", NUMBER, FIELD(dscp), 0, 63, .expected = "a number from 0 to 63"},
	[XB_MATCH_FRAG] = {"frag", NUMBER, FIELD(frag), 1, 0, xb_frag_words, "no, first or later"},
};

static bool read_number(const struct match *match, const char *word, void *field)
{
	uint64_t number;
	uint16_t value;

	if (!(match->names && xb_word_named(match->names, word, &number)) &&
	    !xb_word_number(word, match->min, match->max, &number))
		return false;
	value = (uint16_t)number;
	memcpy(field, &value, sizeof(value));
	return true;
}

static bool read_flags(char *word, uint8_t ret_flags[2])
{
	char *slash = strchr(word, '/');

	if (!slash)
		return false;
	*slash = '\0';
	return xb_word_flags(word, &ret_flags[0]) && xb_word_flags(slash + 1, &ret_flags[1]);
}

/* May change the word. */
static bool read_value(const struct match *match, char *word, struct xb_rule *rule)
{
	void *field = (char *)rule + match->at;

	switch (match->kind) {
	case OWN:
		return !strcmp(word, "own");
	case NAME:
		return xb_word_port(word, field);
	case NUMBER:
		return read_number(match, word, field);
	case MAC:
		return xb_word_mac(word, field);
	case PREFIX:
		return xb_word_prefix(word, field);
	case RANGE:
		return xb_word_range(word, match->max, field);
	case FLAGS:
		return read_flags(word, field);
	}
	return false;
}

static void print_number(const struct match *match, uint16_t number, FILE *out)
{
	const char *name = match->names ? xb_word_name(match->names, number) : NULL;

	if (name)
		fputs(name, out);
	else
		fprintf(out, match->min == ETHERTYPE_MIN ? "0x%04x" : "%u", number);
}

static void print_value(const struct match *match, const struct xb_rule *rule, FILE *out)
{
	const void *field = (const char *)rule + match->at;
	const uint8_t *flags = field;

	switch (match->kind) {
	case OWN:
		fputs("own", out);
		break;
	case NAME:
		fputs(field, out);
		break;
	case NUMBER:
		print_number(match, *(const uint16_t *)field, out);
		break;
	case MAC:
		xb_mac_print(field, out);
		break;
	case PREFIX:
		xb_prefix_print(field, out);
		break;
	case RANGE:
		xb_range_print(field, out);
		break;
	case FLAGS:
		xb_flags_print(flags[0], out);
		fputc('/', out);
		xb_flags_print(flags[1], out);
	}
}

/* ---- sentences ---- */

static int read_count(struct reader *in, uint32_t min, uint32_t *ret_number, const char *expected)
{
	uint64_t number;

	read_word(in);
	if (!xb_word_number(in->word, min, UINT32_MAX, &number))
		return unexpected(in, expected);
	*ret_number = (uint32_t)number;
	return 0;
}

static int read_match(struct reader *in, const struct match *match)
{
	char word[WORD_BYTES];

	read_word(in);
	memcpy(word, in->word, sizeof(word));
	if (match->at == FIELD(dmac) && !strcmp(word, "own"))
		match = &matches[XB_MATCH_DMAC_OWN];
	in->rule.match |= 1u << (match - matches);
	in->value_at[match - matches] = in->word_at;
	return read_value(match, word, &in->rule) ? 0 : unexpected(in, match->expected);
}

/* The match with that keyword, or NULL. */
static const struct match *find_match(const struct reader *in)
{
	for (const struct match *match = matches; match < matches + XB_MATCH_COUNT; match++)
		if (!strcmp(match->keyword, in->word))
			return match;
	return NULL;
}

static bool was_read(const struct reader *in, const struct match *match)
{
	for (unsigned what = 0; what < XB_MATCH_COUNT; what++)
		if (XB_RULE_TESTS(&in->rule, what) &&
		    !strcmp(matches[what].keyword, match->keyword))
			return true;
	return false;
}

static int read_prio(struct reader *in)
{
	in->prio_given = true;
	return read_count(in, 0, &in->rule.prio, "a number from 0 to 4294967295");
}

#define MATCH_WORDS                                                                              \
	"in, vlan, smac, dmac, ethertype, proto, src, dst, sport, dport, tcp-flags, icmp-type, " \
	"dscp, frag, each once,"

/* Up to `to`, or, of a match alone, to the end. */
static int read_matches(struct reader *in)
{
	const char *end = in->match_only ? "" : "to";

	for (read_word(in); strcmp(in->word, end) != 0; read_word(in)) {
		const struct match *match = find_match(in);
		int ret;

		if (match && !was_read(in, match))
			ret = read_match(in, match);
		else if (in->match_only)
			return unexpected(in, "one of " MATCH_WORDS " or the end");
		else if (!strcmp(in->word, "id") && !in->rule.id)
			ret = read_count(in, 1, &in->rule.id, "a rule's number, from 1 on,");
		else if (!strcmp(in->word, "prio") && !in->prio_given)
			ret = read_prio(in);
		else
			return unexpected(in, "one of prio, " MATCH_WORDS " or to");
		if (ret < 0)
			return ret;
	}
	return 0;
}

static int read_limit(struct reader *in)
{
	static const char expected[] = "PPS or PPS:BURST, from 1 on, PPS up to 100000000,";
	char word[WORD_BYTES];
	char *colon;
	uint64_t pps, burst;

	read_word(in);
	memcpy(word, in->word, sizeof(word));
	colon = strchr(word, ':');
	if (colon)
		*colon = '\0';
	if (!xb_word_number(word, 1, XB_RULE_PPS_MAX, &pps))
		return unexpected(in, expected);
	burst = pps / BURST_FRACTION ? pps / BURST_FRACTION : 1;
	if (colon && !xb_word_number(colon + 1, 1, UINT32_MAX, &burst))
		return unexpected(in, expected);
	in->rule.limit_pps = (uint32_t)pps;
	in->rule.limit_burst = (uint32_t)burst;
	return 0;
}

/* From behind `to`. */
static int read_action(struct reader *in)
{
	int ret;

	read_word(in);
	in->verdict_at = in->word_at;
	if (!xb_word_port(in->word, in->rule.verdict))
		return unexpected(in, "pass, bridge, drop or the name of a port");
	read_word(in);
	if (!strcmp(in->word, "limit")) {
		ret = read_limit(in);
		if (ret < 0)
			return ret;
		read_word(in);
	}
	return *in->word ? unexpected(in, in->rule.limit_pps ? "the end" : "limit or the end") : 0;
}

/* ---- sense ---- */

static bool has_ports(unsigned proto)
{
	return proto == IPPROTO_TCP || proto == IPPROTO_UDP || proto == IPPROTO_SCTP;
}

static bool tests_any(const struct xb_rule *rule, uint32_t bits)
{
	return rule->match & bits;
}

#define PORTS (1u << XB_MATCH_SPORT | 1u << XB_MATCH_DPORT)
#define L4    (PORTS | 1u << XB_MATCH_TCP_FLAGS | 1u << XB_MATCH_ICMP_TYPE)
#define ADDRS (1u << XB_MATCH_SRC | 1u << XB_MATCH_DST)
#define L3    (L4 | ADDRS | 1u << XB_MATCH_PROTO | 1u << XB_MATCH_DSCP | 1u << XB_MATCH_FRAG)

static int check_ip(const struct reader *in)
{
	const struct xb_rule *rule = &in->rule;
	uint8_t family = rule->src.family ? rule->src.family : rule->dst.family;
	bool v4 = rule->ethertype == ETH_P_IP, v6 = rule->ethertype == ETH_P_IPV6;

	if (rule->src.family && rule->dst.family && rule->src.family != rule->dst.family)
		return never(in, XB_MATCH_DST, "src and dst are of different families");
	if (!XB_RULE_TESTS(rule, XB_MATCH_ETHERTYPE) || !tests_any(rule, L3))
		return 0;
	if (!v4 && !v6)
		return never(in, XB_MATCH_ETHERTYPE,
			     "what is asked for is found in IPv4 and IPv6 only, its ethertype "
			     "is another");
	if (family && (family == 4) != v4)
		return never(in, XB_MATCH_ETHERTYPE,
			     "the addresses are not of the ethertype's family");
	return 0;
}

static int check_transport(const struct reader *in)
{
	const struct xb_rule *rule = &in->rule;
	bool any = !XB_RULE_TESTS(rule, XB_MATCH_PROTO);
	enum xb_match port = XB_RULE_TESTS(rule, XB_MATCH_SPORT) ? XB_MATCH_SPORT : XB_MATCH_DPORT;

	if (tests_any(rule, PORTS) && !any && !has_ports(rule->proto))
		return never(in, port, "only tcp, udp and sctp have ports");
	if (XB_RULE_TESTS(rule, XB_MATCH_TCP_FLAGS)) {
		if (!any && rule->proto != IPPROTO_TCP)
			return never(in, XB_MATCH_TCP_FLAGS, "only tcp has tcp-flags");
		if (rule->tcp_flags & ~rule->tcp_mask)
			return never(in, XB_MATCH_TCP_FLAGS,
				     "tcp-flags: SET names flags that MASK leaves out");
	}
	if (XB_RULE_TESTS(rule, XB_MATCH_ICMP_TYPE) &&
	    (any || (rule->proto != IPPROTO_ICMP && rule->proto != IPPROTO_ICMPV6)))
		return wrong(in, in->value_at[XB_MATCH_ICMP_TYPE],
			     "'proto icmp' or 'proto icmpv6' is expected beside icmp-type: ",
			     "their numbers differ");
	if (tests_any(rule, L4) && XB_RULE_TESTS(rule, XB_MATCH_FRAG) &&
	    rule->frag == XB_FRAG_LATER)
		return never(in, XB_MATCH_FRAG, "a later fragment has no ports, flags or types");
	return 0;
}

/* Reads a rule, or a match alone. */
static int parse(struct reader *in, struct xb_rule *ret_rule)
{
	int ret = read_matches(in);

	if (!ret && !in->match_only)
		ret = read_action(in);
	if (!ret)
		ret = check_ip(in);
	if (!ret)
		ret = check_transport(in);
	if (!ret)
		*ret_rule = in->rule;
	return ret;
}

static uint16_t place_of(const struct reader *in, const char *at)
{
	ptrdiff_t place = at ? at - in->text + 1 : 0;

	return place <= UINT16_MAX ? (uint16_t)place : 0;
}

int xb_rule_parse_places(const char *text, struct xb_rule *ret_rule,
			 struct xb_rule_places *ret_places, struct xb_error *err)
{
	struct reader in = {.text = text, .at = text, .err = err};
	int ret;

	in.rule.prio = XB_RULE_PRIO_DEFAULT;
	ret = parse(&in, ret_rule);
	if (!ret)
		*ret_places = (struct xb_rule_places){
			.in = place_of(&in, in.value_at[XB_MATCH_IN]),
			.verdict = place_of(&in, in.verdict_at),
		};
	return ret;
}

int xb_rule_parse(const char *text, struct xb_rule *ret_rule, struct xb_error *err)
{
	struct xb_rule_places places;

	return xb_rule_parse_places(text, ret_rule, &places, err);
}

int xb_match_parse(const char *text, struct xb_rule *ret_match, struct xb_error *err)
{
	struct reader in = {.text = text, .at = text, .err = err, .match_only = true};

	return parse(&in, ret_match);
}

int xb_rule_each_match(const struct xb_rule *rule,
		       void (*say)(void *arg, const char *keyword, const char *value), void *arg)
{
	for (unsigned what = 0; what < XB_MATCH_COUNT; what++) {
		char *value = NULL;
		size_t bytes;
		FILE *out;

		if (!XB_RULE_TESTS(rule, what))
			continue;
		out = open_memstream(&value, &bytes);
		if (!out)
			return -ENOMEM;
		print_value(&matches[what], rule, out);
		if (!fclose(out))
			say(arg, matches[what].keyword, value);
		free(value);
	}
	return 0;
}

void xb_rule_print(const struct xb_rule *rule, FILE *out)
{
	if (rule->id)
		fprintf(out, "id %u ", rule->id);
	if (rule->prio != XB_RULE_PRIO_DEFAULT)
		fprintf(out, "prio %u ", rule->prio);
	for (unsigned what = 0; what < XB_MATCH_COUNT; what++) {
		if (!XB_RULE_TESTS(rule, what))
			continue;
		fprintf(out, "%s ", matches[what].keyword);
		print_value(&matches[what], rule, out);
		fputc(' ', out);
	}
	fprintf(out, "to %s", rule->verdict);
	if (rule->limit_pps)
		fprintf(out, " limit %u:%u", rule->limit_pps, rule->limit_burst);
}
