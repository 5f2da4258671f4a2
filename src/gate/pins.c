/* SPDX-License-Identifier: BSD-2-Clause */
#include "gate/pins.h"

#include "core/cleanup.h"
#include "gate/attach.h"
#include "gate/bpffs.h"
#include "gate/dispatcher.h"
#include "gate/foreign.h"
#include "netdev/below.h"
#include "netdev/ifname.h"

#include <bpf/bpf.h>
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

/* bpffs keeps dots for itself. No instance's name holds a colon, so it can stand for one. */
static void swap_char(char *text, char from, char to)
{
	for (; *text; text++) {
		if (*text == from)
			*text = to;
	}
}

bool xb_pin_name_ok(const char *instance)
{
	size_t n = strlen(instance);

	if (!n || n >= XB_INSTANCE_BYTES || instance[0] == '.')
		return false;
	for (; *instance; instance++) {
		if (!isalnum((unsigned char)*instance) && !strchr("_-.@+", *instance))
			return false;
	}
	return true;
}

struct xb_pin_path xb_pin_root(void)
{
	struct xb_pin_path path;

	snprintf(path.text, sizeof(path.text), "%s/xbridge", xb_bpffs());
	return path;
}

struct xb_pin_path xb_pin_path(const char *instance, const char *name)
{
	struct xb_pin_path path;
	char folder[XB_INSTANCE_BYTES];

	snprintf(folder, sizeof(folder), "%s", instance);
	swap_char(folder, '.', ':');
	snprintf(path.text, sizeof(path.text), "%s/xbridge/%s%s%s", xb_bpffs(), folder,
		 *name ? "/" : "", name);
	return path;
}

struct xb_pin_path xb_pin_slot_path(const char *instance, const char *kind, uint32_t slot)
{
	char name[64];

	snprintf(name, sizeof(name), "internal/%s_%u", kind, slot);
	return xb_pin_path(instance, name);
}

/* Returns 1 where the folder is new, 0 where it was there. */
static int make_folder(const char *path, struct xb_error *err)
{
	int ret;

	if (mkdir(path, 0700) == 0)
		return 1;
	if (errno == EEXIST)
		return 0;
	ret = xb_fail(err, -errno, "make the folder %s", path);
	if (ret == -EROFS)
		xb_hint(err,
			"bpffs is read-only here: mount -o remount,rw %s; in a service, "
			"ReadWritePaths=%s",
			xb_bpffs(), xb_bpffs());
	return ret;
}

int xb_pin_prepare(const char *instance, bool *ret_made, struct xb_error *err)
{
	int ret;

	*ret_made = false;
	ret = xb_bpffs_look(xb_bpffs());
	if (ret < 0) /* to mount another over one that is there would hide all pins */
		return xb_fail(err, ret, "look for bpffs at %s", xb_bpffs());
	if (!ret && mount("bpf", xb_bpffs(), "bpf", 0, "mode=0700") < 0) {
		ret = xb_fail(err, -errno, "mount bpffs at %s", xb_bpffs());
		xb_hint(err, "as root: mount -t bpf bpf %s", xb_bpffs());
		return ret;
	}
	ret = make_folder(xb_pin_root().text, err);
	if (ret < 0)
		return ret;
	ret = make_folder(xb_pin_path(instance, "").text, err);
	if (ret < 0)
		return ret;
	*ret_made = ret;
	ret = make_folder(xb_pin_path(instance, "internal").text, err);
	if (ret < 0 && *ret_made) {
		rmdir(xb_pin_path(instance, "").text);
		rmdir(xb_pin_root().text); /* goes with the last instance */
	}
	return ret < 0 ? ret : 0;
}

/* ---- what is pinned ---- */

uint32_t xb_pin_prog_id(const char *instance, const char *kind, uint32_t slot)
{
	xb_auto_fd int fd = bpf_obj_get(xb_pin_slot_path(instance, kind, slot).text);
	struct bpf_prog_info info = {0};
	__u32 info_bytes = sizeof(info);

	return fd < 0 || bpf_obj_get_info_by_fd(fd, &info, &info_bytes) < 0 ? 0 : info.id;
}

