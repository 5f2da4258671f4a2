/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A network namespace of its own for a test program with TAPs.
 */
#ifndef XB_TEST_TAP_ENV_H
#define XB_TEST_TAP_ENV_H

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TEST_SKIPPED 77

/** Runs a command line; the test program ends where it fails. */
static inline void __attribute__((format(printf, 1, 2))) sh(const char *fmt, ...)
{
	char line[512];
	va_list args;

	va_start(args, fmt);
	vsnprintf(line, sizeof(line), fmt, args);
	va_end(args);
	if (system(line) != 0) {
		fprintf(stderr, "failed: %s\n", line);
		exit(1);
	}
}

/* Nothing but what the test sends is to cross its interfaces. */
static inline void quiet_ipv6(void)
{
	sh("echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6; "
	   "echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6");
}

/** Moves the process into a new network namespace, or ends it as skipped, with the reason. */
static inline void enter_new_netns(void)
{
	int fd;

	if (geteuid() != 0) {
		printf("SKIP: needs root for TAPs and a network namespace\n");
		exit(TEST_SKIPPED);
	}
	fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
	if (fd < 0) {
		printf("SKIP: /dev/net/tun: %s\n", strerror(errno));
		exit(TEST_SKIPPED);
	}
	close(fd);
	if (unshare(CLONE_NEWNET) < 0) {
		printf("SKIP: a network namespace: %s\n", strerror(errno));
		exit(TEST_SKIPPED);
	}
	quiet_ipv6();
	sh("ip link set lo up");
}

#endif
