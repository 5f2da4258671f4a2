/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What each command is called, takes and does, except for `steer` (commands_steer.c).
 */
#include "cli/bpffs_option.h"
#include "cli/capture.h"
#include "cli/command.h"
#include "cli/detach.h"
#include "cli/doctor.h"
#include "cli/explain.h"
#include "cli/instances.h"
#include "cli/text.h"
#include "core/capture.h"
#include "core/fdb.h"
#include "core/port.h"
#include "core/word.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

const struct xb_command_option xb_common_options[] = {
	{"--name", NULL, "NAME", "the instance; not needed while only one runs", 0, 0},
	{"--json", "-j", NULL, "print JSON: the result, or {\"error\": TEXT, \"exit\": STATUS}", 0,
	 0},
	{"--help", "-h", NULL, "print what the command does and takes", 0, 0},
	{0},
};

/* ---- checks ---- */

static int check_fdb(int argc, char **argv, struct xb_error *err)
{
	uint8_t mac[6];

	if (!xb_word_mac(argv[0], mac))
		return xb_fail(err, -EINVAL,
			       "fdb: '%.32s': a MAC address like 02:00:00:00:00:01 is expected",
			       argv[0]);
	if (mac[0] & 1)
		return xb_fail(err, -EINVAL, "fdb: '%.32s' is a group address", argv[0]);
	for (int i = 1; i < argc; i += 2) {
		const char *value = i + 1 < argc ? argv[i + 1] : NULL;
		uint64_t vlan;

		if (!value || (strcmp(argv[i], "port") && strcmp(argv[i], "vlan") &&
			       strcmp(argv[i], "domain")))
			return xb_fail(
				err, -EINVAL,
				"fdb: '%.32s': 'port NAME' or 'vlan ID' is expected after the "
				"MAC address",
				argv[i]);
		if (i > 1 && !strcmp(argv[i], argv[i - 2]))
			return xb_fail(err, -EINVAL, "fdb: %s is given twice", argv[i]);
		if (!strcmp(argv[i], "vlan") &&
		    !xb_word_decimal(value, 0, XB_FDB_VLAN_ANY - 1, &vlan))
			return xb_fail(err, -EINVAL, "fdb: vlan '%.32s': 0 to 4094 is expected",
				       value);
	}
	return 0;
}

static int check_fdb_add(int argc, char **argv, struct xb_error *err)
{
	int ret = check_fdb(argc, argv, err);

	for (int i = 1; !ret && i < argc; i += 2)
		if (!strcmp(argv[i], "port"))
			return 0;
	return ret ? ret
		   : xb_fail(err, -EINVAL,
			     "fdb add: a port is missing; usage: xbridge fdb add MAC port "
			     "NAME [vlan ID]");
}

static int check_port_add(int argc, char **argv, struct xb_error *err)
{
	(void)argv;
	if (argc == 2)
		return 0;
	return xb_fail(err, -EINVAL,
		       "port add: one option that describes a port is expected, as --uplink eth1");
}

static int check_port_set(int argc, char **argv, struct xb_error *err)
{
	(void)argv;
	if (argc < 3)
		return xb_fail(err, -EINVAL,
			       "port set: nothing to change; usage: xbridge port set NAME "
			       "[--queues N] [--offload LIST|none] [--learn-max N] [--storm PPS]");
	return 0;
}

/* ---- options ---- */

static const struct xb_command_option stats_options[] = {
	{"--watch", NULL, NULL,
	 "every second what was moved in it, with the time; with --json, one document per line", 0,
	 0},
	{0},
};

static const struct xb_command_option port_set_options[] = {
	{"--queues", NULL, "N", "queue pairs of the kernel's interface; packets keep flowing", 1,
	 XB_QUEUES_MAX},
	{"--offload", NULL, "LIST|none",
	 "of the kernel's interface: what is left undone between it and xbridge, of csum, tso, gro and "
	 "uso",
	 0, 0},
	{"--learn-max", NULL, "N", "how many addresses may be learned on the port", 0, XB_FDB_MAX},
	{"--storm", NULL, "PPS",
	 "group frames per second that it may send; 0: no limit; default: 20000", 0, 1000000000},
	{0},
};

static const struct xb_command_option explain_options[] = {
	{"--bpffs", NULL, "PATH",
	 "look for pins in the BPF file system at PATH; default: where the instance has them", 0,
	 0},
	{0},
};

