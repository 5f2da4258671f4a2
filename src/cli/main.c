/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The command line: one table of commands. `run` becomes the daemon; queries and changes go to a
 * running one over its control socket; `doctor` and `detach` look at the host themselves.
 */
#include "cli/capture.h"
#include "cli/client.h"
#include "cli/doctor.h"
#include "cli/explain.h"
#include "cli/text.h"
#include "core/error.h"
#include "daemon/config.h"
#include "daemon/run.h"
#include "xbridge/drops.h"
#include "xsk/gate.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define EXIT_USAGE 2

/** What stands on the command line beside the command's own words. */
struct common {
	const char *name; /* --name */
	bool json;        /* --json, -j */
	bool watch;       /* --watch */
	bool help;        /* --help, -h */
};

struct command {
	const char *words; /* "port list" */
	const char *args;  /* for the usage line */
	const char *help;
	void (*text)(struct json_object *result); /* how a person reads its result; NULL: silence */
	int (*run)(const struct common *common, int argc,
		   char **argv); /* NULL: the daemon does it */
};

static int run_steer_load(const struct common *common, int argc, char **argv);
static int run_explain(const struct common *common, int argc, char **argv);
static int run_capture(const struct common *common, int argc, char **argv);
static int run_detach(const struct common *common, int argc, char **argv);
static int run_doctor(const struct common *common, int argc, char **argv);

static const struct command commands[] = {
	{"status", "", "what runs: ports, modes, workers", xb_text_status, NULL},
	{"stats", "[--watch]", "packets, bytes and drops of each port", xb_text_stats, NULL},
	{"port list", "", "the ports", xb_text_ports, NULL},
	{"port set", "NAME [--queues N] [--learn-max N] [--storm PPS]",
	 "change a port while it runs", NULL, NULL},
	{"fdb list", "", "the forwarding table", xb_text_fdb, NULL},
	{"fdb add", "MAC port NAME [vlan ID]", "add a static entry", NULL, NULL},
	{"fdb del", "MAC [vlan ID]", "delete an entry", NULL, NULL},
	{"fdb flush", "[PORT]", "forget what was learned", NULL, NULL},
	{"steer add", "RULE", "add a rule; prints its id", xb_text_id, NULL},
	{"steer del", "ID", "remove a rule", NULL, NULL},
	{"steer list", "[-s]", "the rules in the order in which they are asked", xb_text_rules,
	 NULL},
	{"steer load", "FILE|- [--confirm SECONDS]",
	 "replace all rules at once, or, where one is wrong, none", NULL, run_steer_load},
	{"steer confirm", "", "keep what `steer load --confirm` has loaded", NULL, NULL},
	{"steer flush", "", "remove all rules", NULL, NULL},
	{"steer default", "VERDICT", "what becomes of a frame that no rule matches", NULL, NULL},
	{"explain", "[in PORT] MATCH...|pcap FILE|- [in PORT]",
	 "what would become of a frame, and why; of each frame of a capture file", NULL,
	 run_explain},
	{"capture", "[PORT] [--drops] [-w FILE|-] [-c COUNT] [--snap BYTES]",
	 "packets as they cross the ports, with their fate", NULL, run_capture},
	{"doctor", "[IFACE]", "what this host can do, and what stands in the way", NULL,
	 run_doctor},
	{"detach", "IFACE", "take xbridge's XDP program off an interface", NULL, run_detach},
};

#define N_COMMANDS (sizeof(commands) / sizeof(commands[0]))

static const struct option {
	const char *command; /* whose it is; NULL: all commands have it, but run */
	const char *names;   /* and what it takes */
	const char *help;
} options[] = {
	{NULL, "--name NAME", "the instance; not needed where one runs"},
	{NULL, "--json, -j", "one JSON document"},
	{NULL, "--help, -h", "what is typed; behind run, its options"},
	{"stats", "--watch", "again each second, until it is interrupted"},
	{"port set", "--queues N", "queue pairs of the kernel's interface, while packets pass"},
	{"port set", "--learn-max N", "most addresses that are learned behind the port"},
	{"port set", "--storm PPS", "group frames a second that it may send; 0: no limit"},
	{"steer list", "-s", "with counters"},
	{"steer load", "--confirm SECONDS",
	 "the rules before come back unless `steer confirm` follows in time"},
	{"capture", "--drops", "only what is dropped"},
	{"capture", "-w FILE|-",
	 "into a file, or to standard output, as pcapng, for Wireshark and tcpdump"},
	{"capture", "-c COUNT", "end after so many packets"},
	{"capture", "--snap BYTES", "only so much of each packet"},
};

#define N_OPTIONS (sizeof(options) / sizeof(options[0]))

/* ---- help ---- */

