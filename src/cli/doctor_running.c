/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a running instance knows of the interface that it uses: the troubles of its `status`.
 */
#include "cli/client.h"
#include "cli/doctor_checks.h"
#include "cli/holder.h"
#include "daemon/json.h"
#include "gate/gate.h"

#include <string.h>

#define PINS_MAX 64

static const char *text(struct json_object *of, const char *name)
{
	struct json_object *value = xb_json_field(of, name);

	return value ? json_object_get_string(value) : "";
}

static void say_troubles(struct xb_checkup *checkup, const char *instance, struct json_object *list)
{
	for (size_t i = 0; list && i < json_object_array_length(list); i++) {
		struct json_object *trouble = json_object_array_get_idx(list, i);

		xb_found(checkup, XB_FINDING_WARN, "instance '%s' says: %s", instance,
			 text(trouble, "text"));
		xb_remedy(checkup, "%s", text(trouble, "remedy"));
	}
}

/* What `port`, as the instance has told it, says. */
static void say(struct xb_checkup *checkup, const char *instance, struct json_object *port)
{
	unsigned before = checkup->n;

	say_troubles(checkup, instance, xb_json_field(port, "troubles"));
	checkup->dedicated = port && !json_object_get_boolean(xb_json_field(port, "shared"));
	if (checkup->n == before)
		xb_found(checkup, XB_FINDING_OK, "instance '%s' reports no trouble", instance);
}

/* Its pins say that it has the interface. */
static void ask(struct xb_checkup *checkup, const char *instance)
{
	char word[] = "status";
	char *words[] = {word};
	struct json_object *status = NULL, *port = NULL;
	struct json_object *ports;
	struct xb_error err = {0};

	if (xb_client_ask(instance, 1, words, &status, &err) != 0) {
		xb_found(checkup, XB_FINDING_NOTE, "not known what instance '%s' says of it: %s",
			 instance, err.what);
		xb_remedy(checkup, "sudo xbridge status --name %s", instance);
		return;
	}
	ports = xb_json_field(status, "ports");
	for (size_t i = 0; ports && i < json_object_array_length(ports); i++)
		if (xb_json_u64(json_object_array_get_idx(ports, i), "ifindex") ==
		    checkup->netdev.ifindex)
			port = json_object_array_get_idx(ports, i);
	say(checkup, instance, port);
	json_object_put(status);
}

void xb_check_running(struct xb_checkup *checkup)
{
	struct xb_gate_pin pins[PINS_MAX];
	struct xb_holder holder;
	int n;

	if (xb_holder_find(checkup->netdev.ifindex, &holder)) {
		say(checkup, holder.instance, holder.port);
		xb_holder_fini(&holder);
		return;
	}
	n = xb_gate_list(pins, PINS_MAX);
	for (int i = 0; i < n && i < PINS_MAX; i++)
		if (pins[i].ifindex == checkup->netdev.ifindex &&
		    !strcmp(pins[i].ifname, checkup->ifname) &&
		    xb_doctor_running(pins[i].instance) == 1)
			ask(checkup, pins[i].instance);
}
