/* SPDX-License-Identifier: BSD-2-Clause */
#include "gate/gate.h"

#include "core/cleanup.h"
#include "gate/gate_object.h"
#include "gate/hear.h"
#include "gate/pins.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define NO_BPF                                                                               \
	"CAP_BPF and CAP_NET_ADMIN are needed, and that no seccomp profile of a container, " \
	"or lockdown, refuses bpf()"

#define N_QUEUES          (XB_UPLINKS_MAX * XB_QUEUES_MAX)
#define QUEUES_BYTES      (N_QUEUES * sizeof(struct xb_queue_state))
#define USER_STATS_BYTES  (XB_RULES_MAX * sizeof(struct xb_rule_user_stats))
#define RULE_LIMITS_BYTES (XB_RULES_MAX * sizeof(__u64))
#define TABLE_BYTES       sizeof(struct xb_table)
#define IMAGES_BYTES      (XB_IMAGES * sizeof(struct xb_image))
#define IMAGE_STEP        (64u << 10) /* what of an image is mapped is a multiple */

/* The maps, by what they are called in the program and where they are pinned. */
static const struct gate_map {
	const char *name;
	const char *pin;
	size_t fd_at; /* where in struct xb_gate its descriptor is */
} gate_maps[] = {
	{"config", "config", offsetof(struct xb_gate, config_fd)},
	{"own_macs", "own_macs", offsetof(struct xb_gate, own_macs_fd)},
	{"verdict_stats", "verdict_stats", offsetof(struct xb_gate, stats_fd)},
	{"xsks", "internal/xsks", offsetof(struct xb_gate, xsks_fd)},
	{"queues", "internal/queues", offsetof(struct xb_gate, queues_fd)},
	{"rules", "rules", offsetof(struct xb_gate, rules_fd)},
	{"rule_stats", "rule_stats", offsetof(struct xb_gate, rule_stats_fd)},
	{"rule_stats_user", "rule_stats_user", offsetof(struct xb_gate, rule_user_stats_fd)},
	{"rule_limits", "internal/rule_limits", offsetof(struct xb_gate, rule_limits_fd)},
	{"fdb", "fdb", offsetof(struct xb_gate, fdb_fd)},
	{"table", "table", offsetof(struct xb_gate, table_fd)},
	{"images", "internal/images", offsetof(struct xb_gate, images_fd)},
	{"dropped", "internal/dropped", offsetof(struct xb_gate, dropped_fd)},
};
#define N_MAPS (sizeof(gate_maps) / sizeof(gate_maps[0]))

static int *map_fd(struct xb_gate *gate, const struct gate_map *map)
{
	return (int *)((char *)gate + map->fd_at);
}

bool xb_gate_interprets(void)
{
	const struct bpf_insn pass[] = {
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = XDP_PASS},
		{.code = BPF_JMP | BPF_EXIT},
	};
	struct bpf_prog_info info = {0};
	__u32 bytes = sizeof(info);
	xb_auto_fd int fd = bpf_prog_load(BPF_PROG_TYPE_XDP, "xb_jit", "Dual BSD/GPL", pass,
					  sizeof(pass) / sizeof(pass[0]), NULL);

	return fd >= 0 && !bpf_obj_get_info_by_fd(fd, &info, &bytes) && !info.jited_prog_len;
}

int xb_gate_load_object(struct steer_bpf *skeleton, const char *what, struct xb_error *err)
{
	int ret;

	xb_hear();
	ret = steer_bpf__load(skeleton);
	if (ret == 0)
		return 0;
	if (ret == -EBADF) /* libbpf has gone on without a descriptor that it didn't get */
		ret = -EMFILE;
	xb_fail(err, ret, "load %s into the kernel", what);
	if (ret == -EPERM)
		xb_hint(err, NO_BPF);
	else if (*xb_heard_libbpf() && ret != -EMFILE && ret != -ENFILE)
		xb_hint(err, "%s", xb_heard_libbpf());
	return ret;
}

/* ---- the pinned maps ---- */

/* Whether a pinned map can serve for the one that the program wants. */
static bool map_fits(int fd, const struct bpf_map *map)
{
	struct bpf_map_info info = {0};
	__u32 info_bytes = sizeof(info);

	return bpf_obj_get_info_by_fd(fd, &info, &info_bytes) == 0 &&
	       info.type == (__u32)bpf_map__type(map) && info.key_size == bpf_map__key_size(map) &&
	       info.value_size == bpf_map__value_size(map) &&
	       info.max_entries == bpf_map__max_entries(map) &&
	       info.map_flags == bpf_map__map_flags(map);
}