static const struct xb_command_option capture_options[] = {
	{"--drops", NULL, NULL, "only packets that are dropped", 0, 0},
	{"-w", NULL, "FILE|-",
	 "write pcapng, for Wireshark and tcpdump, into a file or to standard output", 0, 0},
	{"-c", NULL, "COUNT", "stop after this many packets", 1, UINT64_MAX},
	{"--snap", NULL, "BYTES", "keep at most this much of each packet", 1, XB_CAPTURE_SNAP_MAX},
	{0},
};

/* ---- examples ---- */

#define EXAMPLES(name, ...) \
	static const struct xb_command_example name##_examples[] = {__VA_ARGS__, {0}}

EXAMPLES(run, {"xbridge run --uplink eth0 --netns dataplane", "tap0 appears in `dataplane`"},
	 {"xbridge run --uplink eth0,dedicated --mac uplink",
	  "tap0 takes eth0's place, as with KNI"},
	 {"xbridge run --config /etc/xbridge/xbridge.conf", "options from a file"});
EXAMPLES(status, {"xbridge status", NULL}, {"xbridge status --json | jq .ports", NULL});
EXAMPLES(stats, {"xbridge stats", NULL}, {"xbridge stats eth0", NULL},
	 {"xbridge stats --watch", NULL});
EXAMPLES(instances, {"xbridge instances", NULL});
EXAMPLES(port_add, {"xbridge port add --uplink eth1,dedicated", NULL});
EXAMPLES(port_del, {"xbridge port del eth1", NULL});
EXAMPLES(port_set, {"xbridge port set kernel --queues 4", "more queues, while traffic runs"},
	 {"xbridge port set kernel --offload csum,tso", "no joined segments for the kernel"},
	 {"xbridge port set eth0 --storm 10000", NULL});
EXAMPLES(fdb_add, {"xbridge fdb add 02:00:00:00:00:07 port eth0 vlan 5", NULL});
EXAMPLES(explain, {"xbridge explain proto tcp dst 192.0.2.1 dport 179", NULL},
	 {"xbridge explain in kernel ethertype arp", NULL},
	 {"xbridge explain pcap frames.pcap in eth0", NULL});
EXAMPLES(capture, {"xbridge capture --drops", "what is being dropped, and why"},
	 {"xbridge capture kernel -w kernel.pcapng -c 1000", NULL});
EXAMPLES(doctor, {"xbridge doctor", NULL}, {"xbridge doctor eth0", NULL});
EXAMPLES(detach, {"xbridge detach eth0", NULL});

/* ---- the table ---- */

