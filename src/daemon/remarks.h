/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What an operator should know of how interfaces are set: said to the log once, when it comes to be
 * so, with the remedy.
 */
#ifndef XB_DAEMON_REMARKS_H
#define XB_DAEMON_REMARKS_H

struct xb_instance;

/** Two MTUs that differ: packets of the larger one don't get through. */
struct xb_mtu_pair {
	unsigned uplink, kernel;
};

/** Of one uplink. */
struct xb_mtu_remarks {
	unsigned too_large; /* its MTU that no frame holds, as last said */
	struct xb_mtu_pair
		seen; /* at the look before: what is about to change is not worth a word */
	struct xb_mtu_pair differ; /* as last said */
};

/** Before the first packet: of MTUs, and of a TAP that will stay. */
void xb_remark_start(struct xb_instance *instance);

/** Once a second: of MTUs. */
void xb_remark_mtus(struct xb_instance *instance);

/** When `persist` has disappeared from the configuration file: what that means. */
void xb_remark_not_persistent(const struct xb_instance *instance);

#endif