static bool schema_fits(int config_fd)
{
	struct xb_steer_config config;

	for (__u32 slot = 0; slot < XB_UPLINKS_MAX; slot++) {
		if (bpf_map_lookup_elem(config_fd, &slot, &config) < 0)
			return false;
		if (config.schema && config.schema != XB_SCHEMA)
			return false;
	}
	return true;
}

/* Opens the maps that are pinned; the descriptors of others stay -1. Where one does not fit, none
 * is taken. */
static int open_pinned(struct xb_gate *gate, const struct steer_bpf *skeleton, struct xb_error *err)
{
	bool fits = true;

	for (size_t i = 0; i < N_MAPS; i++) {
		struct xb_pin_path path = xb_pin_path(gate->instance, gate_maps[i].pin);
		int fd = bpf_obj_get(path.text);

		if (fd < 0 && errno != ENOENT) {
			int ret = xb_fail(err, -errno, "open the pinned map %s", path.text);

			if (ret == -EPERM)
				xb_hint(err, NO_BPF);
			return ret;
		}
		*map_fd(gate, &gate_maps[i]) = fd < 0 ? -1 : fd;
		if (fd < 0)
			continue;
		gate->taken_over = true;
		fits = fits &&
		       map_fits(fd, bpf_object__find_map_by_name(skeleton->obj, gate_maps[i].name));
	}
	if (fits && gate->config_fd >= 0)
		fits = schema_fits(gate->config_fd);
	if (fits)
		return 0;

	gate->taken_over = false;
	gate->replaced = true;
	for (size_t i = 0; i < N_MAPS; i++) {
		int *fd = map_fd(gate, &gate_maps[i]);

		xb_cleanup_close(fd);
		*fd = -1;
		if (unlink(xb_pin_path(gate->instance, gate_maps[i].pin).text) < 0 &&
		    errno != ENOENT)
			return xb_fail(err, -errno, "replace the pins of another version in %s",
				       xb_pin_path(gate->instance, "").text);
	}
	return 0;
}

/* Lets the skeleton's maps be those that the gate has open. */
static int reuse_maps(const struct xb_gate *gate, struct steer_bpf *skeleton, struct xb_error *err)
{
	for (size_t i = 0; i < N_MAPS; i++) {
		int fd = *map_fd((struct xb_gate *)gate, &gate_maps[i]);
		int ret;

		if (fd < 0)
			continue;
		ret = bpf_map__reuse_fd(
			bpf_object__find_map_by_name(skeleton->obj, gate_maps[i].name), fd);
		if (ret < 0)
			return xb_fail(err, ret, "reuse the map %s", gate_maps[i].name);
	}
	return 0;
}

/* Pins the maps that were made just now, and keeps their descriptors. */
static int pin_new_maps(struct xb_gate *gate, const struct steer_bpf *skeleton,
			struct xb_error *err)
{
	for (size_t i = 0; i < N_MAPS; i++) {
		struct xb_pin_path path = xb_pin_path(gate->instance, gate_maps[i].pin);
		int *fd = map_fd(gate, &gate_maps[i]);

		if (*fd >= 0)
			continue;
		*fd = fcntl(
			bpf_map__fd(bpf_object__find_map_by_name(skeleton->obj, gate_maps[i].name)),
			F_DUPFD_CLOEXEC, 3);
		if (*fd < 0)
			return xb_fail(err, -errno, "keep the map %s", gate_maps[i].name);
		if (bpf_obj_pin(*fd, path.text) < 0)
			return xb_fail(err, -errno, "pin the map %s", path.text);
	}
	return 0;
}

/* Maps one map's elements into our memory. */
static int map_one(int fd, size_t bytes, const char *what, void **ret_at, struct xb_error *err)
{
	void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (at == MAP_FAILED)
		return xb_fail(err, -errno, "map the %s", what);
	*ret_at = at;
	return 0;
}

int xb_gate_map_image(struct xb_gate *gate, unsigned place, size_t bytes, struct xb_error *err)
{
	uint8_t *image = (uint8_t *)&gate->images[place];
	const size_t wanted = (bytes + IMAGE_STEP - 1) / IMAGE_STEP * IMAGE_STEP;
	const size_t mapped = gate->image_bytes[place];
	const off_t at = (off_t)(place * sizeof(struct xb_image));

	if (wanted > mapped && mmap(image, wanted, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
				    gate->images_fd, at) == MAP_FAILED)
		return xb_fail(err, -errno, "map %zu bytes of the steering table's image", wanted);
	if (wanted < mapped &&
	    mmap(image + wanted, mapped - wanted, PROT_READ,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) == MAP_FAILED)
		return xb_fail(err, -errno, "give back a part of the steering table's image");
	gate->image_bytes[place] = wanted;
	return 0;
}

