/* SPDX-License-Identifier: BSD-2-Clause */
#include "cli/explain.h"

#include "cli/bpffs_option.h"
#include "cli/client.h"
#include "cli/frame_file.h"
#include "cli/sample.h"
#include "cli/say.h"
#include "cli/text.h"
#include "core/cleanup.h"
#include "core/word.h"
#include "daemon/explain.h"
#include "daemon/json.h"
#include "gate/bpffs.h"
#include "gate/twin.h"
#include "steer/text.h"
#include "xbridge/parse.h"

#include <json-c/json.h>
#include <linux/if_ether.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Between two looks the rules may have changed: who disagrees is asked again. */
#define TRIES 3

struct asked {
	const char *name; /* of the instance, as typed; NULL: the only one */
	bool json;
	bool bpffs_given;
	struct json_object *status; /* the instance's */
	pid_t pid;                  /* 0: not seen from here */
	/* the port that frames come in by */
	const char *port;
	uint32_t port_id;
	bool from_uplink;
	struct xb_sample_macs macs;
	struct xb_twin *twin; /* NULL: no uplink */
	/* frames that are yet to be explained, and the answers */
	unsigned n;
	char frame[XB_EXPLAIN_FRAMES_MAX][16 + 2 * XB_PARSE_BYTES];
	uint8_t bytes[XB_EXPLAIN_FRAMES_MAX][XB_PARSE_BYTES];
	uint32_t n_bytes[XB_EXPLAIN_FRAMES_MAX];
	uint32_t there[XB_EXPLAIN_FRAMES_MAX]; /* in the file; as many as the frame has, or fewer */
	unsigned done;
	struct json_object *packets; /* with json: all answers */
};

static int complain(const struct xb_error *err)
{
	char text[512];

	return xb_say_failure(1, "explain: %s", xb_error_text(err, text, sizeof(text)));
}

static int wrong_usage(const char *what)
{
	return xb_say_failure(XB_EXIT_USAGE, "explain: %s", what);
}

/* ---- the port ---- */

static bool is_called(struct json_object *port, const char *name)
{
	return !strcmp(xb_json_text(port, "name"), name) ||
	       !strcmp(xb_json_text(port, "alias"), name);
}

static bool is_uplink(struct json_object *port)
{
	return !strcmp(xb_json_text(port, "type"), "uplink");
}

/* The named port, or, where none is, the first uplink, else the kernel's. */
static struct json_object *find_port(struct json_object *status, const char *name)
{
	bool any_uplink = !name || !strcmp(name, "uplink");
	struct json_object *list = NULL, *found = NULL;

	json_object_object_get_ex(status, "ports", &list);
	for (size_t i = 0; i < json_object_array_length(list); i++) {
		struct json_object *port = json_object_array_get_idx(list, i);

		if (any_uplink ? is_uplink(port) : is_called(port, name))
			return port;
		found = name || found ? found : port;
	}
	return found;
}

/* The port by another name that it is known by. */
static struct json_object *find_by_other_name(const struct asked *asked, const char *name)
{
	char word[] = "port", find[] = "find", copy[256];
	char *words[] = {word, find, copy};
	struct json_object *found = NULL, *port = NULL;
	struct xb_error err = {0};

	snprintf(copy, sizeof(copy), "%s", name);
	if (!xb_client_ask(asked->name, 3, words, &found, &err))
		port = find_port(asked->status, xb_json_text(found, "name"));
	json_object_put(found);
	return port;
}

static void read_mac(struct json_object *port, uint8_t ret_mac[6])
{
	xb_word_mac(xb_json_text(port, "mac"), ret_mac);
}

/* Gets the twin, over the maps that the instance has pinned where it sees them. */
static int open_twin(struct asked *asked, uint32_t slot, struct xb_error *err)
{
	const char *bpffs = xb_json_text(asked->status, "bpffs");

	if (!asked->bpffs_given && *bpffs && xb_bpffs_use_of(asked->pid, bpffs, err) < 0)
		return err->code;
	return xb_twin_open(xb_json_text(asked->status, "name"), slot, asked->port_id, &asked->twin,
			    err);
}

/* Learns where frames come in, and gets the twin where that is an uplink. Returns the exit status.
 */
