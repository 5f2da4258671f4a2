/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory. A packet that the XDP program has judged (pkt->fate) keeps that verdict; any other is
 * judged here (core/bridge.h). One that the verdict lets through teaches its sender's address,
 * unless that address is another's, in which case the packet is dropped. Then a group packet is
 * charged to its port's storm limit. What is left is routed and put into the outbox of its port,
 * or of several.
 *
 * A drop before the verdict, by the verdict, or for want of a destination counts on the port that
 * the packet came from.
 */
#include "core/sorter.h"

#include "core/bridge.h"
#include "core/clock.h"
#include "core/l4.h"

#include <linux/if_ether.h>
#include <string.h>

/* Learns the sender. Returns the reason to drop the packet, or XB_DROP_COUNT. */
static enum xb_drop check_sender(struct xb_sorter *sorter, const struct xb_snapshot *snapshot,
				 const struct xb_port *port, const struct xb_l2 *l2)
{
	struct xb_fdb_key key = xb_fdb_key(port->domain, l2->smac, l2->vlan);
	enum xb_fdb_learned learned;
	uint32_t now_s = (uint32_t)(sorter->now_ns / 1000000000u);

	if (key.bits == sorter->last_key.bits && port->id == sorter->last_port &&
	    now_s == sorter->last_seen_s)
		return XB_DROP_COUNT;
	if (xb_mac_is_group(l2->smac))
		return XB_DROP_SMAC_GROUP;
	learned = xb_fdb_learn(snapshot->fdb, key, port->id, now_s);
	if (xb_bridge_is_taken(port, learned)) {
		if (snapshot->loops)
			atomic_fetch_add_explicit(&snapshot->loops->strays[port->id], 1,
						  memory_order_relaxed);
		return XB_DROP_SMAC_TAKEN;
	}
	sorter->last_key = key;
	sorter->last_port = port->id;
	sorter->last_seen_s = now_s;
	return XB_DROP_COUNT;
}

/* Counts a copy that is not made. */
static void lose_copy(struct xb_sorter *sorter, struct xb_port *port, unsigned rx_queue,
		      const struct xb_frame *pkt, enum xb_drop reason)
{
	struct xb_capture_event lost = {port->id, (uint16_t)rx_queue, XB_CAPTURE_IN, reason};

	xb_count(&sorter->copies, 1);
	xb_capture(&sorter->cache, &lost, pkt);
	xb_count(&port->queues[rx_queue].drops[reason], 1);
}

/* Sends a copy to one of several ports. */
static void put_copy(struct xb_sorter *sorter, const struct xb_snapshot *snapshot,
		     struct xb_port *port, unsigned rx_queue, struct xb_port *to,
		     const struct xb_frame *pkt)
{
	struct xb_frame *copy = xb_packet_copy(&sorter->cache, pkt);

	if (!copy) {
		lose_copy(sorter, port, rx_queue, pkt, XB_DROP_NO_FRAME);
		return;
	}
	xb_count(&sorter->copies, 1);
	xb_sender_put(&sorter->sender, snapshot, to, rx_queue, copy);
}

static bool may_flood(const struct xb_snapshot *snapshot, const struct xb_port *to)
{
	return snapshot->queues[to->id] && atomic_load_explicit(&to->up, memory_order_relaxed);
}

/* Sends a group frame, or one to an unknown address, to every other port: copies to all but the
 * last, which gets the packet itself. It is not sent to a port from which it would come back: that
 * counts as a drop, of the packet if no port gets it and of a copy otherwise. */
static void flood(struct xb_sorter *sorter, const struct xb_snapshot *snapshot,
		  struct xb_port *port, unsigned rx_queue, struct xb_frame *pkt)
{
	struct xb_port *last = NULL;
	unsigned n_cut = 0;

	for (unsigned i = 0; i < snapshot->n_ports; i++) {
		struct xb_port *to = snapshot->port_list[i];

		if (to == port || to->domain != port->domain || !may_flood(snapshot, to))
			continue;
		if (snapshot->cut[port->id] >> to->id & 1) {
			n_cut++;
			continue;
		}
		if (last)
			put_copy(sorter, snapshot, port, rx_queue, last, pkt);
		last = to;
	}
	for (unsigned i = last ? 0 : 1; i < n_cut; i++)
		lose_copy(sorter, port, rx_queue, pkt, XB_DROP_LOOP);
	if (last)
		xb_sender_put(&sorter->sender, snapshot, last, rx_queue, pkt);
	else
		xb_port_drop(port, rx_queue, &sorter->cache, pkt,
			     n_cut ? XB_DROP_LOOP : XB_DROP_NO_PORT);
}

/* Whether the port is within its storm limit. Our clock was read before the round: if we have lost
 * the CPU since, other workers have charged the limit by a later clock, and by the old one this
 * packet would be over it. */
static bool is_calm(struct xb_sorter *sorter, struct xb_port *port)
{
	if (xb_limit_allows(&port->storm, sorter->now_ns))
		return true;
	sorter->now_ns = xb_clock_ns(CLOCK_MONOTONIC_COARSE);
	return xb_limit_allows(&port->storm, sorter->now_ns);
}

/* Where the first frame of a chain ends within the tag. */
static __attribute__((noinline)) uint16_t gather_vlan(const struct xb_frame *pkt)
{
	uint8_t buf[XB_L2_BYTES];

	return xb_l2_vlan(buf, xb_packet_read(pkt, buf, XB_L2_BYTES));
}

/* The packet's VLAN. If the headers have been found it is among them; for forwarding alone the tag
 * is enough. */
