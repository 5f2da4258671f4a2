/* SPDX-License-Identifier: BSD-2-Clause */
#include "netdev/netdev.h"

#include "core/cleanup.h"
#include "netdev/netlink.h"

#include <dirent.h>
#include <errno.h>
#include <linux/ethtool.h>
#include <linux/if_packet.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <netlink/netlink.h>
#include <netlink/route/link.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

/* Queues as sysfs has them: for drivers without ethtool channels. Another namespace's sysfs may
 * know another interface of that name; then, as with no sysfs, there is one. Returns their number,
 * or -errno where descriptors or memory are short. */
static int count_queues(const char *ifname, uint32_t ifindex, const char *kind)
{
	char path[64 + IF_NAMESIZE];
	struct dirent *entry;
	unsigned index = 0;
	int n = 0;
	FILE *file;
	DIR *dir;

	snprintf(path, sizeof(path), "/sys/class/net/%s/ifindex", ifname);
	file = fopen(path, "re");
	if (!file)
		return xb_is_shortage(-errno) ? -errno : 1;
	if (fscanf(file, "%u", &index) != 1)
		index = 0;
	fclose(file);
	snprintf(path, sizeof(path), "/sys/class/net/%s/queues", ifname);
	if (index != ifindex)
		return 1;
	dir = opendir(path);
	if (!dir)
		return xb_is_shortage(-errno) ? -errno : 1;
	while ((entry = readdir(dir)))
		n += !strncmp(entry->d_name, kind, 3);
	closedir(dir);
	return n ? n : 1;
}

static int read_queues_of_sysfs(const char *ifname, struct xb_netdev *netdev)
{
	int rx = count_queues(ifname, netdev->ifindex, "rx-");
	int tx = rx < 0 ? rx : count_queues(ifname, netdev->ifindex, "tx-");

	if (tx < 0)
		return tx;
	netdev->rx_queues = (unsigned)rx;
	netdev->tx_queues = (unsigned)tx;
	netdev->rx_queues_max = netdev->rx_queues;
	return 0;
}

static int read_queues(int fd, struct ifreq *req, struct xb_netdev *netdev)
{
	struct ethtool_channels channels = {.cmd = ETHTOOL_GCHANNELS};

	req->ifr_data = (void *)&channels;
	if (ioctl(fd, SIOCETHTOOL, req) < 0 ||
	    (!channels.rx_count && !channels.tx_count && !channels.combined_count))
		return read_queues_of_sysfs(req->ifr_name, netdev);
	netdev->rx_queues = channels.combined_count + channels.rx_count;
	netdev->tx_queues = channels.combined_count + channels.tx_count;
	if (!netdev->rx_queues)
		netdev->rx_queues = 1;
	if (!netdev->tx_queues)
		netdev->tx_queues = 1;
	netdev->rx_queues_max = channels.max_combined + channels.max_rx;
	if (netdev->rx_queues_max < netdev->rx_queues)
		netdev->rx_queues_max = netdev->rx_queues;
	return 0;
}

static void read_driver(int fd, struct ifreq *req, struct xb_netdev *netdev)
{
	struct ethtool_drvinfo info = {.cmd = ETHTOOL_GDRVINFO};
	struct ethtool_value flags = {.cmd = ETHTOOL_GFLAGS};
	struct ethtool_value gro = {.cmd = ETHTOOL_GGRO};

	req->ifr_data = (void *)&info;
	if (ioctl(fd, SIOCETHTOOL, req) == 0)
		snprintf(netdev->driver, sizeof(netdev->driver), "%s", info.driver);
	req->ifr_data = (void *)&flags;
	if (ioctl(fd, SIOCETHTOOL, req) == 0)
		netdev->rx_vlan = flags.data & ETH_FLAG_RXVLAN;
	netdev->tx_vlan = flags.data & ETH_FLAG_TXVLAN;
	req->ifr_data = (void *)&gro;
	if (ioctl(fd, SIOCETHTOOL, req) == 0)
		netdev->gro = gro.data;
}

/* IFF_RUNNING tells the carrier up to a second late; the driver knows it now. */
static bool has_carrier(int fd, struct ifreq *req, bool running)
{
	struct ethtool_value link = {.cmd = ETHTOOL_GLINK};

	req->ifr_data = (void *)&link;
	return ioctl(fd, SIOCETHTOOL, req) == 0 ? link.data : running;
}

