/* SPDX-License-Identifier: BSD-2-Clause */
#include "steer/text.h"

#include "steer/contradiction.h"
#include "steer/net_names.h"
#include "steer/words.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define WORD_BYTES     128u /* a list of ports, and an IPv6 prefix in its longest form */
#define ETHERTYPE_MIN  0x600u
#define BURST_FRACTION 10u /* of a second's worth: the default burst */
#define BURST_MIN      8u  /* of it: as many as an exchange of ARP or the like takes at once */

static_assert(WORD_BYTES >= XB_RULE_IN_BYTES, "a word holds the longest list of ports");

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

	return xb_refuse(in->err, -EINVAL, "rule, character %d, '%.*s': %s%s",
			 (int)(at - in->text) + 1, (int)(len < NAMED_MAX ? len : NAMED_MAX), at,
			 first, then);
}

static int unexpected(const struct reader *in, const char *expected)
{
	if (!*in->word)
		return xb_refuse(in->err, -EINVAL, "rule, at its end: %s is expected", expected);
	return wrong(in, in->word_at, expected, " is expected");
}

/* ---- matches ---- */

enum kind {
	OWN, /* the word `own`, and nothing to keep */
	PORTS,
	NUMBER, /* __u16 */
	MAC,
	PREFIX,
	RANGE,
	SERVICE, /* a range, or a name in the system's list */
	FLAGS,   /* two __u8: SET/MASK */
};

#define FIELD(name) offsetof(struct xb_rule, name)

static const char prefix_expected[] = "an address or a prefix like 10.0.0.0/8 or 2001:db8::/32";
static const char range_expected[] = "a port, a range like 1024-65535 or the name of a service";

