/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * An interface's features, as ethtool names them.
 */
#include "core/cleanup.h"
#include "netdev/netdev.h"

#include <errno.h>
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

/* Requests that end in an array, with room for all the features there are in any kernel of today.
 */
#define FEATURES_MAX 256u
#define BLOCKS_MAX   (FEATURES_MAX / 32)

union strings {
	struct ethtool_gstrings head;
	uint8_t room[sizeof(struct ethtool_gstrings) + FEATURES_MAX * ETH_GSTRING_LEN];
};

union features {
	struct ethtool_gfeatures head;
	uint8_t room[sizeof(struct ethtool_gfeatures) +
		     BLOCKS_MAX * sizeof(struct ethtool_get_features_block)];
};

union set_info {
	struct ethtool_sset_info head;
	uint8_t room[sizeof(struct ethtool_sset_info) + sizeof(uint32_t)];
};

static int ethtool(int fd, const char *ifname, void *request)
{
	struct ifreq req = {.ifr_data = request};

	strncpy(req.ifr_name, ifname, sizeof(req.ifr_name) - 1);
	return ioctl(fd, SIOCETHTOOL, &req) < 0 ? -errno : 0;
}

/* The place of a feature among the kernel's, or -errno. */
static int find_feature(int fd, const char *ifname, const char *feature)
{
	union set_info info = {
		.head = {.cmd = ETHTOOL_GSSET_INFO, .sset_mask = 1ull << ETH_SS_FEATURES}};
	xb_auto_free union strings *strings = calloc(1, sizeof(*strings));
	uint32_t n;
	int ret;

	if (!strings)
		return -ENOMEM;
	ret = ethtool(fd, ifname, &info);
	if (ret < 0)
		return ret;
	memcpy(&n, info.room + sizeof(info.head), sizeof(n));
	if (!info.head.sset_mask || n > FEATURES_MAX)
		return -EOPNOTSUPP;
	strings->head.cmd = ETHTOOL_GSTRINGS;
	strings->head.string_set = ETH_SS_FEATURES;
	strings->head.len = n;
	ret = ethtool(fd, ifname, strings);
	if (ret < 0)
		return ret;
	for (uint32_t i = 0; i < n; i++)
		if (!strncmp((const char *)strings->head.data + i * ETH_GSTRING_LEN, feature,
			     ETH_GSTRING_LEN))
			return (int)i;
	return -ENOENT;
}

int xb_netdev_feature(const char *ifname, const char *feature, bool *ret_fixed)
{
	xb_auto_fd int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	union features features = {.head = {.cmd = ETHTOOL_GFEATURES, .size = BLOCKS_MAX}};
	const struct ethtool_get_features_block *block;
	uint32_t bit;
	int place, ret;

	if (fd < 0)
		return -errno;
	place = find_feature(fd, ifname, feature);
	if (place < 0)
		return place;
	ret = ethtool(fd, ifname, &features);
	if (ret < 0)
		return ret;
	block = &features.head.features[place / 32];
	bit = 1u << (place % 32);
	if (ret_fixed)
		*ret_fixed = block->never_changed & bit || !(block->available & bit);
	return block->active & bit ? 1 : 0;
}