static bool is_of(const struct option *option, const char *command)
{
	if (!option->command || !command)
		return option->command == command;
	return !strcmp(option->command, command);
}

static void usage(FILE *out)
{
	fprintf(out, "Usage: xbridge run [OPTION]...\n"
		     "       xbridge COMMAND [ARGUMENT]... [--name NAME] [--json]\n\n"
		     "The kernel exception path for packets in userspace.\n\nCommands:\n");
	fprintf(out, "  %-34s %s\n", "run [OPTION]...",
		"bridge uplinks and the kernel, in the "
		"foreground");
	for (size_t i = 0; i < N_COMMANDS; i++) {
		char left[64];

		snprintf(left, sizeof(left), "%s %s", commands[i].words, commands[i].args);
		fprintf(out, "  %-34s %s\n", left, commands[i].help);
	}
	fprintf(out, "\nTheir options:\n");
	for (size_t i = 0; i < N_OPTIONS; i++)
		if (options[i].command)
			fprintf(out, "  %-10s %-23s %s\n", options[i].command, options[i].names,
				options[i].help);
	fprintf(out, "\nOptions of all commands but run:\n");
	for (size_t i = 0; i < N_OPTIONS; i++)
		if (!options[i].command)
			fprintf(out, "  %-34s %s\n", options[i].names, options[i].help);
	fprintf(out, "\n`xbridge run --help` lists the options of run. "
		     "Exit status: 0 done, 1 failed, 2 wrong usage.\n");
}

static void run_usage(FILE *out)
{
	fprintf(out, "Usage: xbridge run [OPTION]...\n\nOptions:\n");
	xb_config_help(out, false);
}

/* A dash that is typed is no hyphen in roff. */
static void print_roff(const char *text)
{
	for (; *text; text++)
		printf("%s%c", *text == '-' ? "\\" : "", *text);
}

static void print_man_entry(const char *words, const char *args, const char *help)
{
	printf(".TP\n.B ");
	print_roff(words);
	printf(" \\fR");
	print_roff(args);
	printf("\n%s.\n", help);
}

static void print_man_options(const char *command)
{
	for (size_t i = 0; i < N_OPTIONS; i++)
		if (is_of(&options[i], command))
			print_man_entry(options[i].names, "", options[i].help);
}

/* The parts of xbridge(1) that are made from the tables, as roff. */
static void print_man(void)
{
	for (size_t i = 0; i < N_COMMANDS; i++) {
		print_man_entry(commands[i].words, commands[i].args, commands[i].help);
		printf(".RS\n");
		print_man_options(commands[i].words);
		printf(".RE\n");
	}
	printf(".SH OPTIONS OF ALL COMMANDS BUT RUN\n");
	print_man_options(NULL);
	printf(".SH OPTIONS OF RUN\n");
	xb_config_help(stdout, true);
}

/* The reference page of drop reasons, in Markdown. */
static void print_drops(void)
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

static int wrong_usage(const char *what, const char *word)
{
	fprintf(stderr, "xbridge: %s '%s'; `xbridge --help` lists the commands\n", what, word);
	return EXIT_USAGE;
}

/* ---- commands that need no daemon ---- */

static int run_doctor(const struct common *common, int argc, char **argv)
{
	if (argc > 1)
		return wrong_usage("doctor: too much:", argv[1]);
	return xb_doctor(argc ? argv[0] : NULL, common->json);
}

/* Says so where a running instance has the interface: it would go on without its program. */
static bool is_in_use(const char *ifname)
{
	struct xb_gate_pin pins[64];
	int n = xb_gate_list(pins, 64);

	for (int i = 0; i < n && i < 64; i++) {
		if (strcmp(pins[i].ifname, ifname) != 0 || !xb_client_runs(pins[i].instance))
			continue;
		fprintf(stderr,
			"xbridge: detach %s: the instance '%s' runs on it; stop that one, which "
			"takes its program along\n",
			ifname, pins[i].instance);
		return true;
	}
	return false;
}

static int run_detach(const struct common *common, int argc, char **argv)
{
	struct xb_error err = {0};
	char text[512];

	(void)common;
	if (argc != 1)
		return wrong_usage("detach: one interface is expected, not", argc ? argv[1] : "");
	if (is_in_use(argv[0]))
		return 1;
	if (!xb_gate_detach(argv[0], &err))
		return 0;
	fprintf(stderr, "xbridge: %s\n", xb_error_text(&err, text, sizeof(text)));
	return 1;
}

/* ---- commands that the daemon does ---- */

static int ask(const struct command *command, const struct common *common, int argc, char **argv)
{
	struct json_object *result = NULL;
	struct xb_error err = {0};
	int status = xb_client_ask(common->name, argc, argv, &result, &err);

	if (status) {
		fprintf(stderr, "xbridge: %s\n", err.what);
		return status;
	}
	if (common->json)
		puts(json_object_to_json_string_ext(result, JSON_C_TO_STRING_PRETTY |
								    JSON_C_TO_STRING_SPACED));
	else if (command->text)
		command->text(result);
	json_object_put(result);
	return fflush(stdout) ? 1 : 0;
}

