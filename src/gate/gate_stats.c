/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the programs count. Each CPU counts for itself, without a locked instruction; readers add
 * the counts up.
 */
#include "core/cleanup.h"
#include "gate/gate.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Room, cleared, for n_words of each CPU. Returns the number of CPUs or -errno. */
static int alloc_cpus(size_t n_words, uint64_t **ret_words)
{
	int n_cpus = libbpf_num_possible_cpus();

	if (n_cpus < 0)
		return n_cpus;
	*ret_words = calloc((size_t)n_cpus * n_words, sizeof(**ret_words));
	return *ret_words ? n_cpus : -ENOMEM;
}

static int read_cpus(int fd, uint32_t key, size_t n_words, uint64_t **ret_words)
{
	xb_auto_free uint64_t *words = NULL;
	int n_cpus = alloc_cpus(n_words, &words);
	int ret;

	if (n_cpus < 0)
		return n_cpus;
	ret = bpf_map_lookup_elem(fd, &key, words);
	if (ret < 0)
		return ret;
	*ret_words = XB_TAKE_PTR(words);
	return n_cpus;
}

/* Elements that one system call clears. */
#define BATCH 256u

/* Lets the elements of `n` keys be 0, on all CPUs. */
static int clear_cpus(int fd, const uint32_t *keys, unsigned n, size_t n_words)
{
	xb_auto_free uint64_t *words = NULL;
	int ret = alloc_cpus((n < BATCH ? n : BATCH) * n_words, &words);

	if (ret < 0)
		return ret;
	for (unsigned done = 0; done < n; done += BATCH) {
		__u32 count = n - done < BATCH ? n - done : BATCH;

		ret = bpf_map_update_batch(fd, keys + done, words, &count, NULL);
		if (ret < 0)
			return ret;
	}
	return 0;
}

#define STATS_WORDS      (sizeof(struct xb_xdp_stats) / sizeof(uint64_t))
#define RULE_STATS_WORDS (sizeof(struct xb_rule_stats) / sizeof(uint64_t))

int xb_gate_read_stats(const struct xb_gate *gate, uint32_t slot, struct xb_xdp_stats *ret_stats)
{
	xb_auto_free uint64_t *words = NULL;
	uint64_t sum[STATS_WORDS] = {0};
	int n_cpus = read_cpus(gate->stats_fd, slot, STATS_WORDS, &words);

	if (n_cpus < 0)
		return n_cpus;
	for (size_t i = 0; i < (size_t)n_cpus * STATS_WORDS; i++)
		sum[i % STATS_WORDS] += words[i];
	memcpy(ret_stats, sum, sizeof(*ret_stats));
	return 0;
}

void xb_gate_clear_stats(const struct xb_gate *gate, uint32_t slot)
{
	clear_cpus(gate->stats_fd, &slot, 1, STATS_WORDS);
}

int xb_gate_read_rule_stats(const struct xb_gate *gate, uint32_t rule_slot,
			    struct xb_rule_stats *ret_stats)
{
	xb_auto_free uint64_t *words = NULL;
	int n_cpus = read_cpus(gate->rule_stats_fd, rule_slot, RULE_STATS_WORDS, &words);
	struct xb_rule_stats sum = {0};

	if (n_cpus < 0)
		return n_cpus;
	for (int i = 0; i < n_cpus; i++) {
		struct xb_rule_stats cpu;

		memcpy(&cpu, words + (size_t)i * RULE_STATS_WORDS, sizeof(cpu));
		sum.packets += cpu.packets;
		sum.bytes += cpu.bytes;
		if (cpu.last_ns > sum.last_ns)
			sum.last_ns = cpu.last_ns;
	}
	*ret_stats = sum;
	return 0;
}

int xb_gate_clear_rule_stats(const struct xb_gate *gate, const uint32_t *rule_slots, unsigned n)
{
	return n == 0 ? 0 : clear_cpus(gate->rule_stats_fd, rule_slots, n, RULE_STATS_WORDS);
}
