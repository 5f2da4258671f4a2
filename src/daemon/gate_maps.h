/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The gate's maps as the place of a steering table.
 */
#ifndef XB_DAEMON_GATE_MAPS_H
#define XB_DAEMON_GATE_MAPS_H

#include "steer/store.h"
#include "xsk/gate.h"

/** The maps of an open gate, which outlives what is returned. */
struct xb_steer_maps xb_gate_maps(struct xb_gate *gate);

#endif
