/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The gate: an XDP program that decides which frames of an uplink stay with the kernel and which go
 * to xbridge's AF_XDP sockets.
 *
 * One copy is loaded for each uplink (`slot`), all over the same pinned maps. It outlives the
 * daemon, so it must be safe on its own: `drop` stays in force, and what it would redirect it
 * passes as soon as nobody reads. Three things tell it that nobody reads, whichever comes first: a
 * heartbeat of 0 (a queue without a socket), a stale one (a daemon that stalled), and an empty
 * place in `xsks` (a daemon that died: the kernel takes a closed socket out). A frame that AF_XDP
 * would drop, as it is longer than a chunk, passes too.
 *
 * The metadata that tells userspace the verdict is written only once the redirect is certain: a
 * frame that passes reaches the stack as it came. What a program before us left there is replaced.
 *
 * There are two entries. `steer` tells; `steer_mute` does the same and writes no metadata, so
 * userspace asks the rules again (XB_STAGE_UNTOLD). It is for a place behind libxdp's dispatcher
 * under a kernel that takes only such extensions there as leave the packet's data alone.
 */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#include "xbridge/classify.h"
#include "xbridge/flow.h"
#include "xbridge/gcra.h"

const volatile __u32 slot = 0;
/* The table says which program of the slot judges. In a dispatcher the old program and the next one
 * are both there for a moment, and each frame is judged and counted by one of them. */
const volatile __u32 turn = 0;
/* A longer frame is not redirected. What a test run calls a frame in one piece is shorter. */
const volatile __u32 redirect_bytes_max = XB_REDIRECT_BYTES_MAX;
/* 1: the flow cache knows nothing; to measure what a walk takes. */
const volatile __u32 forgetful = 0;
/* 1: this is a twin, loaded to be asked what the one on the interface would say: it writes nothing
 * but `told`. */
const volatile __u32 explain = 0;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, XB_UPLINKS_MAX);
	__type(key, __u32); /* the uplink's slot */
	__type(value, struct xb_steer_config);
} config SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, XB_OWN_MACS_MAX);
	__type(key, struct xb_own_mac);
	__type(value, __u32); /* ifindex of the device whose address it is */
} own_macs SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, XB_UPLINKS_MAX);
	__type(key, __u32); /* the uplink's slot */
	__type(value, struct xb_xdp_stats);
} verdict_stats SEC(".maps");

/* The AF_XDP sockets, by XB_QUEUE_SLOT. */
struct {
	__uint(type, BPF_MAP_TYPE_XSKMAP);
	__uint(max_entries, XB_UPLINKS_MAX *XB_QUEUES_MAX);
	__type(key, __u32);
	__type(value, __u32);
} xsks SEC(".maps");

/* Whether each queue is read, and what became of its frames, by XB_QUEUE_SLOT. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, XB_UPLINKS_MAX *XB_QUEUES_MAX);
	__type(key, __u32);
	__type(value, struct xb_queue_state);
} queues SEC(".maps");

/* What people see of the rules; nothing here reads it. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, XB_RULES_MAX);
	__type(key, __u32); /* the rule's slot */
	__type(value, struct xb_rule);
} rules SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, XB_RULES_MAX);
	__type(key, __u32); /* the rule's slot */
	__type(value, struct xb_rule_stats);
} rule_stats SEC(".maps");

/* Nothing here reads it. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, XB_RULES_MAX);
	__type(key, __u32); /* the rule's slot */
	__type(value, struct xb_rule_user_stats);
} rule_stats_user SEC(".maps");

/* What people see of the forwarding table; nothing here reads it. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, XB_FDB_MAX);
	__type(key, struct xb_fdb_map_key);
	__type(value, struct xb_fdb_map_entry);
} fdb SEC(".maps");

/* When the next frame of a rule with a limit is due (CLOCK_MONOTONIC, ns), by the rule's slot. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, XB_RULES_MAX);
	__type(key, __u32);
	__type(value, __u64);
} rule_limits SEC(".maps");

/* Which image is in force, and what each frame is asked first. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct xb_table);
} table SEC(".maps");

/* The compiled table, and the one before it or to come (image.h). */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, XB_IMAGES);
	__type(key, __u32);
	__type(value, struct xb_image);
} images SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, XB_FLOWS);
	__type(key, __u32);
	__type(value, struct xb_flow);
} flows SEC(".maps");

