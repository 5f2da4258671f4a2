/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Putting an XDP program on an interface, so that it outlives this process: alone, by a bpf_link of
 * our own, pinned. A start that finds the pinned link on the interface replaces the program in it.
 * (The other way, beside others: dispatcher.h.)
 */
#ifndef XB_GATE_ATTACH_H
#define XB_GATE_ATTACH_H

#include "core/error.h"
#include "netdev/xdp.h"

#include <stdbool.h>
#include <stdint.h>

/** What a pinned link tells about itself. */
struct xb_link_info {
	uint32_t ifindex; /* 0: its interface is gone */
	uint32_t prog_id;
};

/**
 * Attaches `prog_fd` to the interface and pins the link at `link_path`.
 *
 * A link pinned there already is the caller's. It is used again where it sits on that interface in
 * a mode that was asked for; otherwise (its interface is gone, moved to another network namespace
 * or made anew, or the mode differs) it is detached and replaced.
 *
 * Returns 0, -EBUSY where another XDP program is attached (`err` names its id and the remedy),
 * -EOPNOTSUPP where the interface can't do what was asked for, or another -errno. Needs
 * CAP_NET_ADMIN and CAP_BPF. Control thread.
 */
int xb_attach(uint32_t ifindex, const char *ifname, int prog_fd,
	      const struct xb_attach_options *options, const char *link_path,
	      struct xb_attachment *ret_attachment, struct xb_error *err);

/** Whether a program of ours that runs in mode `now` is as it is asked for: with AUTO a generic one
 * gives way, since native is better and may be possible by now. */
bool xb_mode_may_stay(const struct xb_attach_options *options, enum xb_xdp_mode now);

/** Whether a link is pinned there whose program xb_attach would only replace. */
bool xb_link_may_stay(uint32_t ifindex, const struct xb_attach_options *options,
		      const char *link_path);

/** Detaches a pinned link at once and removes the pin. Returns 0 (also where there is no such
 *  pin) or -errno. */
int xb_detach(const char *link_path, struct xb_error *err);

/** Reads a pinned link. Returns 0, -ENOENT, or -errno where it is no XDP link. */
int xb_link_read(const char *link_path, struct xb_link_info *ret_info);

/** Whether a driver's refusal of a native program leaves the generic mode to be tried. */
bool xb_is_driver_refusal(int code);

#endif
