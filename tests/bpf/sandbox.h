/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A place of its own for tests of uplinks: network and mount namespace of this process, bpffs, and
 * veth pairs. All of it goes with the process.
 *
 *      up0 ════ peer0        the uplink, and the segment behind it
 */
#ifndef XB_TESTS_SANDBOX_H
#define XB_TESTS_SANDBOX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** Enters new namespaces, without IPv6, and mounts bpffs there. Prints why and exits with 77 where
 * that is not allowed. */
void sandbox_enter(void);

/** Runs a shell command; the test fails where it does. */
void sandbox_run(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/** Makes the pair `up0` and `peer0`, both up, with that many RX and TX queues on up0. */
void sandbox_make_veth(unsigned rx_queues, unsigned tx_queues);
void sandbox_delete_veth(void);

/** A packet socket on an interface, which sends anything and receives whole frames. */
int sandbox_open_packet(const char *ifname);

/** The next frame within a second that starts with these 12 bytes of addresses; its length, or -1.
 */
int sandbox_receive(int fd, const uint8_t addrs[12], uint8_t *buf, size_t buf_bytes);

/** Waits up to two seconds for something to be so; the test fails where it never is. */
#define SANDBOX_AWAIT(what)                  \
	do {                                 \
		int tries_ = 2000;           \
		while (!(what) && --tries_)  \
			sandbox_pause();     \
		assert_true(tries_ &&#what); \
	} while (0)

/** A millisecond between two looks at something that is awaited. */
void sandbox_pause(void);

#endif
