/* SPDX-License-Identifier: BSD-2-Clause */
#include "gate/grace.h"

#include "core/calls.h"
#include "core/cleanup.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <unistd.h>

XB_CALL(control, membarrier);
XB_CALL(doorman, membarrier);

static bool has_membarrier(void)
{
	long commands = syscall(SYS_membarrier, MEMBARRIER_CMD_QUERY, 0, 0);

	return commands > 0 && commands & MEMBARRIER_CMD_GLOBAL;
}

int xb_grace_init(struct xb_grace *grace, struct xb_error *err)
{
	LIBBPF_OPTS(bpf_map_create_opts, options);
	xb_auto_fd int outer = -1, inner = -1;

	*grace = (struct xb_grace){-1, -1};
	if (has_membarrier())
		return 0;
	inner = bpf_map_create(BPF_MAP_TYPE_ARRAY, "xb_grace", sizeof(__u32), sizeof(__u32), 1,
			       NULL);
	options.inner_map_fd = (__u32)inner;
	if (inner >= 0)
		outer = bpf_map_create(BPF_MAP_TYPE_ARRAY_OF_MAPS, "xb_grace", sizeof(__u32),
				       sizeof(__u32), 1, &options);
	if (outer < 0)
		return xb_fail(err, -errno, "make a map to wait for XDP programs");
	grace->inner_fd = XB_TAKE_FD(inner);
	grace->outer_fd = XB_TAKE_FD(outer);
	return 0;
}

void xb_grace_fini(struct xb_grace *grace)
{
	xb_cleanup_close(&grace->outer_fd);
	xb_cleanup_close(&grace->inner_fd);
	*grace = (struct xb_grace){-1, -1};
}

int xb_grace_wait(const struct xb_grace *grace, struct xb_error *err)
{
	const __u32 place = 0;

	if (grace->outer_fd < 0) {
		if (syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) < 0)
			return xb_fail(err, -errno, "wait for the XDP programs (membarrier)");
		return 0;
	}
	if (bpf_map_update_elem(grace->outer_fd, &place, &grace->inner_fd, BPF_ANY) < 0)
		return xb_fail(err, -errno, "wait for the XDP programs (map in map)");
	return 0;
}