static uint16_t vlan_of(const struct xb_frame *pkt)
{
	if (pkt->headers.l3)
		return pkt->headers.vlan;
	if (pkt->len >= XB_L2_BYTES || !pkt->next)
		return xb_l2_vlan(xb_frame_data(pkt), pkt->len);
	return gather_vlan(pkt);
}

/* Judges a packet, then learns its sender: nothing is learned from a packet that the verdict drops.
 * Returns the reason to drop it, or XB_DROP_COUNT. */
static enum xb_drop admit(struct xb_sorter *sorter, const struct xb_snapshot *snapshot,
			  struct xb_port *port, struct xb_l2 *l2, struct xb_frame *pkt)
{
	enum xb_drop reason = XB_DROP_COUNT;

	if (pkt->fate.verdict == XB_VERDICT_NONE)
		reason = xb_bridge_judge(snapshot, &sorter->rules_cache, sorter->now_ns, port, l2,
					 pkt);
	if (reason == XB_DROP_COUNT && xb_bridge_ends(port, pkt->fate.verdict))
		reason = XB_DROP_VERDICT;
	l2->vlan = vlan_of(pkt);
	if (reason == XB_DROP_COUNT)
		reason = check_sender(sorter, snapshot, port, l2);
	if (reason == XB_DROP_COUNT && xb_mac_is_group(l2->dmac) && !is_calm(sorter, port))
		reason = XB_DROP_STORM;
	return reason;
}

static void sort(struct xb_sorter *sorter, const struct xb_snapshot *snapshot, struct xb_port *port,
		 unsigned rx_queue, struct xb_frame *pkt)
{
	struct xb_capture_event received = {port->id, (uint16_t)rx_queue, XB_CAPTURE_IN,
					    XB_DROP_COUNT};
	enum xb_drop reason;
	struct xb_route route;
	const uint8_t *data = xb_frame_data(pkt);
	struct xb_l2 l2 = {.dmac = data, .smac = data + ETH_ALEN};

	if (pkt->len < ETH_HLEN) {
		xb_port_drop(port, rx_queue, &sorter->cache, pkt, XB_DROP_RUNT);
		return;
	}
	if (snapshot->loops && xb_mac_is_group(l2.dmac) &&
	    xb_probe_take(snapshot->loops, port->id, l2.dmac, pkt->len))
		reason = XB_DROP_LOOP;
	else
		reason = admit(sorter, snapshot, port, &l2, pkt);
	if (reason != XB_DROP_COUNT) {
		xb_port_drop(port, rx_queue, &sorter->cache, pkt, reason);
		return;
	}
	route = xb_bridge_route(snapshot, port, pkt->fate.verdict, &l2);
	if (route.kind != XB_ROUTE_DROP)
		xb_capture(&sorter->cache, &received, pkt);
	switch (route.kind) {
	case XB_ROUTE_DROP:
		xb_port_drop(port, rx_queue, &sorter->cache, pkt, route.reason);
		break;
	case XB_ROUTE_PORT:
		xb_sender_put(&sorter->sender, snapshot, route.to, rx_queue, pkt);
		break;
	case XB_ROUTE_FLOOD:
		flood(sorter, snapshot, port, rx_queue, pkt);
	}
}

/* Counts packets that came in on one queue, and sorts them. All of them are in our hands before,
 * and in outboxes, or freed and counted, after. */
static void sort_batch(struct xb_sorter *sorter, const struct xb_snapshot *snapshot,
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
		sort(sorter, snapshot, port, rx_queue, pkts[i]);
}

void xb_sorter_init(struct xb_sorter *sorter, struct xb_arena *arena, unsigned worker)
{
	memset(sorter, 0, sizeof(*sorter));
	xb_cache_init(&sorter->cache, arena);
	sorter->cache.thread = worker;
	xb_sender_init(&sorter->sender, &sorter->cache, worker);
}

void xb_sorter_fini(struct xb_sorter *sorter)
{
	xb_cache_fini(&sorter->cache);
}

void xb_sorter_adopt(struct xb_sorter *sorter, const struct xb_snapshot *snapshot)
{
	xb_sender_forget(&sorter->sender);
	sorter->last_key = (struct xb_fdb_key){0};
	sorter->cache.captures = snapshot && snapshot->captures.n ? &snapshot->captures : NULL;
}

struct xb_round xb_sorter_round(struct xb_sorter *sorter, const struct xb_snapshot *snapshot)
{
	struct xb_sender *sender = &sorter->sender;
	struct xb_frame *pkts[XB_BATCH];
	struct xb_round round = {0};

	xb_for_each_queue_of(sender->worker, snapshot, port, q)
	{
		unsigned n = port->ops->rx_batch(port, q, &sorter->cache, pkts, XB_BATCH);

		if (n) {
			sort_batch(sorter, snapshot, port, q, pkts, n);
			for (unsigned i = 0; i < snapshot->n_ports; i++)
				xb_sender_flush(sender, snapshot, snapshot->port_list[i], q);
			round.packets += n;
		}
		round.pending += xb_sender_kick(sender, port, q);
	}
	round.pending += xb_sender_kick_pending(sender);
	return round;
}

struct xb_sorter_counts xb_sorter_counts(const struct xb_sorter *sorter)
{
	return (struct xb_sorter_counts){
		.copies = xb_counted(&sorter->copies),
		.segments_added = xb_counted(&sorter->sender.segments_added),
		.frames_joined = xb_counted(&sorter->sender.frames_joined),
	};
}
