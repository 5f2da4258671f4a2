/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The gate: an XDP program that decides which frames of an uplink stay with the kernel and which go
 * to xbridge's AF_XDP sockets.
 *
 * One copy is loaded for each uplink (`slot`), all over the same pinned maps. It outlives the
 * daemon, so it must do right alone: `drop` stays in force, and what it would redirect it passes as
 * soon as nobody reads. Three things tell it that nobody reads, whichever comes first: a heartbeat
 * of 0 (a queue without a socket), a stale one (a daemon that stalled), and an empty place in
 * `xsks` (a daemon that died: the kernel takes a closed socket out). A frame that AF_XDP would
 * drop, as it is longer than a chunk, passes too.
 *
 * The metadata that tells userspace the verdict is written only once the redirect is certain: a
 * frame that passes reaches the stack as it came. What a program before us left there is replaced.
 */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#include "xbridge/classify.h"

const volatile __u32 slot = 0;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, XB_UPLINKS_MAX);
	__type(key, __u32);
	__type(value, struct xb_steer_config);
} config SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, XB_OWN_MACS_MAX);
	__type(key, struct xb_own_mac);
	__type(value, __u32);
} own_macs SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, XB_UPLINKS_MAX);
	__type(key, __u32);
	__type(value, struct xb_xdp_stats);
} verdict_stats SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_XSKMAP);
	__uint(max_entries, XB_UPLINKS_MAX *XB_QUEUES_MAX);
	__type(key, __u32);
	__type(value, __u32);
} xsks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, XB_UPLINKS_MAX *XB_QUEUES_MAX);
	__type(key, __u32);
	__type(value, __u64);
} heartbeats SEC(".maps");

/* Makes the metadata exactly our size, whatever lies there, and writes it; where that can't be done
 * none is left, and userspace classifies the frame itself. */
static __always_inline void write_meta(struct xdp_md *ctx, const struct xb_decision *decision,
				       __u32 generation)
{
	int there = (int)((long)ctx->data - (long)ctx->data_meta);
	struct xb_meta *meta;

	if (bpf_xdp_adjust_meta(ctx, there - (int)sizeof(*meta))) {
		if (there > 0)
			bpf_xdp_adjust_meta(ctx, there);
		return;
	}
	meta = (struct xb_meta *)(long)ctx->data_meta;
	if ((void *)(meta + 1) > (void *)(long)ctx->data)
		return;
	meta->magic = XB_META_MAGIC;
	meta->generation = generation;
	meta->verdict = decision->verdict;
	meta->stage = decision->stage;
	meta->rule = decision->rule;
}

static __always_inline int redirect(struct xdp_md *ctx, const struct xb_steer_config *uplink,
				    const struct xb_decision *decision, struct xb_xdp_stats *stats)
{
	__u32 queue = ctx->rx_queue_index;
	__u32 key = XB_QUEUE_SLOT(slot, queue);
	volatile __u64 *heartbeat;
	__u64 beat;
	long action;

	if (bpf_xdp_get_buff_len(ctx) > XB_REDIRECT_BYTES_MAX) {
		stats->pass_long++;
		return XDP_PASS;
	}
	heartbeat = queue < XB_QUEUES_MAX ? bpf_map_lookup_elem(&heartbeats, &key) : NULL;
	beat = heartbeat ? *heartbeat : 0;
	if (!beat) {
		stats->pass_noqueue++;
		return XDP_PASS;
	}
	/* signed: the beat may be from a tick that this CPU has not seen yet */
	if ((__s64)(bpf_ktime_get_coarse_ns() - beat) > (__s64)uplink->stall_ns) {
		stats->pass_stall++;
		return XDP_PASS;
	}
	action = bpf_redirect_map(&xsks, key, XDP_PASS);
	if (action != XDP_REDIRECT) {
		stats->pass_noqueue++;
		return XDP_PASS;
	}
	write_meta(ctx, decision, uplink->generation);
	stats->redirect++;
	return XDP_REDIRECT;
}

static __always_inline int pass(const struct xb_decision *decision, struct xb_xdp_stats *stats)
{
	switch (decision->stage) {
	case XB_STAGE_OWN_MAC:
		stats->pass_own++;
		break;
	case XB_STAGE_GROUP:
		stats->pass_group++;
		break;
	default:
		stats->pass_verdict++;
	}
	return XDP_PASS;
}

static __always_inline __u32 is_own(const struct xb_parsed *parsed)
{
	struct xb_own_mac key = {.slot = (__u16)slot};

	__builtin_memcpy(key.mac, parsed->dmac, sizeof(key.mac));
	return bpf_map_lookup_elem(&own_macs, &key) != NULL;
}

SEC("xdp")
int steer(struct xdp_md *ctx)
{
	const void *data = (void *)(long)ctx->data;
	const void *end = (void *)(long)ctx->data_end;
	const struct xb_steer_config *uplink;
	struct xb_decision decision;
	struct xb_xdp_stats *stats;
	struct xb_parsed parsed;
	struct xb_scene scene;
	__u32 key = slot;

	uplink = bpf_map_lookup_elem(&config, &key);
	stats = bpf_map_lookup_elem(&verdict_stats, &key);
	if (!uplink || !stats)
		return XDP_PASS;
	if (xb_parse(data, end, &parsed)) {
		stats->pass_runt++;
		return XDP_PASS;
	}
	scene.shared = uplink->shared;
	scene.verdict = uplink->verdict;
	scene.own = !parsed.group && is_own(&parsed);
	decision = xb_classify(&parsed, &scene);

	switch (decision.verdict) {
	case XB_VERDICT_NONE: /* a slot that nobody has configured */
	case XB_VERDICT_PASS:
		return pass(&decision, stats);
	case XB_VERDICT_DROP:
		stats->drop++;
		stats->drop_bytes += bpf_xdp_get_buff_len(ctx);
		return XDP_DROP;
	default:
		return redirect(ctx, uplink, &decision, stats);
	}
}

const char LICENSE[] SEC("license") = "Dual BSD/GPL";