/* Maps what images of an earlier run hold. */
static int map_images(struct xb_gate *gate, struct xb_error *err)
{
	void *at = mmap(NULL, IMAGES_BYTES, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
			-1, 0);

	if (at == MAP_FAILED)
		return xb_fail(err, -errno, "map the steering table's images");
	gate->images = at;
	for (unsigned place = 0; place < XB_IMAGES; place++) {
		const struct xb_image_head *head = &gate->images[place].head;
		int ret = xb_gate_map_image(gate, place, sizeof(*head), err);

		if (!ret && head->bytes > sizeof(*head) && head->bytes <= XB_IMAGE_BYTES)
			ret = xb_gate_map_image(gate, place, head->bytes, err);
		if (ret < 0)
			return ret;
	}
	return 0;
}

static int map_memory(struct xb_gate *gate, struct xb_error *err)
{
	int ret = map_one(gate->queues_fd, QUEUES_BYTES, "queues' states", (void **)&gate->queues,
			  err);

	if (!ret)
		ret = map_one(gate->rule_user_stats_fd, USER_STATS_BYTES, "rules' counters",
			      (void **)&gate->rule_user_stats, err);
	if (!ret)
		ret = map_one(gate->rule_limits_fd, RULE_LIMITS_BYTES, "rules' limits",
			      (void **)&gate->rule_limits, err);
	if (!ret)
		ret = map_one(gate->table_fd, TABLE_BYTES, "steering table", (void **)&gate->table,
			      err);
	return ret ? ret : map_images(gate, err);
}

static void unmap_one(void *at, size_t bytes)
{
	if (at)
		munmap(at, bytes);
}

static void unmap_memory(struct xb_gate *gate)
{
	unmap_one(gate->queues, QUEUES_BYTES);
	unmap_one(gate->rule_user_stats, USER_STATS_BYTES);
	unmap_one(gate->rule_limits, RULE_LIMITS_BYTES);
	unmap_one(gate->table, TABLE_BYTES);
	unmap_one(gate->images, IMAGES_BYTES);
	gate->queues = NULL;
	gate->rule_user_stats = NULL;
	gate->rule_limits = NULL;
	gate->table = NULL;
	gate->images = NULL;
	memset(gate->image_bytes, 0, sizeof(gate->image_bytes));
}

int xb_gate_open_object(const struct xb_gate *gate, struct steer_bpf **ret_skeleton,
			struct xb_error *err)
{
	auto_skeleton struct steer_bpf *skeleton = steer_bpf__open();
	int ret;

	if (!skeleton)
		return xb_fail(err, -errno, "open the BPF object");
	ret = reuse_maps(gate, skeleton, err);
	if (ret < 0)
		return ret;
	*ret_skeleton = XB_TAKE_PTR(skeleton);
	return 0;
}

static int open_maps(struct xb_gate *gate, bool *ret_made, struct xb_error *err)
{
	auto_skeleton struct steer_bpf *skeleton = NULL;
	int ret;

	ret = xb_pin_prepare(gate->instance, ret_made, err);
	if (ret < 0)
		return ret;
	skeleton = steer_bpf__open();
	if (!skeleton)
		return xb_fail(err, -errno, "open the BPF object");
	bpf_program__set_autoload(skeleton->progs.steer, false);
	ret = open_pinned(gate, skeleton, err);
	if (!ret)
		ret = reuse_maps(gate, skeleton, err);
	if (!ret)
		ret = xb_gate_load_object(skeleton, "the BPF maps", err);
	if (!ret)
		ret = pin_new_maps(gate, skeleton, err);
	return ret < 0 ? ret : map_memory(gate, err);
}

int xb_gate_open(struct xb_gate *gate, const char *instance, struct xb_error *err)
{
	struct xb_gate made = {0};
	bool folder_made = false;
	int ret;

	for (size_t i = 0; i < N_MAPS; i++)
		*map_fd(&made, &gate_maps[i]) = -1;
	made.grace = (struct xb_grace){-1, -1};

	if (!xb_pin_name_ok(instance)) {
		xb_fail(err, -EINVAL, "instance name '%s'", instance);
		xb_hint(err, "1 to %u letters, digits and _-.@+, the first no dot",
			XB_INSTANCE_BYTES - 1);
		return -EINVAL;
	}
	memcpy(made.instance, instance, strlen(instance) + 1);
	xb_hear();
	if (xb_gate_interprets()) { /* a call of bpf_loop is only compiled */
		xb_refuse(err, -EINVAL,
			  "this kernel interprets BPF programs, and xbridge's needs the JIT");
		xb_hint(err, "sysctl -w net.core.bpf_jit_enable=1");
		return -EINVAL;
	}
	ret = xb_grace_init(&made.grace, err);
	if (!ret)
		ret = open_maps(&made, &folder_made, err);
	if (ret < 0) {
		/* what was there before stays */
		if (folder_made)
			xb_gate_remove(instance, NULL);
		xb_gate_close(&made);
	} else {
		*gate = made;
	}
	return ret;
}

