/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory. The daemon's threads write into rings in shared memory (xbridge/capture.h), we read. On
 * SIGINT our side of the connection is shut down; the daemon takes the rings away from its threads
 * and then hangs up, so that what is in the rings by then is all there will be.
 */
#include "cli/capture.h"

#include "cli/client.h"
#include "cli/pcapng.h"
#include "cli/say.h"
#include "core/capture.h"
#include "core/cleanup.h"
#include "core/port.h"
#include "core/word.h"
#include "daemon/explain.h"
#include "daemon/json.h"
#include "steer/field.h"
#include "steer/text.h"
#include "steer/verdict.h"
#include "xbridge/parse.h"
#include "xbridge/steer.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#define LOOK_EVERY_MS 20
#define PASS_ON_MAX   8 /* words */
#define COMMENT_BYTES 192

struct port {
	uint16_t id;
	const char *name;
};

struct capture {
	/* as typed */
	const char *path; /* NULL: text on standard output */
	uint64_t count;   /* 0: no end */
	uint32_t snap;
	int argc;
	char *argv[PASS_ON_MAX]; /* what the daemon gets */
	/* from the daemon */
	struct json_object *result;
	int socket;
	unsigned n_ports;
	struct port ports[XB_PORTS_MAX];
	uint32_t ring_bytes;
	unsigned n_taps;
	struct xb_capture_tap *taps; /* head: what was read up to */

	FILE *out;
	bool json;   /* lines of it, where no file is asked for */
	uint64_t n;  /* captured */
	bool ending; /* the daemon was asked to end it */
};

static volatile sig_atomic_t interrupted;

static void interrupt(int signal)
{
	(void)signal;
	interrupted = 1;
}

/* ---- words ---- */

static int wrong_usage(const char *what, const char *word)
{
	return xb_say_failure(XB_EXIT_USAGE, "capture: %s '%s'", what, word);
}

/* Takes our own options; the rest is the daemon's to judge. */
static int parse(struct capture *capture, int argc, char **argv)
{
	static char command[] = "capture";
	uint64_t snap;

	capture->argv[capture->argc++] = command;
	for (int i = 0; i < argc; i++) {
		const char *value = i + 1 < argc ? argv[i + 1] : "";

		if (!strcmp(argv[i], "-w")) {
			if (!*value)
				return wrong_usage("a file is expected after", "-w");
			capture->path = argv[++i];
		} else if (!strcmp(argv[i], "-c")) {
			if (!xb_word_decimal(value, 1, UINT64_MAX, &capture->count))
				return wrong_usage("-c: a number from 1 on is expected, not",
						   value);
			i++;
		} else if (capture->argc == PASS_ON_MAX) {
			return wrong_usage("unexpected", argv[i]);
		} else {
			if (!strcmp(argv[i], "--snap") &&
			    xb_word_decimal(value, 1, UINT32_MAX, &snap))
				capture->snap = (uint32_t)snap;
			capture->argv[capture->argc++] = argv[i];
		}
	}
	return 0;
}

/* ---- what the daemon says ---- */

static void read_ports(struct capture *capture)
{
	struct json_object *list = xb_json_field(capture->result, "ports");

	for (size_t i = 0; i < json_object_array_length(list) && i < XB_PORTS_MAX; i++) {
		struct json_object *port = json_object_array_get_idx(list, i);

		capture->ports[capture->n_ports++] = (struct port){
			.id = (uint16_t)json_object_get_int(xb_json_field(port, "id")),
			.name = json_object_get_string(xb_json_field(port, "name")),
		};
	}
}