static int choose_port(struct asked *asked, const char *name)
{
	struct xb_error err = {0};
	struct json_object *port;
	int status = xb_client_status(asked->name, &asked->status, &asked->pid, &err);

	if (status)
		return complain(&err);
	port = find_port(asked->status, name);
	if (!port && name)
		port = find_by_other_name(asked, name);
	if (!port)
		return xb_say_failure(
			1, "explain: there is no port '%s'; `xbridge port list` names them", name);
	asked->port = xb_json_text(port, "name");
	asked->port_id = (uint32_t)xb_json_u64(port, "id");
	asked->from_uplink = is_uplink(port);
	read_mac(port, asked->macs.own);
	read_mac(find_port(asked->status, "kernel"), asked->macs.kernel);
	if (!asked->from_uplink)
		return 0;
	if (open_twin(asked, (uint32_t)xb_json_u64(port, "slot"), &err) < 0)
		return complain(&err);
	return 0;
}

/* ---- answers ---- */

/* Both have to see the same in it. */
static bool parses_alike(const struct asked *asked, unsigned i, const struct xb_explained *told)
{
	struct xb_origin origin = {.in = (__u8)asked->port_id, .own = told->key.own};
	const uint8_t *data = asked->bytes[i];
	struct xb_key key;

	if (!told->key.has)
		return true; /* no rule was asked */
	if (xb_parse_key(data, data + asked->n_bytes[i], &origin, &key))
		return false;
	return !memcmp(&key, &told->key, sizeof(key));
}

static bool agrees(const struct asked *asked, unsigned i, struct json_object *packet,
		   const struct xb_explained *told)
{
	return told->decision.verdict == (uint32_t)xb_json_u64(packet, "verdict_id") &&
	       told->decision.rule == (uint32_t)xb_json_u64(packet, "rule") &&
	       !strcmp(xb_json_text(packet, "stage"), xb_stage_name(told->decision.stage)) &&
	       parses_alike(asked, i, told);
}

/* The first packet on which the program says otherwise; asked->n: none. */
static int compare(const struct asked *asked, struct json_object *packets, unsigned *ret_differs,
		   struct xb_explained *ret_told, struct xb_error *err)
{
	unsigned i;

	for (i = 0; i < asked->n; i++) {
		struct json_object *packet = json_object_array_get_idx(packets, i);

		if (asked->n_bytes[i] < ETH_HLEN)
			continue; /* runts pass, and no rule is asked */
		if (xb_twin_ask(asked->twin, asked->bytes[i], asked->n_bytes[i], ret_told, err) < 0)
			return err->code;
		if (!agrees(asked, i, packet, ret_told))
			break;
	}
	*ret_differs = i;
	return 0;
}

static int ask_instance(const struct asked *asked, struct json_object **ret_result,
			struct xb_error *err)
{
	char command[] = "explain";
	char *words[2 + XB_EXPLAIN_FRAMES_MAX] = {command, (char *)asked->port};

	for (unsigned i = 0; i < asked->n; i++)
		words[2 + i] = (char *)asked->frame[i];
	return xb_client_ask(asked->name, 2 + (int)asked->n, words, ret_result, err);
}

static int disagree(const struct asked *asked, unsigned i, struct json_object *packet,
		    const struct xb_explained *told)
{
	return xb_say_failure(
		1,
		"explain: packet %u: the XDP program says verdict %u, stage %s, rule %u; "
		"userspace says verdict %u, stage %s, rule %u: please report it\n",
		asked->done + i + 1, told->decision.verdict, xb_stage_name(told->decision.stage),
		told->decision.rule, (uint32_t)xb_json_u64(packet, "verdict_id"),
		xb_json_text(packet, "stage"), (uint32_t)xb_json_u64(packet, "rule"));
}

static void keep_or_print(struct asked *asked, struct json_object *packets)
{
	for (unsigned i = 0; i < asked->n; i++) {
		struct json_object *packet = json_object_array_get_idx(packets, i);

		if (asked->there[i] < xb_json_u64(packet, "bytes"))
			xb_json_add_u64(packet, "cut_short_to", asked->there[i]);
		if (asked->json)
			xb_json_push(asked->packets, json_object_get(packet));
		else
			xb_text_packet(packet, asked->port, asked->done + i + 1);
	}
}

/* Explains the frames that are gathered. Returns the exit status. */
static int flush(struct asked *asked)
{
	static const struct timespec pause = {.tv_nsec = 50000000};
	struct json_object *result = NULL, *packets = NULL;
	struct xb_explained told = {0};
	struct xb_error err = {0};
	unsigned differs = asked->n;
	int status = 0;

	for (unsigned try = 0; asked->n && try < TRIES; try++) {
		if (try)
			nanosleep(&pause, NULL);
		json_object_put(result);
		result = NULL;
		status = ask_instance(asked, &result, &err);
		if (status)
			return complain(&err);
		json_object_object_get_ex(result, "packets", &packets);
		if (asked->twin && compare(asked, packets, &differs, &told, &err) < 0) {
			status = complain(&err);
			break;
		}
		if (differs == asked->n)
			break;
	}
	if (!status && differs < asked->n)
		status = disagree(asked, differs, json_object_array_get_idx(packets, differs),
				  &told);
	if (!status && asked->n)
		keep_or_print(asked, packets);
	json_object_put(result);
	asked->done += asked->n;
	asked->n = 0;
	return status;
}

