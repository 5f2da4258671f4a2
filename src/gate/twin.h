/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A twin of the XDP program that sits on an uplink: the same object over the same pinned maps, to
 * be asked what that one would say. It writes no counter, no limit and no cache, and is attached to
 * nothing.
 *
 * For another process than the daemon; needs CAP_BPF, CAP_NET_ADMIN and, where Spectre mitigations
 * are on, CAP_PERFMON.
 */
#ifndef XB_GATE_TWIN_H
#define XB_GATE_TWIN_H

#include "core/error.h"
#include "xbridge/classify.h"

#include <stdint.h>

struct xb_twin;

/**
 * Loads the twin of an instance's program for the uplink in `slot`, whose port has the id `port`.
 *
 * Returns 0, -ENOENT (no such pins here, or the slot is not that port's), -EPROTO (pins of another
 * version), -EPERM, or what the kernel says.
 */
int xb_twin_open(const char *instance, uint32_t slot, uint32_t port, struct xb_twin **ret_twin,
		 struct xb_error *err);
void xb_twin_close(struct xb_twin *twin);

/** Asks about a frame; `data` holds its first bytes, ETH_HLEN at least, of which XB_PARSE_BYTES
 * count. Returns 0 or what the kernel says. */
int xb_twin_ask(struct xb_twin *twin, const void *data, uint32_t bytes,
		struct xb_explained *ret_explained, struct xb_error *err);

#endif
