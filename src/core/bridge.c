/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory. Where the XDP program has judged a packet (pkt->fate), that stands; else the rules are
 * asked, and then the default verdict holds. Own MACs and group frames of a shared uplink never
 * come here: the XDP program leaves them to the uplink's own stack, and what a packet socket brings
 * as a copy is judged like any other frame.
 *
 * Then the sender is learned, and one that claims somebody else's address is turned away. A drop
 * before the verdict counts on the port that the packet came from, and so do a drop by verdict and
 * one for want of a destination.
 */
#include "core/bridge.h"

#include "core/capture.h"
#include "core/clock.h"
#include "core/send.h"

#include <linux/if_ether.h>
#include <string.h>

#define VLAN_HEADER_BYTES 4u

/* What the bridge needs of a packet's first bytes. */
struct l2 {
	const uint8_t *dmac;
	const uint8_t *smac;
	uint16_t vlan; /* 0: untagged */
};

static uint16_t load_be16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static struct l2 parse_l2(const uint8_t *data, uint32_t bytes)
{
	uint16_t type = load_be16(data + 2 * ETH_ALEN);
	struct l2 l2 = {.dmac = data, .smac = data + ETH_ALEN};

	if ((type == ETH_P_8021Q || type == ETH_P_8021AD) && bytes >= ETH_HLEN + VLAN_HEADER_BYTES)
		l2.vlan = load_be16(data + ETH_HLEN) & 0xfff;
	return l2;
}

static bool is_group(const uint8_t *mac)
{
	return mac[0] & 1;
}

/* 01:80:c2:00:00:00 to :0f, IEEE 802.1Q 8.6.3: spanning tree, pause, LACP, LLDP. */
static bool is_reserved(const uint8_t *mac)
{
	static const uint8_t prefix[5] = {0x01, 0x80, 0xc2, 0x00, 0x00};

	return !memcmp(mac, prefix, sizeof(prefix)) && mac[5] < 0x10;
}

static void put(struct xb_worker *worker, const struct xb_snapshot *snapshot, struct xb_port *port,
		unsigned rx_queue, struct xb_frame *pkt)
{
	struct xb_outbox *out = &worker->out[port->id];

	out->pkts[out->n++] = pkt;
	if (out->n == XB_BATCH)
		xb_outbox_flush(worker, snapshot, port, rx_queue);
}

/* An uplink's own address is this host's: nobody on the wire may use it. */
static bool is_taken(const struct xb_port *port, enum xb_fdb_learned learned)
{
	return learned == XB_FDB_TAKEN || (learned == XB_FDB_OURS && port->caps.uplink);
}

/* Learns the sender. Returns the reason to drop the packet, or XB_DROP_COUNT. */
static enum xb_drop check_sender(struct xb_worker *worker, const struct xb_snapshot *snapshot,
				 const struct xb_port *port, const struct l2 *l2)
{
	struct xb_fdb_key key = xb_fdb_key(l2->smac, l2->vlan);
	enum xb_fdb_learned learned;
	uint32_t now_s = (uint32_t)(worker->now_ns / 1000000000u);

	if (key.bits == worker->last_key.bits && port->id == worker->last_port &&
	    now_s == worker->last_seen_s)
		return XB_DROP_COUNT;
	if (is_group(l2->smac))
		return XB_DROP_SMAC_GROUP;
	if (key.bits >> 12) {
		learned = xb_fdb_learn(snapshot->fdb, key, port->id, now_s);
		if (is_taken(port, learned)) {
			if (snapshot->loops)
				atomic_fetch_add_explicit(&snapshot->loops->strays[port->id], 1,
							  memory_order_relaxed);
			return XB_DROP_SMAC_TAKEN;
		}
	}
	worker->last_key = key;
	worker->last_port = port->id;
	worker->last_seen_s = now_s;
	return XB_DROP_COUNT;
}

/* Counts a copy that is not made. */
static void lose_copy(struct xb_worker *worker, struct xb_port *port, unsigned rx_queue,
		      const struct xb_frame *pkt, enum xb_drop reason)
{
	struct xb_capture_event lost = {port->id, (uint16_t)rx_queue, XB_CAPTURE_IN, reason};

	xb_count(&worker->copies, 1);
	xb_capture(&worker->cache, &lost, pkt);
	xb_count(&port->queues[rx_queue].drops[reason], 1);
}

/* Sends a copy to one of several ports. */
static void put_copy(struct xb_worker *worker, const struct xb_snapshot *snapshot,
		     struct xb_port *port, unsigned rx_queue, struct xb_port *to,
		     const struct xb_frame *pkt)
{
	struct xb_frame *copy = xb_packet_copy(&worker->cache, pkt);

	if (!copy) {
		lose_copy(worker, port, rx_queue, pkt, XB_DROP_NO_FRAME);
		return;
	}
	xb_count(&worker->copies, 1);
	put(worker, snapshot, to, rx_queue, copy);
}

