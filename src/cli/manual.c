/* SPDX-License-Identifier: BSD-2-Clause */
#include "cli/manual.h"

#include "cli/command.h"
#include "cli/say.h"
#include "xbridge/drops.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* ---- roff ---- */

/* A dash that is typed is no hyphen in roff, and a dot that begins a line is no request. */
static void put_text(const char *text, size_t len, FILE *out)
{
	bool bold = false;

	for (size_t i = 0; i < len; i++) {
		if ((!i || text[i - 1] == '\n') && (text[i] == '.' || text[i] == '\''))
			fputs("\\&", out);
		if (text[i] == '`')
			fputs((bold = !bold) ? "\\fB" : "\\fR", out);
		else if (text[i] == '-')
			fputs("\\-", out);
		else if (text[i] == '\\')
			fputs("\\e", out);
		else
			fputc(text[i], out);
	}
}

static void put(const char *text, FILE *out)
{
	put_text(text, strlen(text), out);
}

/* "words" in bold, and what they take after them. */
static void put_entry(const char *words, const char *other, const char *args, const char *help,
		      FILE *out)
{
	fputs(".TP\n.B ", out);
	put(words, out);
	if (other) {
		fputs(", ", out);
		put(other, out);
	}
	if (args && *args) {
		fputs(" \\fR", out);
		put(args, out);
	}
	fputc('\n', out);
	put(help, out);
	fputs(".\n", out);
}

static void put_paragraphs(const char *text, FILE *out)
{
	while (*text) {
		const char *end = strstr(text, "\n\n");
		size_t len = end ? (size_t)(end - text) : strlen(text);
		bool verbatim = *text == ' ';

		fputs(verbatim ? ".PP\n.nf\n" : ".PP\n", out);
		put_text(text, len, out);
		fputs(verbatim ? "\n.fi\n" : "\n", out);
		text += len + (end ? 2 : 0);
	}
}

static void put_options(const struct xb_command *command, FILE *out)
{
	struct xb_command_option option;

	for (unsigned n = 0; xb_command_option(command, n, &option); n++)
		put_entry(option.name, option.other, option.arg, option.help, out);
}

static void put_examples(const struct xb_command *command, FILE *out)
{
	const struct xb_command_example *example = command->examples;

	if (!example)
		return;
	fputs(".PP\nExamples:\n.nf\n", out);
	for (; example->line; example++) {
		if (example->what) {
			fputs("    # ", out);
			put(example->what, out);
			fputc('\n', out);
		}
		fputs("    ", out);
		put(example->line, out);
		fputc('\n', out);
	}
	fputs(".fi\n", out);
}

static void put_head(const char *word, int section, const char *summary, FILE *out)
{
	fputs(".\\\" SPDX-License-Identifier: BSD-2-Clause\n.TH XBRIDGE\\-", out);
	for (const char *p = word; *p; p++)
		fputc(*p >= 'a' && *p <= 'z' ? *p & ~0x20 : *p, out);
	fprintf(out, " %d \"\" \"xbridge " XB_VERSION "\"\n.SH NAME\nxbridge\\-%s \\- ", section,
		word);
	put(summary, out);
	fputc('\n', out);
}

/* ---- pages ---- */

static void put_synopsis(const char *word, FILE *out)
{
	const struct xb_command *command;
	bool first = true;

	fputs(".SH SYNOPSIS\n", out);
	for (unsigned n = 0; (command = xb_command_at(n)); n++) {
		if (!xb_command_is_of(command, word))
			continue;
		if (!first)
			fputs(".br\n", out);
		first = false;
		fputs(".B xbridge ", out);
		put(command->words, out);
		fputs(" \\fR", out);
		put(command->args, out);
		fputc('\n', out);
	}
}

/* What is said of one command, under a heading of its own. */
static void put_command(const struct xb_command *command, FILE *out)
{
	fputs(".SS ", out);
	put(command->words, out);
	fputs("\n", out);
	fputc(command->summary[0] & ~0x20, out);
	put(command->summary + 1, out);
	fputs(".\n", out);
	if (command->details)
		put_paragraphs(command->details, out);
	put_options(command, out);
	put_examples(command, out);
}