struct xb_pin_record xb_pin_read(const char *instance, uint32_t slot)
{
	struct xb_pin_record record = {.way = XB_ATTACHED_LINK};
	struct xb_link_info link;

	if (xb_link_read(xb_pin_slot_path(instance, "link", slot).text, &link) == 0) {
		record.prog_id = link.prog_id;
		record.ifindex = link.ifindex;
		/* An index says nothing in another network namespace; the program's id is
		 * everywhere the same. */
		record.here = link.ifindex && xb_attached_prog(link.ifindex) == link.prog_id;
		return record;
	}
	record.way = XB_ATTACHED_DISPATCHER;
	record.prog_id = xb_pin_prog_id(instance, "prog", slot);
	record.ifindex = xb_dispatcher_ifindex_of(record.prog_id);
	record.here = record.ifindex;
	return record;
}

/* Whether a pinned map is one of ours, and not of another schema. */
static bool has_value_bytes(int map_fd, uint32_t bytes)
{
	struct bpf_map_info info = {0};
	__u32 info_bytes = sizeof(info);

	return bpf_obj_get_info_by_fd(map_fd, &info, &info_bytes) == 0 && info.value_size == bytes;
}

/* The name that the daemon was given, as it has written it into the pinned configuration. */
static void read_given(const char *instance, uint32_t slot, char ret_name[IF_NAMESIZE])
{
	xb_auto_fd int fd = bpf_obj_get(xb_pin_path(instance, "config").text);
	struct xb_steer_config config;

	ret_name[0] = '\0';
	if (fd < 0 || !has_value_bytes(fd, sizeof(config)) ||
	    bpf_map_lookup_elem(fd, &slot, &config) < 0 || config.schema != XB_SCHEMA)
		return;
	memcpy(ret_name, config.ifname, sizeof(config.ifname));
	ret_name[IF_NAMESIZE - 1] = '\0';
}

static void note_pin(const char *instance, uint32_t slot, struct xb_gate_pin *ret_pins,
		     unsigned max, unsigned *n)
{
	struct xb_pin_record record = xb_pin_read(instance, slot);
	struct xb_gate_pin pin = {.slot = slot,
				  .ifindex = record.ifindex,
				  .prog_id = record.prog_id,
				  .way = record.way};

	if (!record.prog_id)
		return;
	if (*n < max) {
		memcpy(pin.instance, instance, strlen(instance) + 1);
		if (!record.here || !if_indextoname(record.ifindex, pin.ifname))
			pin.ifname[0] = '\0';
		read_given(instance, slot, pin.given);
		ret_pins[*n] = pin;
	}
	(*n)++;
}

int xb_gate_list(struct xb_gate_pin *ret_pins, unsigned max)
{
	xb_auto_dir DIR *dir = NULL;
	struct dirent *entry;
	unsigned n = 0;

	if (!xb_is_bpffs(xb_bpffs()))
		return 0;
	dir = opendir(xb_pin_root().text);
	if (!dir)
		return errno == ENOENT ? 0 : -errno;
	while ((entry = readdir(dir))) {
		swap_char(entry->d_name, ':', '.');
		if (!xb_pin_name_ok(entry->d_name))
			continue;
		for (uint32_t slot = 0; slot < XB_UPLINKS_MAX; slot++)
			note_pin(entry->d_name, slot, ret_pins, max, &n);
	}
	return (int)n;
}

/* ---- upon each other ---- */

#define UPPERS_MAX 64

