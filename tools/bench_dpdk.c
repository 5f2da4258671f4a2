/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Preloaded into dpdk-testpmd, this gives its AF_XDP port what the csum engine takes for granted and DPDK 22.11's driver has not:
 *
 *   packet types       the driver names none, and GRO joins only what is named as TCP
 *   one piece a packet GSO's segments are a header and a piece of the large packet's payload, chained. The driver
 *                      sends as many bytes as the whole chain has, from where its first piece lies
 *   checksums          GSO leaves those of its segments to a NIC, and an AF_XDP socket has none
 *   several queues     a veth names its receive and transmit channels, and the driver asks for combined ones
 *
 * An application on this path would have to bring the same. It is a fair peer only with it: without it no TCP segment
 * that GSO has cut arrives intact. Callbacks do the first three, on each queue of the AF_XDP port, and are added once it
 * has started.
 */
#include <dlfcn.h>
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include <rte_ethdev.h>
#include <rte_ether.h>
#include <rte_ip.h>
#include <rte_mbuf.h>
#include <rte_net.h>
#include <rte_tcp.h>

#define DRIVER "net_af_xdp"

static uint16_t name_types(uint16_t port, uint16_t queue, struct rte_mbuf *packets[], uint16_t count, uint16_t max, void *context)
{
	(void)port;
	(void)queue;
	(void)max;
	(void)context;
	for (uint16_t i = 0; i < count; i++)
		packets[i]->packet_type = rte_net_get_ptype(packets[i], NULL, RTE_PTYPE_ALL_MASK);
	return count;
}

/* What GSO has cut: the large packet's checksum still stands in each segment. */
static void finish_tcp(struct rte_mbuf *packet)
{
	struct rte_ipv4_hdr *ip = rte_pktmbuf_mtod_offset(packet, struct rte_ipv4_hdr *, packet->l2_len);
	struct rte_tcp_hdr *tcp = rte_pktmbuf_mtod_offset(packet, struct rte_tcp_hdr *, packet->l2_len + packet->l3_len);

	tcp->cksum = 0;
	tcp->cksum = rte_ipv4_udptcp_cksum(ip, tcp);
}

static uint16_t make_linear(uint16_t port, uint16_t queue, struct rte_mbuf *packets[], uint16_t count, void *context)
{
	uint16_t kept = 0;

	(void)port;
	(void)queue;
	(void)context;
	for (uint16_t i = 0; i < count; i++) {
		struct rte_mbuf *packet = packets[i];

		if (packet->nb_segs > 1) {
			if (rte_pktmbuf_linearize(packet)) {
				rte_pktmbuf_free(packet);
				continue;
			}
			if (packet->ol_flags & RTE_MBUF_F_TX_IPV4 && packet->l4_len >= sizeof(struct rte_tcp_hdr))
				finish_tcp(packet);
		}
		packets[kept++] = packet;
	}
	return kept;
}

/* The real function of this name, which the one here stands in front of. */
static void *real(const char *name)
{
	void *found = dlsym(RTLD_NEXT, name);

	if (!found) {
		fprintf(stderr, "bench_dpdk: no %s after this one: %s\n", name, dlerror());
		abort();
	}
	return found;
}

static int help_queues(uint16_t port, const struct rte_eth_dev_info *info)
{
	for (uint16_t queue = 0; queue < info->nb_rx_queues; queue++)
		if (!rte_eth_add_rx_callback(port, queue, name_types, NULL))
			return -rte_errno;
	for (uint16_t queue = 0; queue < info->nb_tx_queues; queue++)
		if (!rte_eth_add_tx_callback(port, queue, make_linear, NULL))
			return -rte_errno;
	return 0;
}

int rte_eth_dev_start(uint16_t port)
{
	static bool helped[RTE_MAX_ETHPORTS];
	int (*start)(uint16_t) = real(__func__);
	struct rte_eth_dev_info info;
	int error = start(port);

	if (error || helped[port] || rte_eth_dev_info_get(port, &info) || strcmp(info.driver_name, DRIVER) != 0)
		return error;
	helped[port] = true;
	return help_queues(port, &info);
}

/* Receive and transmit channels, as combined ones, where there are no others. */
static void combine(struct ethtool_channels *channels)
{
	if (channels->cmd != ETHTOOL_GCHANNELS || channels->max_combined)
		return;
	channels->max_combined = RTE_MIN(channels->max_rx, channels->max_tx);
	channels->combined_count = RTE_MIN(channels->rx_count, channels->tx_count);
}

int ioctl(int fd, unsigned long request, ...)
{
	int (*call)(int, unsigned long, ...) = real(__func__);
	va_list list;
	void *argument;
	int error;

	va_start(list, request);
	argument = va_arg(list, void *);
	va_end(list);
	error = call(fd, request, argument);
	if (!error && request == SIOCETHTOOL)
		combine((struct ethtool_channels *)((struct ifreq *)argument)->ifr_data);
	return error;
}
