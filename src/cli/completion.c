/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory. Completion for both shells has the same three functions, made from the tables: the
 * options of a command, what an option's value is, and what stands at each place of a command's
 * grammar. Values and places have the grammar's own words: FILE, NAME, …; dist/completion asks for
 * what there is of each kind when somebody presses Tab.
 */
#include "cli/completion.h"

#include "cli/command.h"
#include "steer/verdict.h"

#include <stdio.h>
#include <string.h>

/* ---- the tables ---- */

static void print_commands(void)
{
	const struct xb_command *command;

	printf("_xbridge_commands='");
	for (unsigned n = 0; (command = xb_command_at(n)); n++)
		printf("%s%s", n ? "\n" : "", command->words);
	printf("\nhelp'\n\n");
}

static void print_options(void)
{
	const struct xb_command *command;

	printf("_xbridge_options() # COMMAND\n{\n\tcase $1 in\n");
	for (unsigned n = 0; (command = xb_command_at(n)); n++) {
		struct xb_command_option option;

		printf("\t'%s') echo '", command->words);
		for (unsigned i = 0; xb_command_option(command, i, &option); i++)
			printf("%s ", option.name);
		for (const struct xb_command_option *common = xb_common_options;
		     common->name && strcmp(command->words, "run") != 0; common++)
			printf("%s ", common->name);
		printf("' ;;\n");
	}
	printf("\tesac\n}\n\n");
}

/* The first word of what is expected: "IFACE" of "IFACE[,OPTION...]". */
static int kind_length(const char *arg)
{
	return (int)strspn(arg, "ABCDEFGHIJKLMNOPQRSTUVWXYZ");
}

static void print_values(void)
{
	const struct xb_command *command;

	printf("_xbridge_value() # COMMAND OPTION: what its value is; fails where it has none\n"
	       "{\n\tcase \"$1 $2\" in\n\t'run --name') echo NEW ;;\n\t*' --name') echo INSTANCE ;;\n");
	for (unsigned n = 0; (command = xb_command_at(n)); n++) {
		struct xb_command_option option;

		for (unsigned i = 0; xb_command_option(command, i, &option); i++)
			if (option.arg && strcmp(option.name, "--name") != 0)
				printf("\t'%s %s') echo %.*s ;;\n", command->words, option.name,
				       kind_length(option.arg), option.arg);
	}
	printf("\t*) return 1 ;;\n\tesac\n}\n\n");
}

/* The words of a grammar that are no options, in their order: "MAC port NAME vlan ID". */
static void print_places_of(const char *args)
{
	while (*args) {
		size_t len = strcspn(args, " ");
		const char *word = args + (*args == '[');

		if (*word == '-') { /* an option, and its value */
			bool has_value = !memchr(args, ']', len);

			args += len + (args[len] == ' ');
			len = has_value ? strcspn(args, " ") : 0;
			args += len + (len && args[len] == ' ');
			continue;
		}
		if (kind_length(word))
			printf("%.*s ", kind_length(word), word);
		else
			printf("%.*s ", (int)strspn(word, "abcdefghijklmnopqrstuvwxyz"), word);
		args += len + (args[len] == ' ');
	}
}

static void print_places(void)
{
	const struct xb_command *command;

	printf("_xbridge_places() # COMMAND\n{\n\tcase $1 in\n");
	for (unsigned n = 0; (command = xb_command_at(n)); n++) {
		if (!strcmp(command->words, "run"))
			continue;
		printf("\t'%s') echo '", command->words);
		print_places_of(strstr(command->args, "MATCH") ? "MATCH" : command->args);
		printf("' ;;\n");
	}
	printf("\tesac\n}\n\n");
}

static void print_rule_words(void)
{
	printf("_xbridge_rule_words='");
	for (const struct xb_command_option *word = xb_rules_topic()->entries; word->name; word++)
		printf("%s ", word->name);
	printf("'\n_xbridge_verdicts='");
	for (unsigned n = 0; xb_verdict_word_at(n); n++)
		printf("%s%s", n ? " " : "", xb_verdict_word_at(n));
	printf("'\n\n");
}

int xb_completion_print(void)
{
	printf("# SPDX-License-Identifier: BSD-2-Clause\n"
	       "# Completion for xbridge(1), made from its table of commands.\n\n");
	print_commands();
	print_rule_words();
	print_options();
	print_values();
	print_places();
	return fflush(stdout) ? 1 : 0;
}
