/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * An uplink with all that it needs, on the sandbox's veth pair:
 *
 *      the test ── uplink (AF_XDP) ── up0 ════ peer0 ── packet socket `peer` ── the test
 *                  its own stack ─────┘
 *                  └── packet socket `own`
 */
#ifndef XB_TESTS_RIG_H
#define XB_TESTS_RIG_H

#include "gate/gate.h"
#include "sandbox.h"
#include "xsk/uplink.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/** Name of the instance. */
#define RIG_NAME   "test"
#define RIG_FRAMES 4096u

struct rig {
	struct xb_arena arena;
	struct xb_cache cache;
	struct xb_gate gate;
	struct xb_program program; /* the gate's */
	struct xb_uplink *uplink;
	int peer; /* packet socket on the peer */
	int own;  /* packet socket on the uplink: what its own stack sees */
};

/** Destination and source of frames. */
extern const uint8_t to_guest[12], to_own[12], to_all[12], from_guest[12];

/** The test fails, with the error's text, where `call`, which is given `&err`, does. */
#define MUST(call)                                                                            \
	do {                                                                                  \
		struct xb_error err = {0};                                                    \
		char text_[512];                                                              \
		if ((call) < 0)                                                               \
			fail_msg("%s: %s", #call, xb_error_text(&err, text_, sizeof(text_))); \
	} while (0)

/** A dedicated uplink with small rings. */
struct xb_uplink_options rig_options(void);

/** Makes a rig whose uplink is stopped, or running. */
void rig_open_stopped(struct rig *rig, const struct xb_uplink_options *how);
void rig_open(struct rig *rig, const struct xb_uplink_options *how);
/** Start and stop the uplink, waiting as long as it says -EAGAIN, or, for RIG_BUSY_MS, -EBUSY. */
int rig_start(struct rig *rig, struct xb_error *error);
int rig_stop(struct rig *rig);
/** Puts the program on the uplink's interface. */
void rig_attach(struct rig *rig);
#define RIG_BUSY_MS 2000u
/** Ends a rig; the test fails where a frame is missing. */
void rig_close(struct rig *rig);

void rig_beat(struct rig *rig);
uint64_t coarse_ns(void);

/** Sends a frame of 12 bytes of addresses, IPv4's EtherType, a number and padding. */
void send_frame(int fd, const uint8_t addrs[12], uint32_t number, unsigned bytes);
/** A packet of the same kind, in the worker's hands. */
struct xb_frame *make_packet(struct rig *rig, const uint8_t addrs[12], uint32_t number,
			     uint32_t bytes);
uint32_t number_of(const struct xb_frame *pkt);

/** The next packet on any queue within two seconds, or NULL; beats meanwhile. */
struct xb_frame *receive(struct rig *rig, unsigned *ret_q);
bool receives_nothing(struct rig *rig);
/** Kicks until all is sent, for two seconds; returns what is not. */
unsigned await_sent(struct rig *rig, unsigned q);
bool readable(int fd, int timeout_ms);
struct xb_xdp_stats xdp_stats(struct rig *rig);

/** cmocka's setup and teardown: the pair with one queue, or four, and nothing left of it. */
int make_veth(void **state);
int make_wide_veth(void **state);
int clean_up(void **state);
#define NARROW(name) cmocka_unit_test_setup_teardown(name, make_veth, clean_up)
#define WIDE(name)   cmocka_unit_test_setup_teardown(name, make_wide_veth, clean_up)

#endif