static int map_rings(struct capture *capture, const int fds[XB_CAPTURE_FDS])
{
	unsigned n = (unsigned)json_object_get_int(xb_json_field(capture->result, "rings"));

	capture->ring_bytes =
		(uint32_t)json_object_get_uint64(xb_json_field(capture->result, "ring_bytes"));
	capture->taps = calloc(n, sizeof(*capture->taps));
	if (!capture->taps)
		return -ENOMEM;
	for (; capture->n_taps < n; capture->n_taps++) {
		int ret = xb_capture_map(&capture->taps[capture->n_taps], fds, capture->n_taps,
					 capture->ring_bytes, XB_CAPTURE_READER);

		if (ret < 0)
			return ret;
	}
	return 0;
}

/* Returns the exit status. */
static int begin(struct capture *capture, const char *name)
{
	struct xb_error err = {0};
	xb_auto_passed struct xb_passed passed = {0};
	int status = xb_client_hold(name, capture->argc, capture->argv, &capture->result,
				    &capture->socket, &passed, &err);
	int ret;

	if (status)
		return xb_say_failure(status, "%s", err.what);
	read_ports(capture);
	ret = passed.n == XB_CAPTURE_FDS ? map_rings(capture, passed.fds) : -EBADMSG;
	if (ret < 0)
		return xb_say_failure(1, "capture: can't map the rings: %s", strerror(-ret));
	return 0;
}

/* ---- packets ---- */

/* A port's number among those that the daemon named; the first where it named none of that id. */
static unsigned number_of(const struct capture *capture, uint16_t id)
{
	for (unsigned i = 0; i < capture->n_ports; i++)
		if (capture->ports[i].id == id)
			return i;
	return 0;
}

static const char *port_name(const struct capture *capture, uint16_t id)
{
	return capture->ports[number_of(capture, id)].name;
}

static const char *verdict_name(const struct capture *capture, uint16_t verdict)
{
	if (verdict >= XB_VERDICT_PORT0)
		return port_name(capture, verdict - XB_VERDICT_PORT0);
	return xb_verdict_word(verdict);
}

/* What is known of a packet, in words and values. */
static void describe(const struct capture *capture, const struct xb_capture_record *record,
		     FILE *out)
{
	fprintf(out, "verdict=%s stage=%s", verdict_name(capture, record->verdict),
		xb_stage_name(record->stage));
	if (record->rule)
		fprintf(out, " rule=%u", record->rule);
	if (record->way == XB_CAPTURE_OUT)
		fprintf(out, " from=%s", port_name(capture, record->from));
	if (record->gso_size)
		fprintf(out, " gso_size=%u", record->gso_size);
	if (record->drop != XB_CAPTURE_NO_DROP)
		fprintf(out, " drop=%s", xb_drop_name(record->drop));
	if (record->by_program)
		fputs(" by=xdp", out);
}

static void write_packet(const struct capture *capture, const struct xb_capture_record *record)
{
	char comment[COMMENT_BYTES] = "";
	FILE *words = fmemopen(comment, sizeof(comment), "w");
	struct xb_pcapng_packet packet = {
		.interface = number_of(capture, record->port),
		.time_ns = record->time_ns,
		.data = record + 1,
		.n = record->n,
		.bytes = record->bytes,
		.out = record->way == XB_CAPTURE_OUT,
		.queue = record->queue,
		.comment = comment,
	};

	if (words) {
		describe(capture, record, words);
		fclose(words);
	}
	xb_pcapng_packet(capture->out, &packet);
}

static void print_match(void *out, const char *keyword, const char *value)
{
	if (strcmp(keyword, "in") != 0)
		fprintf(out, " %s %s", keyword, value);
}

static void print_parsed(const struct xb_capture_record *record, FILE *out)
{
	const uint8_t *data = (const uint8_t *)(record + 1);
	const struct xb_origin nowhere = {0};
	struct xb_rule rule;
	struct xb_key key;

	if (xb_parse_key(data, data + record->n, &nowhere, &key))
		return;
	rule = xb_rule_of_key(&key, "");
	xb_rule_each_match(&rule, print_match, out);
}