/* The instance whose program is on an interface, but for one's own; "": none. */
static void find_instance(uint32_t ifindex, const char *own, char ret_instance[XB_INSTANCE_BYTES])
{
	struct xb_gate_pin pins[64];
	int n = xb_gate_list(pins, 64);

	ret_instance[0] = '\0';
	for (int i = 0; i < n && i < 64; i++)
		if (pins[i].ifname[0] && pins[i].ifindex == ifindex &&
		    strcmp(pins[i].instance, own) != 0)
			memcpy(ret_instance, pins[i].instance, XB_INSTANCE_BYTES);
}

static int refuse_upper(const struct xb_upper *upper, const char *own, uint32_t ifindex,
			bool attach, struct xb_error *err)
{
	char instance[XB_INSTANCE_BYTES], owner[XB_INSTANCE_BYTES + 32], ifname[IF_NAMESIZE] = "?";

	if_indextoname(ifindex, ifname);
	find_instance(upper->ifindex, own, instance);
	if (instance[0])
		snprintf(owner, sizeof(owner), "instance '%s' of xbridge", instance);
	else
		snprintf(owner, sizeof(owner), "id %u", upper->prog_id);
	xb_refuse(
		err, -EBUSY,
		attach ? "can't put an XDP program on %s: %s, which stands on it, has one already "
			 "(%s), and the kernel wants the lower device's first"
		       : "can't take the XDP program off %s: %s, which stands on it, has one still "
			 "(%s), and the kernel wants the upper device's off first",
		ifname, upper->ifname, owner);
	if (instance[0] && attach)
		xb_hint(err,
			"stop that instance (if it was killed: `xbridge detach %s`), and start it "
			"after this one; or give one instance both uplinks",
			upper->ifname);
	else if (instance[0])
		xb_hint(err,
			"stop that instance (if it was killed: `xbridge detach %s`), then "
			"`xbridge detach %s`; until then it passes frames",
			upper->ifname, ifname);
	else
		xb_hint(err, "xdp-loader unload %s --all, or ip link set dev %s xdp off, %s%s%s",
			upper->ifname, upper->ifname,
			attach ? "and load it again afterwards" : "then `xbridge detach ",
			attach ? "" : ifname, attach ? "" : "`; until then it passes frames");
	return -EBUSY;
}

static bool is_own(const char *instance, uint32_t prog_id)
{
	for (uint32_t slot = 0; slot < XB_UPLINKS_MAX; slot++)
		if (xb_pin_read(instance, slot).prog_id == prog_id ||
		    xb_pin_prog_id(instance, "new_prog", slot) == prog_id)
			return true;
	return false;
}

/* Whether all programs on a device are the instance's. */
static bool is_all_own(const char *instance, const struct xb_upper *upper)
{
	struct xb_dispatched list[XB_DISPATCHED_MAX];
	int n = xb_dispatcher_list(upper->ifindex, upper->prog_id, list);

	for (int i = 0; i < n; i++)
		if (!is_own(instance, list[i].prog_id))
			return false;
	return n > 0 || is_own(instance, upper->prog_id);
}

/* Takes the instance's own programs off an interface. */
static int take_off_own(const char *instance, uint32_t ifindex, uint32_t *slots,
			struct xb_error *err)
{
	int ret = 0;

	for (uint32_t slot = 0; !ret && slot < XB_UPLINKS_MAX; slot++) {
		struct xb_pin_record record = xb_pin_read(instance, slot);

		if (!record.here || record.ifindex != ifindex)
			continue;
		ret = xb_pin_take_off(instance, slot, slots, err);
		if (!ret)
			*slots |= 1u << slot;
	}
	return ret;
}

int xb_pin_clear_upon(const char *instance, uint32_t ifindex, bool attach, uint32_t *ret_slots,
		      struct xb_error *err)
{
	struct xb_upper uppers[UPPERS_MAX];
	int n = xb_below_list_upon(ifindex, uppers, UPPERS_MAX);
	int ret = 0;

