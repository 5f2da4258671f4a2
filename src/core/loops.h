/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Signs that two of our ports lie on one segment, so that what is flooded from one to the other
 * comes back and is flooded again.
 *
 * Workers count them: an address that moves from one port to another (fdb.h), a frame that comes
 * in with the address of another port of ours, and probes that come back. A probe is a group frame
 * that the control thread sends out of a port, with a secret in it: if it comes in on another port,
 * the two are joined outside. The control thread decides what follows from the signs; the snapshot
 * says which pairs are cut.
 */
#ifndef XB_CORE_LOOPS_H
#define XB_CORE_LOOPS_H

#include "xbridge/steer.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/** Length of a probe without a tag, and the longest. */
#define XB_PROBE_BYTES     60u
#define XB_PROBE_BYTES_MAX (XB_PROBE_BYTES + 4u)

/** A locally administered group address, which no bridge treats in a way of its own. */
#define XB_PROBE_DMAC ((const uint8_t[6]){0x03, 0x58, 0x42, 0x50, 0x52, 0x42})

struct xb_loops {
	uint64_t secret; /* of this run: only probes that carry it are believed */
	_Atomic uint32_t echoes[XB_PORTS_MAX][XB_PORTS_MAX]; /* probes sent by [port] that came in
								on [port] */
	_Atomic uint32_t strays[XB_PORTS_MAX]; /* frames that came in on [port] with the address of
						  another port of ours */
};

/** Writes a probe of `port` into `buf` (XB_PROBE_BYTES_MAX); returns its length. `vlan` 0: without
 *  a tag. */
unsigned xb_probe_write(const struct xb_loops *loops, uint16_t port, const uint8_t smac[6],
			uint16_t vlan, uint8_t *buf);

/** Whether a frame that came in on `port` is a probe of this run, which is then counted. */
bool xb_probe_take(struct xb_loops *loops, uint16_t port, const uint8_t *data, uint32_t bytes);

#endif
