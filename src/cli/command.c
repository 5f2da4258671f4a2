/* SPDX-License-Identifier: BSD-2-Clause */
#include "cli/command.h"

#include "core/word.h"

#include "daemon/config.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* ---- finding ---- */

const struct xb_command *xb_command_at(unsigned n)
{
	static const struct xb_command *const tables[] = {xb_commands, xb_steer_commands};

	for (size_t t = 0; t < sizeof(tables) / sizeof(tables[0]); t++)
		for (const struct xb_command *command = tables[t]; command->words; command++)
			if (!n--)
				return command;
	return NULL;
}

const struct xb_topic *xb_topic_find(const char *word)
{
	const struct xb_topic *topic = NULL;

	for (unsigned n = 0; (topic = xb_topic_at(n)) && strcmp(topic->word, word) != 0; n++)
		;
	return topic;
}

bool xb_command_is_of(const struct xb_command *command, const char *word)
{
	size_t len = strlen(word);

	return !strncmp(command->words, word, len) &&
	       (command->words[len] == ' ' || !command->words[len]);
}

const struct xb_command *xb_command_find(int argc, char *const *argv, int *ret_words)
{
	const struct xb_command *command;

	for (unsigned n = 0; (command = xb_command_at(n)); n++) {
		const char *second = strchr(command->words, ' ');

		if (!xb_command_is_of(command, argv[0]))
			continue;
		if (second && (argc < 2 || strcmp(argv[1], second + 1) != 0))
			continue;
		*ret_words = second ? 2 : 1;
		return command;
	}
	return NULL;
}

/* The n-th option of `run`, or of those that describe a port. */
static bool run_option(unsigned n, bool ports, struct xb_command_option *ret_option)
{
	struct xb_config_option option;
	unsigned at = 0;

	do
		if (!xb_config_option_at(at++, &option))
			return false;
	while ((ports && !option.port) || n--);
	*ret_option = (struct xb_command_option){
		.name = option.dashed, .arg = option.arg, .help = option.help};
	return true;
}

bool xb_command_option(const struct xb_command *command, unsigned n,
		       struct xb_command_option *ret_option)
{
	if (!strcmp(command->words, "run"))
		return run_option(n, false, ret_option);
	if (!strcmp(command->words, "port add"))
		return run_option(n, true, ret_option);
	for (unsigned i = 0; command->options && command->options[i].name; i++) {
		if (i < n)
			continue;
		*ret_option = command->options[i];
		return true;
	}
	return false;
}

/* ---- checking ---- */

/* The place of an option among the command's, or -1. */
static int find_option(const struct xb_command *command, const char *word,
		       struct xb_command_option *ret_option)
{
	struct xb_command_option option;

	for (unsigned n = 0; xb_command_option(command, n, &option); n++) {
		if (strcmp(option.name, word) != 0 &&
		    (!option.other || strcmp(option.other, word) != 0))
			continue;
		*ret_option = option;
		return (int)n;
	}
	return -1;
}

static int check_value(const struct xb_command *command, const struct xb_command_option *option,
		       const char *value, struct xb_error *err)
{
	uint64_t number;

	if (!value)
		return xb_fail(err, -EINVAL, "%s: %s needs a value: %s", command->words,
			       option->name, option->arg);
	if (!option->max)
		return 0;
	if (!xb_word_decimal(value, option->min, option->max, &number))
		return xb_fail(err, -EINVAL, "%s: %s '%.32s': a number from %lu to %lu is expected",
			       command->words, option->name, value, option->min, option->max);
	return 0;
}

static int check_count(const struct xb_command *command, unsigned words, const char *surplus,
		       struct xb_error *err)
{
	bool has_options = command->options;

	if (words < command->min_words)
		return xb_fail(err, -EINVAL, "%s: something is missing; usage: xbridge %s %s",
			       command->words, command->words, command->args);
	if (words > command->max_words)
		return xb_fail(err, -EINVAL, "%s: unexpected '%.64s'; usage: xbridge %s%s%s",
			       command->words, surplus, command->words,
			       *command->args || has_options ? " " : "", command->args);
	return 0;
}

int xb_command_check(const struct xb_command *command, int argc, char **argv, struct xb_error *err)
{
	const char *surplus = "";
	unsigned words = 0;
	uint64_t given = 0;
	int ret = 0;

	for (int i = 0; !ret && i < argc; i++) {
		struct xb_command_option option;
		int place = find_option(command, argv[i], &option);

		if (place >= 0) {
			if (given & 1ull << place)
				ret = xb_fail(err, -EINVAL, "%s: %s is given twice", command->words,
					      option.name);
			given |= 1ull << place;
			if (!ret && option.arg)
				ret = check_value(command, &option,
						  i + 1 < argc ? argv[i + 1] : NULL, err);
			i += option.arg != NULL;
		} else if (argv[i][0] == '-' && argv[i][1] && command->max_words != XB_WORDS_ANY) {
			ret = xb_fail(err, -EINVAL, "%s has no option '%.64s'", command->words,
				      argv[i]);
		} else if (++words == command->max_words + 1) {
			surplus = argv[i];
		}
	}
	if (!ret)
		ret = check_count(command, words, surplus, err);
	if (!ret && command->check)
		ret = command->check(argc, argv, err);
	return ret;
}
