/* SPDX-License-Identifier: BSD-2-Clause */
#include "cli/text.h"

#include "daemon/json.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static const char *text(struct json_object *of, const char *name)
{
	struct json_object *value = xb_json_field(of, name);

	return value ? json_object_get_string(value) : "-";
}

static bool is(struct json_object *of, const char *name)
{
	return json_object_get_boolean(xb_json_field(of, name));
}

static void print_takes(struct json_object *list)
{
	size_t n = json_object_array_length(list);

	for (size_t i = 0; i < n; i++)
		printf("%s%s", i ? "," : "",
		       json_object_get_string(json_object_array_get_idx(list, i)));
	if (!n)
		printf("none");
}

static const char *state(struct json_object *port)
{
	if (json_object_is_type(xb_json_field(port, "doing"), json_type_string))
		return text(port, "doing");
	if (!is(port, "running"))
		return is(port, "lost") ? "gone" : "stopped";
	if (is(port, "up") && xb_json_field(port, "carrier") && !is(port, "carrier"))
		return "no carrier";
	return is(port, "up") ? "up" : "down";
}

static void print_troubles(struct json_object *list)
{
	for (size_t i = 0; i < json_object_array_length(list); i++) {
		struct json_object *trouble = json_object_array_get_idx(list, i);

		printf("%16strouble: %s\n%16s-> %s\n", "", text(trouble, "text"), "",
		       text(trouble, "remedy"));
	}
}

static void print_port(struct json_object *port)
{
	printf("%-15s %-7s %-5s %s  queues %" PRIu64, text(port, "name"), text(port, "type"),
	       state(port), text(port, "mac"), xb_json_u64(port, "queues"));
	if (!strcmp(text(port, "type"), "uplink")) {
		printf(" of %" PRIu64 "  %s  XDP %s by %s, %s, csum=%s, tx=%s\n",
		       xb_json_u64(port, "rx_queues"), is(port, "shared") ? "shared" : "dedicated",
		       text(port, "xdp"), text(port, "attached"), text(port, "mode"),
		       text(port, "csum"), text(port, "tx"));
		printf("%16s%s %s\n", "", is(port, "shared") ? "shared" : "dedicated",
		       text(port, "shared_reason"));
		printf("%16ssends through %s: %s\n", "",
		       strcmp(text(port, "tx"), "packet") ? "AF_XDP" : "a packet socket",
		       text(port, "tx_why"));
		if (is(port, "loses_vlan_tags"))
			printf("%16sVLAN tags are lost: see xbridge doctor %s\n", "",
			       text(port, "name"));
		print_troubles(xb_json_field(port, "troubles"));
		return;
	}
	printf("  %s  takes ", text(port, "backend"));
	print_takes(xb_json_field(port, "takes"));
	printf("\n%16s%s\n", "", text(port, "why"));
}

void xb_text_ports(struct json_object *result)
{
	struct json_object *list = xb_json_field(result, "ports");

	for (size_t i = 0; i < json_object_array_length(list); i++)
		print_port(json_object_array_get_idx(list, i));
}

/* Where each worker may run; once, where that is the same for all. */
static void print_cpus(struct json_object *workers)
{
	size_t n = json_object_array_length(workers);
	bool same = true;

	for (size_t i = 1; i < n; i++)
		same = same && !strcmp(text(json_object_array_get_idx(workers, i), "cpus"),
				       text(json_object_array_get_idx(workers, 0), "cpus"));
	for (size_t i = 0; i < (same && n ? 1 : n); i++)
		printf("%s%s", i ? "; " : " on CPUs ",
		       text(json_object_array_get_idx(workers, i), "cpus"));
}

/* For how long a trial is still on; nothing where none is. */
static void print_trial(struct json_object *result, FILE *out, const char *prefix)
{
	if (xb_json_field(result, "confirm_within_s"))
		fprintf(out,
			"%son trial: the table from before comes back in %" PRIu64
			" s unless `xbridge steer confirm` follows\n",
			prefix, xb_json_u64(result, "confirm_within_s"));
}