	/* where they can't be told the kernel says whether there is one */
	for (int i = 0; i < n; i++)
		if (!is_all_own(instance, &uppers[i])) /* then none goes */
			return refuse_upper(&uppers[i], instance, ifindex, attach, err);
	for (int i = 0; !ret && i < n; i++)
		ret = take_off_own(instance, uppers[i].ifindex, ret_slots, err);
	return ret;
}

/* ---- taken off ---- */

/* A link goes whatever stands on its interface; libxdp has to put another dispatcher there, or
 * none. */
int xb_pin_take_off(const char *instance, uint32_t slot, uint32_t *ret_slots, struct xb_error *err)
{
	static const char *const kinds[] = {"prog", "new_prog"};
	int ret = xb_detach(xb_pin_slot_path(instance, "link", slot).text, err);

	for (size_t i = 0; !ret && i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		uint32_t prog_id = xb_pin_prog_id(instance, kinds[i], slot);
		uint32_t ifindex = xb_dispatcher_ifindex_of(prog_id);

		if (ifindex)
			ret = xb_pin_clear_upon(instance, ifindex, false, ret_slots, err);
		if (!ret)
			ret = xb_dispatcher_remove(prog_id, err);
		if (!ret)
			unlink(xb_pin_slot_path(instance, kinds[i], slot).text);
	}
	return ret;
}

static int empty_folder(const char *path, struct xb_error *err)
{
	xb_auto_dir DIR *dir = opendir(path);
	struct dirent *entry;
	char name[XB_PIN_PATH_BYTES + 256];

	if (!dir)
		return errno == ENOENT ? 0 : xb_fail(err, -errno, "read the folder %s", path);
	while ((entry = readdir(dir))) {
		if (entry->d_name[0] == '.' || entry->d_type == DT_DIR)
			continue;
		snprintf(name, sizeof(name), "%s/%s", path, entry->d_name);
		if (unlink(name) < 0)
			return xb_fail(err, -errno, "remove the pin %s", name);
	}
	return 0;
}

int xb_gate_remove(const char *instance, struct xb_error *err)
{
	struct xb_pin_path outer = xb_pin_path(instance, "");
	struct xb_pin_path inner = xb_pin_path(instance, "internal");
	uint32_t gone = 0;
	int ret = 0;

	if (!xb_pin_name_ok(instance))
		return xb_fail(err, -EINVAL, "instance name '%s'", instance);
	for (uint32_t slot = 0; slot < XB_UPLINKS_MAX; slot++) {
		int one = xb_pin_take_off(instance, slot, &gone, ret ? NULL : err);

		ret = ret ? ret : one; /* one that stays keeps no other */
	}
	if (!ret)
		ret = empty_folder(inner.text, err);
	if (!ret)
		ret = empty_folder(outer.text, err);
	if (ret < 0)
		return ret;
	if ((rmdir(inner.text) < 0 || rmdir(outer.text) < 0) && errno != ENOENT)
		return xb_fail(err, -errno, "remove the folder %s", outer.text);
	rmdir(xb_pin_root().text); /* goes with the last instance */
	return 0;
}

/* Takes out of the maps what they say of a slot whose program is gone: to the next start it would
 * look like another uplink's. */
static void forget(const char *instance, uint32_t slot)
{
	xb_auto_fd int config_fd = bpf_obj_get(xb_pin_path(instance, "config").text);
	xb_auto_fd int own_macs_fd = bpf_obj_get(xb_pin_path(instance, "own_macs").text);
	const struct xb_steer_config unused = {0};
	struct xb_own_mac next, mac;
	bool more = own_macs_fd >= 0 && !bpf_map_get_next_key(own_macs_fd, NULL, &next);

	if (config_fd >= 0)
		bpf_map_update_elem(config_fd, &slot, &unused, BPF_ANY);
	while (more) {
		mac = next;
		more = !bpf_map_get_next_key(own_macs_fd, &mac, &next);
		if (mac.slot == slot)
			bpf_map_delete_elem(own_macs_fd, &mac);
	}
}

