/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What runs left behind: pins, XDP programs and sockets of instances whose daemon is gone.
 *
 * A program that outlives its daemon is how it should be (what it would redirect passes, what a
 * rule drops is dropped), and the next start takes it over. But a person should know.
 */
#include "cli/client.h"
#include "cli/doctor_checks.h"
#include "cli/liveness.h"
#include "core/cleanup.h"
#include "daemon/json.h"
#include "gate/bpffs.h"
#include "gate/gate.h"
#include "gate/pins.h"
#include "netdev/ifname.h"
#include "xbridge/control.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#define SUFFIX ".sock"

#define PINS_MAX 64

#define NETNS_DIR "/run/netns"

/* ---- daemons ---- */

int xb_doctor_running(const char *instance)
{
	xb_auto_fd int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int len = snprintf(addr.sun_path, sizeof(addr.sun_path), XB_RUN_DIR "/%s" SUFFIX, instance);

	if (fd < 0)
		return -errno;
	if (len >= (int)sizeof(addr.sun_path))
		return -ENAMETOOLONG;
	if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0)
		return 1;
	switch (errno) {
	case ENOENT:
	case ECONNREFUSED: /* a file that nobody listens behind */
		return 0;
	case EAGAIN: /* so many clients that one more has to wait */
	case EPROTOTYPE:
		return 1;
	default:
		return -errno;
	}
}

/* The instance that a file in XB_RUN_DIR is the socket of: cuts the suffix off. */
static bool is_socket(struct dirent *entry)
{
	size_t n = strlen(entry->d_name);

	if (n <= strlen(SUFFIX) || strcmp(entry->d_name + n - strlen(SUFFIX), SUFFIX) != 0)
		return false;
	entry->d_name[n - strlen(SUFFIX)] = '\0';
	return xb_pin_name_ok(entry->d_name);
}

bool xb_doctor_any_running(void)
{
	xb_auto_dir DIR *dir = opendir(XB_RUN_DIR);
	struct dirent *entry;

	while (dir && (entry = readdir(dir)))
		if (is_socket(entry) && xb_doctor_running(entry->d_name) == 1)
			return true;
	return false;
}

static void check_sockets(struct xb_checkup *checkup)
{
	xb_auto_dir DIR *dir = opendir(XB_RUN_DIR);
	struct dirent *entry;

	if (!dir) {
		if (errno == ENOENT)
			return;
		xb_found(checkup, XB_FINDING_NOTE, "not looked into " XB_RUN_DIR ": %s",
			 strerror(errno));
		xb_remedy(checkup, "sudo xbridge doctor");
		return;
	}
	while ((entry = readdir(dir))) {
		if (!is_socket(entry) || xb_doctor_running(entry->d_name) != 0)
			continue;
		xb_found(
			checkup, XB_FINDING_NOTE,
			"nobody listens on the control socket of '%s'; the next run takes its place",
			entry->d_name);
		xb_remedy(checkup, "rm " XB_RUN_DIR "/%s" SUFFIX, entry->d_name);
	}
}

/* ---- pins ---- */

/* How a command is told where the pins are that we look at. */
static const char *bpffs_words(void)
{
	static char words[XB_BPFFS_SEEN_BYTES + 16];

	if (!strcmp(xb_bpffs(), XB_BPFFS_DEFAULT))
		return "";
	snprintf(words, sizeof(words), " --bpffs %s", xb_bpffs());
	return words;
}

/* A network namespace with a name. */
struct home {
	char netns[NAME_MAX + 1];
	char ifname[IF_NAMESIZE]; /* there, of the interface that a program is on */
};

/* Whether a pin's program is on an interface of the namespace that we are in. */
static bool is_here(const struct xb_gate_pin *pin, char ret_ifname[IF_NAMESIZE])
{
	struct xb_pin_record record = xb_pin_read(pin->instance, pin->slot);

	return record.here && xb_ifname_read(record.ifindex, ret_ifname) == 0;
}

