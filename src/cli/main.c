/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The command line. `run` becomes the daemon; queries and changes go to a running one over its
 * control socket; `doctor` and `detach` look at the host themselves. The table of commands is in
 * commands.c and commands_steer.c.
 */
#include "cli/client.h"
#include "cli/command.h"
#include "cli/completion.h"
#include "cli/help.h"
#include "cli/manual.h"
#include "cli/say.h"
#include "cli/watch.h"
#include "daemon/filter.h"
#include "daemon/run.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* ---- commands that the daemon does ---- */

static int ask(const struct xb_command *command, const struct xb_common *common, int argc,
	       char **argv)
{
	struct json_object *result = NULL;
	struct xb_error err = {0};
	int status = xb_client_ask(common->name, argc, argv, &result, &err);

	if (status)
		return xb_say_failure(status, "%s", err.what);
	if (common->json)
		status = xb_say_document(result);
	else if (command->text)
		command->text(result);
	json_object_put(result);
	return fflush(stdout) ? 1 : status;
}

/* ---- dispatch ---- */

/* Takes the options that all commands have out of argv. Returns how many words are left, or -1. */
static int take_common(int argc, char **argv, struct xb_common *ret_common)
{
	struct xb_common common = {0};
	int left = 0;

	for (int i = 0; i < argc; i++) {
		if (!strcmp(argv[i], "--json") || !strcmp(argv[i], "-j"))
			common.json = true;
		else if (!strcmp(argv[i], "--watch"))
			common.watch = true;
		else if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h"))
			common.help = true;
		else if (!strncmp(argv[i], "--name=", 7))
			common.name = argv[i] + 7;
		else if (!strcmp(argv[i], "--name")) {
			if (++i == argc)
				return -1;
			common.name = argv[i];
		} else
			argv[left++] = argv[i];
	}
	*ret_common = common;
	return left;
}

static int unknown(int argc, char **argv)
{
	if (xb_topic_find(argv[0]) && argc > 1)
		return xb_say_failure(XB_EXIT_USAGE,
				      "there is no command '%.32s %.64s'; `xbridge help %s` lists "
				      "what there is",
				      argv[0], argv[1], argv[0]);
	if (xb_topic_find(argv[0]))
		return xb_say_failure(XB_EXIT_USAGE,
				      "%s: a second word is missing; `xbridge help %s` lists what "
				      "there is",
				      argv[0], argv[0]);
	return xb_say_failure(XB_EXIT_USAGE,
			      "there is no command '%.64s'; `xbridge help` lists them", argv[0]);
}

static int dispatch(int argc, char **argv)
{
	const struct xb_command *command;
	struct xb_error err = {0};
	struct xb_common common;
	int words;

	argc = take_common(argc, argv, &common);
	if (argc < 0)
		return xb_say_failure(XB_EXIT_USAGE, "--name needs a value: the instance's name");
	if (common.json)
		xb_say_as_json();
	if (common.help)
		return xb_help(argc, argv);
	if (!argc) {
		xb_help_all(stderr);
		return XB_EXIT_USAGE;
	}
	if (!strcmp(argv[0], "help"))
		return xb_help(argc - 1, argv + 1);
	command = xb_command_find(argc, argv, &words);
	if (!command)
		return unknown(argc, argv);
	if (common.watch && strcmp(command->words, "stats") != 0)
		return xb_say_failure(XB_EXIT_USAGE, "%s has no option '--watch'", command->words);
	if (xb_command_check(command, argc - words, argv + words, &err) < 0)
		return xb_say_failure(XB_EXIT_USAGE, "%s", err.what);
	if (command->run)
		return command->run(&common, argc - words, argv + words);
	return common.watch ? xb_watch_stats(&common, argc, argv)
			    : ask(command, &common, argc, argv);
}

/* `run` has options of its own, which may have the values -h or --help. */
static bool wants_help(int argc, char **argv)
{
	for (int i = 0; i < argc; i++)
		if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h"))
			return true;
	return false;
}

/* Whoever starts us may have closed standard input, output or error. What is opened next would get
 * their numbers, and our output. */
static bool open_standard(void)
{
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) != fd)
			return false;
	return true;
}

/* The system calls that a kind of thread may make, one a line. */
static int print_calls(const char *name)
{
	enum xb_filter_kind kind = xb_filter_kind_of(name);
	const char *names[XB_FILTER_CALLS_MAX];
	unsigned n;

	if (kind == XB_FILTER_KINDS)
		return xb_say_failure(
			XB_EXIT_USAGE,
			"--calls: worker, control, doorman, reader or deputy, not '%.32s'", name);
	n = xb_filter_calls(kind, names);
	for (unsigned i = 0; i < n; i++)
		puts(names[i]);
	return 0;
}

int main(int argc, char **argv)
{
	int words;

	if (!open_standard()) {
		perror("xbridge: error: can't open /dev/null");
		return 1;
	}
	if (argc < 2) {
		xb_help_all(stderr);
		return XB_EXIT_USAGE;
	}
	if (!strcmp(argv[1], "--version")) {
		puts("xbridge " XB_VERSION);
		return 0;
	}
	if (!strcmp(argv[1], "--drops")) { /* for the build */
		xb_manual_drops();
		return 0;
	}
	if (!strcmp(argv[1], "--calls") && argc == 3)
		return print_calls(argv[2]);
	if (!strcmp(argv[1], "--man") && argc == 3)
		return xb_manual_write(argv[2]);
	if (!strcmp(argv[1], "--completion"))
		return xb_completion_print();
	if (strcmp(argv[1], "run") != 0)
		return dispatch(argc - 1, argv + 1);
	if (!wants_help(argc - 2, argv + 2))
		return xb_run(argc - 2, argv + 2);
	xb_help_command(xb_command_find(1, argv + 1, &words), stdout);
	return 0;
}