/* The grammar of matches, in the order of enum xb_match. */
static const struct match {
	const char *keyword;
	enum kind kind;
	size_t at; /* in struct xb_rule */
	uint16_t min, max;
	const struct xb_word *names; /* of numbers */
	const char *expected;
} matches[XB_MATCH_COUNT] = {
	[XB_MATCH_IN] = {"in", PORTS, FIELD(in),
			 .expected = "the name of a port, names joined by commas, or 'uplink'"},
	[XB_MATCH_VLAN] = {"vlan", NUMBER, FIELD(vlan), 0, 4094, xb_vlan_words,
			   "'none' or a VLAN's number from 0 to 4094"},
	[XB_MATCH_SMAC] = {"smac", MAC, FIELD(smac),
			   .expected = "a MAC address like 02:00:00:00:00:01"},
	[XB_MATCH_DMAC] = {"dmac", MAC, FIELD(dmac),
			   .expected = "'own', 'kernel' or a MAC address like 02:00:00:00:00:01"},
	[XB_MATCH_DMAC_OWN] = {.keyword = "dmac", .kind = OWN},
	[XB_MATCH_ETHERTYPE] = {"ethertype", NUMBER, FIELD(ethertype), ETHERTYPE_MIN, UINT16_MAX,
				xb_ethertype_words,
				"ipv4, ipv6, arp or a number from 0x0600 to 0xffff"},
	[XB_MATCH_PROTO] = {"proto", NUMBER, FIELD(proto), 0, UINT8_MAX, xb_proto_words,
			    "the name of a protocol or a number from 0 to 255"},
	[XB_MATCH_SRC] = {"src", PREFIX, FIELD(src), .expected = prefix_expected},
	[XB_MATCH_DST] = {"dst", PREFIX, FIELD(dst), .expected = prefix_expected},
	[XB_MATCH_SPORT] = {"sport", SERVICE, FIELD(sport), 0, UINT16_MAX,
			    .expected = range_expected},
	[XB_MATCH_DPORT] = {"dport", SERVICE, FIELD(dport), 0, UINT16_MAX,
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
	    !(match->at == FIELD(proto) && xb_net_protocol(word, &number)) &&
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
	case PORTS:
		return xb_word_ports(word, field);
	case NUMBER:
		return read_number(match, word, field);
	case MAC:
		return xb_word_mac(word, field);
	case PREFIX:
		return xb_word_prefix(word, field);
	case RANGE:
		return xb_word_range(word, match->max, field);
	case SERVICE: /* the number of a name depends on the protocol, which may follow:
			 read_services */
		return !isdigit((unsigned char)*word) || xb_word_range(word, match->max, field);
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
	case PORTS:
		fputs(field, out);
		break;
	case NUMBER:
		print_number(match, *(const uint16_t *)field, out);
		break;
	case MAC:
		if (match->at == FIELD(dmac) && rule->dmac_kernel)
			fputs("kernel", out);
		else
			xb_mac_print(field, out);
		break;
	case PREFIX:
		xb_prefix_print(field, out);
		break;
	case RANGE:
	case SERVICE:
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
	if (match->at == FIELD(dmac) && !strcmp(word, "kernel")) {
		in->rule.dmac_kernel = 1;
		return 0;
	}
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
	burst = pps / BURST_FRACTION > BURST_MIN ? pps / BURST_FRACTION : BURST_MIN;
	if (colon && !xb_word_number(colon + 1, 1, UINT32_MAX, &burst))
		return unexpected(in, expected);
	in->rule.limit_pps = (uint32_t)pps;
	in->rule.limit_burst = (uint32_t)burst;
	return 0;
}

/* A word, or text in double quotes in which \" and \\ stand for " and \. */
static int read_comment(struct reader *in)
{
	static const char expected[] =
		"text in double quotes, of 63 bytes at most and on one line,";
	const char *end = xb_word_text(in->at + strspn(in->at, " \t"), in->rule.comment);

	if (!end) {
		read_word(in);
		return unexpected(in, expected);
	}
	in->at = end;
	return 0;
}

/* What follows the verdict: limit and comment, each once. */
static int read_tail(struct reader *in)
{
	bool commented = false;
	int ret = 0;

	for (read_word(in); !ret && *in->word; read_word(in)) {
		if (!strcmp(in->word, "limit") && !in->rule.limit_pps) {
			ret = read_limit(in);
		} else if (!strcmp(in->word, "comment") && !commented) {
			commented = true;
			ret = read_comment(in);
		} else {
			return unexpected(in, "limit or comment, each once, or the end");
		}
	}
	return ret;
}

/* What follows `to`. */
static int read_action(struct reader *in)
{
	read_word(in);
	in->verdict_at = in->word_at;
	if (!xb_word_port(in->word, in->rule.verdict))
		return unexpected(in, "pass, bridge, drop or the name of a port");
	return read_tail(in);
}

/* ---- names of services ---- */

static int no_service(const struct reader *in, enum xb_match what, int code)
{
	if (code == -ENOTUNIQ)
		return wrong(in, in->value_at[what], "that service has several ports: ",
			     "say which protocol, or the number");
	return wrong(in, in->value_at[what], range_expected,
		     " is expected, and the system's list (/etc/services) has none of that name");
}

/* The ports that were given by a service's name, now that the protocol is known. */
static int read_services(struct reader *in)
{
	static const enum xb_match sides[] = {XB_MATCH_SPORT, XB_MATCH_DPORT};
	unsigned proto = XB_RULE_TESTS(&in->rule, XB_MATCH_PROTO) ? in->rule.proto : 0;

	for (unsigned i = 0; i < 2; i++) {
		const char *at = in->value_at[sides[i]];
		char name[WORD_BYTES];
		struct xb_range range;
		size_t len;
		int ret;

		if (!at || isdigit((unsigned char)*at))
			continue;
		len = strcspn(at, " \t");
		memcpy(name, at, len < WORD_BYTES ? len : 0);
		name[len < WORD_BYTES ? len : 0] = '\0';
		ret = xb_net_service(name, proto, &range.first);
		if (ret < 0)
			return no_service(in, sides[i], ret);
		range.last = range.first;
		memcpy((char *)&in->rule + matches[sides[i]].at, &range, sizeof(range));
	}
	return 0;
}

/* ---- the whole ---- */

static int check_sense(const struct reader *in)
{
	const struct xb_rule *rule = &in->rule;
	struct xb_rule_fault fault;

	if (XB_RULE_TESTS(rule, XB_MATCH_ICMP_TYPE) && rule->proto != IPPROTO_ICMP &&
	    rule->proto != IPPROTO_ICMPV6)
		return wrong(in, in->value_at[XB_MATCH_ICMP_TYPE],
			     "'proto icmp' or 'proto icmpv6' is expected beside icmp-type: ",
			     "their numbers differ");
	if (!xb_rule_contradicts(&in->rule, &fault))
		return 0;
	return wrong(in, in->value_at[fault.at], "no frame could match: ", fault.why);
}

/* Reads a rule, or a match alone. */
static int parse(struct reader *in, struct xb_rule *ret_rule)
{
	int ret = read_matches(in);

	if (!ret && !in->match_only)
		ret = read_action(in);
	if (!ret)
		ret = read_services(in);
	if (!ret)
		ret = check_sense(in);
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

char *xb_rule_join(int argc, const char *const *argv)
{
	char *text = NULL;
	size_t bytes;
	FILE *out = open_memstream(&text, &bytes);

	if (!out)
		return NULL;
	for (int i = 0; i < argc; i++) {
		if (i)
			fputc(' ', out);
		if (i && !strcmp(argv[i - 1], "comment") && argv[i][0] != '"')
			xb_text_print(argv[i], out);
		else
			fputs(argv[i], out);
	}
	if (!fclose(out))
		return text;
	free(text);
	return NULL;
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
	if (rule->comment[0]) {
		fputs(" comment ", out);
		xb_text_print(rule->comment, out);
	}
}