static int ask_again(const struct command *command, const struct common *common, int argc,
		     char **argv)
{
	int status;

	do {
		if (!common->json && isatty(STDOUT_FILENO))
			printf("\033[H\033[J");
		status = ask(command, common, argc, argv);
	} while (!status && common->watch && !sleep(1));
	return status;
}

/* Reads a text, "-" being standard input, to its end. Returns it from the heap, or NULL and errno.
 */
static char *read_text(const char *path)
{
	bool is_stdin = !strcmp(path, "-");
	FILE *file = is_stdin ? stdin : fopen(path, "re");
	char *text = NULL;
	size_t room = 0;
	ssize_t bytes;

	if (!file)
		return NULL;
	bytes = getdelim(&text, &room, '\0', file);
	if (bytes < 0 && !ferror(file)) { /* an empty one */
		free(text);
		text = calloc(1, 1);
	} else if (bytes < 0 || !text[bytes - 1]) { /* a NUL byte: no text */
		errno = bytes < 0 ? errno : EINVAL;
		free(text);
		text = NULL;
	}
	if (!is_stdin)
		fclose(file);
	return text;
}

/* The daemon gets the file's text in place of its name; the command's two words stand in front. */
static int run_steer_load(const struct common *common, int argc, char **argv)
{
	static const struct command quiet = {.words = "steer load"};
	char *text;
	int status;

	if (argc != 1 && argc != 3)
		return wrong_usage("steer load: FILE|- [--confirm SECONDS] is expected, not",
				   argc ? argv[argc - 1] : "");
	text = read_text(argv[0]);
	if (!text) {
		fprintf(stderr, "xbridge: steer load %s: %s\n", argv[0], strerror(errno));
		return 1;
	}
	argv[0] = text;
	status = ask(&quiet, common, 2 + argc, argv - 2);
	free(text);
	return status;
}

static int run_explain(const struct common *common, int argc, char **argv)
{
	return xb_explain(common->name, common->json, argc, argv);
}

static int run_capture(const struct common *common, int argc, char **argv)
{
	return xb_capture_packets(common->name, argc, argv);
}

/* ---- dispatch ---- */

/* Takes the options that all commands have out of argv. Returns how many words are left, or -1. */
static int take_common(int argc, char **argv, struct common *ret_common)
{
	struct common common = {0};
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

/* The command that argv begins with, and how many words name it. */
static const struct command *find(int argc, char **argv, int *ret_words)
{
	for (size_t i = 0; i < N_COMMANDS; i++) {
		const char *second = strchr(commands[i].words, ' ');
		size_t first = second ? (size_t)(second - commands[i].words)
				      : strlen(commands[i].words);

		if (strlen(argv[0]) != first || strncmp(argv[0], commands[i].words, first))
			continue;
		if (second && (argc < 2 || strcmp(argv[1], second + 1)))
			continue;
		*ret_words = second ? 2 : 1;
		return &commands[i];
	}
	return NULL;
}

static int dispatch(int argc, char **argv)
{
	const struct command *command;
	struct common common;
	int words;

	argc = take_common(argc, argv, &common);
	if (argc < 0)
		return wrong_usage("no name behind", "--name");
	if (!argc || common.help) {
		usage(common.help ? stdout : stderr);
		return common.help ? 0 : EXIT_USAGE;
	}
	command = find(argc, argv, &words);
	if (!command)
		return wrong_usage("no command", argv[0]);
	if (common.watch && strcmp(command->words, "stats"))
		return wrong_usage("only stats has", "--watch");
	if (command->run)
		return command->run(&common, argc - words, argv + words);
	return ask_again(command, &common, argc, argv);
}

static bool wants_help(int argc, char **argv)
{
	for (int i = 0; i < argc; i++)
		if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h"))
			return true;
	return false;
}

int main(int argc, char **argv)
{
	if (argc < 2) {
		usage(stderr);
		return EXIT_USAGE;
	}
	if (!strcmp(argv[1], "--version")) {
		puts("xbridge " XB_VERSION);
		return 0;
	}
	if (!strcmp(argv[1], "--man") || !strcmp(argv[1], "--drops")) { /* for the build */
		argv[1][2] == 'm' ? print_man() : print_drops();
		return 0;
	}
	if (strcmp(argv[1], "run"))
		return dispatch(argc - 1, argv + 1);
	if (wants_help(argc - 2, argv + 2)) {
		run_usage(stdout);
		return 0;
	}
	return xb_run(argc - 2, argv + 2);
}