static void put_end(bool with_options, FILE *out)
{
	if (with_options) {
		fputs(".SH OPTIONS OF ALL COMMANDS\n", out);
		for (const struct xb_command_option *option = xb_common_options; option->name;
		     option++)
			put_entry(option->name, option->other, option->arg, option->help, out);
	}
	fputs(".SH EXIT STATUS\n0 success, 1 failure, 2 wrong usage.\n.SH SEE ALSO\n.BR xbridge "
	      "(1),\n.BR xbridge\\-rules (7)\n",
	      out);
}

static void write_command_page(const char *word, const char *summary, const char *details,
			       FILE *out)
{
	const struct xb_command *command;

	put_head(word, 1, summary, out);
	put_synopsis(word, out);
	fputs(".SH DESCRIPTION\n", out);
	if (details)
		put_paragraphs(details, out);
	for (unsigned n = 0; (command = xb_command_at(n)); n++)
		if (xb_command_is_of(command, word))
			put_command(command, out);
	put_end(strcmp(word, "run") != 0, out);
}

static void write_topic_page(const struct xb_topic *topic, FILE *out)
{
	put_head(topic->word, 7, topic->summary, out);
	fputs(".SH DESCRIPTION\n", out);
	if (topic->details)
		put_paragraphs(topic->details, out);
	for (const struct xb_command_option *entry = topic->entries; entry && entry->name; entry++)
		put_entry(entry->name, NULL, entry->arg, entry->help, out);
	fputs(".SH SEE ALSO\n.BR xbridge (1),\n.BR xbridge\\-steer (1),\n.BR "
	      "xbridge\\-explain (1)\n",
	      out);
}

static void write_commands(FILE *out)
{
	const struct xb_command *command;

	for (unsigned n = 0; (command = xb_command_at(n)); n++)
		put_entry(command->words, NULL, command->args, command->summary, out);
}

/* ---- files ---- */

static FILE *create(const char *directory, const char *word, const char *suffix)
{
	char path[512];
	FILE *out;

	snprintf(path, sizeof(path), "%s/%s%s", directory, word, suffix);
	out = fopen(path, "we");
	if (!out)
		xb_say_failure(1, "create %s: %s", path, strerror(errno));
	return out;
}

static int finish(FILE *out)
{
	return fclose(out) ? xb_say_failure(1, "write a manual page: %s", strerror(errno)) : 0;
}

/* Whether a command is the first one of its word. */
static bool is_first(unsigned n, const char *word)
{
	for (unsigned i = 0; i < n; i++)
		if (xb_command_is_of(xb_command_at(i), word))
			return false;
	return true;
}

static int write_command_pages(const char *directory)
{
	const struct xb_command *command;

	for (unsigned n = 0; (command = xb_command_at(n)); n++) {
		char word[32], name[64];
		const struct xb_topic *topic;
		FILE *out;

		snprintf(word, sizeof(word), "%.*s", (int)strcspn(command->words, " "),
			 command->words);
		if (!is_first(n, word))
			continue;
		snprintf(name, sizeof(name), "xbridge-%s", word);
		topic = xb_topic_find(word);
		out = create(directory, name, ".1");
		if (!out)
			return 1;
		write_command_page(word, topic ? topic->summary : command->summary,
				   topic ? topic->details : NULL, out);
		if (finish(out))
			return 1;
	}
	return 0;
}

int xb_manual_write(const char *directory)
{
	FILE *out = create(directory, "xbridge-rules", ".7");

	if (!out)
		return 1;
	write_topic_page(xb_rules_topic(), out);
	if (finish(out) || write_command_pages(directory))
		return 1;
	out = create(directory, "commands", "");
	if (!out)
		return 1;
	write_commands(out);
	return finish(out);
}

void xb_manual_drops(void)
{
	printf("# Drop reasons\n\n"
	       "Each packet that xbridge drops counts once, under `drops` of one port in `xbridge stats`: "
	       "on the\nport that received it (rx) where the reason shows before it is known where the "
	       "packet goes, or\nthere is nowhere; on the port that should have sent it (tx) after.\n\n"
	       "| reason | counts on | meaning |\n|---|---|---|\n");
#define DROP_ROW(NAME, name, side, text) printf("| `" #name "` | " #side " | " text " |\n");
	XB_DROP_REASONS(DROP_ROW)
#undef DROP_ROW
}