/* The network namespace in /run/netns in which a pin's program is on an interface. */
static bool find_home(const struct xb_gate_pin *pin, struct home *ret_home)
{
	xb_auto_fd int own = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	xb_auto_dir DIR *dir = opendir(NETNS_DIR);
	struct dirent *entry;
	bool found = false;

	while (own >= 0 && dir && !found && (entry = readdir(dir))) {
		xb_auto_fd int fd = openat(dirfd(dir), entry->d_name, O_RDONLY | O_CLOEXEC);

		if (entry->d_name[0] == '.' || fd < 0 || setns(fd, CLONE_NEWNET) < 0)
			continue;
		found = is_here(pin, ret_home->ifname);
		if (found)
			memcpy(ret_home->netns, entry->d_name, strlen(entry->d_name) + 1);
		if (setns(own, CLONE_NEWNET) < 0)
			abort(); /* all else would be said of another namespace's interfaces */
	}
	return found;
}

/* In another network namespace, which has a name. */
static void say_pin_at(struct xb_checkup *checkup, const struct xb_gate_pin *pin,
		       const struct home *home)
{
	xb_found(checkup, XB_FINDING_WARN,
		 "XDP program %u of instance '%s', which does not run, is on %s in the network "
		 "namespace %s: all that it would redirect passes",
		 pin->prog_id, pin->instance, home->ifname, home->netns);
	xb_remedy(checkup,
		  "nsenter --net=" NETNS_DIR
		  "/%s xbridge detach %s%s removes it, the next start there "
		  "takes it over",
		  home->netns, home->ifname, bpffs_words());
}

/* On no interface that we can find. */
static void say_pin_away(struct xb_checkup *checkup, const struct xb_gate_pin *pin)
{
	if (pin->way == XB_ATTACHED_DISPATCHER) {
		/* nothing tells of which network namespace the interface was */
		xb_found(
			checkup, XB_FINDING_NOTE,
			"instance '%s', which does not run, has left a program (slot %u) that is "
			"on no interface here: taken off, gone, or in a network namespace without a "
			"name",
			pin->instance, pin->slot);
		xb_remedy(checkup,
			  "xbridge run --name %s …, and its end, clear that away; or rm -r %s",
			  pin->instance, xb_pin_path(pin->instance, "").text);
	} else if (pin->ifindex) {
		xb_found(
			checkup, XB_FINDING_NOTE,
			"instance '%s', which does not run, has left a link (slot %u) to an interface "
			"that is in a network namespace without a name",
			pin->instance, pin->slot);
		xb_remedy(
			checkup,
			"nsenter --net=/proc/PID/ns/net xbridge detach %s%s, PID of a process there; "
			"rm -r %s removes it, too",
			pin->given[0] ? pin->given : "IFACE", bpffs_words(),
			xb_pin_path(pin->instance, "").text);
	} else {
		xb_found(
			checkup, XB_FINDING_NOTE,
			"instance '%s', which does not run, has left a link (slot %u) to an interface "
			"that is gone",
			pin->instance, pin->slot);
		xb_remedy(checkup, "xbridge run --name %s … takes it over, rm -r %s removes it",
			  pin->instance, xb_pin_path(pin->instance, "").text);
	}
}

static void say_pin(struct xb_checkup *checkup, const struct xb_gate_pin *pin)
{
	struct home home;

	if (pin->ifname[0]) {
		xb_found(
			checkup, XB_FINDING_WARN,
			"XDP program %u of instance '%s', which does not run, is on %s: all that it "
			"would redirect passes",
			pin->prog_id, pin->instance, pin->ifname);
		xb_remedy(checkup,
			  "xbridge run --name %s … takes it over, xbridge detach %s%s removes it",
			  pin->instance, pin->ifname, bpffs_words());
	} else if (find_home(pin, &home)) {
		say_pin_at(checkup, pin, &home);
	} else {
		say_pin_away(checkup, pin);
	}
}

static bool has_pin(const struct xb_gate_pin *pins, int n, const char *instance)
{
	for (int i = 0; i < n; i++)
		if (!strcmp(pins[i].instance, instance))
			return true;
	return false;
}

