/* SPDX-License-Identifier: BSD-2-Clause */
#include "virtio/features.h"

/* A feature and those of which at least one must be there (virtio 1.2, 5.1.3.1). */
static const struct {
	unsigned bit;
	uint64_t needs_one_of;
} needs[] = {
	{VIRTIO_NET_F_GUEST_TSO4, XB_F(VIRTIO_NET_F_GUEST_CSUM)},
	{VIRTIO_NET_F_GUEST_TSO6, XB_F(VIRTIO_NET_F_GUEST_CSUM)},
	{VIRTIO_NET_F_GUEST_ECN, XB_F(VIRTIO_NET_F_GUEST_TSO4) | XB_F(VIRTIO_NET_F_GUEST_TSO6)},
	{VIRTIO_NET_F_GUEST_USO4, XB_F(VIRTIO_NET_F_GUEST_CSUM)},
	{VIRTIO_NET_F_GUEST_USO6, XB_F(VIRTIO_NET_F_GUEST_CSUM)},
	{VIRTIO_NET_F_HOST_TSO4, XB_F(VIRTIO_NET_F_CSUM)},
	{VIRTIO_NET_F_HOST_TSO6, XB_F(VIRTIO_NET_F_CSUM)},
	{VIRTIO_NET_F_HOST_ECN, XB_F(VIRTIO_NET_F_HOST_TSO4) | XB_F(VIRTIO_NET_F_HOST_TSO6)},
	{VIRTIO_NET_F_HOST_USO, XB_F(VIRTIO_NET_F_CSUM)},
	{VIRTIO_NET_F_MQ, XB_F(VIRTIO_NET_F_CTRL_VQ)},
	{VIRTIO_NET_F_CTRL_RX, XB_F(VIRTIO_NET_F_CTRL_VQ)},
	{VIRTIO_NET_F_CTRL_VLAN, XB_F(VIRTIO_NET_F_CTRL_VQ)},
	{VIRTIO_NET_F_GUEST_ANNOUNCE, XB_F(VIRTIO_NET_F_CTRL_VQ)},
	{VIRTIO_NET_F_CTRL_MAC_ADDR, XB_F(VIRTIO_NET_F_CTRL_VQ)},
};

uint64_t xb_features_consistent(uint64_t features)
{
	/* The table is in order of dependence: a feature stands behind those that it needs. */
	for (unsigned i = 0; i < sizeof(needs) / sizeof(needs[0]); i++)
		if (!(features & needs[i].needs_one_of))
			features &= ~XB_F(needs[i].bit);
	return features;
}

uint32_t xb_features_takes(uint64_t features)
{
	static const struct {
		unsigned bit;
		uint32_t takes;
	} map[] = {
		{VIRTIO_NET_F_CSUM, XB_TAKES_CSUM},      {VIRTIO_NET_F_HOST_TSO4, XB_TAKES_TSO4},
		{VIRTIO_NET_F_HOST_TSO6, XB_TAKES_TSO6}, {VIRTIO_NET_F_HOST_ECN, XB_TAKES_ECN},
		{VIRTIO_NET_F_HOST_USO, XB_TAKES_USO},
	};
	uint32_t takes = 0;

	for (unsigned i = 0; i < sizeof(map) / sizeof(map[0]); i++)
		if (xb_has(features, map[i].bit))
			takes |= map[i].takes;
	return takes;
}

uint64_t xb_features_of_offload(struct xb_offload_set set)
{
	static const struct {
		uint32_t takes;
		uint64_t host, guest; /* from the driver, and to it */
	} rows[] = {
		{XB_TAKES_CSUM, XB_F(VIRTIO_NET_F_CSUM), XB_F(VIRTIO_NET_F_GUEST_CSUM)},
		{XB_TAKES_TSO4, XB_F(VIRTIO_NET_F_HOST_TSO4), XB_F(VIRTIO_NET_F_GUEST_TSO4)},
		{XB_TAKES_TSO6, XB_F(VIRTIO_NET_F_HOST_TSO6), XB_F(VIRTIO_NET_F_GUEST_TSO6)},
		{XB_TAKES_ECN, XB_F(VIRTIO_NET_F_HOST_ECN), XB_F(VIRTIO_NET_F_GUEST_ECN)},
		{XB_TAKES_USO, XB_F(VIRTIO_NET_F_HOST_USO),
		 XB_F(VIRTIO_NET_F_GUEST_USO4) | XB_F(VIRTIO_NET_F_GUEST_USO6)},
	};
	uint64_t features = 0;

	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		features |= set.takes & rows[i].takes ? rows[i].host : 0;
		features |= set.gives & rows[i].takes ? rows[i].guest : 0;
	}
	return features;
}
