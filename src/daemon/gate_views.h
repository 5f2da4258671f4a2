/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The gate as others see it, which don't know it: the steering table its maps, an uplink its
 * program.
 */
#ifndef XB_DAEMON_GATE_VIEWS_H
#define XB_DAEMON_GATE_VIEWS_H

#include "gate/gate.h"
#include "steer/store.h"
#include "xsk/program.h"

/* Of an open gate, which outlives what is returned. */

struct xb_steer_maps xb_gate_maps(struct xb_gate *gate);
struct xb_program xb_gate_program(struct xb_gate *gate);

#endif
