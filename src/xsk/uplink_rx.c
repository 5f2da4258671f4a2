/* SPDX-License-Identifier: BSD-2-Clause */
#include "xsk/uplink_own.h"

/* A look at the group tap costs a system call: its owner takes one after each sleep, which the tap
 * may have ended, and while it polls every so many rounds. */
#define TAP_TURNS 64u

static unsigned rx_tap(struct xb_port *port, struct xb_cache *cache, struct xb_frame **pkts,
		       unsigned max)
{
	struct xb_uplink_private *own = xb_to_uplink(port)->own;
	unsigned n;

	if (own->tap_turn) {
		own->tap_turn--;
		return 0;
	}
	n = xb_group_tap_rx(&own->tap, port, 0, cache, pkts, max);
	if (n < max) /* else there may be more */
		own->tap_turn = TAP_TURNS - 1;
	return n;
}

unsigned xb_uplink_rx_batch(struct xb_port *port, unsigned q, struct xb_cache *cache,
			    struct xb_frame **pkts, unsigned max)
{
	struct xb_uplink_private *own = xb_to_uplink(port)->own;
	uint8_t csum = port->caps.trusts_csum ? XB_CSUM_TRUSTED : XB_CSUM_COMPLETE;
	unsigned n = 0;

	if (q == 0 && own->tap.fd >= 0)
		n = rx_tap(port, cache, pkts, max < 2 ? max : max / 2);
	n += xb_lane_rx(&own->lanes[q], cache, pkts + n, max - n, own->since, csum);
	xb_lane_wake_rx(&own->lanes[q]);
	return n;
}

bool xb_uplink_arm(struct xb_port *port, unsigned q)
{
	/* both sockets are level-triggered: what comes after this look, or waits in the tap, wakes
	 * up */
	return !xb_lane_rx_waiting(&xb_to_uplink(port)->own->lanes[q]);
}

void xb_uplink_disarm(struct xb_port *port, unsigned q)
{
	if (q == 0)
		xb_to_uplink(port)->own->tap_turn = 0;
}

void xb_uplink_beat(struct xb_port *port, unsigned q, uint64_t now_ns)
{
	struct xb_uplink *uplink = xb_to_uplink(port);

	xb_program_beat(&uplink->own->program, uplink->slot, q, now_ns);
}

/* ---- does what is redirected arrive? ---- */

static struct xb_delivery_counts count_delivery(const struct xb_uplink *uplink, unsigned q)
{
	const struct xb_uplink_private *own = uplink->own;
	struct xb_delivery_counts counts = {
		.redirected = xb_program_redirected(&own->program, uplink->slot, q)};

	atomic_thread_fence(memory_order_acquire); /* what is counted here came before the rest */
	counts.received = __atomic_load_n(own->lanes[q].xsk->rx.producer, __ATOMIC_ACQUIRE);
	counts.missed = xb_uplink_read_missed(uplink, q);
	return counts;
}

void xb_uplink_start_delivery(struct xb_uplink *uplink)
{
	uplink->undelivered = 0;
	for (unsigned q = 0; q < uplink->port.n_queues; q++) {
		struct xb_delivery_counts counts = count_delivery(uplink, q);

		xb_delivery_start(&uplink->own->deliveries[q], &counts);
	}
}

void xb_uplink_check_delivery(struct xb_uplink *uplink, uint64_t now_ns)
{
	struct xb_uplink_private *own = uplink->own;

	for (unsigned q = 0; uplink->running && q < uplink->port.n_queues; q++) {
		struct xb_delivery *delivery = &own->deliveries[q];
		struct xb_delivery_counts counts = count_delivery(uplink, q);
		enum xb_delivery_state before = delivery->state;

		xb_count(&uplink->port.queues[q].rx_missed,
			 xb_delivery_look(delivery, &counts, now_ns));
		if (delivery->state == before)
			continue;
		if (delivery->state == XB_DELIVERY_TRUSTED)
			uplink->undelivered &= ~(1ull << q);
		else
			uplink->undelivered |= 1ull << q;
		if (delivery->state == XB_DELIVERY_TRIED) /* the map may be what was wrong */
			own->program.ops->set_socket(own->program.arg, uplink->slot, q,
						     own->set.queue[q].fd, NULL);
		xb_program_withhold(&own->program, uplink->slot, q,
				    delivery->state == XB_DELIVERY_WITHHELD);
	}
}