int xb_netdev_read(const char *ifname, struct xb_netdev *ret_netdev, struct xb_error *err)
{
	xb_auto_fd int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct xb_netdev netdev = {0};
	struct ifreq req = {0};
	int ret;

	if (fd < 0)
		return xb_fail(err, -errno, "open a socket to ask for %s", ifname);
	if (!*ifname || strlen(ifname) >= sizeof(req.ifr_name))
		return xb_refuse(err, -ENODEV, "interface '%s' does not exist", ifname);
	memcpy(req.ifr_name, ifname, strlen(ifname));

	if (ioctl(fd, SIOCGIFINDEX, &req) < 0 && errno == ENODEV)
		return xb_refuse(err, -ENODEV, "interface '%s' does not exist", ifname);
	if (!req.ifr_ifindex)
		return xb_fail(err, -errno, "find the interface %s", ifname);
	netdev.ifindex = (uint32_t)req.ifr_ifindex;
	if (ioctl(fd, SIOCGIFHWADDR, &req) < 0)
		return xb_fail(err, -errno, "read the MAC of %s", ifname);
	if (req.ifr_hwaddr.sa_family != ARPHRD_ETHER)
		return xb_refuse(err, -EINVAL,
				 "%s can't be an uplink: it is not an Ethernet interface", ifname);
	memcpy(netdev.mac, req.ifr_hwaddr.sa_data, sizeof(netdev.mac));
	if (ioctl(fd, SIOCGIFMTU, &req) < 0)
		return xb_fail(err, -errno, "read the MTU of %s", ifname);
	netdev.mtu = (uint32_t)req.ifr_mtu;
	if (ioctl(fd, SIOCGIFFLAGS, &req) < 0)
		return xb_fail(err, -errno, "read the flags of %s", ifname);
	netdev.up = req.ifr_flags & IFF_UP && has_carrier(fd, &req, req.ifr_flags & IFF_RUNNING);
	ret = read_queues(fd, &req, &netdev);
	if (ret < 0)
		return xb_fail(err, ret, "count the queues of %s", ifname);
	read_driver(fd, &req, &netdev);
	*ret_netdev = netdev;
	return 0;
}

bool xb_netdev_is_aggregate(const struct xb_netdev *netdev)
{
	return !strcmp(netdev->driver, "bonding") || !strcmp(netdev->driver, "team");
}

/* Asks rtnetlink. rtnl_link_put() lets go of the answer, which is NULL after a failure. */
static int ask_for_link(uint32_t ifindex, struct rtnl_link **ret_link)
{
	struct nl_sock *socket;
	int ret = xb_netlink_open(NETLINK_ROUTE, &socket);

	*ret_link = NULL;
	if (!ret)
		ret = rtnl_link_get_kernel(socket, (int)ifindex, NULL, ret_link);
	nl_socket_free(socket);
	if (ret < 0)
		return ret == -NLE_OBJ_NOTFOUND || ret == -NLE_NODEV ? -ENODEV : -EIO;
	return 0;
}

static int find_name(int ifindex, char ret_name[IF_NAMESIZE])
{
	if (if_indextoname((unsigned)ifindex, ret_name))
		return 0;
	return errno == ENXIO ? -ENODEV : -errno;
}

int xb_netdev_peer(uint32_t ifindex, char ret_peer[IF_NAMESIZE])
{
	struct rtnl_link *link;
	int ret = ask_for_link(ifindex, &link);
	int32_t netns;

	if (!ret && rtnl_link_get_link_netnsid(link, &netns) == 0)
		ret = -ENODEV;
	if (!ret)
		ret = find_name(rtnl_link_get_link(link), ret_peer);
	rtnl_link_put(link);
	return ret;
}

int xb_netdev_master(uint32_t ifindex, struct xb_netdev_master *ret_master)
{
	struct xb_netdev_master master = {0};
	struct xb_netdev netdev;
	struct rtnl_link *link;
	int ret = ask_for_link(ifindex, &link);

	if (!ret)
		ret = find_name(rtnl_link_get_master(link), master.name);
	rtnl_link_put(link);
	if (!ret)
		ret = xb_netdev_read(master.name, &netdev, NULL);
	if (ret < 0)
		return ret;
	master.aggregate = xb_netdev_is_aggregate(&netdev);
	if (!master.aggregate && strcmp(netdev.driver, "bridge") != 0)
		return -ENODEV;
	*ret_master = master;
	return 0;
}

int xb_netdev_promisc(uint32_t ifindex)
{
	/* protocol 0: it receives nothing */
	xb_auto_fd int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
	struct packet_mreq mreq = {.mr_ifindex = (int)ifindex, .mr_type = PACKET_MR_PROMISC};

	if (fd < 0 || setsockopt(fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &mreq, sizeof(mreq)) < 0)
		return -errno;
	return XB_TAKE_FD(fd);
}

/* ---- families of sockets ---- */

bool xb_netdev_has_protocol(const char *protocol)
{
	FILE *file = fopen("/proc/net/protocols", "re");
	char line[256], name[32];
	bool found = false;

	while (file && !found && fgets(line, sizeof(line), file))
		found = sscanf(line, "%31s", name) == 1 && !strcmp(name, protocol);
	if (file)
		fclose(file);
	return found;
}

void xb_netdev_hint_family(struct xb_error *err, const char *family, const char *protocol)
{
	if (xb_netdev_has_protocol(protocol))
		xb_hint(err,
			"the kernel has %s, but a sandbox forbids it: a service's "
			"RestrictAddressFamilies= or a container's seccomp profile",
			family);
	else
		xb_hint(err, "this kernel has no %s (CONFIG_XDP_SOCKETS, CONFIG_PACKET)", family);
}
