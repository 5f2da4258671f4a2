/* SPDX-License-Identifier: BSD-2-Clause */
#include "gate/attach.h"

#include "core/cleanup.h"
#include "gate/foreign.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/if_link.h>
#include <stdio.h>
#include <string.h>

static int link_info(int link_fd, struct xb_link_info *ret_info)
{
	struct bpf_link_info info = {0};
	__u32 info_bytes = sizeof(info);

	if (bpf_obj_get_info_by_fd(link_fd, &info, &info_bytes) < 0)
		return -errno;
	if (info.type != BPF_LINK_TYPE_XDP)
		return -EINVAL;
	*ret_info = (struct xb_link_info){.ifindex = info.xdp.ifindex, .prog_id = info.prog_id};
	return 0;
}

int xb_link_read(const char *link_path, struct xb_link_info *ret_info)
{
	xb_auto_fd int fd = bpf_obj_get(link_path);

	return fd < 0 ? -errno : link_info(fd, ret_info);
}

int xb_detach(const char *link_path, struct xb_error *err)
{
	xb_auto_fd int fd = bpf_obj_get(link_path);

	if (fd < 0 && errno == ENOENT)
		return 0;
	/* Unpinning alone would detach later, when the kernel gets to it. A link whose interface is
	 * gone has nothing to detach. */
	if (fd >= 0 && bpf_link_detach(fd) < 0 && errno != ENOLINK)
		return xb_fail(err, -errno, "detach the XDP link %s", link_path);
	if (unlink(link_path) < 0)
		return xb_fail(err, -errno, "remove the pin %s", link_path);
	return 0;
}

bool xb_mode_may_stay(const struct xb_attach_options *options, enum xb_xdp_mode now)
{
	if (options->mode != XB_XDP_AUTO)
		return options->mode == now;
	return now == XB_XDP_NATIVE || options->keep_mode;
}

/* Whether a link of ours is on the interface and can stay there. */
static bool may_stay(int link_fd, uint32_t ifindex, const struct xb_attach_options *options)
{
	struct xb_link_info info = {0};

	/* An index alone does not tell: the interface may have moved to another namespace. */
	return !link_info(link_fd, &info) && info.ifindex == ifindex &&
	       info.prog_id == xb_attached_prog(ifindex) &&
	       xb_mode_may_stay(options, xb_attached_mode(ifindex));
}

bool xb_link_may_stay(uint32_t ifindex, const struct xb_attach_options *options,
		      const char *link_path)
{
	xb_auto_fd int fd = bpf_obj_get(link_path);

	return fd >= 0 && may_stay(fd, ifindex, options);
}

/* Replaces the program in our link of an earlier run. Returns 1 where that is done, 0 where there
 * is no such link (any more), or -errno. */
static int take_over(uint32_t ifindex, const char *ifname, int prog_fd,
		     const struct xb_attach_options *options, const char *link_path,
		     enum xb_xdp_mode *ret_mode, struct xb_error *err)
{
	xb_auto_fd int fd = bpf_obj_get(link_path);

	if (fd < 0)
		return errno == ENOENT ? 0 : xb_fail(err, -errno, "open the pin %s", link_path);
	if (!may_stay(fd, ifindex, options))
		return xb_detach(link_path, err);
	if (bpf_link_update(fd, prog_fd, NULL) < 0)
		return xb_fail(err, -errno, "replace the XDP program on %s", ifname);
	*ret_mode = xb_attached_mode(ifindex);
	return 1;
}

static int make_link(uint32_t ifindex, int prog_fd, uint32_t flags)
{
	LIBBPF_OPTS(bpf_link_create_opts, opts, .flags = flags);
	int fd = bpf_link_create(prog_fd, (int)ifindex, BPF_XDP, &opts);

	return fd < 0 ? -errno : fd;
}

bool xb_is_driver_refusal(int code)
{
	return code != -EBUSY && code != -EPERM && code != -ENODEV && code != -ENOMEM;
}

static int say_refused(const char *ifname, int code, bool native_only,
		       const struct xb_attachment *made, struct xb_error *err)
{
	xb_fail(err, code, "attach an XDP program to %s in %s mode", ifname,
		made->mode == XB_XDP_NATIVE ? "native" : "generic");
	if (code == -EEXIST)
		xb_hint(err,
			"a device that stands on %s has one, perhaps in another network namespace: "
			"take that off, and put it on again afterwards",
			ifname);
	else if (native_only)
		xb_hint(err, "its driver or its MTU may not allow it; xdp=auto falls back to the "
			     "generic mode");
	return code;
}

int xb_attach(uint32_t ifindex, const char *ifname, int prog_fd,
	      const struct xb_attach_options *options, const char *link_path,
	      struct xb_attachment *ret_attachment, struct xb_error *err)
{
	const enum xb_xdp_mode mode = options->mode;
	struct xb_attachment made = {.mode = mode};
	xb_auto_fd int fd = -1;
	int ret;

	ret = take_over(ifindex, ifname, prog_fd, options, link_path, &made.mode, err);
	if (ret < 0)
		return ret;
	if (ret) {
		made.taken_over = true;
		*ret_attachment = made;
		return 0;
	}
	ret = xb_refuse_foreign(ifindex, ifname, err);
	if (ret < 0)
		return ret;

	if (mode != XB_XDP_GENERIC) {
		made.mode = XB_XDP_NATIVE;
		fd = make_link(ifindex, prog_fd, XDP_FLAGS_DRV_MODE);
	}
	if (mode == XB_XDP_GENERIC || (mode == XB_XDP_AUTO && fd < 0 && xb_is_driver_refusal(fd))) {
		made.mode = XB_XDP_GENERIC;
		made.native_code = mode == XB_XDP_AUTO ? fd : 0;
		fd = make_link(ifindex, prog_fd, XDP_FLAGS_SKB_MODE);
	}
	if (fd < 0)
		return say_refused(ifname, fd, mode == XB_XDP_NATIVE, &made, err);
	if (bpf_obj_pin(fd, link_path) < 0)
		return xb_fail(err, -errno, "pin the XDP link at %s", link_path);
	*ret_attachment = made;
	return 0;
}
