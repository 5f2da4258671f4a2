/* SPDX-License-Identifier: BSD-2-Clause */
#include "cli/instances.h"

#include "cli/client.h"
#include "cli/liveness.h"
#include "cli/say.h"
#include "daemon/json.h"
#include "xbridge/control.h"

#include <glob.h>
#include <stdio.h>
#include <string.h>

#define ANSWER_MS 1000

/* "tap0, eth0" */
static struct json_object *port_names(const char *instance)
{
	static char command[] = "status";
	char *words[] = {command};
	struct json_object *names = json_object_new_array();
	struct json_object *status = NULL, *ports = NULL;
	struct xb_error err;

	if (xb_client_ask(instance, 1, words, &status, &err))
		return names;
	json_object_object_get_ex(status, "ports", &ports);
	for (size_t i = 0; ports && i < json_object_array_length(ports); i++) {
		struct json_object *port = json_object_array_get_idx(ports, i);

		xb_json_push(names, json_object_new_string(xb_json_text(port, "name")));
	}
	json_object_put(status);
	return names;
}

/* One instance, or NULL where nobody listens on that socket any more. */
static struct json_object *look(const char *path)
{
	const char *file = strrchr(path, '/') + 1;
	struct xb_liveness liveness;
	struct json_object *row;
	char name[128];

	snprintf(name, sizeof(name), "%.*s", (int)(strlen(file) - strlen(".sock")), file);
	xb_liveness_look(path, ANSWER_MS, &liveness);
	if (!liveness.runs)
		return NULL;
	row = json_object_new_object();
	xb_json_add_text(row, "name", name);
	if (liveness.pid)
		xb_json_add_u64(row, "pid", (uint64_t)liveness.pid);
	xb_json_add_bool(row, "answers", liveness.answers);
	if (liveness.answers)
		xb_json_add(row, "ports", port_names(name));
	else
		xb_json_add_text(row, "trouble",
				 liveness.denied ? "permission denied" : liveness.state);
	return row;
}

static void print_row(struct json_object *row)
{
	struct json_object *ports = NULL;

	json_object_object_get_ex(row, "ports", &ports);
	printf("%-20s ", xb_json_text(row, "name"));
	if (xb_json_field(row, "pid"))
		printf("%-8llu ", (unsigned long long)xb_json_u64(row, "pid"));
	else
		printf("%-8s ", "-");
	if (!ports)
		printf("no answer: %s", xb_json_text(row, "trouble"));
	for (size_t i = 0; ports && i < json_object_array_length(ports); i++)
		printf("%s%s", i ? " " : "",
		       json_object_get_string(json_object_array_get_idx(ports, i)));
	printf("\n");
}

int xb_instances(const struct xb_common *common, int argc, char **argv)
{
	struct json_object *document = json_object_new_object();
	struct json_object *list = json_object_new_array();
	glob_t found;
	int status = 0;

	(void)argc;
	(void)argv;
	if (glob(XB_RUN_DIR "/*.sock", 0, NULL, &found))
		found.gl_pathc = 0;
	for (size_t i = 0; i < found.gl_pathc; i++) {
		struct json_object *row = look(found.gl_pathv[i]);

		if (!row || (common->name && strcmp(common->name, xb_json_text(row, "name")))) {
			json_object_put(row);
			continue;
		}
		xb_json_push(list, row);
	}
	globfree(&found);
	xb_json_add(document, "instances", list);
	if (common->json)
		status = xb_say_document(document);
	else if (json_object_array_length(list))
		printf("%-20s %-8s %s\n", "instance", "pid", "ports");
	for (size_t i = 0; !common->json && i < json_object_array_length(list); i++)
		print_row(json_object_array_get_idx(list, i));
	json_object_put(document);
	return fflush(stdout) ? 1 : status;
}