void xb_text_status(struct json_object *result)
{
	struct json_object *arena = xb_json_field(result, "arena");
	struct json_object *workers = xb_json_field(result, "workers");

	printf("%s: xbridge %s, pid %" PRIu64 ", up %" PRIu64 " s, default %s, stall limit %" PRIu64
	       " ms\n",
	       text(result, "name"), text(result, "version"), xb_json_u64(result, "pid"),
	       xb_json_u64(result, "uptime_s"), text(result, "default"),
	       xb_json_u64(result, "stall_ms"));
	printf("frames: %" PRIu64 " of %" PRIu64 " free%s; workers: %zu",
	       xb_json_u64(arena, "free"), xb_json_u64(arena, "frames"),
	       is(arena, "huge_pages") ? ", huge pages" : "", json_object_array_length(workers));
	print_cpus(workers);
	putchar('\n');
	if (json_object_is_type(xb_json_field(result, "bpffs"), json_type_string))
		printf("BPF file system: %s%s\n", text(result, "bpffs"),
		       is(result, "bpffs_private") ? ", of its mount namespace alone" : "");
	print_trial(result, stdout, "steering table: ");
	xb_text_ports(result);
}

static void print_drops(struct json_object *drops)
{
	json_object_object_foreach(drops, reason, count) {
		if (json_object_get_uint64(count))
			printf("%16sdrop %s %" PRIu64 "\n", "", reason,
			       json_object_get_uint64(count));
	}
}

static void print_xdp(struct json_object *xdp)
{
	printf("%16sXDP:", "");
	json_object_object_foreach(xdp, outcome, count) {
		if (json_object_get_uint64(count))
			printf(" %s %" PRIu64, outcome, json_object_get_uint64(count));
	}
	printf("\n");
}

static void print_counters(const char *name, struct json_object *port)
{
	printf("%-15s %12" PRIu64 " %14" PRIu64 " %12" PRIu64 " %14" PRIu64 " %10" PRIu64 "\n",
	       name, xb_json_u64(port, "rx_packets"), xb_json_u64(port, "rx_bytes"),
	       xb_json_u64(port, "tx_packets"), xb_json_u64(port, "tx_bytes"),
	       xb_json_u64(port, "rx_missed"));
	print_drops(xb_json_field(port, "drops"));
	if (xb_json_field(port, "xdp"))
		print_xdp(xb_json_field(port, "xdp"));
}

void xb_text_stats(struct json_object *result)
{
	struct json_object *departed = xb_json_field(result, "departed");

	printf("%-15s %12s %14s %12s %14s %10s\n", "port", "rx packets", "rx bytes", "tx packets",
	       "tx bytes", "rx missed");
	json_object_object_foreach(xb_json_field(result, "ports"), name, port)
		print_counters(name, port);
	if (departed &&
	    (xb_json_u64(departed, "rx_packets") || xb_json_u64(departed, "tx_packets")))
		print_counters("(departed)", departed);
	printf("copies %" PRIu64 ", segments added %" PRIu64 ", frames joined %" PRIu64
	       ", in flight %" PRIu64 "\n",
	       xb_json_u64(result, "copies"), xb_json_u64(result, "segments_added"),
	       xb_json_u64(result, "frames_joined"), xb_json_u64(result, "in_flight"));
}

void xb_text_fdb(struct json_object *result)
{
	struct json_object *list = xb_json_field(result, "fdb");

	printf("%-17s %-5s %-15s %-8s %s\n", "mac", "vlan", "port", "kind", "age");
	for (size_t i = 0; i < json_object_array_length(list); i++) {
		struct json_object *row = json_object_array_get_idx(list, i);

		printf("%-17s %-5s %-15s %-8s %s\n", text(row, "mac"), text(row, "vlan"),
		       text(row, "port"), text(row, "kind"), text(row, "age_s"));
	}
}