/* Removes one program; with the last that is anywhere, the whole instance. */
static int remove_pin(const struct xb_gate_pin *pin, const struct xb_gate_pin *pins, unsigned n,
		      struct xb_error *err)
{
	struct xb_upper uppers[UPPERS_MAX];
	bool is_last = true;
	uint32_t gone = 0;
	int ret;

	/* what was not named stays: the user says what is to go first */
	if (pin->way == XB_ATTACHED_DISPATCHER && pin->ifindex &&
	    xb_below_list_upon(pin->ifindex, uppers, UPPERS_MAX) > 0)
		return refuse_upper(&uppers[0], "", pin->ifindex, false, err);
	for (unsigned i = 0; i < n; i++)
		is_last = is_last && (pins[i].slot == pin->slot || !pins[i].ifindex ||
				      strcmp(pins[i].instance, pin->instance));
	if (is_last)
		return xb_gate_remove(pin->instance, err);
	ret = xb_pin_take_off(pin->instance, pin->slot, &gone, err);
	if (!ret)
		forget(pin->instance, pin->slot);
	return ret;
}

const struct xb_gate_pin *xb_gate_find(const struct xb_gate_pin *pins, unsigned n, const char *name)
{
	uint32_t ifindex = xb_ifname_index(name);

	for (unsigned i = 0; ifindex && i < n; i++)
		if (pins[i].ifname[0] && pins[i].ifindex == ifindex)
			return &pins[i];
	for (unsigned i = 0; i < n; i++)
		if (pins[i].ifname[0] && !strcmp(pins[i].given, name))
			return &pins[i];
	return NULL;
}

/* A program whose interface had that name, and is in another network namespace or gone. */
static const struct xb_gate_pin *find_away(const struct xb_gate_pin *pins, unsigned n,
					   const char *name)
{
	for (unsigned i = 0; i < n; i++)
		if (!pins[i].ifname[0] && !strcmp(pins[i].given, name))
			return &pins[i];
	return NULL;
}

static int refuse_away(const struct xb_gate_pin *pin, const char *ifname, struct xb_error *err)
{
	xb_refuse(err, -ENOENT,
		  "no program of xbridge is on %s in this network namespace; the instance '%s' has "
		  "one on an interface of that name in another, or had",
		  ifname, pin->instance);
	xb_hint(err, "nsenter --net=/run/netns/NAME xbridge detach %s; `xbridge doctor` knows NAME",
		ifname);
	return -ENOENT;
}

/* Says, too, what is there that may be ours after all. */
static int refuse_unknown(const char *ifname, struct xb_error *err)
{
	uint32_t ifindex = xb_ifname_index(ifname);
	struct xb_foreign foreign = {0};

	if (ifindex)
		xb_foreign_look(ifindex, ifname, &foreign);
	if (foreign.kind != XB_FOREIGN_ORPHAN && foreign.kind != XB_FOREIGN_OURS)
		return xb_refuse(err, -ENOENT, "no program of xbridge is on %s", ifname);
	xb_refuse(err, -ENOENT,
		  "%s: nothing of it is pinned at %s, but program %u, %s, is there: %s", ifname,
		  xb_bpffs(), foreign.prog_id, foreign.name, foreign.what);
	xb_hint(err, "if nobody has it any more, remove it with '%s'", foreign.remedy);
	return -ENOENT;
}

int xb_gate_detach(const char *ifname, struct xb_error *err)
{
	const struct xb_gate_pin *pin;
	struct xb_gate_pin pins[64];
	int n = xb_gate_list(pins, 64);

	if (n < 0)
		return xb_fail(err, n, "list the pins under %s", xb_pin_root().text);
	if (n > 64)
		n = 64;
	pin = xb_gate_find(pins, (unsigned)n, ifname);
	if (pin)
		return remove_pin(pin, pins, (unsigned)n, err);
	pin = find_away(pins, (unsigned)n, ifname);
	return pin ? refuse_away(pin, ifname, err) : refuse_unknown(ifname, err);
}
