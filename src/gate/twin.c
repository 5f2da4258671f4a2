/* SPDX-License-Identifier: BSD-2-Clause */
#include "gate/twin.h"

#include "core/cleanup.h"
#include "gate/pins.h"
#include "steer.skel.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

struct xb_twin {
	struct steer_bpf *skeleton;
};

/* A map's pin: people's or machinery's. Returns a descriptor, or -errno. */
static int open_pin(const char *instance, const char *map)
{
	char internal[64];
	int fd = bpf_obj_get(xb_pin_path(instance, map).text);

	if (fd >= 0 || errno != ENOENT)
		return fd < 0 ? -errno : fd;
	snprintf(internal, sizeof(internal), "internal/%s", map);
	fd = bpf_obj_get(xb_pin_path(instance, internal).text);
	return fd < 0 ? -errno : fd;
}

/* Lets the twin's maps be the pinned ones; what is not pinned is each program's own. */
static int share_maps(struct steer_bpf *skeleton, const char *instance, struct xb_error *err)
{
	struct bpf_map *map;

	bpf_object__for_each_map(map, skeleton->obj)
	{
		xb_auto_fd int fd = -ENOENT;
		int ret;

		if (!bpf_map__is_internal(map)) /* the program's constants */
			fd = open_pin(instance, bpf_map__name(map));
		if (fd == -ENOENT)
			continue;
		ret = fd < 0 ? fd : bpf_map__reuse_fd(map, fd);
		if (ret < 0)
			return xb_fail(err, ret, "open the pinned map %s of '%s'",
				       bpf_map__name(map), instance);
	}
	return 0;
}

/* Whether what is pinned is what this program understands, and the slot is still that port's. */
static int check_slot(const char *instance, uint32_t slot, uint32_t port, struct xb_error *err)
{
	xb_auto_fd int fd = open_pin(instance, "config");
	struct xb_steer_config config;

	if (fd < 0) {
		xb_fail(err, fd, "open the pinned maps in %s", xb_pin_path(instance, "").text);
		if (fd == -ENOENT)
			xb_hint(err, "`xbridge status` tells in which BPF file system they are");
		return fd;
	}
	if (bpf_map_lookup_elem(fd, &slot, &config) < 0)
		return xb_fail(err, -errno, "read the configuration of slot %u", slot);
	if (config.schema && config.schema != XB_SCHEMA) {
		xb_refuse(err, -EPROTO, "the pinned maps have schema %u, and this program has %u",
			  config.schema, XB_SCHEMA);
		xb_hint(err,
			"use the version of xbridge that the instance has, or restart the instance");
		return -EPROTO;
	}
	if (!config.schema || config.port != port)
		return xb_fail(err, -ENOENT, "find the uplink in the pinned configuration");
	return 0;
}

int xb_twin_open(const char *instance, uint32_t slot, uint32_t port, struct xb_twin **ret_twin,
		 struct xb_error *err)
{
	struct xb_twin *twin;
	int ret = check_slot(instance, slot, port, err);

	if (ret < 0)
		return ret;
	twin = calloc(1, sizeof(*twin));
	if (!twin)
		return xb_fail(err, -ENOMEM, "load a twin of the program");
	twin->skeleton = steer_bpf__open();
	if (!twin->skeleton) {
		ret = xb_fail(err, -errno, "open the BPF object");
		goto fail;
	}
	twin->skeleton->rodata->slot = slot;
	twin->skeleton->rodata->explain = 1;
	ret = share_maps(twin->skeleton, instance, err);
	if (ret < 0)
		goto fail;
	ret = steer_bpf__load(twin->skeleton);
	if (ret < 0) {
		xb_fail(err, ret, "load a twin of the program");
		if (ret == -EPERM)
			xb_hint(err, "CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON are needed");
		goto fail;
	}
	*ret_twin = twin;
	return 0;
fail:
	xb_twin_close(twin);
	return ret;
}

void xb_twin_close(struct xb_twin *twin)
{
	steer_bpf__destroy(twin->skeleton);
	free(twin);
}

int xb_twin_ask(struct xb_twin *twin, const void *data, uint32_t bytes,
		struct xb_explained *ret_explained, struct xb_error *err)
{
	int told_fd = bpf_map__fd(twin->skeleton->maps.told);
	struct xb_explained told = {0};
	uint32_t only = 0;
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = data,
		    .data_size_in = bytes < XB_PARSE_BYTES ? bytes : XB_PARSE_BYTES);

	if (bpf_map_update_elem(told_fd, &only, &told, BPF_ANY) < 0 ||
	    bpf_prog_test_run_opts(bpf_program__fd(twin->skeleton->progs.steer), &opts) < 0 ||
	    bpf_map_lookup_elem(told_fd, &only, &told) < 0)
		return xb_fail(err, -errno, "run a twin of the program");
	*ret_explained = told;
	return 0;
}
