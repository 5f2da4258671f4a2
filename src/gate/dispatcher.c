/* SPDX-License-Identifier: BSD-2-Clause */
#include "gate/dispatcher.h"

#include "core/cleanup.h"
#include "gate/bpffs.h"
#include "gate/hear.h"

#include <bpf/bpf.h>
#include <dirent.h>
#include <errno.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <xdp/libxdp.h>

/* How often to look again where what was read changed meanwhile. */
#define TRIES 8

static void cleanup_program(struct xdp_program **program)
{
	xdp_program__close(*program);
}

#define auto_program __attribute__((cleanup(cleanup_program)))

/* ---- what libxdp has pinned ---- */

/* A dispatcher, as the name of its folder tells it. */
struct seat {
	uint32_t ifindex;
	uint32_t dispatcher_id;
};

struct path {
	char text[192];
};

#define FOLDER "xdp/"

static struct path libxdp_pins(void)
{
	struct path path;

	snprintf(path.text, sizeof(path.text), "%s/" FOLDER, xb_bpffs());
	return path;
}

static struct path seat_path(const struct seat *seat)
{
	struct path path;

	snprintf(path.text, sizeof(path.text), "%s/" FOLDER "dispatch-%u-%u", xb_bpffs(),
		 seat->ifindex, seat->dispatcher_id);
	return path;
}

/* what: "prog" or "link" */
static struct path place_path(const struct seat *seat, unsigned place, const char *what)
{
	struct path path;

	snprintf(path.text, sizeof(path.text), "%s/" FOLDER "dispatch-%u-%u/prog%u-%s", xb_bpffs(),
		 seat->ifindex, seat->dispatcher_id, place, what);
	return path;
}

/* Opens the program at a place; `ret_info` says what it is. Returns a descriptor or -errno. */
static int open_place(const struct seat *seat, unsigned place, struct bpf_prog_info *ret_info)
{
	__u32 info_bytes = sizeof(*ret_info);
	int fd = bpf_obj_get(place_path(seat, place, "prog").text);

	if (fd < 0)
		return -errno;
	if (bpf_obj_get_info_by_fd(fd, ret_info, &info_bytes) == 0)
		return fd;
	close(fd);
	return -EINVAL;
}

int xb_dispatcher_list(uint32_t ifindex, uint32_t dispatcher_id, struct xb_dispatched *ret_list)
{
	const struct seat seat = {ifindex, dispatcher_id};
	int n = 0;

	for (unsigned place = 0; place < XB_DISPATCHED_MAX; place++) {
		struct bpf_prog_info info = {0};
		xb_auto_fd int fd = open_place(&seat, place, &info);

		if (fd < 0)
			continue;
		ret_list[n].prog_id = info.id;
		memcpy(ret_list[n++].name, info.name, sizeof(info.name));
	}
	return n ? n : -ENOENT;
}

/* Whether a program has a place behind a dispatcher: 1, 0, or -errno where that can't be found out.
 */
static int is_seated(const struct seat *seat, uint32_t prog_id)
{
	for (unsigned place = 0; place < XB_DISPATCHED_MAX; place++) {
		struct bpf_prog_info info = {0};
		xb_auto_fd int fd = open_place(seat, place, &info);

		if (xb_is_shortage(fd))
			return fd;
		if (fd >= 0 && info.id == prog_id)
			return 1;
	}
	return 0;
}

int xb_program_is_on(uint32_t prog_id, uint32_t ifindex)
{
	/* between a look at the interface and one at the pins another dispatcher may take the
	 * place */
	for (unsigned i = 0; prog_id && i < TRIES; i++) {
		struct seat seat = {.ifindex = ifindex};
		int ret = xb_attached_read(ifindex, &seat.dispatcher_id);

		if (xb_is_shortage(ret))
			return ret;
		if (!seat.dispatcher_id)
			return 0;
		if (seat.dispatcher_id == prog_id)
			return 1;
		ret = is_seated(&seat, prog_id);
		if (ret)
			return ret;
		if (xb_attached_prog(ifindex) == seat.dispatcher_id)
			return 0;
	}
	return 0;
}

