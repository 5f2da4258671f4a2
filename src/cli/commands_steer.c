/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The commands of `steer`. The language of rules: rules_topic.c.
 */
#include "cli/command.h"
#include "cli/steer_file.h"
#include "cli/text.h"
#include "core/word.h"
#include "steer/text.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- checks ---- */

/* The rule that the words make; the daemon says the same of it, if one runs. */
static int check_rule(int argc, char **argv, struct xb_error *err)
{
	const char **words = calloc((size_t)argc + 1, sizeof(*words));
	char *text = NULL;
	struct xb_rule rule;
	int n = 0, ret;

	for (int i = 0; words && i < argc; i++) {
		if (!strcmp(argv[i], "--confirm"))
			i++;
		else
			words[n++] = argv[i];
	}
	if (words)
		text = xb_rule_join(n, words);
	ret = text ? xb_rule_parse(text, &rule, err) : xb_fail(err, -ENOMEM, "out of memory");
	free(text);
	free(words);
	return ret;
}

static int check_id(const char *word, struct xb_error *err)
{
	uint64_t id;

	if (xb_word_decimal(word, 1, UINT32_MAX, &id))
		return 0;
	return xb_fail(
		err, -EINVAL,
		"steer: '%.32s': a rule's number is expected; `xbridge steer list` shows them",
		word);
}

static int check_ids(int argc, char **argv, struct xb_error *err)
{
	int ret = 0;

	for (int i = 0; !ret && i < argc; i++) {
		if (!strcmp(argv[i], "--confirm"))
			i++;
		else
			ret = check_id(argv[i], err);
	}
	return ret;
}

/* ID RULE; --confirm SECONDS may stand in front of them. */
static int check_replace(int argc, char **argv, struct xb_error *err)
{
	int at = !strcmp(argv[0], "--confirm") ? 2 : 0;
	int ret = check_id(argv[at], err);

	return ret ? ret : check_rule(argc - at - 1, argv + at + 1, err);
}

/* ---- options and examples ---- */

static const struct xb_command_option list_options[] = {
	{"-s", NULL, NULL, "with packets, bytes and the last hit of each rule", 0, 0},
	{0},
};

#define CONFIRM_OPTION                                                                       \
	{                                                                                    \
		"--confirm", NULL, "SECONDS",                                                \
			"on trial: the table from before comes back unless `steer confirm` " \
			"follows in time",                                                   \
			1, 86400                                                             \
	}

static const struct xb_command_option change_options[] = {CONFIRM_OPTION, {0}};

static const struct xb_command_option load_options[] = {
	CONFIRM_OPTION,
	{"--empty", NULL, NULL, "a text without any rule is meant so: it removes all rules", 0, 0},
	{0},
};

#define EXAMPLES(name, ...) \
	static const struct xb_command_example name##_examples[] = {__VA_ARGS__, {0}}

EXAMPLES(add, {"xbridge steer add proto tcp dport 179 to kernel", NULL},
	 {"xbridge steer add in uplink proto icmp to kernel limit 100", NULL},
	 {"xbridge steer add prio 100 src 198.51.100.0/24 to drop comment test-net", NULL});
EXAMPLES(replace, {"xbridge steer replace 3 proto tcp dport bgp to kernel limit 1000", NULL});
EXAMPLES(del, {"xbridge steer del 3", NULL}, {"xbridge steer del 4 5 6 --confirm 30", NULL});
EXAMPLES(show, {"xbridge steer show 3", NULL});
EXAMPLES(list, {"xbridge steer list -s", NULL},
	 {"xbridge steer list eth0", "what is said about eth0"},
	 {"xbridge steer list > rules", NULL});
EXAMPLES(load, {"xbridge steer load rules --confirm 30", NULL},
	 {"xbridge steer load - < rules", NULL});
EXAMPLES(check, {"xbridge steer check rules", NULL});
EXAMPLES(default, {"xbridge steer default", "prints it"}, {"xbridge steer default drop", NULL});

/* ---- the table ---- */

const struct xb_command xb_steer_commands[] = {
	{.words = "steer add",
	 .args = "RULE [--confirm SECONDS]",
	 .summary = "add a rule, and print its id",
	 .details = "`xbridge help rules` explains RULE.",
	 .options = change_options,
	 .examples = add_examples,
	 .min_words = 1,
	 .max_words = XB_WORDS_ANY,
	 .check = check_rule,
	 .text = xb_text_id},
	{.words = "steer replace",
	 .args = "ID RULE [--confirm SECONDS]",
	 .summary = "put another rule into the place of one, with its id",
	 .details = "Its counters start again, unless it says the same.",
	 .options = change_options,
	 .examples = replace_examples,
	 .min_words = 2,
	 .max_words = XB_WORDS_ANY,
	 .check = check_replace,
	 .text = xb_text_warnings},
	{.words = "steer del",
	 .args = "ID... [--confirm SECONDS]",
	 .summary = "remove rules: all that are named, or none",
	 .options = change_options,
	 .examples = del_examples,
	 .min_words = 1,
	 .max_words = XB_WORDS_ANY,
	 .check = check_ids,
	 .text = xb_text_warnings},
	{.words = "steer show",
	 .args = "ID",
	 .summary = "one rule, with its counters and what is doubtful about it",
	 .examples = show_examples,
	 .min_words = 1,
	 .max_words = 1,
	 .check = check_ids,
	 .text = xb_text_rule},
	{.words = "steer list",
	 .args = "[NAME] [-s]",
	 .summary = "the table: the default verdict and the rules in their order",
	 .details = "`steer load` reads what this prints. With the NAME of a port, only the rules "
		    "that name it are printed, after `in` or as the verdict, by whatever name. "
		    "Rules without `in` hold for its frames, too; `explain in NAME` asks them all.",
	 .options = list_options,
	 .examples = list_examples,
	 .max_words = 1,
	 .text = xb_text_rules},
	{.words = "steer load",
	 .args = "FILE|- [--empty] [--confirm SECONDS]",
	 .summary = "replace the whole table or, if a line is wrong, nothing",
	 .details = "A line is a rule, or `default VERDICT`; without that line the default verdict "
		    "stays. Rules that stay the same keep their ids, counters and limits. A text "
		    "with neither is refused.",
	 .options = load_options,
	 .examples = load_examples,
	 .min_words = 1,
	 .max_words = 1,
	 .run = xb_steer_load},
	{.words = "steer check",
	 .args = "FILE|-",
	 .summary = "say what `steer load` would say, and change nothing",
	 .examples = check_examples,
	 .min_words = 1,
	 .max_words = 1,
	 .run = xb_steer_check},
	{.words = "steer confirm",
	 .args = "",
	 .summary = "keep a change that was made with --confirm"},
	{.words = "steer revert",
	 .args = "",
	 .summary = "take back at once what was changed with --confirm"},
	{.words = "steer flush",
	 .args = "[--confirm SECONDS]",
	 .summary = "remove all rules; the default verdict stays",
	 .options = change_options,
	 .text = xb_text_warnings},
	{.words = "steer default",
	 .args = "[VERDICT] [--confirm SECONDS]",
	 .summary = "what becomes of a frame that no rule matches; alone: print it",
	 .details =
		 "VERDICT is `bridge`, `pass`, `drop`, `kernel` or the name of a port. A port as "
		 "the default is no answer for its own frames: they are bridged.",
	 .options = change_options,
	 .examples = default_examples,
	 .max_words = 1,
	 .text = xb_text_default},
	{0},
};
