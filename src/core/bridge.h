/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What becomes of a frame: how its verdict is found, and where the verdict and the forwarding table
 * send it. The sorter (core/sorter.h) does with packets what is decided here; `explain` asks
 * the same questions without a packet.
 */
#ifndef XB_CORE_BRIDGE_H
#define XB_CORE_BRIDGE_H

#include "core/snapshot.h"
#include "xbridge/bytes.h"
#include "xbridge/classify.h"

#include <linux/if_ether.h>

/** What forwarding looks at: an Ethernet header and a tag. */
#define XB_L2_BYTES (ETH_HLEN + 4u)

/** What forwarding needs of a frame's first bytes. */
struct xb_l2 {
	const uint8_t *dmac;
	const uint8_t *smac;
	uint16_t vlan; /* identifier of the outermost tag; 0: untagged */
};

/** The VLAN of a frame, of which `bytes` stand at `data`, ETH_HLEN at least. */
static inline uint16_t xb_l2_vlan(const uint8_t *data, uint32_t bytes)
{
	uint16_t type = xb_get_be16(data + 2 * ETH_ALEN);

	if ((type != ETH_P_8021Q && type != ETH_P_8021AD) || bytes < XB_L2_BYTES)
		return 0;
	return xb_get_be16(data + ETH_HLEN) & 0xfff;
}

static inline bool xb_mac_is_group(const uint8_t *mac)
{
	return mac[0] & 1;
}

/**
 * Judges a packet that has not been judged: sets `pkt->fate`. Counts the hit of a rule and charges
 * its limit.
 *
 * @cache:  the calling worker's.
 * @now_ns: coarse monotonic clock.
 *
 * Returns XB_DROP_LIMIT where the rule's limit is used up, otherwise XB_DROP_COUNT.
 */
enum xb_drop xb_bridge_judge(const struct xb_snapshot *snapshot, struct xb_rules_cache *cache,
			     uint64_t now_ns, const struct xb_port *port, const struct xb_l2 *l2,
			     struct xb_frame *pkt);

/** Whether a frame from `port` goes no further by its verdict: it is dropped, or it belongs to the
 *  stack of the uplink that it came from, which has it. */
static inline bool xb_bridge_ends(const struct xb_port *port, uint16_t verdict)
{
	return verdict == XB_VERDICT_DROP || (verdict == XB_VERDICT_PASS && port->caps.uplink);
}

/** Whether a frame's sender uses an address that is another's. An uplink's own address is this
 *  host's: no station on the wire may use it. */
static inline bool xb_bridge_is_taken(const struct xb_port *port, enum xb_fdb_learned learned)
{
	return learned == XB_FDB_TAKEN || (learned == XB_FDB_OURS && port->caps.uplink);
}

/** Where a packet goes that is not dropped by verdict. */
struct xb_route {
	enum {
		XB_ROUTE_DROP,
		XB_ROUTE_PORT,
		XB_ROUTE_FLOOD, /* to every port but the one that it came from */
	} kind;
	enum xb_drop reason; /* XB_ROUTE_DROP */
	struct xb_port *to;  /* XB_ROUTE_PORT */
};

/** Where a packet from `from` goes by its verdict and, for `bridge`, the forwarding table. */
struct xb_route xb_bridge_route(const struct xb_snapshot *snapshot, const struct xb_port *from,
				uint16_t verdict, const struct xb_l2 *l2);

/** What becomes of a frame, up to the port that it leaves by. */
struct xb_explanation {
	/** What rules, own MACs and the default verdict say; of an uplink's frame in the XDP
	 * program. A limit is not asked. */
	struct xb_decision decision;
	bool copied;             /* a group frame of a shared uplink: `decision` is pass, and */
	struct xb_decision copy; /* this is said of the copy that xbridge gets */
	bool routed;             /* xbridge sends it somewhere, or has a reason not to: */
	struct xb_route route;
};

/**
 * Says what would become of a frame that came in by `port`. Changes nothing: no counter, no limit,
 * no cache, no address is learned.
 *
 * @data:     the frame's first bytes, XB_PARSE_BYTES or all there are; ETH_HLEN at least.
 * @snapshot: one that is published.
 */
void xb_bridge_explain(const struct xb_snapshot *snapshot, const struct xb_port *port,
		       const uint8_t *data, uint32_t bytes, struct xb_explanation *ret);

#endif
