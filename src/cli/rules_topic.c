/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The language of rules as a person finds it in `help rules` and xbridge-rules(7), and its words,
 * which completion offers: made from the table of fields (steer/field.h).
 */
#include "cli/command.h"
#include "steer/field.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* What a rule may say besides what it asks of a frame: before that, and after. */
static const struct xb_command_option before[] = {
	{"prio", NULL, "N", "higher is asked first; default: 32768", 0, 0},
	{0},
};

static const struct xb_command_option after[] = {
	{"to", NULL, "VERDICT",
	 "pass: stays with the uplink's own stack. bridge: goes where its destination was "
	 "learned. drop. A port's name, or `kernel`: goes there; the rule does not apply to frames "
	 "that come from that port",
	 0, 0},
	{"limit", NULL, "PPS[:BURST]",
	 "so many frames per second, and BURST at once (default: max(8, PPS/10)); what exceeds it is "
	 "dropped. It counts what the rule matches, in either direction unless `in` says otherwise",
	 0, 0},
	{"comment", NULL, "\"TEXT\"", "up to 63 bytes, for people", 0, 0},
	{0},
};

static const char about[] =
	"Rules are asked first, the highest prio first, of equals the lowest id; the first that "
	"matches decides. Then, frames to an own address of the uplink pass. For all others the "
	"default verdict holds. On a shared uplink only rules with `dmac own` take frames to its "
	"own addresses.\n\n"
	"No frame is sent back to the port that it came from: a rule whose verdict is that port does "
	"not apply to it, and the next rule is asked. So `proto icmp to kernel` gives the kernel what "
	"arrives, and leaves the kernel's own replies alone.";

#define COLUMNS 72 /* of the grammar */
#define LEFT    10 /* where its further lines begin */

static struct xb_command_option *add_all(struct xb_command_option *to,
					 const struct xb_command_option *from)
{
	while (from->name)
		*to++ = *from++;
	return to;
}

static void make_entries(struct xb_command_option *to)
{
	to = add_all(to, before);
	for (unsigned what = 0; what < XB_MATCH_COUNT; what++)
		if (xb_fields[what].value)
			*to++ = (struct xb_command_option){.name = xb_fields[what].keyword,
							   .arg = xb_fields[what].value,
							   .help = xb_fields[what].help};
	add_all(to, after);
}

/* All words and what follows them; a rule may leave each out, but for `to`, which begins a line. */
static void print_grammar(const struct xb_command_option *entries, FILE *out)
{
	int at = fprintf(out, "  RULE :=");

	for (; entries->name; entries++) {
		bool is_to = !strcmp(entries->name, "to");
		char text[96];
		int len = snprintf(text, sizeof(text), is_to ? " %s %s" : " [%s %s]", entries->name,
				   entries->arg);

		if (is_to || at + len > COLUMNS)
			at = fprintf(out, "\n%*s", LEFT - 1, "") - 1;
		at += fprintf(out, "%s", text);
	}
}

const struct xb_topic *xb_rules_topic(void)
{
	static struct xb_command_option entries[XB_MATCH_COUNT + sizeof(before) / sizeof(*before) +
						sizeof(after) / sizeof(*after)];
	static char details[4096];
	static const struct xb_topic topic = {"rules", "the language of rules", details, entries};
	FILE *out;

	if (*details)
		return &topic;
	make_entries(entries);
	out = fmemopen(details, sizeof(details), "w");
	if (!out)
		return &topic;
	fputs("A rule is one line, its words in any order up to `to`:\n\n", out);
	print_grammar(entries, out);
	fprintf(out, "\n\n%s", about);
	fclose(out);
	return &topic;
}