static bool may_flood(const struct xb_snapshot *snapshot, const struct xb_port *to)
{
	return snapshot->queues[to->id] && atomic_load_explicit(&to->up, memory_order_relaxed);
}

/* Sends a group frame, or one to an unknown address, to every other port: copies to all but the
 * last. To those from which it would come back none goes: that is a drop, of a copy where another
 * port gets the packet itself. */
static void flood(struct xb_worker *worker, const struct xb_snapshot *snapshot,
		  struct xb_port *port, unsigned rx_queue, struct xb_frame *pkt)
{
	struct xb_port *last = NULL;
	unsigned n_cut = 0;

	for (unsigned i = 0; i < snapshot->n_ports; i++) {
		struct xb_port *to = snapshot->port_list[i];

		if (to == port || !may_flood(snapshot, to))
			continue;
		if (snapshot->cut[port->id] >> to->id & 1) {
			n_cut++;
			continue;
		}
		if (last)
			put_copy(worker, snapshot, port, rx_queue, last, pkt);
		last = to;
	}
	for (unsigned i = last ? 0 : 1; i < n_cut; i++)
		lose_copy(worker, port, rx_queue, pkt, XB_DROP_LOOP);
	if (last)
		put(worker, snapshot, last, rx_queue, pkt);
	else
		xb_port_drop(port, rx_queue, &worker->cache, pkt,
			     n_cut ? XB_DROP_LOOP : XB_DROP_NO_PORT);
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

static struct xb_route find_route(const struct xb_snapshot *snapshot, const struct xb_port *from,
				  uint16_t verdict, const struct l2 *l2)
{
	int id = -1;

	if (verdict >= XB_VERDICT_PORT(XB_PORTS_MAX))
		return no_route(XB_DROP_NO_PORT);
	if (verdict >= XB_VERDICT_PORT0)
		return route_to(from, snapshot->ports[verdict - XB_VERDICT_PORT0]);
	if (is_reserved(l2->dmac))
		return no_route(XB_DROP_RESERVED);
	if (!is_group(l2->dmac))
		id = xb_fdb_lookup(snapshot->fdb, xb_fdb_key(l2->dmac, l2->vlan));
	if (id >= 0)
		return route_to(from, snapshot->ports[id]);
	return (struct xb_route){.kind = XB_ROUTE_FLOOD};
}

static enum xb_own own_of(const struct xb_snapshot *snapshot, const struct xb_port *port,
			  const struct l2 *l2)
{
	if (!port->caps.uplink || is_group(l2->dmac) ||
	    !xb_snapshot_has_own(snapshot, port, l2->dmac))
		return XB_OWN_NO;
	return port->caps.shared ? XB_OWN_KEPT : XB_OWN_YES;
}

/* Judges a packet that nobody has judged. Returns the reason to drop it, or XB_DROP_COUNT. */
static enum xb_drop judge(struct xb_worker *worker, const struct xb_snapshot *snapshot,
			  const struct xb_port *port, const struct l2 *l2, struct xb_frame *pkt)
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
		answer = xb_rules_ask(&snapshot->rules, &worker->rules_cache, pkt, &origin,
				      worker->now_ns, &rule);
	}
	decision = xb_classify(&scene, answer == XB_RULES_NONE ? NULL : &rule);
	pkt->fate = (struct xb_fate){decision.verdict, decision.stage, decision.rule};
	return answer == XB_RULES_BEYOND ? XB_DROP_LIMIT : XB_DROP_COUNT;
}

/* Whether the port is within its storm limit. The worker's clock was read when the round began: if
 * the worker has lost its CPU since, others have gone on by the clock of now, and by an old one it
 * would be over the limit. */
static bool is_calm(struct xb_worker *worker, struct xb_port *port)
{
	if (xb_limit_allows(&port->storm, worker->now_ns))
		return true;
	worker->now_ns = xb_clock_ns(CLOCK_MONOTONIC_COARSE);
	return xb_limit_allows(&port->storm, worker->now_ns);
}

/* Judges a packet, and looks at its sender: whom a rule turns away teaches us nothing. Returns the
 * reason to drop it, or XB_DROP_COUNT. */
static enum xb_drop admit(struct xb_worker *worker, const struct xb_snapshot *snapshot,
			  struct xb_port *port, const struct l2 *l2, struct xb_frame *pkt)
{
	enum xb_drop reason = XB_DROP_COUNT;
	uint16_t verdict;