/* Takes the next folder of a dispatcher. */
static bool next_seat(DIR *dir, struct seat *ret_seat)
{
	struct dirent *entry;

	while (dir && (entry = readdir(dir)))
		if (sscanf(entry->d_name, "dispatch-%u-%u", &ret_seat->ifindex,
			   &ret_seat->dispatcher_id) == 2)
			return true;
	return false;
}

static bool is_attached(const struct seat *seat)
{
	return xb_attached_prog(seat->ifindex) == seat->dispatcher_id;
}

/* Where a program is: behind a dispatcher that is attached rather than behind another. */
static bool find_seat(uint32_t prog_id, struct seat *ret_seat)
{
	xb_auto_dir DIR *dir = opendir(libxdp_pins().text);
	bool found = false;
	struct seat seat;

	while (next_seat(dir, &seat)) {
		if (is_seated(&seat, prog_id) <= 0)
			continue;
		*ret_seat = seat;
		found = true;
		if (is_attached(&seat))
			break;
	}
	return found;
}

uint32_t xb_dispatcher_ifindex_of(uint32_t prog_id)
{
	struct seat seat;

	if (!prog_id || !find_seat(prog_id, &seat) || xb_program_is_on(prog_id, seat.ifindex) <= 0)
		return 0;
	return seat.ifindex;
}

static bool uses_map(int prog_fd, uint32_t map_id)
{
	uint32_t ids[64];
	struct bpf_prog_info info = {.nr_map_ids = sizeof(ids) / sizeof(ids[0]),
				     .map_ids = (uintptr_t)ids};
	__u32 info_bytes = sizeof(info);

	if (bpf_obj_get_info_by_fd(prog_fd, &info, &info_bytes) < 0)
		return false;
	for (unsigned i = 0; i < info.nr_map_ids && i < sizeof(ids) / sizeof(ids[0]); i++)
		if (ids[i] == map_id)
			return true;
	return false;
}

unsigned xb_dispatcher_find_users(uint32_t ifindex, uint32_t map_id, uint32_t *ret_prog_ids,
				  unsigned max)
{
	xb_auto_dir DIR *dir = opendir(libxdp_pins().text);
	struct seat seat;
	unsigned n = 0;

	while (next_seat(dir, &seat)) {
		for (unsigned place = 0; seat.ifindex == ifindex && place < XB_DISPATCHED_MAX;
		     place++) {
			struct bpf_prog_info info = {0};
			xb_auto_fd int fd = open_place(&seat, place, &info);

			if (fd >= 0 && n < max && uses_map(fd, map_id))
				ret_prog_ids[n++] = info.id;
		}
	}
	return n;
}

/* ---- adding and removing ---- */

static int say(struct xb_error *err, int code, const char *what, const char *ifname)
{
	xb_fail(err, code, "%s the XDP dispatcher of %s", what, ifname);
	if (code == -EPERM)
		xb_hint(err, "CAP_SYS_ADMIN, CAP_BPF and CAP_NET_ADMIN are needed");
	else if (code == -E2BIG)
		xb_hint(err, "%u programs can share an interface: unload one", XB_DISPATCHED_MAX);
	else if (*xb_heard_kernel())
		xb_hint(err, "the kernel says: %s", xb_heard_kernel());
	else if (*xb_heard_libxdp())
		xb_hint(err, "libxdp says: %s", xb_heard_libxdp());
	return code;
}

/* libxdp attaches a program alone where it finds that dispatchers don't work, and calls that done.
 */
