/* SPDX-License-Identifier: BSD-2-Clause */
#include "steer/text.h"

#include "steer/contradiction.h"
#include "steer/field.h"
#include "steer/net_names.h"
#include "steer/verdict.h"
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
#define BURST_FRACTION 10u  /* of a second's worth: the default burst */
#define BURST_MIN      8u   /* and at least as many frames as an exchange like ARP sends at once */

static_assert(WORD_BYTES >= XB_RULE_IN_BYTES, "a word holds the longest list of ports");

/* A rule while it is read: `at` is where reading goes on, `word` what was read last. */
struct reader {
	const char *text;
	const char *at;
	const char *word_at;
	char word[WORD_BYTES]; /* "" at the end of the text */
	const char *value_at[XB_MATCH_COUNT];
	const char *verdict_at;
	struct xb_rule rule;
	bool prio_given;
	bool match_only; /* only what stands before `to` in a rule */
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
	/* no known word is so long; its start is enough for the error */
	if (len >= WORD_BYTES)
		len = WORD_BYTES - 1;
	memcpy(in->word, in->word_at, len);
	in->word[len] = '\0';
}

#define NAMED_MAX 24 /* characters of a word that is wrong */

/* Says what is wrong with the word at `at`. */
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

/* Reads what a rule asks of a field. `dmac` also takes two words that are no address. */
static int read_match(struct reader *in, enum xb_match what)
{
	bool is_dmac = xb_fields[what].kind == XB_FIELD_DMAC;
	char word[WORD_BYTES];

	read_word(in);
	memcpy(word, in->word, sizeof(word));
	if (is_dmac && !strcmp(word, "own"))
		what = XB_MATCH_DMAC_OWN;
	in->rule.match |= 1u << what;
	in->value_at[what] = in->word_at;
	if (is_dmac && !strcmp(word, "kernel")) {
		in->rule.dmac_kernel = 1;
		return 0;
	}
	return xb_field_read(&xb_fields[what], word, &in->rule)
		       ? 0
		       : unexpected(in, xb_fields[what].expected);
}

/* The field with the keyword that was read; XB_MATCH_COUNT where there is none. */
static unsigned find_match(const struct reader *in)
{
	unsigned what = 0;

	while (what < XB_MATCH_COUNT && strcmp(xb_fields[what].keyword, in->word) != 0)
		what++;
	return what;
}

static bool was_read(const struct reader *in, unsigned what)
{
	for (unsigned other = 0; other < XB_MATCH_COUNT; other++)
		if (XB_RULE_TESTS(&in->rule, other) &&
		    !strcmp(xb_fields[other].keyword, xb_fields[what].keyword))
			return true;
	return false;
}

/* Says which keywords are expected, where there is none of them. */
static int no_keyword(const struct reader *in)
{
	char expected[512];
	FILE *out = fmemopen(expected, sizeof(expected), "w");

	if (!out)
		return unexpected(in, "a match");
	fputs(in->match_only ? "one of " : "one of prio, ", out);
	for (const struct xb_field *field = xb_fields; field < xb_fields + XB_MATCH_COUNT; field++)
		if (field->value)
			fprintf(out, "%s, ", field->keyword);
	fputs(in->match_only ? "each once, or the end" : "each once, or to", out);
	fclose(out);
	return unexpected(in, expected);
}

static int read_prio(struct reader *in)
{
	in->prio_given = true;
	return read_count(in, 0, &in->rule.prio, "a number from 0 to 4294967295");
}

/* Up to `to`, or, of a match alone, to the end. */
static int read_matches(struct reader *in)
{
	const char *end = in->match_only ? "" : "to";

	for (read_word(in); strcmp(in->word, end) != 0; read_word(in)) {
		unsigned what = find_match(in);
		int ret;

		if (what < XB_MATCH_COUNT && !was_read(in, what))
			ret = read_match(in, what);
		else if (!in->match_only && !strcmp(in->word, "id") && !in->rule.id)
			ret = read_count(in, 1, &in->rule.id, "a rule's number, from 1 on,");
		else if (!in->match_only && !strcmp(in->word, "prio") && !in->prio_given)
			ret = read_prio(in);
		else
			return no_keyword(in);
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
		return unexpected(in, XB_VERDICTS_NAMED " or the name of a port");
	return read_tail(in);
}

/* ---- names of services ---- */

static int no_service(const struct reader *in, enum xb_match what, int code)
{
	if (code == -ENOTUNIQ)
		return wrong(in, in->value_at[what], "that service has several ports: ",
			     "say which protocol, or the number");
	return wrong(in, in->value_at[what], xb_fields[what].expected,
		     " is expected, and the system's list (/etc/services) has none of that name");
}

/* The port of a service that was given by its name, now that the protocol is known. */
static int read_service(struct reader *in, enum xb_match what)
{
	unsigned proto = XB_RULE_TESTS(&in->rule, XB_MATCH_PROTO) ? in->rule.proto : 0;
	const char *at = in->value_at[what];
	size_t len = strcspn(at, " \t");
	char name[WORD_BYTES];
	uint16_t port;
	int ret;

	memcpy(name, at, len < WORD_BYTES ? len : 0);
	name[len < WORD_BYTES ? len : 0] = '\0';
	ret = xb_net_service(name, proto, &port);
	if (ret < 0)
		return no_service(in, what, ret);
	xb_field_set_port(&xb_fields[what], port, &in->rule);
	return 0;
}

static int read_services(struct reader *in)
{
	int ret = 0;

	for (unsigned what = 0; !ret && what < XB_MATCH_COUNT; what++) {
		const char *at = in->value_at[what];

		if (at && xb_fields[what].kind == XB_FIELD_SERVICE && !isdigit((unsigned char)*at))
			ret = read_service(in, what);
	}
	return ret;
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
		xb_field_print(&xb_fields[what], rule, out);
		if (!fclose(out))
			say(arg, xb_fields[what].keyword, value);
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
		fprintf(out, "%s ", xb_fields[what].keyword);
		xb_field_print(&xb_fields[what], rule, out);
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
