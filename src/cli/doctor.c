/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory. `doctor` is one table of checks. A check looks at one thing through the kernel's own
 * interfaces (system calls, /proc, /sys, netlink) and notes what it found: one finding where that
 * is enough, several where there are several things of the kind. No check relies on another one's
 * outcome but through struct xb_checkup, and none fails: what can't be looked at is a finding.
 *
 * The states are about xbridge, not about taste. `fail`: `xbridge run`, with what was asked for,
 * would not come up. `warn`: it comes up, and packets will be missed, or something unwanted
 * happens. `note`: it works in another way than one might expect, or could not be looked at.
 */
#include "cli/doctor.h"

#include "cli/bpffs_option.h"
#include "cli/doctor_checks.h"
#include "cli/say.h"
#include "core/cleanup.h"
#include "daemon/json.h"

#include <json-c/json.h>
#include <stdio.h>
#include <string.h>

enum when {
	ALWAYS,
	WITH_INTERFACE,    /* only where one was asked for */
	FOUND_INTERFACE,   /* only where that one exists and can be an uplink */
	WITHOUT_INTERFACE, /* only where none was asked for */
};

static const struct check {
	const char *id; /* also the line's title: a stable word in the JSON */
	enum when when;
	void (*run)(struct xb_checkup *checkup);
} checks[] = {
	{"kernel", ALWAYS, xb_check_kernel},
	{"capabilities", ALWAYS, xb_check_capabilities},
	{"tap", ALWAYS, xb_check_tap},
	{"vhost-net", ALWAYS, xb_check_vhost_net},
	{"io_uring", ALWAYS, xb_check_io_uring},
	{"af_xdp", ALWAYS, xb_check_af_xdp},
	{"af_packet", ALWAYS, xb_check_af_packet},
	{"bpf", ALWAYS, xb_check_bpf},
	{"bpffs", ALWAYS, xb_check_bpffs},
	{"btf", ALWAYS, xb_check_btf},
	{"extensions", ALWAYS, xb_check_extensions},
	{"instances", ALWAYS, xb_check_instances},
	{"leftovers", ALWAYS, xb_check_leftovers},
	{"interface", WITH_INTERFACE, xb_check_interface},
	{"xdp", FOUND_INTERFACE, xb_check_xdp},
	{"program", FOUND_INTERFACE, xb_check_program},
	{"running", FOUND_INTERFACE, xb_check_running},
	{"queues", FOUND_INTERFACE, xb_check_queues},
	{"vlan", FOUND_INTERFACE, xb_check_vlan},
	{"merging", FOUND_INTERFACE, xb_check_merging},
	{"checksum", FOUND_INTERFACE, xb_check_checksum},
	{"sharing", FOUND_INTERFACE, xb_check_sharing},
	{"segment", FOUND_INTERFACE, xb_check_segment},
	{"interfaces", WITHOUT_INTERFACE, xb_check_interfaces},
	/* behind the interface, whose queues say how much memory is needed */
	{"memlock", ALWAYS, xb_check_memlock},
	{"cgroup", ALWAYS, xb_check_cgroup},
	{"huge-pages", ALWAYS, xb_check_huge_pages},
};
#define N_CHECKS (sizeof(checks) / sizeof(checks[0]))

static const char *const state_names[] = {
	[XB_FINDING_OK] = "ok",
	[XB_FINDING_NOTE] = "note",
	[XB_FINDING_WARN] = "warn",
	[XB_FINDING_FAIL] = "fail",
};
#define N_STATES (sizeof(state_names) / sizeof(state_names[0]))

/* ---- findings ---- */

static bool is_due(const struct check *check, const struct xb_checkup *checkup)
{
	switch (check->when) {
	case WITH_INTERFACE:
		return checkup->ifname;
	case FOUND_INTERFACE:
		return checkup->netdev.ifindex;
	case WITHOUT_INTERFACE:
		return !checkup->ifname;
	default:
		return true;
	}
}

/* ---- saying it ---- */

static void print_text(const struct xb_checkup *checkup, const unsigned counts[N_STATES])
{
	for (unsigned i = 0; i < checkup->n; i++) {
		const struct xb_finding *finding = &checkup->findings[i];

		printf("%-4s  %-12s  %s\n", state_names[finding->state], finding->check,
		       finding->text);
		if (finding->remedy[0])
			printf("%-4s  %-12s  -> %s\n", "", "", finding->remedy);
	}
	printf("%u ok, %u note, %u warn, %u fail\n", counts[XB_FINDING_OK], counts[XB_FINDING_NOTE],
	       counts[XB_FINDING_WARN], counts[XB_FINDING_FAIL]);
}

static void print_json(const struct xb_checkup *checkup)
{
	struct json_object *document = json_object_new_object();
	struct json_object *list = json_object_new_array();

	for (unsigned i = 0; i < checkup->n; i++) {
		const struct xb_finding *finding = &checkup->findings[i];
		struct json_object *row = json_object_new_object();

		xb_json_add(row, "check", json_object_new_string(finding->check));
		xb_json_add(row, "state", json_object_new_string(state_names[finding->state]));
		xb_json_add(row, "text", json_object_new_string(finding->text));
		xb_json_add(row, "remedy", json_object_new_string(finding->remedy));
		xb_json_push(list, row);
	}
	xb_json_add(document, "findings", list);
	printf("%s\n", json_object_to_json_string_ext(
			       document, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED |
						 JSON_C_TO_STRING_NOSLASHESCAPE));
	json_object_put(document);
}

int xb_doctor(const struct xb_common *common, int argc, char **argv)
{
	xb_auto_free struct xb_checkup *checkup = calloc(1, sizeof(*checkup));
	unsigned counts[N_STATES] = {0};

	if (!checkup)
		return xb_say_failure(1, "doctor: out of memory");
	if (xb_bpffs_take(&argc, argv, NULL))
		return 1;
	checkup->ifname = argc ? argv[0] : NULL;
	checkup->extensions = -1;
	for (size_t i = 0; i < N_CHECKS; i++) {
		checkup->check = checks[i].id;
		if (is_due(&checks[i], checkup))
			checks[i].run(checkup);
	}
	for (unsigned i = 0; i < checkup->n; i++)
		counts[checkup->findings[i].state]++;
	if (common->json)
		print_json(checkup);
	else
		print_text(checkup, counts);
	return counts[XB_FINDING_FAIL] ? 1 : 0;
}