/* Frames that were dropped, while somebody watches. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} dropped SEC(".maps");

/* What a twin tells of the frame. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct xb_explained);
} told SEC(".maps");

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

static __always_inline void tell_key(const struct xb_key *key)
{
	__u32 zero = 0;
	struct xb_explained *explained = bpf_map_lookup_elem(&told, &zero);

	if (explained)
		explained->key = *key;
}

static __always_inline int tell_decision(struct xb_decision decision)
{
	__u32 zero = 0;
	struct xb_explained *explained = bpf_map_lookup_elem(&told, &zero);

	if (explained)
		explained->decision = decision;
	return XDP_PASS;
}

/* The rank of the first rule that matches, by way of the flow cache; it masks the key. */
static __always_inline __u32 remembered(struct question *question, const struct xb_image *image)
{
	__u32 place = xb_flow_place(&question->key, image);
	struct xb_flow *flow = bpf_map_lookup_elem(&flows, &place);

	if (!flow)
		return XB_RANK_NONE;
	if (forgetful)
		flow->generation = 0;
	return xb_flow_find(flow, image, &question->key, &question->walk);
}

/* Finds the first rule that matches; question->rule is that. Returns 0 where there is none.
 *
 * A function of its own: inlined, it would multiply the states that the verifier looks at. */
__attribute__((noinline)) int ask_rules(struct xdp_md *ctx, struct question *question,
					__u32 generation, __u32 port, __u32 own)
{
	const void *data = (void *)(long)ctx->data;
	const void *end = (void *)(long)ctx->data_end;
	struct xb_origin origin = {.in = (__u8)port, .own = (__u8)own};
	__u32 which = generation % XB_IMAGES;
	const struct xb_image *image = bpf_map_lookup_elem(&images, &which);
	__u32 rank;

	if (!question || !image || xb_parse_key(data, end, &origin, &question->key))
		return 0;
	if (explain) {
		tell_key(&question->key);
		xb_walk_start(&question->walk, &question->key);
		rank = xb_walk_find(&question->walk, image);
	} else {
		rank = remembered(question, image);
	}
	if (rank >= image->head.n_rules)
		return 0;
	question->rule = xb_image_rule(image, rank);
	return 1;
}

/* Counts a frame that a rule has met; false where it is beyond the rule's limit. */
static __always_inline int count_hit(const struct xb_image_rule *rule, __u64 bytes, __u64 now_ns)
{
	__u32 key = rule->slot;
	struct xb_rule_stats *stats = bpf_map_lookup_elem(&rule_stats, &key);
	__u64 *due_ns;

	if (!stats)
		return 1;
	stats->packets++;
	stats->bytes += bytes;
	stats->last_ns = now_ns;
	if (!rule->each_ns)
		return 1;
	due_ns = bpf_map_lookup_elem(&rule_limits, &key);
	return !due_ns || xb_gcra_allows(due_ns, bpf_ktime_get_ns(), rule->each_ns, rule->ahead_ns);
}

/* Shows a frame that is about to be dropped to `xbridge capture`. */
static __always_inline void show_drop(struct xdp_md *ctx, struct xb_table *now, __u32 port,
				      const struct xb_decision *decision, __u32 limited)
{
	struct xb_dropped *frame;
	__u64 bytes, n;

	if (!now->watched)
		return;
	bytes = bpf_xdp_get_buff_len(ctx); /* a number that the verifier keeps in sight */
	n = bytes < XB_DROPPED_BYTES ? bytes : XB_DROPPED_BYTES;
	if (n < sizeof(struct ethhdr)) /* it is not */
		return;
	frame = bpf_ringbuf_reserve(&dropped, sizeof(*frame), 0);
	if (!frame) {
		__sync_fetch_and_add(&now->unseen, 1);
		return;
	}
	frame->time_ns = bpf_ktime_get_ns();
	frame->rule = decision->rule;
	frame->bytes = (__u32)bytes;
	frame->n = bpf_xdp_load_bytes(ctx, 0, frame->data, (__u32)n) ? 0 : (__u32)n;
	frame->port = (__u16)port;
	frame->queue = (__u16)ctx->rx_queue_index;
	frame->verdict = decision->verdict;
	frame->stage = decision->stage;
	frame->limited = limited;
	bpf_ringbuf_submit(frame, 0);
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
				    const struct xb_decision *decision, __u32 generation,
				    struct xb_xdp_stats *stats, __u64 bytes, int tells)
{
	__u32 key = XB_QUEUE_SLOT(slot, ctx->rx_queue_index);
	volatile struct xb_queue_state *queue = NULL;
	__u64 beat;
	long action;

