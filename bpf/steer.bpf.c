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
#include "xbridge/limit.h"

#define FLOWS 4096u /* in the cache of each CPU; a power of two */

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

/* What people see of the rules; nothing here reads it. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, XB_RULES_MAX);
	__type(key, __u32);
	__type(value, struct xb_rule);
} rules SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, XB_RULES_MAX);
	__type(key, __u32);
	__type(value, struct xb_rule_stats);
} rule_stats SEC(".maps");

/* When the next frame of a rule with a limit is due (limit.h). */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, XB_RULES_MAX);
	__type(key, __u32);
	__type(value, __u64);
} rule_limits SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct xb_table);
} table SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, XB_IMAGES);
	__type(key, __u32);
	__type(value, struct xb_image);
} images SEC(".maps");

/* Which rule the last frame with that key has met. */
struct flow {
	struct xb_key key;
	__u32 generation; /* of the table that was asked; 0: nothing here yet */
	__u32 rank;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, FLOWS);
	__type(key, __u32);
	__type(value, struct flow);
} flows SEC(".maps");

/* What asking the rules takes, one frame after the other: too much for the stack. */
struct question {
	struct xb_key key;
	struct xb_walk walk;
	struct xb_image_rule rule; /* the answer */
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct question);
} questions SEC(".maps");

#define KEY_WORDS (sizeof(struct xb_key) / 8)

/* Takes away what no rule asks for; returns a place in the cache. */
static __always_inline __u32 mask_key(struct xb_key *key, const struct xb_key *mask)
{
	const __u64 *masks = (const __u64 *)mask;
	__u64 *words = (__u64 *)key, hash = 0;

#pragma clang loop unroll(full)
	for (unsigned i = 0; i < KEY_WORDS; i++) {
		words[i] &= masks[i];
		hash += (words[i] ^ words[i] >> 32) * (0x9e3779b97f4a7c15ull + 2 * i);
	}
	return (__u32)(hash >> 40) & (FLOWS - 1);
}

static __always_inline int same_key(const struct xb_key *a, const struct xb_key *b)
{
	const __u64 *x = (const __u64 *)a, *y = (const __u64 *)b;
	__u64 differ = 0;

#pragma clang loop unroll(full)
	for (unsigned i = 0; i < KEY_WORDS; i++)
		differ |= x[i] ^ y[i];
	return !differ;
}

/* The rank of the first rule that matches, from the cache or by a walk. */
static __always_inline __u32 find_rank(const struct xb_image *image, struct question *question)
{
	__u32 place = mask_key(&question->key, &image->head.mask);
	__u32 generation = image->head.generation;
	struct flow *flow = bpf_map_lookup_elem(&flows, &place);

	if (!flow)
		return XB_RANK_NONE;
	if (flow->generation == generation && same_key(&flow->key, &question->key))
		return flow->rank;
	xb_walk_start(&question->walk, &question->key);
	flow->rank = xb_walk_find(&question->walk, image);
	flow->key = question->key;
	flow->generation = generation;
	return flow->rank;
}

static __always_inline const struct xb_image *current_image(void)
{
	__u32 key = 0;
	const struct xb_table *current = bpf_map_lookup_elem(&table, &key);

	if (!current)
		return NULL;
	key = *(const volatile __u32 *)&current->generation % XB_IMAGES;
	return bpf_map_lookup_elem(&images, &key);
}

/* Finds the first rule that matches; question->rule is that. Returns 0 where there is none.
 *
 * A function of its own, since what the verifier finds in it would else be multiplied by what it
 * finds around it. */
__attribute__((noinline)) int ask_rules(struct xdp_md *ctx, struct question *question, __u32 port,
					__u32 own)
{
	const void *data = (void *)(long)ctx->data;
	const void *end = (void *)(long)ctx->data_end;
	struct xb_origin origin = {.in = (__u8)port, .own = (__u8)own};
	const struct xb_image *image = current_image();
	struct xb_parsed parsed;
	__u32 rank;

	if (!question || !image || !image->head.n_rules || xb_parse(data, end, &parsed))
		return 0;
	xb_parse_key(data, end, &parsed, &origin, &question->key);
	rank = find_rank(image, question);
	if (rank >= image->head.n_rules)
		return 0;
	question->rule = xb_image_rule(image, rank);
	return 1;
}

/* Counts a frame that a rule has met; false where it is beyond the rule's limit. */
static __always_inline int count_hit(const struct xb_image_rule *rule, __u64 bytes)
{
	__u32 key = rule->slot;
	struct xb_rule_stats *stats = bpf_map_lookup_elem(&rule_stats, &key);
	__u64 *due_ns;

	if (!stats)
		return 1;
	__sync_fetch_and_add(&stats->packets, 1);
	__sync_fetch_and_add(&stats->bytes, bytes);
	stats->last_ns = bpf_ktime_get_coarse_ns();
	if (!rule->limit_ns)
		return 1;
	due_ns = bpf_map_lookup_elem(&rule_limits, &key);
	return !due_ns ||
	       xb_limit_allows(due_ns, bpf_ktime_get_ns(), rule->limit_ns, rule->burst_ns);
}

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

static __always_inline __u32 is_own(const struct ethhdr *eth)
{
	struct xb_own_mac key = {.slot = (__u16)slot};

	__builtin_memcpy(key.mac, eth->h_dest, sizeof(key.mac));
	return bpf_map_lookup_elem(&own_macs, &key) != NULL;
}

SEC("xdp")
int steer(struct xdp_md *ctx)
{
	const struct ethhdr *eth = (void *)(long)ctx->data;
	const struct xb_image_rule *rule = NULL;
	const struct xb_steer_config *uplink;
	struct xb_decision decision;
	struct xb_xdp_stats *stats;
	struct question *question;
	struct xb_scene scene;
	__u32 key = slot, zero = 0;

	uplink = bpf_map_lookup_elem(&config, &key);
	stats = bpf_map_lookup_elem(&verdict_stats, &key);
	question = bpf_map_lookup_elem(&questions, &zero);
	if (!uplink || !stats || !question)
		return XDP_PASS;
	if ((void *)(eth + 1) > (void *)(long)ctx->data_end) {
		stats->pass_runt++;
		return XDP_PASS;
	}
	scene.shared = uplink->shared;
	scene.verdict = uplink->verdict;
	scene.group = eth->h_dest[0] & 1;
	scene.own = !scene.group && is_own(eth);
	if (!xb_is_kept_group(&scene) && ask_rules(ctx, question, uplink->port, xb_own_of(&scene)))
		rule = &question->rule;
	if (rule && !count_hit(rule, bpf_xdp_get_buff_len(ctx))) {
		stats->limit++;
		stats->limit_bytes += bpf_xdp_get_buff_len(ctx);
		return XDP_DROP;
	}
	decision = xb_classify(&scene, rule);

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
