/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/loops.h"

#include "xbridge/bytes.h"

#include <assert.h>
#include <linux/if_ether.h>
#include <string.h>

#define ETH_P_LOCAL_EXPERIMENT 0x88b5 /* IEEE 802, local experimental EtherType 1 */

/* What stands after the EtherType. */
struct probe {
	char magic[8];
	uint64_t secret;
	uint16_t port;
} __attribute__((packed));

static const char magic[8] = "xb-loop";

static_assert(ETH_HLEN + sizeof(struct probe) <= XB_PROBE_BYTES, "a probe is no runt");

unsigned xb_probe_write(const struct xb_loops *loops, uint16_t port, const uint8_t smac[6],
			uint16_t vlan, uint8_t *buf)
{
	struct probe probe = {.secret = loops->secret, .port = port};
	const unsigned bytes = XB_PROBE_BYTES + (vlan ? 4 : 0);
	uint8_t *type = buf + 2 * ETH_ALEN;

	memset(buf, 0, bytes);
	memcpy(probe.magic, magic, sizeof(magic));
	memcpy(buf, XB_PROBE_DMAC, ETH_ALEN);
	memcpy(buf + ETH_ALEN, smac, ETH_ALEN);
	if (vlan) {
		xb_put_be16(type, ETH_P_8021Q);
		xb_put_be16(type + 2, vlan);
		type += 4;
	}
	xb_put_be16(type, ETH_P_LOCAL_EXPERIMENT);
	memcpy(type + 2, &probe, sizeof(probe));
	return bytes;
}

bool xb_probe_take(struct xb_loops *loops, uint16_t port, const uint8_t *data, uint32_t bytes)
{
	uint32_t type = 2 * ETH_ALEN;
	struct probe probe;

	if (memcmp(data, XB_PROBE_DMAC, ETH_ALEN) != 0)
		return false;
	if (bytes >= XB_PROBE_BYTES && xb_get_be16(data + type) == ETH_P_8021Q)
		type += 4;
	if (bytes < type + 2 + sizeof(probe) || xb_get_be16(data + type) != ETH_P_LOCAL_EXPERIMENT)
		return false;
	memcpy(&probe, data + type + 2, sizeof(probe));
	if (memcmp(probe.magic, magic, sizeof(magic)) != 0 || probe.secret != loops->secret ||
	    probe.port >= XB_PORTS_MAX)
		return false;
	atomic_fetch_add_explicit(&loops->echoes[probe.port][port], 1, memory_order_relaxed);
	return true;
}