/* Gathers a frame of `len` bytes, of which `n` are there. Returns the exit status. */
static int add_frame(struct asked *asked, const uint8_t *data, uint32_t n, uint32_t len)
{
	uint32_t there = n;
	char *at;

	if (asked->n == XB_EXPLAIN_FRAMES_MAX) {
		int status = flush(asked);

		if (status)
			return status;
	}
	if (n > XB_PARSE_BYTES)
		n = XB_PARSE_BYTES;
	at = asked->frame[asked->n];
	at += sprintf(at, "%u:", len);
	for (uint32_t i = 0; i < n; i++)
		at += sprintf(at, "%02x", data[i]);
	memcpy(asked->bytes[asked->n], data, n);
	asked->there[asked->n] = there;
	asked->n_bytes[asked->n++] = n;
	return 0;
}

/* ---- what is explained ---- */

static int explain_match(struct asked *asked, int argc, char **argv)
{
	uint8_t frame[XB_SAMPLE_BYTES];
	struct xb_rule match;
	struct xb_error err = {0};
	size_t bytes;
	char *text = NULL;
	FILE *out = open_memstream(&text, &bytes);
	uint32_t len;
	int status;

	if (!out)
		return wrong_usage("out of memory");
	for (int i = 0; i < argc; i++)
		fprintf(out, "%s%s", i ? " " : "", argv[i]);
	fclose(out);
	status = xb_match_parse(text, &match, &err);
	free(text);
	if (status < 0)
		return wrong_usage(err.what);
	match.in[strcspn(match.in, ",")] = '\0'; /* of several ports the first */
	status = choose_port(asked, match.in[0] ? match.in : NULL);
	if (status)
		return status;
	if (XB_RULE_TESTS(&match, XB_MATCH_DMAC_OWN) && !asked->from_uplink)
		return wrong_usage(
			"no frame could match: only one from an uplink is for its own address "
			"(dmac own)");
	len = xb_sample_frame(&match, &asked->macs, frame);
	return add_frame(asked, frame, len, len);
}

/* FILE|- [in PORT] */
static int explain_pcap(struct asked *asked, int argc, char **argv)
{
	struct xb_filed_frame frame;
	struct xb_error err = {0};
	struct xb_frame_file *file;
	int got, status;

	if (argc != 1 && (argc != 3 || strcmp(argv[1], "in") != 0))
		return wrong_usage("pcap FILE|- [in NAME] is expected");
	if (xb_frame_file_open(argv[0], &file, &err) < 0)
		return xb_say_failure(1, "explain: %s", err.what);
	status = choose_port(asked, argc == 3 ? argv[2] : NULL);
	while (!status && (got = xb_frame_file_next(file, &frame, &err))) {
		if (got > 0)
			status = add_frame(asked, frame.data, frame.n, frame.bytes);
		else
			status = xb_say_failure(1, "explain: %s", err.what);
	}
	xb_frame_file_close(file);
	return status;
}

static int print_json(struct asked *asked)
{
	struct json_object *document = json_object_new_object();
	int status;

	xb_json_add(document, "in", json_object_new_string(asked->port));
	xb_json_add(document, "packets", json_object_get(asked->packets));
	status = xb_say_document(document);
	json_object_put(document);
	return status;
}

int xb_explain(const struct xb_common *common, int argc, char **argv)
{
	xb_auto_free struct asked *asked = calloc(1, sizeof(*asked));
	int status;

	if (!asked)
		return wrong_usage("out of memory");
	asked->name = common->name;
	asked->json = common->json;
	if (xb_bpffs_take(&argc, argv, &asked->bpffs_given))
		return 1;
	asked->packets = json_object_new_array();
	if (!strcmp(argv[0], "pcap"))
		status = explain_pcap(asked, argc - 1, argv + 1);
	else
		status = explain_match(asked, argc, argv);
	if (!status)
		status = flush(asked);
	if (!status && common->json)
		status = print_json(asked);
	if (asked->twin)
		xb_twin_close(asked->twin);
	json_object_put(asked->packets);
	json_object_put(asked->status);
	if (fflush(stdout) && !status)
		status = 1;
	return status;
}
