/* SPDX-License-Identifier: BSD-2-Clause */
#include "gate/foreign.h"

#include "core/cleanup.h"
#include "gate/dispatcher.h"
#include "netdev/xdp.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

static enum xb_foreign_kind kind_of(uint32_t ifindex, const struct xb_foreign *foreign)
{
	struct xb_dispatched others[XB_DISPATCHED_MAX];

	if (xb_dispatcher_list(ifindex, foreign->prog_id, others) > 0)
		return XB_FOREIGN_DISPATCHER;
	if (!strcmp(foreign->name, "xdp_dispatcher"))
		return XB_FOREIGN_ORPHAN;
	return !strcmp(foreign->name, "steer") ? XB_FOREIGN_OURS : XB_FOREIGN_OTHER;
}

static void write_remedy(uint32_t ifindex, const char *ifname, struct xb_foreign *foreign)
{
	/* `xdp off` alone leaves a generic program on an interface that has native XDP */
	const char *word = xb_attached_mode(ifindex) == XB_XDP_GENERIC ? "xdpgeneric" : "xdp";
	const size_t bytes = sizeof(foreign->remedy);

	switch (foreign->kind) {
	case XB_FOREIGN_DISPATCHER:
		snprintf(foreign->remedy, bytes, "xdp-loader unload %s --all", ifname);
		break;
	case XB_FOREIGN_OURS:
		snprintf(foreign->remedy, bytes, "xbridge detach --bpffs PATH %s", ifname);
		break;
	default:
		snprintf(foreign->remedy, bytes, "ip link set dev %s %s off", ifname, word);
	}
}

void xb_foreign_look(uint32_t ifindex, const char *ifname, struct xb_foreign *ret_foreign)
{
	static const char *const words[] = {
		[XB_FOREIGN_OTHER] = "",
		[XB_FOREIGN_DISPATCHER] = "it calls programs that libxdp has loaded",
		[XB_FOREIGN_ORPHAN] = "it is libxdp's, and what it calls is pinned in another BPF "
				      "file system, or went with one (`ip netns exec`)",
		[XB_FOREIGN_OURS] =
			"it is xbridge's by its name, of an instance that pins in another "
			"BPF file system",
	};
	struct xb_foreign foreign = {.prog_id = xb_attached_prog(ifindex)};
	struct bpf_prog_info info = {0};
	__u32 info_bytes = sizeof(info);
	xb_auto_fd int fd = foreign.prog_id ? bpf_prog_get_fd_by_id(foreign.prog_id) : -1;

	if (fd >= 0 && bpf_obj_get_info_by_fd(fd, &info, &info_bytes) == 0)
		memcpy(foreign.name, info.name, sizeof(foreign.name));
	foreign.name[sizeof(foreign.name) - 1] = '\0';
	foreign.kind = kind_of(ifindex, &foreign);
	foreign.what = words[foreign.kind];
	write_remedy(ifindex, ifname, &foreign);
	*ret_foreign = foreign;
}

static void hint_foreign(const struct xb_foreign *foreign, struct xb_error *err)
{
	switch (foreign->kind) {
	case XB_FOREIGN_DISPATCHER:
		xb_hint(err, "join them (without xdp=exclusive), or remove them with '%s'",
			foreign->remedy);
		break;
	case XB_FOREIGN_ORPHAN:
		xb_hint(err, "if nobody has it any more, remove it with '%s'", foreign->remedy);
		break;
	case XB_FOREIGN_OURS:
		xb_hint(err, "stop that one or, if it was killed, run '%s'", foreign->remedy);
		break;
	case XB_FOREIGN_OTHER:
		xb_hint(err,
			"remove it with '%s' (or, where a bpf_link holds it, end its owner); what "
			"xdp-loader loads may stay beside xbridge",
			foreign->remedy);
	}
}

int xb_refuse_foreign(uint32_t ifindex, const char *ifname, struct xb_error *err)
{
	struct xb_foreign foreign;

	xb_foreign_look(ifindex, ifname, &foreign);
	if (!foreign.prog_id)
		return 0;
	xb_refuse(err, -EBUSY, "can't attach to %s: another XDP program is there (id %u%s%s)%s%s",
		  ifname, foreign.prog_id, foreign.name[0] ? ", " : "", foreign.name,
		  foreign.what[0] ? ": " : "", foreign.what);
	hint_foreign(&foreign, err);
	return -EBUSY;
}
