/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The commands, as a person finds them: one table, from which --help, the manual pages and the
 * shells' completion are made, and against which a command line is checked before anything runs.
 *
 * `run` is in the table, too; its options are those of daemon/config.h.
 */
#ifndef XB_CLI_COMMAND_H
#define XB_CLI_COMMAND_H

#include "core/error.h"

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>

#define XB_EXIT_USAGE 2

/** As many words as one likes. */
#define XB_WORDS_ANY 255u

/** What stands on the command line beside the command's own words. */
struct xb_common {
	const char *name; /* --name */
	bool json;        /* --json, -j */
	bool watch;       /* --watch */
	bool help;        /* --help, -h */
};

struct xb_command_option {
	const char *name;  /* "--queues" */
	const char *other; /* "-j": the same, shorter; or NULL */
	const char *arg;   /* "N"; NULL: takes none */
	const char *help;
	unsigned long min, max; /* of a number; max 0: the value is checked elsewhere */
};

struct xb_command_example {
	const char *line; /* as typed */
	const char *what; /* what it does; or NULL */
};

/**
 * `args` is the grammar of what follows the command's words: upper-case words stand for values,
 * brackets for what may be left out. Completion reads it, too: FILE, IFACE, NAME and PORT (of a
 * port), VERDICT, RULE and MATCH complete to what there is of that kind, and a lower-case word to
 * itself.
 *
 * `details` are paragraphs: a blank line separates them, and a line that begins with a blank is
 * printed as it stands. `word` is something that is typed.
 */
struct xb_command {
	const char *words; /* "port list" */
	const char *args;  /* "" where there are none */
	const char *summary;
	const char *details;                       /* or NULL */
	const struct xb_command_option *options;   /* up to one without a name; NULL: none */
	const struct xb_command_example *examples; /* up to one without a line; NULL: none */
	unsigned min_words, max_words;             /* without the options and their values */

	/** Checks what the numbers above can't; NULL: nothing. 0 or -EINVAL, `err->what` being
	 *  complete. */
	int (*check)(int argc, char **argv, struct xb_error *err);

	/** Prints its result for a person; NULL: in silence. */
	void (*text)(struct json_object *result);

	/** Does it; NULL: the daemon does. argv begins after the command's words; two stand before
	 *  argv[0] where the command has two. Returns the exit status. */
	int (*run)(const struct xb_common *common, int argc, char **argv);
};

/** What stands above several commands of one first word (`port`), or is no command (`rules`). */
struct xb_topic {
	const char *word;
	const char *summary;
	const char *details;                     /* or NULL */
	const struct xb_command_option *entries; /* what is explained one by one; or NULL */
};

/** The command of that number, from 0 on; NULL: there are no more. */
const struct xb_command *xb_command_at(unsigned n);

/** The topic of that number, from 0 on; NULL: there are no more. */
const struct xb_topic *xb_topic_at(unsigned n);

/** The topic of that name, or NULL. */
const struct xb_topic *xb_topic_find(const char *word);

/** The command that argv begins with, and how many words name it; NULL: none. */
const struct xb_command *xb_command_find(int argc, char *const *argv, int *ret_words);

/** Whether a command's first word is `word`. */
bool xb_command_is_of(const struct xb_command *command, const char *word);

/** The command's own option of that number, from 0 on. False: it has no more. */
bool xb_command_option(const struct xb_command *command, unsigned n,
		       struct xb_command_option *ret_option);

/** The options that all commands have but `run`, up to one without a name. */
extern const struct xb_command_option xb_common_options[];

/** Checks the words that follow a command's own. 0 or -EINVAL, `err->what` being complete. */
int xb_command_check(const struct xb_command *command, int argc, char **argv, struct xb_error *err);

/* The tables: commands.c, commands_steer.c. They end with one without words. */
extern const struct xb_command xb_commands[], xb_steer_commands[];

/** The language of rules. Made at the first call; one thread. */
const struct xb_topic *xb_rules_topic(void);

#endif