static void print_packet(const struct capture *capture, const struct xb_capture_record *record)
{
	time_t seconds = (time_t)(record->time_ns / 1000000000u);
	char clock[16];
	struct tm local;

	localtime_r(&seconds, &local);
	strftime(clock, sizeof(clock), "%H:%M:%S", &local);
	fprintf(capture->out, "%s.%06u %s %s %u bytes: ", clock,
		(unsigned)(record->time_ns % 1000000000u / 1000), port_name(capture, record->port),
		record->way == XB_CAPTURE_OUT ? "out" : "in", record->bytes);
	describe(capture, record, capture->out);
	fputs(" |", capture->out);
	print_parsed(record, capture->out);
	fputc('\n', capture->out);
}

static void add_match(void *to, const char *keyword, const char *value)
{
	if (strcmp(keyword, "in") != 0)
		xb_json_add_text(to, keyword, value);
}

static struct json_object *parsed_json(const struct xb_capture_record *record)
{
	const uint8_t *data = (const uint8_t *)(record + 1);
	struct json_object *to = json_object_new_object();
	const struct xb_origin nowhere = {0};
	struct xb_rule rule;
	struct xb_key key;

	if (xb_parse_key(data, data + record->n, &nowhere, &key))
		return to;
	rule = xb_rule_of_key(&key, "");
	xb_rule_each_match(&rule, add_match, to);
	return to;
}

static void print_packet_json(const struct capture *capture, const struct xb_capture_record *record)
{
	struct json_object *to = json_object_new_object();

	json_object_object_add(to, "time", json_object_new_double((double)record->time_ns / 1e9));
	xb_json_add_text(to, "port", port_name(capture, record->port));
	xb_json_add_text(to, "way", record->way == XB_CAPTURE_OUT ? "out" : "in");
	xb_json_add_u64(to, "bytes", record->bytes);
	xb_json_add_u64(to, "queue", record->queue);
	xb_json_add_text(to, "verdict", verdict_name(capture, record->verdict));
	xb_json_add_text(to, "stage", xb_stage_name(record->stage));
	if (record->rule)
		xb_json_add_u64(to, "rule", record->rule);
	if (record->way == XB_CAPTURE_OUT)
		xb_json_add_text(to, "from", port_name(capture, record->from));
	if (record->gso_size)
		xb_json_add_u64(to, "gso_size", record->gso_size);
	if (record->drop != XB_CAPTURE_NO_DROP)
		xb_json_add_text(to, "drop", xb_drop_name(record->drop));
	if (record->by_program)
		xb_json_add_text(to, "by", "xdp");
	json_object_object_add(to, "parsed", parsed_json(record));
	fprintf(capture->out, "%s\n", json_object_to_json_string_ext(to, JSON_C_TO_STRING_PLAIN));
	json_object_put(to);
}

/* ---- the rings ---- */

/* The oldest record of a ring, or NULL. */
static const struct xb_capture_record *peek(const struct capture *capture,
					    const struct xb_capture_tap *tap)
{
	uint64_t head = atomic_load_explicit(&tap->ring->head, memory_order_acquire);

	return head == tap->head
		       ? NULL
		       : (const struct xb_capture_record *)(tap->data +
							    tap->head % capture->ring_bytes);
}

/* The ring with the oldest record of all, or NULL. */
static struct xb_capture_tap *oldest(const struct capture *capture,
				     const struct xb_capture_record **ret_record)
{
	struct xb_capture_tap *found = NULL;

	for (unsigned i = 0; i < capture->n_taps; i++) {
		const struct xb_capture_record *record = peek(capture, &capture->taps[i]);

		if (!record || (found && record->time_ns >= (*ret_record)->time_ns))
			continue;
		found = &capture->taps[i];
		*ret_record = record;
	}
	return found;
}

static bool is_full(const struct capture *capture)
{
	return capture->count && capture->n == capture->count;
}

/* Whether the daemon is to be asked to end it. */
static bool is_enough(const struct capture *capture)
{
	return !capture->ending && (interrupted || is_full(capture) || ferror(capture->out));
}

