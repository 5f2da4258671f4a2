/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory. One function, xb_classify, judges: in the XDP program, in the sorter and in `explain`.
 * Here both of the latter describe to it, in the same words (scene_of), what they judge.
 *
 * A frame of an uplink comes to the sorter unjudged where its program could not tell the verdict,
 * and as the copy of a group frame that the program left to a shared uplink's own stack. A frame
 * to an own MAC that no rule takes is `pass`, and so goes no further here: the program passes it
 * to the stack itself.
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

/* NULL: a port that isn't there just now; the forwarding table is not asked instead. */
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
		id = xb_fdb_lookup(snapshot->fdb, xb_fdb_key(from->domain, l2->dmac, l2->vlan));
	if (id >= 0)
		return route_to(from, snapshot->ports[id]);
	return (struct xb_route){.kind = XB_ROUTE_FLOOD};
}

/* What a frame is judged by, besides its bytes. A shared uplink's own stack keeps its group frames;
 * what comes here are copies of them (`copy`), which are xbridge's alone. */
XB_INLINE struct xb_scene scene_of(const struct xb_snapshot *snapshot, const struct xb_port *port,
				   const struct xb_l2 *l2, bool copy)
{
	bool group = xb_mac_is_group(l2->dmac);

	return (struct xb_scene){
		.shared = port->caps.shared && !(group && copy),
		.verdict = snapshot->verdict,
		.in = port->id,
		.uplink = port->caps.uplink,
		.own = port->caps.uplink && !group && xb_snapshot_has_own(snapshot, port, l2->dmac),
		.group = group,
	};
}

XB_INLINE struct xb_origin origin_of(const struct xb_scene *scene)
{
	return (struct xb_origin){.in = (uint8_t)scene->in, .own = (uint8_t)xb_own_of(scene)};
}

enum xb_drop xb_bridge_judge(const struct xb_snapshot *snapshot, struct xb_rules_cache *cache,
			     uint64_t now_ns, const struct xb_port *port, const struct xb_l2 *l2,
			     struct xb_frame *pkt)
{
	const struct xb_scene scene = scene_of(snapshot, port, l2, true);
	enum xb_rules_answer answer = XB_RULES_NONE;
	struct xb_decision decision;
	struct xb_image_rule rule;

	if (snapshot->rules.image) {
		const struct xb_origin origin = origin_of(&scene);

		answer = xb_rules_ask(&snapshot->rules, cache, pkt, &origin, now_ns, &rule);
	}
	decision = xb_classify(&scene, answer == XB_RULES_NONE ? NULL : &rule);
	pkt->fate = (struct xb_fate){decision.verdict, decision.stage, decision.rule};
	return answer == XB_RULES_BEYOND ? XB_DROP_LIMIT : XB_DROP_COUNT;
}

/* ---- without touching anything ---- */

static struct xb_decision decide(const struct xb_snapshot *snapshot, const struct xb_scene *scene,
				 const uint8_t *data, const uint8_t *end)
{
	const struct xb_origin origin = origin_of(scene);
	struct xb_image_rule rule;
	struct xb_walk walk;
	bool matches = !xb_is_kept_group(scene) &&
		       xb_rules_look(&snapshot->rules, &walk, data, end, &origin, &rule);

	return xb_classify(scene, matches ? &rule : NULL);
}

/* As the sorter: the sender is looked at, and learned, before the destination is looked up. */
static struct xb_route explain_route(const struct xb_snapshot *snapshot, const struct xb_port *port,
				     uint16_t verdict, const struct xb_l2 *l2)
{
	const struct xb_fdb_key sender = xb_fdb_key(port->domain, l2->smac, l2->vlan);
	bool here;

	if (xb_mac_is_group(l2->smac))
		return no_route(XB_DROP_SMAC_GROUP);
	if (xb_bridge_is_taken(port, xb_fdb_ask(snapshot->fdb, sender, port->id, &here)))
		return no_route(XB_DROP_SMAC_TAKEN);
	if (verdict == XB_VERDICT_BRIDGE && here && !memcmp(l2->smac, l2->dmac, ETH_ALEN))
		return no_route(XB_DROP_HAIRPIN);
	return xb_bridge_route(snapshot, port, verdict, l2);
}

void xb_bridge_explain(const struct xb_snapshot *snapshot, const struct xb_port *port,
		       const uint8_t *data, uint32_t bytes, struct xb_explanation *ret)
{
	const struct xb_l2 l2 = {
		.dmac = data, .smac = data + ETH_ALEN, .vlan = xb_l2_vlan(data, bytes)};
	struct xb_scene scene = scene_of(snapshot, port, &l2, false);
	uint16_t verdict;

	*ret = (struct xb_explanation){.decision = decide(snapshot, &scene, data, data + bytes)};
	verdict = ret->decision.verdict;
	if (ret->decision.stage == XB_STAGE_GROUP) {
		scene = scene_of(snapshot, port, &l2, true);
		ret->copied = true;
		ret->copy = decide(snapshot, &scene, data, data + bytes);
		verdict = ret->copy.verdict;
	}
	ret->routed = !xb_bridge_ends(port, verdict);
	if (ret->routed)
		ret->route = explain_route(snapshot, port, verdict, &l2);
}
