/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Behind libxdp's dispatcher: an XDP program that calls up to ten others, in the order of their run
 * priorities, as long as each says XDP_PASS. So ours shares an interface with xdp-filter and
 * whatever else is loaded by libxdp.
 *
 *      interface ── dispatcher ──┬── xdp-filter   10
 *                                └── steer       100   XB_RUN_PRIO
 *
 * A dispatcher never changes: whoever adds or removes a program makes a new one of all the others,
 * and lets the kernel put it in the old one's place from one frame to the next. Any user of libxdp
 * does so with ours, too; so the dispatcher's id says nothing of whether our program is there. What
 * is behind a dispatcher libxdp pins at /sys/fs/bpf/xdp/dispatch-<ifindex>-<dispatcher's id>/; from
 * there it is read here. Those pins hold no word of the network namespace: whether a dispatcher is
 * on an interface, only the interface tells.
 *
 * Adding and removing need CAP_SYS_ADMIN, CAP_BPF and CAP_NET_ADMIN (adding also CAP_PERFMON), and
 * leak descriptors (libxdp 1.3): not for a process that stays. The rest needs CAP_BPF.
 */
#ifndef XB_GATE_DISPATCHER_H
#define XB_GATE_DISPATCHER_H

#include "core/error.h"
#include "netdev/xdp.h"

#include <bpf/libbpf.h>
#include <linux/bpf.h>
#include <stdbool.h>
#include <stdint.h>

#define XB_DISPATCHED_MAX 10u

/** Ours runs after all that does not say otherwise (libxdp's default is 50, xdp-filter's 10): a
 * firewall or a counter must see what we take out of the kernel's way, and nobody sees it after
 * us. */
#define XB_RUN_PRIO 100u

/** A program behind a dispatcher. */
struct xb_dispatched {
	uint32_t prog_id;
	char name[BPF_OBJ_NAME_LEN];
};

/**
 * Lists the programs behind a dispatcher, in the order in which they run, at most
 * XB_DISPATCHED_MAX.
 *
 * Returns their number, or -ENOENT where `dispatcher_id` is none, or none whose pins are there.
 */
int xb_dispatcher_list(uint32_t ifindex, uint32_t dispatcher_id, struct xb_dispatched *ret_list);

/** Whether a program is on an interface of this network namespace, alone or behind a dispatcher: 1,
 * 0, or -errno where descriptors or memory are too short to find out. */
int xb_program_is_on(uint32_t prog_id, uint32_t ifindex);

/** The interface of this network namespace behind whose dispatcher a program is; 0: none. */
uint32_t xb_dispatcher_ifindex_of(uint32_t prog_id);

/** Finds the programs that were put behind dispatchers of an interface and use a map; the
 * dispatchers need not be attached any more. Returns how many, at most `max`. */
unsigned xb_dispatcher_find_users(uint32_t ifindex, uint32_t map_id, uint32_t *ret_prog_ids,
				  unsigned max);

/**
 * Loads the program `name` of an object that is open and not loaded, and adds it to the
 * interface's dispatcher; where there is none, makes one. Other programs of the object are left
 * out.
 *
 * @mode: native or generic; that of the dispatcher where there is one.
 *
 * Returns 0, -EOPNOTSUPP where libxdp would attach it without a dispatcher, or what libxdp or the
 * kernel say; nothing of it is attached then.
 */
int xb_dispatcher_add(uint32_t ifindex, const char *ifname, struct bpf_object *object,
		      const char *name, enum xb_xdp_mode mode, struct xb_error *err);

/** Takes a program out of each dispatcher that it is behind, and the last one's dispatcher off its
 * interface. From a dispatcher that is not on an interface of this network namespace (it was taken
 * off, the interface is gone, or moved) it takes the pins, and with them the program. Returns 0
 * (also where it is nowhere) or -errno. */
int xb_dispatcher_remove(uint32_t prog_id, struct xb_error *err);

#endif