	if (pkt->fate.verdict == XB_VERDICT_NONE)
		reason = judge(worker, snapshot, port, l2, pkt);
	verdict = pkt->fate.verdict;
	/* `pass` is said of a frame from an uplink: its own stack has it, and this is a copy. */
	if (reason == XB_DROP_COUNT &&
	    (verdict == XB_VERDICT_DROP || (verdict == XB_VERDICT_PASS && port->caps.uplink)))
		reason = XB_DROP_VERDICT;
	if (reason == XB_DROP_COUNT)
		reason = check_sender(worker, snapshot, port, l2);
	if (reason == XB_DROP_COUNT && is_group(l2->dmac) && !is_calm(worker, port))
		reason = XB_DROP_STORM;
	return reason;
}

static void sort(struct xb_worker *worker, const struct xb_snapshot *snapshot, struct xb_port *port,
		 unsigned rx_queue, struct xb_frame *pkt)
{
	struct xb_capture_event received = {port->id, (uint16_t)rx_queue, XB_CAPTURE_IN,
					    XB_DROP_COUNT};
	enum xb_drop reason;
	struct xb_route route;
	struct l2 l2;

	if (pkt->len < ETH_HLEN) {
		xb_port_drop(port, rx_queue, &worker->cache, pkt, XB_DROP_RUNT);
		return;
	}
	l2 = parse_l2(xb_frame_data(pkt), pkt->len);
	if (snapshot->loops && is_group(l2.dmac) &&
	    xb_probe_take(snapshot->loops, port->id, l2.dmac, pkt->len))
		reason = XB_DROP_LOOP;
	else
		reason = admit(worker, snapshot, port, &l2, pkt);
	if (reason != XB_DROP_COUNT) {
		xb_port_drop(port, rx_queue, &worker->cache, pkt, reason);
		return;
	}
	route = find_route(snapshot, port, pkt->fate.verdict, &l2);
	if (route.kind != XB_ROUTE_DROP)
		xb_capture(&worker->cache, &received, pkt);
	switch (route.kind) {
	case XB_ROUTE_DROP:
		xb_port_drop(port, rx_queue, &worker->cache, pkt, route.reason);
		break;
	case XB_ROUTE_PORT:
		put(worker, snapshot, route.to, rx_queue, pkt);
		break;
	case XB_ROUTE_FLOOD:
		flood(worker, snapshot, port, rx_queue, pkt);
	}
}

void xb_bridge_batch(struct xb_worker *worker, const struct xb_snapshot *snapshot,
		     struct xb_port *port, unsigned rx_queue, struct xb_frame **pkts, unsigned n)
{
	struct xb_port_queue *queue = &port->queues[rx_queue];
	uint64_t bytes = 0, gso = 0, csum = 0;

	for (unsigned i = 0; i < n; i++) {
		bytes += pkts[i]->bytes;
		gso += pkts[i]->offload.gso != XB_GSO_NONE;
		csum += pkts[i]->offload.csum != XB_CSUM_COMPLETE;
		pkts[i]->in_port = port->id;
	}
	xb_count(&queue->rx_packets, n);
	xb_count(&queue->rx_bytes, bytes);
	xb_count(&queue->rx_gso_packets, gso);
	xb_count(&queue->rx_csum_left, csum);
	for (unsigned i = 0; i < n; i++)
		sort(worker, snapshot, port, rx_queue, pkts[i]);
}

/* ---- without touching anything ---- */

static struct xb_decision decide(const struct xb_snapshot *snapshot, const struct xb_port *port,
				 const struct l2 *l2, const uint8_t *end, bool shared)
{
	enum xb_own own = own_of(snapshot, port, l2);
	struct xb_origin origin = {.in = (uint8_t)port->id, .own = (uint8_t)own};
	struct xb_scene scene = {
		.shared = shared,
		.verdict = snapshot->verdict,
		.in = port->id,
		.uplink = port->caps.uplink,
		.own = own != XB_OWN_NO,
		.group = is_group(l2->dmac),
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
	struct l2 l2 = parse_l2(data, bytes);
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
	if (is_group(l2.smac))
		ret->route = no_route(XB_DROP_SMAC_GROUP);
	else if (is_taken(port, xb_fdb_ask(snapshot->fdb, sender, port->id)))
		ret->route = no_route(XB_DROP_SMAC_TAKEN);
	else if (verdict == XB_VERDICT_BRIDGE && !memcmp(l2.smac, l2.dmac, ETH_ALEN))
		ret->route = no_route(XB_DROP_HAIRPIN); /* it would be learned before */
	else
		ret->route = find_route(snapshot, port, verdict, &l2);
}