const struct xb_command xb_commands[] = {
	{.words = "run",
	 .args = "[OPTION]...",
	 .summary = "bridge uplinks and the kernel, in the foreground",
	 .details = "Runs one instance. It logs to standard error, says when it is ready (to "
		    "systemd, too), and stops within a second of SIGTERM or SIGINT, removing what "
		    "it made. SIGHUP reads the configuration file again and applies what has "
		    "changed.",
	 .examples = run_examples,
	 .max_words = XB_WORDS_ANY},
	{.words = "instances",
	 .args = "",
	 .summary = "the instances that run on this host",
	 .examples = instances_examples,
	 .run = xb_instances},
	{.words = "status",
	 .args = "",
	 .summary = "what runs: ports, modes, workers",
	 .examples = status_examples,
	 .text = xb_text_status},
	{.words = "stats reset",
	 .args = "",
	 .summary = "let all counters, those of rules too, begin at nothing",
	 .details =
		 "Packets that are under way then are `in_flight_at_reset`, and count as received."},
	{.words = "stats",
	 .args = "[NAME] [--watch]",
	 .summary = "packets, bytes and drops of each port",
	 .details = "While nothing moves, received + copies + segments added = sent + drops + "
		    "frames joined + in flight. Each drop has a reason. After `stats reset`, "
		    "in_flight_at_reset is added to the left side.",
	 .options = stats_options,
	 .examples = stats_examples,
	 .max_words = 1,
	 .text = xb_text_stats},
	{.words = "port list", .args = "", .summary = "the ports", .text = xb_text_ports},
	{.words = "port add",
	 .args = "OPTION VALUE",
	 .summary = "add a port while it runs",
	 .details =
		 "OPTION is one of those that describe a port to `run`. The command returns when "
		 "the port is in use. An uplink can be added where xbridge was started with "
		 "one: otherwise it has given up the rights that it takes.",
	 .examples = port_add_examples,
	 .min_words = 0,
	 .max_words = 0,
	 .check = check_port_add},
	{.words = "port del",
	 .args = "NAME",
	 .summary = "remove a port while it runs",
	 .details = "Packets that it still holds are sent or counted as dropped. What it has "
		    "counted stays in the sum, as `departed` of `stats`. A port that rules name "
		    "can't be removed.",
	 .examples = port_del_examples,
	 .min_words = 1,
	 .max_words = 1},
	{.words = "port set",
	 .args = "NAME [--queues N] [--offload LIST|none] [--learn-max N] [--storm PPS]",
	 .summary = "change a port while it runs",
	 .options = port_set_options,
	 .examples = port_set_examples,
	 .min_words = 1,
	 .max_words = 1,
	 .check = check_port_set},
	{.words = "fdb list", .args = "", .summary = "the forwarding table", .text = xb_text_fdb},
	{.words = "fdb add",
	 .args = "MAC port NAME [vlan ID]",
	 .summary = "add a static entry",
	 .examples = fdb_add_examples,
	 .min_words = 1,
	 .max_words = 5,
	 .check = check_fdb_add},
	{.words = "fdb del",
	 .args = "MAC [vlan ID] [domain NAME]",
	 .summary = "delete an entry",
	 .min_words = 1,
	 .max_words = 5,
	 .check = check_fdb},
	{.words = "fdb flush",
	 .args = "[NAME]",
	 .summary = "forget learned addresses, of one port or of all",
	 .max_words = 1},
	{.words = "explain",
	 .args = "[in NAME] MATCH...|pcap FILE|- [in NAME]",
	 .summary = "what would become of a frame, and why",
	 .details = "MATCH is what stands before `to` in a rule (see `xbridge help rules`); a "
		    "frame is made from it, with the first value of a range, a prefix or a list "
		    "of ports. With `pcap`, each frame of a capture file is explained.\n\n"
		    "The daemon answers, and so does a twin of the XDP program, loaded for the "
		    "question alone over the same maps. No counter, limit or table changes. If "
		    "the two disagree, that is an error.",
	 .options = explain_options,
	 .examples = explain_examples,
	 .min_words = 1,
	 .max_words = XB_WORDS_ANY,
	 .run = xb_explain},
	{.words = "capture",
	 .args = "[NAME] [--drops] [-w FILE|-] [-c COUNT] [--snap BYTES]",
	 .summary = "packets as they cross the ports, with their fate",
	 .details = "With --json, a line for each packet.",
	 .options = capture_options,
	 .examples = capture_examples,
	 .max_words = 1,
	 .run = xb_capture_packets},
	{.words = "doctor",
	 .args = "[IFACE]",
	 .summary = "what this host can do, and what stands in the way",
	 .details = "Every finding except `ok` comes with a remedy that can be typed. The exit "
		    "status is 1 if something would keep xbridge from starting.",
	 .options = xb_bpffs_options,
	 .examples = doctor_examples,
	 .max_words = 1,
	 .run = xb_doctor},
	{.words = "detach",
	 .args = "IFACE",
	 .summary = "take xbridge's XDP program off an interface",
	 .details = "For programs whose instance has ended: `drop` rules and limits hold until "
		    "the next start, or until this command.",
	 .options = xb_bpffs_options,
	 .examples = detach_examples,
	 .min_words = 1,
	 .max_words = 1,
	 .run = xb_detach_program},
	{0},
};

const struct xb_topic *xb_topic_at(unsigned n)
{
	static const struct xb_topic topics[] = {
		{"port", "ports: the kernel's interface and the uplinks", NULL, NULL},
		{"fdb", "the forwarding table",
		 "Addresses are learned and age. Static entries stay, and an address with a "
		 "static entry is not learned elsewhere.",
		 NULL},
		{"steer", "rules: which frames go where", NULL, NULL},
	};
	const unsigned n_topics = sizeof(topics) / sizeof(topics[0]);

	if (n < n_topics)
		return &topics[n];
	return n == n_topics ? xb_rules_topic() : NULL;
}