/* Folders without a link: maps alone, which hold memory and do nothing. */
static void check_folders(struct xb_checkup *checkup, const struct xb_gate_pin *pins, int n)
{
	xb_auto_dir DIR *dir = opendir(xb_pin_root().text);
	struct dirent *entry;

	while (dir && (entry = readdir(dir))) {
		for (char *c = entry->d_name; *c; c++)
			*c = *c == ':' ? '.' : *c;
		if (!xb_pin_name_ok(entry->d_name) || has_pin(pins, n, entry->d_name) ||
		    xb_doctor_running(entry->d_name) != 0)
			continue;
		xb_found(checkup, XB_FINDING_NOTE,
			 "maps of instance '%s', which does not run, are pinned", entry->d_name);
		xb_remedy(checkup, "rm -r %s", xb_pin_path(entry->d_name, "").text);
	}
}

static void check_pins(struct xb_checkup *checkup)
{
	struct xb_gate_pin pins[PINS_MAX];
	int n = xb_gate_list(pins, PINS_MAX);

	if (n < 0) {
		xb_found(checkup, XB_FINDING_NOTE, "not looked into %s: %s", xb_pin_root().text,
			 strerror(-n));
		xb_remedy(checkup, "sudo xbridge doctor");
		return;
	}
	if (n > PINS_MAX)
		n = PINS_MAX;
	for (int i = 0; i < n; i++)
		if (xb_doctor_running(pins[i].instance) == 0)
			say_pin(checkup, &pins[i]);
	check_folders(checkup, pins, n);
}

/* ---- who should answer ---- */

#define ANSWER_MS 1000

/* Says where nobody here sees what an instance pins. */
static void say_pins(struct xb_checkup *checkup, const char *instance)
{
	struct json_object *status = NULL;
	struct xb_error err = {0};
	const char *path;
	pid_t pid;

	if (xb_client_status(instance, &status, &pid, &err))
		return;
	path = xb_json_text(status, "bpffs");
	if (!*path || !pid || xb_bpffs_is_shared_with(pid, path)) {
		json_object_put(status);
		return;
	}
	if (json_object_get_boolean(xb_json_field(status, "bpffs_private"))) {
		xb_found(checkup, XB_FINDING_NOTE,
			 "'%s' pins in a BPF file system of its own mount namespace, as under `ip "
			 "netns exec`: bpftool here does not see its maps, and rules that drop end "
			 "with it",
			 instance);
		xb_remedy(checkup,
			  "nsenter --mount=/proc/%d/ns/mnt bpftool …; next time: nsenter "
			  "--net=/run/netns/NAME xbridge run …, or --bpffs PATH",
			  pid);
	} else {
		xb_found(checkup, XB_FINDING_NOTE,
			 "'%s' pins at %s, which is not seen in this mount namespace, as under `ip "
			 "netns exec`",
			 instance, path);
		xb_remedy(checkup, "nsenter --net=/run/netns/NAME xbridge doctor");
	}
	json_object_put(status);
}

void xb_check_instances(struct xb_checkup *checkup)
{
	xb_auto_dir DIR *dir = opendir(XB_RUN_DIR);
	struct dirent *entry;
	unsigned n = 0;

	while (dir && (entry = readdir(dir))) {
		struct xb_liveness liveness;
		char path[300];

		if (!is_socket(entry))
			continue;
		snprintf(path, sizeof(path), XB_RUN_DIR "/%s" SUFFIX, entry->d_name);
		xb_liveness_look(path, ANSWER_MS, &liveness);
		n += liveness.answers;
		if (liveness.answers)
			say_pins(checkup, entry->d_name);
		if (!liveness.runs || liveness.answers || liveness.denied)
			continue;
		xb_found(checkup, XB_FINDING_WARN, "the instance '%s' does not answer: %s",
			 entry->d_name, liveness.state);
		xb_remedy(checkup, "%s", liveness.remedy);
	}
	if (n)
		xb_found(checkup, XB_FINDING_OK, "%u running on this host and answering", n);
	else
		xb_found(checkup, XB_FINDING_OK, "none is running on this host that answers");
}

void xb_check_leftovers(struct xb_checkup *checkup)
{
	unsigned before = checkup->n;

	check_pins(checkup);
	check_sockets(checkup);
	if (checkup->n == before)
		xb_found(checkup, XB_FINDING_OK, "no run has left anything behind");
}
