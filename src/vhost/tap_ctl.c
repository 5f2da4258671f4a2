/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * An open TAP, while it runs: what the tun driver itself is asked, by a queue's descriptor, which
 * needs neither the interface's name nor its namespace. The other requests: tap_iface.c.
 */
#include "core/cleanup.h"
#include "core/offload.h"
#include "vhost/tap.h"
#include "vhost/tap_parts.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <linux/bpf.h>
#include <linux/if_arp.h>
#include <linux/if_tun.h>
#include <linux/membarrier.h>
#include <poll.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Younger than the UAPI headers that Debian 12 ships (Linux 6.2). */
#ifndef TUN_F_USO4
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif

/* A deleted TAP says so in several ways, by request and by kind. */
static int deleted_or(int code)
{
	return code == -EBADFD || code == -ENOLINK ? -EBADFD : code;
}

int xb_tap_request(const struct xb_tap *tap, struct ifreq *ret_req)
{
	struct ifreq req = {0};

	if (ioctl(tap->fds[0], TUNGETIFF, &req) < 0)
		return deleted_or(-errno);
	*ret_req = req;
	return 0;
}

int xb_tap_check(const struct xb_tap *tap)
{
	struct ifreq req;

	/* no answer to a question is no answer to whether it is there */
	return xb_tap_request(tap, &req) == -EBADFD ? -ENODEV : 0;
}

int xb_tap_persist(struct xb_tap *tap, struct xb_error *err)
{
	if (ioctl(tap->fds[0], TUNSETPERSIST, 1) < 0)
		return xb_fail(err, deleted_or(-errno), "TUNSETPERSIST on the TAP %s", tap->name);
	return 0;
}

void xb_tap_let_go(struct xb_tap *tap)
{
	int ret = ioctl(tap->fds[0], TUNSETPERSIST, 0);

	(void)ret; /* fails where it is gone */
}

/* ---- offloads ---- */

static unsigned long tun_features(uint32_t takes)
{
	unsigned long features = 0;

	/* without checksum offload the kernel has no use for the others, and refuses them */
	if (!(takes & XB_TAKES_CSUM))
		return 0;
	features |= TUN_F_CSUM;
	features |= takes & XB_TAKES_TSO4 ? TUN_F_TSO4 : 0;
	features |= takes & XB_TAKES_TSO6 ? TUN_F_TSO6 : 0;
	features |= takes & XB_TAKES_USO ? TUN_F_USO4 | TUN_F_USO6 : 0;
	if (takes & XB_TAKES_ECN && takes & (XB_TAKES_TSO4 | XB_TAKES_TSO6))
		features |= TUN_F_TSO_ECN;
	return features;
}

static uint32_t takes_of(unsigned long features)
{
	return (features & TUN_F_CSUM ? XB_TAKES_CSUM : 0u) |
	       (features & TUN_F_TSO4 ? XB_TAKES_TSO4 : 0u) |
	       (features & TUN_F_TSO6 ? XB_TAKES_TSO6 : 0u) |
	       (features & TUN_F_TSO_ECN ? XB_TAKES_ECN : 0u) |
	       (features & TUN_F_USO4 ? XB_TAKES_USO : 0u);
}

int xb_tap_learn_offload(struct xb_tap *tap)
{
	static const uint32_t usual = XB_TAKES_CSUM | XB_TAKES_TSO4 | XB_TAKES_TSO6 | XB_TAKES_ECN;

	/* TUNSETOFFLOAD refuses what it doesn't know, which is how it is to be asked. */
	if (ioctl(tap->fds[0], TUNSETOFFLOAD, tun_features(usual | XB_TAKES_USO)) == 0)
		tap->takes = usual | XB_TAKES_USO;
	else if (ioctl(tap->fds[0], TUNSETOFFLOAD, tun_features(usual)) == 0)
		tap->takes = usual;
	else
		return deleted_or(-errno);
	return xb_tap_set_offload(tap, 0);
}

