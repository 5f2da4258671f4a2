/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The gate's BPF object, for gate.c and slots.c.
 */
#ifndef XB_GATE_GATE_OBJECT_H
#define XB_GATE_GATE_OBJECT_H

#include "core/error.h"
#include "gate/gate.h"
#include "steer.skel.h"

static inline void xb_cleanup_object(struct steer_bpf **skeleton)
{
	steer_bpf__destroy(*skeleton);
}

#define auto_skeleton __attribute__((cleanup(xb_cleanup_object)))

/** Opens the object, with the maps that the gate has open in the place of its own. */
int xb_gate_open_object(const struct xb_gate *gate, struct steer_bpf **ret_skeleton,
			struct xb_error *err);

/** Loads it; `what` is that for a person. */
int xb_gate_load_object(struct steer_bpf *skeleton, const char *what, struct xb_error *err);

#endif
