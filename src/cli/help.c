/* SPDX-License-Identifier: BSD-2-Clause */
#include "cli/help.h"

#include "cli/say.h"

#include <string.h>

#define COLUMNS 79 /* a terminal of 80 columns wraps after the 80th, so the last one stays free */
#define MARGIN  2

/* ---- text in columns ---- */

/* Prints words between `left` and COLUMNS, from column `at` on; ends in column 0. */
static void print_words(const char *text, size_t len, int at, int left, FILE *out)
{
	const char *end = text + len;

	while (text < end) {
		size_t word = strcspn(text, " \n");

		if (word > (size_t)(end - text))
			word = (size_t)(end - text);
		if (at > left && at + 1 + (int)word > COLUMNS) {
			fputc('\n', out);
			at = 0;
		} else if (at > left) {
			fputc(' ', out);
			at++;
		}
		if (at < left)
			at += fprintf(out, "%*s", left - at, "");
		at += fprintf(out, "%.*s", (int)word, text);
		text += word;
		text += strspn(text, " \n");
	}
	fputc('\n', out);
}

/* Paragraphs, as command.h describes them. */
static void print_paragraphs(const char *text, FILE *out)
{
	while (*text) {
		const char *end = strstr(text, "\n\n");
		size_t len = end ? (size_t)(end - text) : strlen(text);

		fputc('\n', out);
		if (*text == ' ')
			fprintf(out, "%.*s\n", (int)len, text);
		else
			print_words(text, len, 0, 0, out);
		text += len + (end ? 2 : 0);
	}
}

/* A term and what is said of it in a column of its own. */
static void print_entry(const char *term, const char *help, int column, FILE *out)
{
	int at = fprintf(out, "%*s%s", MARGIN, "", term);

	if (at + 2 > column) {
		fputc('\n', out);
		at = 0;
	}
	print_words(help, strlen(help), at, column, out);
}

static void print_options(const struct xb_command *command, FILE *out)
{
	struct xb_command_option option;

	for (unsigned n = 0; xb_command_option(command, n, &option); n++) {
		char term[96];

		if (!n)
			fprintf(out, "\nOptions:\n");
		snprintf(term, sizeof(term), "%s%s%s%s%s", option.name, option.other ? ", " : "",
			 option.other ? option.other : "", option.arg ? " " : "",
			 option.arg ? option.arg : "");
		print_entry(term, option.help, 24, out);
	}
}

static void print_common_options(FILE *out)
{
	for (const struct xb_command_option *option = xb_common_options; option->name; option++) {
		char term[96];

		snprintf(term, sizeof(term), "%s%s%s%s%s", option->name, option->other ? ", " : "",
			 option->other ? option->other : "", option->arg ? " " : "",
			 option->arg ? option->arg : "");
		print_entry(term, option->help, 24, out);
	}
}

static void print_examples(const struct xb_command *command, FILE *out)
{
	const struct xb_command_example *example = command->examples;

	if (!example)
		return;
	fprintf(out, "\nExamples:\n");
	for (; example->line; example++) {
		if (example->what)
			fprintf(out, "  # %s\n", example->what);
		fprintf(out, "  %s\n", example->line);
	}
}

/* ---- pages ---- */

static void print_usage(const struct xb_command *command, FILE *out)
{
	int at = fprintf(out, "Usage: xbridge %s", command->words);

	if (*command->args)
		print_words(command->args, strlen(command->args), at, at + 1, out);
	else
		fputc('\n', out);
}

/* Those that go on from a command of one word: `stats reset`. */
static void print_further(const struct xb_command *above, FILE *out)
{
	const struct xb_command *command;
	bool any = false;

	for (unsigned n = 0; (command = xb_command_at(n)); n++) {
		if (command == above || !xb_command_is_of(command, above->words))
			continue;
		if (!any)
			fprintf(out, "\nFurther:\n");
		any = true;
		print_entry(command->words, command->summary, 18, out);
	}
}

void xb_help_command(const struct xb_command *command, FILE *out)
{
	char summary[160];

	print_usage(command, out);
	snprintf(summary, sizeof(summary), "%c%s.", command->summary[0] & ~0x20,
		 command->summary + 1);
	fputc('\n', out);
	print_words(summary, strlen(summary), 0, 0, out);
	if (command->details)
		print_paragraphs(command->details, out);
	print_further(command, out);
	print_options(command, out);
	if (strcmp(command->words, "run") != 0) {
		fprintf(out, "\nOptions of all commands:\n");
		print_common_options(out);
	}
	print_examples(command, out);
	fprintf(out, "\nExit status: 0 success, 1 failure, 2 wrong usage.\n");
}

static void print_commands(const char *of, FILE *out)
{
	const struct xb_command *command;

	for (unsigned n = 0; (command = xb_command_at(n)); n++)
		if (!of || xb_command_is_of(command, of))
			print_entry(command->words, command->summary, 18, out);
}

void xb_help_topic(const struct xb_topic *topic, FILE *out)
{
	const struct xb_command *command;
	bool has_commands = false;

	for (unsigned n = 0; (command = xb_command_at(n)); n++)
		has_commands |= xb_command_is_of(command, topic->word);
	fprintf(out, "xbridge %s: %s\n", topic->word, topic->summary);
	if (topic->details)
		print_paragraphs(topic->details, out);
	fputc('\n', out);
	for (const struct xb_command_option *entry = topic->entries; entry && entry->name;
	     entry++) {
		char term[64];

		snprintf(term, sizeof(term), "%s %s", entry->name, entry->arg);
		print_entry(term, entry->help, 24, out);
	}
	if (!has_commands)
		return;
	print_commands(topic->word, out);
	fprintf(out, "\n`xbridge help %s COMMAND` explains one.\n", topic->word);
}

void xb_help_all(FILE *out)
{
	fprintf(out, "Usage: xbridge run [OPTION]...\n"
		     "       xbridge COMMAND [ARGUMENT]... [--name NAME] [--json]\n"
		     "       xbridge help [COMMAND|rules]\n\n"
		     "The kernel exception path for packets in userspace.\n\nCommands:\n");
	print_commands(NULL, out);
	fprintf(out, "\nOptions of all commands but run:\n");
	print_common_options(out);
	fprintf(out, "\n`xbridge help COMMAND` explains a command, `xbridge help rules` the "
		     "language\nof rules. Exit status: 0 success, 1 failure, 2 wrong usage.\n");
}

int xb_help(int argc, char **argv)
{
	const struct xb_command *command;
	int words;

	if (!argc) {
		xb_help_all(stdout);
		return 0;
	}
	command = xb_command_find(argc, argv, &words);
	if (command && words == argc) {
		xb_help_command(command, stdout);
		return 0;
	}
	if (argc == 1 && xb_topic_find(argv[0])) {
		xb_help_topic(xb_topic_find(argv[0]), stdout);
		return 0;
	}
	return xb_say_failure(XB_EXIT_USAGE,
			      "there is no help on '%.64s%s%.64s'; `xbridge help` lists the "
			      "commands",
			      argv[0], argc > 1 ? " " : "", argc > 1 ? argv[1] : "");
}
