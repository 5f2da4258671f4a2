/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Putting an XDP program on an interface, so that it outlives this process: alone, by a bpf_link of
 * our own, pinned. A start that finds the pinned link on the interface replaces the program in it.
 * (The other way, beside others: dispatcher.h.)
 */
#ifndef XB_XSK_ATTACH_H
#define XB_XSK_ATTACH_H

#include "core/error.h"

#include <stdbool.h>
#include <stdint.h>

enum xb_xdp_mode {
	XB_XDP_AUTO,    /* native, else generic */
	XB_XDP_NATIVE,  /* in the driver, or fail */
	XB_XDP_GENERIC, /* on skbs, or fail */
};

/** How a program is to be put on an interface. */
struct xb_attach_options {
	enum xb_xdp_mode mode;
	bool exclusive; /* alone, by a link; else behind libxdp's dispatcher where that works */
	bool keep_mode; /* AUTO: ours that is there is not tried natively again */
};

enum xb_attach_way {
	XB_ATTACHED_LINK,       /* alone */
	XB_ATTACHED_DISPATCHER, /* beside others */
};

/** How a program sits on its interface. */
struct xb_attachment {
	enum xb_xdp_mode mode; /* native or generic */
	enum xb_attach_way way;
	bool taken_over;     /* one of an earlier run was there, and in force until this one was */
	int native_code;     /* where AUTO became generic: why native was refused, -errno; else 0 */
	int dispatcher_code; /* where it is alone and was not to be: why, -errno; else 0 */
	char dispatcher_why[192]; /* and what was refused, for a person */
};

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

/** What a program is that is on an interface, and that no pin here says to be ours. */
enum xb_foreign_kind {
	XB_FOREIGN_OTHER,      /* nothing is known of it */
	XB_FOREIGN_DISPATCHER, /* libxdp's; what it calls is pinned here */
	XB_FOREIGN_ORPHAN,     /* libxdp's, without pins here */
	XB_FOREIGN_OURS,       /* by its name xbridge's: it is pinned elsewhere */
};

struct xb_foreign {
	uint32_t prog_id; /* 0: there is none */
	char name[16];    /* "" where it can't be read */
	enum xb_foreign_kind kind;
	const char *what; /* the kind in words, "" for the first */
	char remedy[96];  /* what takes it off, to be typed */
};

/** Looks at the program on an interface of this network namespace. */
void xb_foreign_look(uint32_t ifindex, const char *ifname, struct xb_foreign *ret_foreign);

/** Refuses an interface whose program is somebody else's: -EBUSY, with its id and name and what to
 *  do; 0 where there is none. */
int xb_refuse_foreign(uint32_t ifindex, const char *ifname, struct xb_error *err);

/** Detaches a pinned link at once and removes the pin. Returns 0 (also where there is no such
 *  pin) or -errno. */
int xb_detach(const char *link_path, struct xb_error *err);

/** Reads a pinned link. Returns 0, -ENOENT, or -errno where it is no XDP link. */
int xb_link_read(const char *link_path, struct xb_link_info *ret_info);

/** The id of the XDP program on an interface, whoever attached it; 0: none, or no such interface.
 */
uint32_t xb_attached_prog(uint32_t ifindex);

/** As xb_attached_prog, into `ret_prog_id`. Returns 0 or why the kernel could not be asked. */
int xb_attached_read(uint32_t ifindex, uint32_t *ret_prog_id);

/** The mode that the interface's program runs in; XB_XDP_AUTO: none, or no such interface. */
enum xb_xdp_mode xb_attached_mode(uint32_t ifindex);

/** Whether a driver's refusal of a native program leaves the generic mode to be tried. */
bool xb_is_driver_refusal(int code);

#endif