/* Takes what there is. Returns whether there was anything. There is no end to it while packets come
 * faster than they are written, but for a reason to end it all. */
static bool drain(struct capture *capture)
{
	const struct xb_capture_record *record = NULL;
	struct xb_capture_tap *tap;
	bool any = false;

	while (!is_full(capture) && !ferror(capture->out) && !is_enough(capture) &&
	       (tap = oldest(capture, &record))) {
		if (capture->path)
			write_packet(capture, record);
		else if (capture->json)
			print_packet_json(capture, record);
		else
			print_packet(capture, record);
		tap->head += record->record_bytes;
		atomic_store_explicit(&tap->tail->read, tap->head, memory_order_release);
		capture->n++;
		any = true;
	}
	return any;
}

/* Until the daemon has hung up. */
static void follow(struct capture *capture)
{
	struct pollfd watch = {.fd = capture->socket, .events = POLLIN};
	bool ended = false;
	char nothing;

	while (!ended) {
		if (is_enough(capture)) {
			shutdown(capture->socket, SHUT_WR);
			capture->ending = true;
		}
		if (drain(capture))
			continue;
		fflush(capture->out);
		if (poll(&watch, 1, LOOK_EVERY_MS) > 0)
			ended = recv(capture->socket, &nothing, 1, MSG_DONTWAIT) <= 0;
	}
	drain(capture);
}

/* ---- all of it ---- */

static int open_out(struct capture *capture)
{
	if (!capture->path || !strcmp(capture->path, "-"))
		capture->out = stdout;
	else
		capture->out = fopen(capture->path, "we");
	if (!capture->out)
		return xb_say_failure(1, "capture: can't open %s: %s", capture->path,
				      strerror(errno));
	if (!capture->path)
		return 0;
	xb_pcapng_start(capture->out, "xbridge " XB_VERSION);
	for (unsigned i = 0; i < capture->n_ports; i++)
		xb_pcapng_interface(capture->out, capture->ports[i].name, capture->snap);
	return 0;
}

static uint64_t lost(const struct capture *capture)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < capture->n_taps; i++)
		sum += atomic_load_explicit(&capture->taps[i].ring->lost, memory_order_relaxed);
	return sum;
}

static int finish(struct capture *capture)
{
	uint64_t missing = lost(capture);
	struct timespec now;
	bool failed;

	clock_gettime(CLOCK_REALTIME, &now);
	if (capture->path && missing) /* nobody knows of which port */
		xb_pcapng_lost(capture->out, 0,
			       (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec, missing);
	failed = ferror(capture->out) || fflush(capture->out);
	if (capture->out != stdout && fclose(capture->out))
		failed = true;
	if (failed)
		xb_say_failure(1, "capture: can't write %s: %s",
			       capture->path ? capture->path : "to standard output",
			       strerror(errno));
	fprintf(stderr, "%" PRIu64 " packets captured, %" PRIu64 " lost for want of room\n",
		capture->n, missing);
	return failed;
}

int xb_capture_packets(const struct xb_common *common, int argc, char **argv)
{
	struct sigaction on_end = {.sa_handler = interrupt};
	struct capture capture = {.snap = XB_CAPTURE_SNAP_MAX, .socket = -1, .json = common->json};
	int status = parse(&capture, argc, argv);

	sigaction(SIGINT, &on_end, NULL);
	sigaction(SIGTERM, &on_end, NULL);
	if (!status)
		status = begin(&capture, common->name);
	if (!status)
		status = open_out(&capture);
	if (!status) {
		fprintf(stderr, "xbridge: capturing until ^C\n");
		follow(&capture);
		status = finish(&capture);
	}
	for (unsigned i = 0; i < capture.n_taps; i++)
		xb_capture_unmap(&capture.taps[i], capture.ring_bytes);
	free(capture.taps);
	if (capture.socket >= 0)
		close(capture.socket);
	json_object_put(capture.result);
	return status;
}