int xb_tap_set_offload(struct xb_tap *tap, uint32_t takes)
{
	unsigned long features = tun_features(takes & tap->takes);

	if (ioctl(tap->fds[0], TUNSETOFFLOAD, features) < 0)
		return deleted_or(-errno);
	tap->gives = takes_of(features);
	return 0;
}

/* ---- steering ---- */

/* The kernel runs the program on each packet that it sends, and puts the packet on the queue that
 * the program returns, modulo the number of queues. It takes it as a socket filter. */
static int load_steering(unsigned n)
{
	const struct bpf_insn steer[] = {
		/* r0 = skb->hash */
		{.code = BPF_LDX | BPF_MEM | BPF_W,
		 .dst_reg = BPF_REG_0,
		 .src_reg = BPF_REG_1,
		 .off = offsetof(struct __sk_buff, hash)},
		/* r0 %= n */
		{.code = BPF_ALU64 | BPF_MOD | BPF_K, .dst_reg = BPF_REG_0, .imm = (int)n},
		{.code = BPF_JMP | BPF_EXIT},
	};

	return bpf_prog_load(BPF_PROG_TYPE_SOCKET_FILTER, "xb_tap_steer", "BSD", steer,
			     sizeof(steer) / sizeof(steer[0]), NULL);
}

int xb_tap_steer_to(struct xb_tap *tap, unsigned n)
{
	xb_auto_fd int prog_fd = -1;
	long barrier;

	if (tap->macvtap)
		return -EOPNOTSUPP;
	if (n) {
		prog_fd = load_steering(n);
		if (prog_fd < 0)
			return prog_fd;
	}
	/* the kernel keeps the program by itself; -1 takes it away */
	if (ioctl(tap->fds[0], TUNSETSTEERINGEBPF, &prog_fd) < 0)
		return deleted_or(-errno);
	if (!n)
		return 0;
	/* A packet whose queue was chosen before is on its way under the RCU read lock: when all
	 * CPUs have passed a grace period it has arrived. */
	barrier = syscall(__NR_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0);
	(void)barrier; /* refused on a nohz_full host: there a reader looks once more, that's all */
	return 0;
}

bool xb_tap_pending(const struct xb_tap *tap, unsigned from)
{
	for (unsigned q = from; q < tap->n_queues; q++) {
		struct pollfd fd = {.fd = tap->fds[q], .events = POLLIN};

		if (poll(&fd, 1, 0) == 1 && fd.revents & POLLIN && !(fd.revents & POLLERR))
			return true;
	}
	return false;
}

/* ---- the interface ---- */

int xb_tap_get_mac(const struct xb_tap *tap, uint8_t ret_mac[6])
{
	struct ifreq req = {0};

	if (ioctl(tap->fds[0], SIOCGIFHWADDR, &req) < 0)
		return errno == EBADFD || errno == ENOLINK ? -ENODEV : -errno;
	memcpy(ret_mac, req.ifr_hwaddr.sa_data, 6);
	return 0;
}

int xb_tap_set_mac(struct xb_tap *tap, const uint8_t mac[6])
{
	struct ifreq req = {.ifr_hwaddr.sa_family = ARPHRD_ETHER};

	memcpy(req.ifr_hwaddr.sa_data, mac, 6);
	if (ioctl(tap->fds[0], SIOCSIFHWADDR, &req) < 0)
		return errno == EBADFD || errno == ENOLINK ? -ENODEV : -errno;
	memcpy(tap->given.mac, mac, sizeof(tap->given.mac));
	return 0;
}

int xb_tap_set_carrier(struct xb_tap *tap, bool on)
{
	int carrier = on;

	if (ioctl(tap->fds[0], TUNSETCARRIER, &carrier) < 0)
		return errno == EBADFD ? -ENODEV : -errno;
	return 0;
}
