/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory. Own MACs and group frames of a shared uplink never come here from its XDP program, which
 * leaves them to the uplink's own stack; what a packet socket brings as a copy is judged like any
 * other frame.
 */
#include "core/bridge.h"

#include <string.h>

/* 01:80:c2:00:00:00 to :0f, IEEE 802.1Q 8.6.3: spanning tree, pause, LACP, LLDP. */
static bool is_reserved(const uint8_t *mac)
{
	static const uint8_t prefix[5] = {0x01, 0x80, 0xc2, 0x00, 0x00};

	return !memcmp(mac, prefix, sizeof(prefix)) && mac[5] < 0x10;
}

static struct xb_route no_route(enum xb_drop reason)
{
	return (struct xb_route){.kind = XB_ROUTE_DROP, .reason = reason};
}

/* NULL: a port that isn't there just now; nobody else is asked. */
static struct xb_route route_to(const struct xb_port *from, struct xb_port *to)
{
	if (!to)
		return no_route(XB_DROP_NO_PORT);
	if (to == from)
		return no_route(XB_DROP_HAIRPIN);
	return (struct xb_route){.kind = XB_ROUTE_PORT, .to = to};
}

struct xb_route xb_bridge_route(const struct xb_snapshot *snapshot, const struct xb_port *from,
				uint16_t verdict, const struct xb_l2 *l2)
{
	int id = -1;

	if (verdict >= XB_VERDICT_PORT(XB_PORTS_MAX))
		return no_route(XB_DROP_NO_PORT);
	if (verdict >= XB_VERDICT_PORT0)
		return route_to(from, snapshot->ports[verdict - XB_VERDICT_PORT0]);
	if (is_reserved(l2->dmac))
		return no_route(XB_DROP_RESERVED);
	if (!xb_mac_is_group(l2->dmac))
		id = xb_fdb_lookup(snapshot->fdb, xb_fdb_key(l2->dmac, l2->vlan));
	if (id >= 0)
		return route_to(from, snapshot->ports[id]);
	return (struct xb_route){.kind = XB_ROUTE_FLOOD};
}

static enum xb_own own_of(const struct xb_snapshot *snapshot, const struct xb_port *port,
			  const struct xb_l2 *l2)
{
	if (!port->caps.uplink || xb_mac_is_group(l2->dmac) ||
	    !xb_snapshot_has_own(snapshot, port, l2->dmac))
		return XB_OWN_NO;
	return port->caps.shared ? XB_OWN_KEPT : XB_OWN_YES;
}

enum xb_drop xb_bridge_judge(const struct xb_snapshot *snapshot, struct xb_rules_cache *cache,
			     uint64_t now_ns, const struct xb_port *port, const struct xb_l2 *l2,
			     struct xb_frame *pkt)
{
	struct xb_origin origin = {.in = (uint8_t)port->id};
	/* Own MACs passed in the XDP program; what has come all the same obeys the default verdict.
	 */
	const struct xb_scene scene = {
		.verdict = snapshot->verdict, .in = port->id, .uplink = port->caps.uplink};
	struct xb_image_rule rule;
	enum xb_rules_answer answer = XB_RULES_NONE;
	struct xb_decision decision;

	if (snapshot->rules.image) {
		origin.own = (uint8_t)own_of(snapshot, port, l2);
		answer = xb_rules_ask(&snapshot->rules, cache, pkt, &origin, now_ns, &rule);
	}
	decision = xb_classify(&scene, answer == XB_RULES_NONE ? NULL : &rule);
	pkt->fate = (struct xb_fate){decision.verdict, decision.stage, decision.rule};
	return answer == XB_RULES_BEYOND ? XB_DROP_LIMIT : XB_DROP_COUNT;
}

/* ---- without touching anything ---- */

static struct xb_decision decide(const struct xb_snapshot *snapshot, const struct xb_port *port,
				 const struct xb_l2 *l2, const uint8_t *end, bool shared)
{
	enum xb_own own = own_of(snapshot, port, l2);
	struct xb_origin origin = {.in = (uint8_t)port->id, .own = (uint8_t)own};
	struct xb_scene scene = {
		.shared = shared,
		.verdict = snapshot->verdict,
		.in = port->id,
		.uplink = port->caps.uplink,
		.own = own != XB_OWN_NO,
		.group = xb_mac_is_group(l2->dmac),
	};
	struct xb_image_rule rule;
	struct xb_walk walk;

	if (!xb_is_kept_group(&scene) &&
	    xb_rules_look(&snapshot->rules, &walk, l2->dmac, end, &origin, &rule))
		return xb_classify(&scene, &rule);
	return xb_classify(&scene, NULL);
}

void xb_bridge_explain(const struct xb_snapshot *snapshot, const struct xb_port *port,
		       const uint8_t *data, uint32_t bytes, struct xb_explanation *ret)
{
	struct xb_l2 l2 = xb_l2_parse(data, bytes);
	struct xb_fdb_key sender = xb_fdb_key(l2.smac, l2.vlan);
	uint16_t verdict;

	*ret = (struct xb_explanation){
		.decision = decide(snapshot, port, &l2, data + bytes, port->caps.shared)};
	verdict = ret->decision.verdict;
	if (ret->decision.stage == XB_STAGE_GROUP) {
		ret->copied = true;
		ret->copy = decide(snapshot, port, &l2, data + bytes, false);
		verdict = ret->copy.verdict;
	}
	if (verdict == XB_VERDICT_PASS || verdict == XB_VERDICT_DROP)
		return;
	ret->routed = true;
	if (xb_mac_is_group(l2.smac))
		ret->route = no_route(XB_DROP_SMAC_GROUP);
	else if (xb_bridge_is_taken(port, xb_fdb_ask(snapshot->fdb, sender, port->id)))
		ret->route = no_route(XB_DROP_SMAC_TAKEN);
	else if (verdict == XB_VERDICT_BRIDGE && !memcmp(l2.smac, l2.dmac, ETH_ALEN))
		ret->route = no_route(XB_DROP_HAIRPIN); /* it would be learned before */
	else
		ret->route = xb_bridge_route(snapshot, port, verdict, &l2);
}
