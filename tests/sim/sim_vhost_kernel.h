/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A simulated /dev/vhost-net, by wrapping open, fopen, ioctl and close (-Wl,--wrap=…): it serves no
 * ring, but holds its user to the order of the requests (linux/vhost.h) and knows which pairs are
 * served. Every call of ioctl and open, on TAPs too, which are real, can be made to fail.
 */
#ifndef XB_TESTS_SIM_VHOST_KERNEL_H
#define XB_TESTS_SIM_VHOST_KERNEL_H

#include <stdbool.h>
#include <stdint.h>

/** What the simulated module offers. */
extern uint64_t sim_vhost_features;

/** All features that were acknowledged so far (VHOST_SET_FEATURES), by any user. */
uint64_t sim_vhost_acknowledged(void);

/** A request (TUNGET…) to a TAP that answers this number, whatever is set; 0: none. */
extern unsigned long sim_tap_request;
extern int sim_tap_answer;

/** What its parameter max_mem_regions reads; NULL: it has none. */
extern const char *sim_vhost_max_mem_regions;

/** The call (of ioctl or open, counted from 1) that fails, and its errno; 0: none. */
void sim_vhost_fail(unsigned at, int code);
/** Calls so far, since sim_vhost_fail. */
unsigned sim_vhost_calls(void);
/** The request of the call that failed; 0: it was an open, or none failed yet. */
unsigned long sim_vhost_failed_request(void);

/** Descriptors of /dev/vhost-net that are open, and those of them that serve both virtqueues. */
unsigned sim_vhost_open_count(void);
unsigned sim_vhost_serving_count(void);

/** Says of virtqueue 0 or 1 of each pair that is served that it can't go on, as vhost-net does of a
 * ring that is not as it should be. */
void sim_vhost_break(unsigned vring);

/** Whether a program steers the flows of the TAP that was last told so (TUNSETSTEERINGEBPF). */
bool sim_vhost_is_steered(void);

/** Each pair that is served moves on by `n` entries in its receive queue, and one more in the
 * other.
 */
void sim_vhost_advance(unsigned n);
/** Whether a pair is served that stands at these entries. */
bool sim_vhost_serves_at(unsigned rx, unsigned tx);

/** The first thing that a user must not do; NULL: none yet. */
const char *sim_vhost_wrong(void);

#endif