	if (bytes > redirect_bytes_max) {
		stats->pass_long++;
		return XDP_PASS;
	}
	if (ctx->rx_queue_index < XB_QUEUES_MAX)
		queue = bpf_map_lookup_elem(&queues, &key);
	beat = queue ? queue->beat_ns : 0;
	if (!queue || !beat) {
		stats->pass_noqueue++;
		return XDP_PASS;
	}
	/* signed: the beat may be from a tick that this CPU has not seen yet */
	if ((__s64)(bpf_ktime_get_coarse_ns() - beat) > (__s64)uplink->stall_ns) {
		stats->pass_stall++;
		return XDP_PASS;
	}
	if (queue->withheld) {
		stats->pass_undelivered++;
		return XDP_PASS;
	}
	action = bpf_redirect_map(&xsks, key, XDP_PASS);
	if (action != XDP_REDIRECT) {
		stats->pass_noqueue++;
		return XDP_PASS;
	}
	if (tells)
		write_meta(ctx, decision, generation);
	queue->redirected++;
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

/* The table that frames are judged by. One that was not confirmed in time ends here, whether the
 * daemon is there to take it back or not. */
static __always_inline struct xb_in_force table_in_force(const struct xb_table *now)
{
	__u64 confirm_by_ns = XB_LOAD_ONCE(&now->confirm_by_ns);

	if (confirm_by_ns && bpf_ktime_get_coarse_ns() >= confirm_by_ns)
		return xb_in_force_read(&now->confirmed);
	return xb_in_force_read(&now->in_force);
}

static __always_inline int is_in_turn(const struct xb_table *now)
{
	return explain || *(const volatile __u32 *)&now->turns[slot % XB_UPLINKS_MAX] == turn;
}

static __always_inline __u32 is_own(const struct xb_table *now, const struct ethhdr *eth)
{
	struct xb_own_mac key = {.slot = (__u16)slot};

	if (!(now->own_bits[slot % XB_UPLINKS_MAX] & XB_OWN_BIT(eth->h_dest)))
		return 0;
	__builtin_memcpy(key.mac, eth->h_dest, sizeof(key.mac));
	return bpf_map_lookup_elem(&own_macs, &key) != NULL;
}

/* tells: whether userspace is told what was decided; a constant, so that nothing is left of
 * write_meta where it is 0: the kernel looks for calls before it looks what is reached. */
static __always_inline int judge(struct xdp_md *ctx, int tells)
{
	const void *end = (void *)(long)ctx->data_end;
	const struct ethhdr *eth = (void *)(long)ctx->data;
	/* It is in one piece, as the program takes no fragments (SEC "xdp.frags"); the helper that
	 * counts them would cost as much as a map lookup. */
	__u64 bytes = (__u64)(end - (void *)eth);
	const struct xb_image_rule *rule = NULL;
	const struct xb_steer_config *uplink;
	struct xb_decision decision;
	struct xb_table *now;
	struct xb_xdp_stats *stats;
	struct question *question;
	__u32 key = slot, zero = 0;
	struct xb_scene scene;
	struct xb_in_force in_force;

	uplink = bpf_map_lookup_elem(&config, &key);
	stats = bpf_map_lookup_elem(&verdict_stats, &key);
	now = bpf_map_lookup_elem(&table, &zero);
	question = bpf_map_lookup_elem(&questions, &zero);
	if (!uplink || !stats || !now || !question || !is_in_turn(now))
		return XDP_PASS;
	if ((void *)(eth + 1) > end) {
		stats->pass_runt++;
		return XDP_PASS;
	}
	if (!uplink->schema) { /* nobody uses the slot */
		stats->pass_verdict++;
		return XDP_PASS;
	}
	in_force = table_in_force(now);
	scene.shared = uplink->shared;
	scene.verdict = in_force.verdict;
	scene.in = uplink->port;
	scene.uplink = 1;
	scene.group = eth->h_dest[0] & 1;
	scene.own = !scene.group && is_own(now, eth);
	if (in_force.n_rules && !xb_is_kept_group(&scene) &&
	    ask_rules(ctx, question, in_force.generation, uplink->port, xb_own_of(&scene)))
		rule = &question->rule;
	decision = xb_classify(&scene, rule);
	if (explain)
		return tell_decision(decision);
	if (rule && !count_hit(rule, bytes, now->now_ns)) {
		stats->limit++;
		stats->limit_bytes += bytes;
		show_drop(ctx, now, uplink->port, &decision, 1);
		return XDP_DROP;
	}

	switch (decision.verdict) {
	case XB_VERDICT_NONE: /* there is no table yet */
	case XB_VERDICT_PASS:
		return pass(&decision, stats);
	case XB_VERDICT_DROP:
		stats->drop++;
		stats->drop_bytes += bytes;
		show_drop(ctx, now, uplink->port, &decision, 0);
		return XDP_DROP;
	default:
		return redirect(ctx, uplink, &decision, in_force.generation, stats, bytes, tells);
	}
}

SEC("xdp")
int steer(struct xdp_md *ctx)
{
	return judge(ctx, 1);
}

SEC("?xdp")
int steer_mute(struct xdp_md *ctx)
{
	return judge(ctx, 0);
}

const char LICENSE[] SEC("license") = "Dual BSD/GPL";
