/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What libbpf and libxdp would print on stderr: it is kept, for the hint of an error.
 */
#ifndef XB_GATE_HEAR_H
#define XB_GATE_HEAR_H

/** From now on keeps what they say in this process, instead of printing it; forgets what they have
 * said before. One thread. */
void xb_hear(void);

/** The first warning of each since then, and the first of the kernel's own words that libbpf has
 * passed on; "": none. */
const char *xb_heard_libbpf(void);
const char *xb_heard_libxdp(void);
const char *xb_heard_kernel(void);

#endif
