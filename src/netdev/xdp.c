/* SPDX-License-Identifier: BSD-2-Clause */
#include "netdev/xdp.h"

#include <bpf/libbpf.h>
#include <linux/if_link.h>

int xb_attached_read(uint32_t ifindex, uint32_t *ret_prog_id)
{
	LIBBPF_OPTS(bpf_xdp_query_opts, opts);
	int ret = bpf_xdp_query((int)ifindex, 0, &opts);

	if (ret < 0)
		return ret;
	if (opts.attach_mode == XDP_ATTACHED_MULTI)
		*ret_prog_id = opts.drv_prog_id ? opts.drv_prog_id : opts.skb_prog_id;
	else
		*ret_prog_id = opts.prog_id;
	return 0;
}

uint32_t xb_attached_prog(uint32_t ifindex)
{
	uint32_t id = 0;

	xb_attached_read(ifindex, &id);
	return id;
}

enum xb_xdp_mode xb_attached_mode(uint32_t ifindex)
{
	LIBBPF_OPTS(bpf_xdp_query_opts, opts);

	if (bpf_xdp_query((int)ifindex, 0, &opts) < 0 || opts.attach_mode == XDP_ATTACHED_NONE)
		return XB_XDP_AUTO;
	return opts.attach_mode == XDP_ATTACHED_SKB ? XB_XDP_GENERIC : XB_XDP_NATIVE;
}
