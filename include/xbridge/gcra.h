/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A rate limit, by the same code in the XDP program and in userspace, which may share its state:
 * one number that says when the next frame would be due if they came evenly (GCRA, the generic cell
 * rate algorithm of ITU-T I.371). A frame that comes too long before that is over the limit.
 */
#ifndef XBRIDGE_GCRA_H
#define XBRIDGE_GCRA_H

#include <linux/types.h>

/* clang 14 has no atomic load for BPF, where an aligned load is atomic. */
#ifdef __bpf__
#define XB_LOAD_ONCE(at) (*(const volatile __typeof__(*(at)) *)(at))
#else
#define XB_LOAD_ONCE(at) __atomic_load_n(at, __ATOMIC_RELAXED)
#endif

/** How often others may change the number in between before the frame counts as over the limit.
 */
#define XB_GCRA_TRIES 16

/**
 * Whether a frame at `now_ns` is within the limit, which it then uses up.
 *
 * @due_ns:   when the next frame is due; any CPU, any process. Monotonic, as `now_ns`.
 * @each_ns:  from one frame to the next at the limit's rate.
 * @ahead_ns: how far frames may run ahead of that rate: (burst - 1) * each_ns.
 */
static inline __attribute__((always_inline)) int xb_gcra_allows(__u64 *due_ns, __u64 now_ns,
								__u64 each_ns, __u64 ahead_ns)
{
	for (int i = 0; i < XB_GCRA_TRIES; i++) {
		__u64 due = XB_LOAD_ONCE(due_ns);
		__u64 start = due > now_ns ? due : now_ns;

		if (start - now_ns > ahead_ns)
			return 0;
		if (__sync_val_compare_and_swap(due_ns, due, start + each_ns) == due)
			return 1;
	}
	return 0;
}

#endif
