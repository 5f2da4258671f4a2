/* SPDX-License-Identifier: BSD-2-Clause */
#include "cli/holder.h"

#include "cli/client.h"
#include "cli/liveness.h"
#include "daemon/json.h"

#include <glob.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define ANSWER_MS 1000

/* Indices say nothing in another network namespace. */
static bool is_in_our_netns(pid_t pid)
{
	struct stat theirs, ours;
	char path[48];

	snprintf(path, sizeof(path), "/proc/%d/ns/net", pid);
	return pid && stat(path, &theirs) == 0 && stat("/proc/self/ns/net", &ours) == 0 &&
	       theirs.st_dev == ours.st_dev && theirs.st_ino == ours.st_ino;
}

static struct json_object *find_uplink(struct json_object *status, uint32_t ifindex)
{
	struct json_object *ports = xb_json_field(status, "ports");

	for (size_t i = 0; ports && i < json_object_array_length(ports); i++) {
		struct json_object *port = json_object_array_get_idx(ports, i);

		if (xb_json_field(port, "ifindex") && xb_json_u64(port, "ifindex") == ifindex)
			return port;
	}
	return NULL;
}

/* Whether the instance with that socket has the interface. */
static bool ask(const char *path, uint32_t ifindex, struct xb_holder *ret_holder)
{
	const char *file = strrchr(path, '/') + 1;
	struct json_object *status = NULL, *port = NULL;
	struct xb_liveness liveness;
	struct xb_error err = {0};
	char name[128];
	pid_t pid = 0;

	xb_liveness_look(path, ANSWER_MS, &liveness);
	snprintf(name, sizeof(name), "%.*s", (int)(strlen(file) - strlen(".sock")), file);
	if (!liveness.answers || xb_client_status(name, &status, &pid, &err))
		return false;
	if (is_in_our_netns(pid))
		port = find_uplink(status, ifindex);
	if (!port) {
		json_object_put(status);
		return false;
	}
	*ret_holder = (struct xb_holder){
		.instance = xb_json_text(status, "name"),
		.bpffs = xb_json_text(status, "bpffs"),
		.lost = json_object_get_boolean(xb_json_field(port, "lost")),
		.port = port,
		.status = status,
	};
	return true;
}

bool xb_holder_find(uint32_t ifindex, struct xb_holder *ret_holder)
{
	bool found = false;
	glob_t list;

	if (glob(XB_RUN_DIR "/*.sock", 0, NULL, &list))
		list.gl_pathc = 0;
	for (size_t i = 0; ifindex && i < list.gl_pathc && !found; i++)
		found = ask(list.gl_pathv[i], ifindex, ret_holder);
	globfree(&list);
	return found;
}

void xb_holder_fini(struct xb_holder *holder)
{
	json_object_put(holder->status);
}