/* To stderr, so that what `list` prints stays what `load` reads. */
void xb_text_warnings(struct json_object *result)
{
	struct json_object *list = xb_json_field(result, "warnings");

	print_trial(result, stderr, "xbridge: ");
	for (size_t i = 0; list && i < json_object_array_length(list); i++)
		fprintf(stderr, "xbridge: warning: %s\n",
			json_object_get_string(json_object_array_get_idx(list, i)));
}

static void print_rule(struct json_object *rule)
{
	printf("id %" PRIu64 " %s", xb_json_u64(rule, "id"), text(rule, "rule"));
	if (xb_json_field(rule, "packets"))
		printf("  # %" PRIu64 " packets, %" PRIu64 " bytes", xb_json_u64(rule, "packets"),
		       xb_json_u64(rule, "bytes"));
	if (xb_json_field(rule, "last_hit_ms"))
		printf(", last %.1f s ago", (double)xb_json_u64(rule, "last_hit_ms") / 1e3);
	printf("\n");
}

void xb_text_rule(struct json_object *result)
{
	print_rule(result);
	fflush(stdout);
	xb_text_warnings(result);
}

/* What `steer load` reads again: all that is no rule stands after a '#'. */
void xb_text_rules(struct json_object *result)
{
	struct json_object *list = xb_json_field(result, "rules");

	print_trial(result, stdout, "# ");
	if (xb_json_field(result, "port"))
		printf("# not the whole table: %zu of %" PRIu64 " rules name %s\n",
		       json_object_array_length(list), xb_json_u64(result, "of"),
		       text(result, "port"));
	if (!xb_json_field(result, "port") || is(result, "default_names_port"))
		printf("default %s\n", text(result, "default"));
	for (size_t i = 0; i < json_object_array_length(list); i++)
		print_rule(json_object_array_get_idx(list, i));
}

void xb_text_checked(struct json_object *result)
{
	printf("good: %" PRIu64 " rules, default %s%s\n", xb_json_u64(result, "rules"),
	       text(result, "default"),
	       json_object_get_boolean(xb_json_field(result, "default_stays")) ? " (as it is)"
									       : "");
	fflush(stdout);
	xb_text_warnings(result);
}

void xb_text_default(struct json_object *result)
{
	printf("%s\n", text(result, "default"));
	fflush(stdout);
	xb_text_warnings(result);
}

void xb_text_id(struct json_object *result)
{
	printf("%" PRIu64 "\n", xb_json_u64(result, "id"));
	fflush(stdout);
	xb_text_warnings(result);
}

static void print_decision(struct json_object *decision)
{
	const char *stage = text(decision, "stage");

	printf("%s", text(decision, "verdict"));
	if (!strcmp(stage, "rule"))
		printf(", by rule %" PRIu64, xb_json_u64(decision, "rule"));
	else if (!strcmp(stage, "default"))
		printf(", by default");
	else if (!strcmp(stage, "own_mac"))
		printf(": an own MAC of the uplink");
	else if (!strcmp(stage, "group"))
		printf(": a group frame of a shared uplink");
	else
		printf(": %s", stage);
	if (xb_json_field(decision, "to"))
		printf("; goes to %s", text(decision, "to"));
	if (xb_json_field(decision, "drop"))
		printf("; then dropped: %s", text(decision, "drop"));
	if (xb_json_field(decision, "passes"))
		printf("; passes, as it is %s", text(decision, "passes"));
	if (xb_json_field(decision, "copy")) {
		printf("; xbridge's copy: ");
		print_decision(xb_json_field(decision, "copy"));
	}
}

void xb_text_packet(struct json_object *packet, const char *port, unsigned count)
{
	struct json_object *parsed = xb_json_field(packet, "parsed");

	printf("%u: in %s, %" PRIu64 " bytes", count, port, xb_json_u64(packet, "bytes"));
	if (xb_json_field(packet, "cut_short_to"))
		printf(" (cut short in the file to %" PRIu64 ")",
		       xb_json_u64(packet, "cut_short_to"));
	printf(": ");
	print_decision(packet);
	printf("\n  ");
	if (parsed) {
		json_object_object_foreach(parsed, keyword, value)
			printf(" %s %s", keyword, json_object_get_string(value));
	}
	printf("\n");
}