static int insist_on_dispatcher(uint32_t ifindex, int prog_fd)
{
	LIBBPF_OPTS(bpf_xdp_attach_opts, opts, .old_prog_fd = prog_fd);
	struct bpf_prog_info info = {0};
	__u32 info_bytes = sizeof(info);

	if (bpf_obj_get_info_by_fd(prog_fd, &info, &info_bytes) < 0)
		return -errno;
	if (xb_attached_prog(ifindex) == info.id)
		bpf_xdp_detach((int)ifindex,
			       xb_attached_mode(ifindex) == XB_XDP_GENERIC ? XDP_FLAGS_SKB_MODE
									   : XDP_FLAGS_DRV_MODE,
			       &opts);
	else if (xb_program_is_on(info.id, ifindex))
		return 0;
	return -EOPNOTSUPP;
}

int xb_dispatcher_add(uint32_t ifindex, const char *ifname, struct bpf_object *object,
		      const char *name, enum xb_xdp_mode mode, struct xb_error *err)
{
	DECLARE_LIBXDP_OPTS(xdp_program_opts, opts, .obj = object, .prog_name = name);
	auto_program struct xdp_program *program = NULL;
	struct bpf_program *other;
	int ret;

	xb_hear();
	/* libxdp loads the one that it is told, whatever is said here */
	bpf_object__for_each_program(other, object) bpf_program__set_autoload(other, false);
	program = xdp_program__create(&opts);
	if (!program)
		return say(err, -errno, "make a program for", ifname);
	ret = xdp_program__set_run_prio(program, XB_RUN_PRIO);
	if (!ret)
		ret = xdp_program__attach(program, (int)ifindex,
					  mode == XB_XDP_GENERIC ? XDP_MODE_SKB : XDP_MODE_NATIVE,
					  0);
	if (!ret)
		ret = insist_on_dispatcher(ifindex, xdp_program__fd(program));
	return ret ? say(err, ret, "join", ifname) : 0;
}

static int leave(const struct seat *seat, uint32_t prog_id, struct xb_error *err)
{
	xb_auto_fd int fd = bpf_prog_get_fd_by_id(prog_id);
	auto_program struct xdp_program *program = NULL;
	char ifname[IF_NAMESIZE] = "?";
	int ret;

	if_indextoname(seat->ifindex, ifname);
	xb_hear();
	if (fd < 0)
		return say(err, -errno, "leave", ifname);
	program = xdp_program__from_fd(fd);
	ret = (int)libxdp_get_error(program);
	if (ret) {
		program = NULL;
		return say(err, ret, "leave", ifname);
	}
	ret = xdp_program__detach(
		program, (int)seat->ifindex,
		xb_attached_mode(seat->ifindex) == XB_XDP_GENERIC ? XDP_MODE_SKB : XDP_MODE_NATIVE,
		0);
	/* where somebody was quicker, the next look finds out */
	return ret && is_attached(seat) ? say(err, ret, "leave", ifname) : 0;
}

/* The link that puts a program into its place ends with its pin. So do those of programs that are
 * in force elsewhere on the interface: who was killed while it made a dispatcher leaves one like
 * that. */
static int unpin(const struct seat *seat, uint32_t prog_id, struct xb_error *err)
{
	for (unsigned place = 0; place < XB_DISPATCHED_MAX; place++) {
		struct bpf_prog_info info = {0};
		xb_auto_fd int fd = open_place(seat, place, &info);

		if (fd < 0 || (info.id != prog_id && !xb_program_is_on(info.id, seat->ifindex)))
			continue;
		if ((unlink(place_path(seat, place, "link").text) < 0 && errno != ENOENT) ||
		    (unlink(place_path(seat, place, "prog").text) < 0 && errno != ENOENT))
			return xb_fail(err, -errno, "remove the pins %s",
				       place_path(seat, place, "*").text);
	}
	rmdir(seat_path(seat).text); /* goes with the last program */
	return 0;
}

int xb_dispatcher_remove(uint32_t prog_id, struct xb_error *err)
{
	struct seat seat;
	int ret = 0;

	for (unsigned i = 0; !ret && i < TRIES && prog_id && find_seat(prog_id, &seat); i++)
		ret = is_attached(&seat) ? leave(&seat, prog_id, err) : unpin(&seat, prog_id, err);
	return ret;
}
