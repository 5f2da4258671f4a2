/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The commands of `steer`, and the language of rules as a person finds it in `help rules` and
 * xbridge-rules(7).
 */
#include "cli/command.h"
#include "cli/steer_file.h"
#include "cli/text.h"
#include "daemon/rule_text.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- checks ---- */

/* The rule that the words make; the daemon says the same of it, if one runs. */
static int check_rule(int argc, char **argv, struct xb_error *err)
{
	struct xb_rule rule;
	char *text = NULL;
	size_t bytes;
	FILE *out = open_memstream(&text, &bytes);
	int ret;

	if (!out)
		return xb_fail(err, -ENOMEM, "out of memory");
	for (int i = 0; i < argc; i++)
		fprintf(out, "%s%s", i ? " " : "", argv[i]);
	fclose(out);
	ret = xb_rule_parse(text, &rule, err);
	free(text);
	return ret;
}

static int check_id(int argc, char **argv, struct xb_error *err)
{
	for (int i = 0; i < argc; i++) {
		char *end;
		unsigned long id = strtoul(argv[i], &end, 10);

		if (!id || id > UINT32_MAX || *end || argv[i][0] == '-')
			return xb_fail(err, -EINVAL,
				       "steer: '%.32s': a rule's number is expected; `xbridge "
				       "steer list` shows them",
				       argv[i]);
	}
	return 0;
}

/* ---- options and examples ---- */

static const struct xb_command_option list_options[] = {
	{"-s", NULL, NULL, "with packets, bytes and the last hit of each rule", 0, 0},
	{0},
};

static const struct xb_command_option load_options[] = {
	{"--confirm", NULL, "SECONDS",
	 "the previous table comes back unless `steer confirm` follows in time", 1, 86400},
	{0},
};

#define EXAMPLES(name, ...) \
	static const struct xb_command_example name##_examples[] = {__VA_ARGS__, {0}}

EXAMPLES(add, {"xbridge steer add proto tcp dport 179 to kernel", NULL},
	 {"xbridge steer add proto icmp to kernel limit 100", NULL},
	 {"xbridge steer add prio 100 src 198.51.100.0/24 to drop", NULL});
EXAMPLES(del, {"xbridge steer del 3", NULL});
EXAMPLES(list, {"xbridge steer list -s", NULL}, {"xbridge steer list > rules", NULL});
EXAMPLES(load, {"xbridge steer load rules --confirm 30", NULL},
	 {"xbridge steer load - < rules", NULL});
EXAMPLES(default, {"xbridge steer default drop", NULL});

/* ---- the table ---- */

const struct xb_command xb_steer_commands[] = {
	{.words = "steer add",
	 .args = "RULE",
	 .summary = "add a rule, and print its id",
	 .details = "`xbridge help rules` explains RULE.",
	 .examples = add_examples,
	 .min_words = 1,
	 .max_words = XB_WORDS_ANY,
	 .check = check_rule,
	 .text = xb_text_id},
	{.words = "steer del",
	 .args = "ID",
	 .summary = "remove a rule",
	 .examples = del_examples,
	 .min_words = 1,
	 .max_words = 1,
	 .check = check_id},
	{.words = "steer list",
	 .args = "[-s]",
	 .summary = "the rules in the order in which they are asked",
	 .details = "`steer load` reads what this prints.",
	 .options = list_options,
	 .examples = list_examples,
	 .text = xb_text_rules},
	{.words = "steer load",
	 .args = "FILE|- [--confirm SECONDS]",
	 .summary = "replace all rules at once or, if one is wrong, none",
	 .details = "Rules that stay the same keep their ids, counters and limits.",
	 .options = load_options,
	 .examples = load_examples,
	 .min_words = 1,
	 .max_words = 1,
	 .run = xb_steer_load},
	{.words = "steer confirm",
	 .args = "",
	 .summary = "keep what `steer load --confirm` has loaded"},
	{.words = "steer flush", .args = "", .summary = "remove all rules"},
	{.words = "steer default",
	 .args = "VERDICT",
	 .summary = "what becomes of a frame that no rule matches",
	 .details = "VERDICT is `bridge`, `pass`, `drop`, `kernel` or the name of a port.",
	 .examples = default_examples,
	 .min_words = 1,
	 .max_words = 1},
	{0},
};

/* ---- the language of rules ---- */

static const struct xb_command_option rule_words[] = {
	{"prio", NULL, "N", "higher is asked first; default: 32768", 0, 0},
	{"in", NULL, "NAME", "the port that the frame came from", 0, 0},
	{"vlan", NULL, "ID", "the outermost VLAN tag", 0, 0},
	{"smac", NULL, "MAC", "source address", 0, 0},
	{"dmac", NULL, "MAC|own", "destination; `own`: the uplink's own addresses", 0, 0},
	{"ethertype", NULL, "T", "ipv4, ipv6, arp or a number from 0x0600", 0, 0},
	{"proto", NULL, "P", "tcp, udp, icmp, icmpv6, sctp or a number", 0, 0},
	{"src", NULL, "CIDR", "IPv4 or IPv6 source: an address or a prefix", 0, 0},
	{"dst", NULL, "CIDR", "IPv4 or IPv6 destination: an address or a prefix", 0, 0},
	{"sport", NULL, "N[-M]", "TCP, UDP or SCTP source port or range", 0, 0},
	{"dport", NULL, "N[-M]", "TCP, UDP or SCTP destination port or range", 0, 0},
	{"tcp-flags", NULL, "SET/MASK",
	 "of the flags in MASK exactly those in SET are set: fin, syn, rst, psh, ack, urg, ece, "
	 "cwr, joined by commas",
	 0, 0},
	{"icmp-type", NULL, "N[-M]", "type or range; needs proto icmp or icmpv6", 0, 0},
	{"dscp", NULL, "N", "0 to 63", 0, 0},
	{"frag", NULL, "no|first|later", "unfragmented, the first fragment, or a later one", 0, 0},
	{"to", NULL, "VERDICT",
	 "pass: stays with the uplink's own stack. bridge: goes where its destination was "
	 "learned. drop. A port's name, or `kernel`: goes there",
	 0, 0},
	{"limit", NULL, "PPS[:BURST]",
	 "so many frames per second, and BURST at once; what exceeds it is dropped", 0, 0},
	{0},
};

const struct xb_topic xb_rules_topic = {
	"rules",
	"the language of rules",
	"A rule is one line, its words in any order up to `to`:\n\n"
	"  RULE := [prio N] [in NAME] [vlan ID] [smac MAC] [dmac MAC|own]\n"
	"          [ethertype T] [proto tcp|udp|icmp|icmpv6|sctp|N]\n"
	"          [src CIDR] [dst CIDR] [sport N[-M]] [dport N[-M]]\n"
	"          [tcp-flags SET/MASK] [icmp-type N[-M]] [dscp N]\n"
	"          [frag no|first|later] to VERDICT [limit PPS[:BURST]]\n\n"
	"Rules are asked first, the highest prio first, of equals the lowest id; the first that "
	"matches decides. Then, frames to an own address of the uplink pass. For all others the "
	"default verdict holds. On a shared uplink only rules with `dmac own` take frames to its "
	"own addresses.",
	rule_words,
};
