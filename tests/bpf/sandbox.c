/* SPDX-License-Identifier: BSD-2-Clause */
#include "sandbox.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

static void skip_all(const char *what)
{
	printf("SKIP: %s: %s\n", what, strerror(errno));
	exit(77);
}

static void write_file(const char *path, const char *text)
{
	FILE *file = fopen(path, "we");

	if (file) {
		fputs(text, file);
		fclose(file);
	}
}

void sandbox_enter(void)
{
	if (unshare(CLONE_NEWNET | CLONE_NEWNS) < 0)
		skip_all("new namespaces");
	if (mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("sysfs", "/sys", "sysfs", 0, NULL) < 0 ||
	    mount("bpf", "/sys/fs/bpf", "bpf", 0, NULL) < 0)
		skip_all("mount bpffs");
	write_file("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1");
	sandbox_run("ip link set lo up");
}

void sandbox_run(const char *fmt, ...)
{
	char command[512];
	va_list args;
	int status;

	va_start(args, fmt);
	vsnprintf(command, sizeof(command), fmt, args);
	va_end(args);
	status = system(command);
	if (status)
		fprintf(stderr, "failed: %s\n", command);
	assert_int_equal(status, 0);
}

void sandbox_make_veth(unsigned rx_queues, unsigned tx_queues)
{
	sandbox_run("ip link add up0 numrxqueues %u numtxqueues %u address 02:00:00:00:00:01 "
		    "type veth peer name peer0 numrxqueues %u numtxqueues %u "
		    "address 02:00:00:00:00:02",
		    rx_queues, tx_queues, tx_queues, rx_queues);
	sandbox_run("ip link set up0 up && ip link set peer0 up");
}

void sandbox_delete_veth(void)
{
	if (if_nametoindex("up0"))
		sandbox_run("ip link del up0");
}

int sandbox_open_packet(const char *ifname)
{
	struct sockaddr_ll addr = {.sll_family = AF_PACKET,
				   .sll_protocol = htons(ETH_P_ALL),
				   .sll_ifindex = (int)if_nametoindex(ifname)};
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
	int yes = 1;

	assert_true(fd >= 0);
	assert_int_equal(setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &yes, sizeof(yes)), 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	return fd;
}

int sandbox_receive(int fd, const uint8_t addrs[12], uint8_t *buf, size_t buf_bytes)
{
	struct pollfd wait = {.fd = fd, .events = POLLIN};

	while (poll(&wait, 1, 1000) > 0) {
		ssize_t n = recv(fd, buf, buf_bytes, MSG_DONTWAIT);

		if (n >= 14 && !memcmp(buf, addrs, 12))
			return (int)n;
	}
	return -1;
}

void sandbox_pause(void)
{
	nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
}