void xb_gate_close(struct xb_gate *gate)
{
	unmap_memory(gate);
	for (size_t i = 0; i < N_MAPS; i++) {
		xb_cleanup_close(map_fd(gate, &gate_maps[i]));
		*map_fd(gate, &gate_maps[i]) = -1;
	}
	xb_grace_fini(&gate->grace);
	gate->claimed = 0;
}

/* ---- what the maps hold ---- */

int xb_gate_wait_grace(struct xb_gate *gate, struct xb_error *err)
{
	return xb_grace_wait(&gate->grace, err);
}

int xb_gate_set_config(struct xb_gate *gate, uint32_t slot, const struct xb_steer_config *config,
		       struct xb_error *err)
{
	struct xb_steer_config written = *config;

	written.schema = XB_SCHEMA;
	if (bpf_map_update_elem(gate->config_fd, &slot, &written, BPF_ANY) < 0)
		return xb_fail(err, -errno, "write the configuration of slot %u", slot);
	return 0;
}

int xb_gate_get_config(const struct xb_gate *gate, uint32_t slot,
		       struct xb_steer_config *ret_config)
{
	return bpf_map_lookup_elem(gate->config_fd, &slot, ret_config) < 0 ? -errno : 0;
}

static bool listed(const struct xb_own_mac *key, const struct xb_own_mac_entry *macs, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		if (!memcmp(macs[i].mac, key->mac, sizeof(key->mac)))
			return true;
	}
	return false;
}

/* Removes the slot's addresses that are not among `macs`. */
static int prune_own_macs(const struct xb_gate *gate, uint32_t slot,
			  const struct xb_own_mac_entry *macs, unsigned n)
{
	xb_auto_free struct xb_own_mac *gone = calloc(XB_OWN_MACS_MAX, sizeof(*gone));
	struct xb_own_mac key;
	struct xb_own_mac *last = NULL;
	unsigned n_gone = 0;

	if (!gone)
		return -ENOMEM;
	/* we alone write this map, so that the walk sees each key once */
	for (unsigned i = 0; i < XB_OWN_MACS_MAX; i++) {
		if (bpf_map_get_next_key(gate->own_macs_fd, last, &key) < 0)
			break;
		last = &key;
		if (key.slot == slot && !listed(&key, macs, n))
			gone[n_gone++] = key;
	}
	for (unsigned i = 0; i < n_gone; i++)
		bpf_map_delete_elem(gate->own_macs_fd, &gone[i]);
	return 0;
}

int xb_gate_set_own_macs(struct xb_gate *gate, uint32_t slot, const struct xb_own_mac_entry *macs,
			 unsigned n, struct xb_error *err)
{
	uint64_t bits = 0;
	int ret;

	for (unsigned i = 0; i < n; i++)
		bits |= XB_OWN_BIT(macs[i].mac);
	/* both the old ones and the new ones, as long as both are there */
	__atomic_fetch_or(&gate->table->own_bits[slot], bits, __ATOMIC_RELAXED);
	for (unsigned i = 0; i < n; i++) {
		struct xb_own_mac key = {.slot = (__u16)slot};

		memcpy(key.mac, macs[i].mac, sizeof(key.mac));
		if (bpf_map_update_elem(gate->own_macs_fd, &key, &macs[i].ifindex, BPF_ANY) < 0)
			return xb_fail(err, errno == E2BIG ? -ENOSPC : -errno,
				       "write own MACs: %u at most, of all uplinks",
				       XB_OWN_MACS_MAX);
	}
	ret = prune_own_macs(gate, slot, macs, n);
	if (ret < 0)
		return xb_fail(err, ret, "remove old own MACs");
	__atomic_store_n(&gate->table->own_bits[slot], bits, __ATOMIC_RELAXED);
	return 0;
}

int xb_gate_set_socket(struct xb_gate *gate, uint32_t slot, uint32_t queue, int socket_fd,
		       struct xb_error *err)
{
	__u32 key = XB_QUEUE_SLOT(slot, queue);

	__atomic_store_n(&gate->queues[key].withheld, 0, __ATOMIC_RELAXED);
	if (socket_fd < 0) {
		__atomic_store_n(&gate->queues[key].beat_ns, 0, __ATOMIC_RELAXED);
		if (bpf_map_delete_elem(gate->xsks_fd, &key) < 0 && errno != ENOENT)
			return xb_fail(err, -errno, "take queue %u out of the gate", queue);
		return 0;
	}
	if (bpf_map_update_elem(gate->xsks_fd, &key, &socket_fd, BPF_ANY) < 0)
		return xb_fail(err, -errno, "put queue %u into the gate", queue);
	return 0;
}
