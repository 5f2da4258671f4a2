/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Whether this kernel, and this process' rights, allow programs that take the place of another
 * program's function. libxdp's dispatcher, behind which XDP programs share an interface, consists
 * of such places.
 */
#ifndef XB_GATE_EXTENSION_H
#define XB_GATE_EXTENSION_H

#include <stdbool.h>

struct xb_extensions {
	int code;         /* 0: they work; else -errno of what was refused */
	const char *step; /* what was refused: "loading" and the like; a constant */
	/* An extension may change the packet's data or metadata where the function that it replaces
	 * doesn't. Linux 6.13 has ended that, and its stable branches since; the dispatcher's
	 * functions don't before libxdp 1.5.5. */
	bool may_change_data;
};

/** Tries it on programs of its own, which are attached to nothing but each other and gone on
 *  return. Needs CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON and CAP_SYS_ADMIN, and says what lacks. */
void xb_extensions_try(struct xb_extensions *ret_extensions);

#endif
