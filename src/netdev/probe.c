/* SPDX-License-Identifier: BSD-2-Clause */
#include "netdev/probe.h"

#include "core/cleanup.h"

#include <errno.h>
#include <linux/if_packet.h>
#include <string.h>
#include <sys/socket.h>

int xb_probe_send(uint32_t ifindex, const uint8_t *frame, unsigned bytes)
{
	/* protocol 0: nothing comes in */
	xb_auto_fd int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct sockaddr_ll to = {
		.sll_family = AF_PACKET, .sll_ifindex = (int)ifindex, .sll_halen = 6};

	if (fd < 0)
		return -errno;
	memcpy(to.sll_addr, frame, 6);
	return sendto(fd, frame, bytes, 0, (struct sockaddr *)&to, sizeof(to)) < 0 ? -errno : 0;
}
