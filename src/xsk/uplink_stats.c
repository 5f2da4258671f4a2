/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the kernel counts for an uplink's sockets, and what it loses without counting.
 */
#include "xsk/uplink_own.h"

#include <sys/socket.h>

static uint64_t read_missed(const struct xb_uplink *uplink, unsigned q)
{
	const struct xb_uplink_private *own = uplink->own;
	struct xdp_statistics stats = {0};
	socklen_t bytes = sizeof(stats);

	if (getsockopt(own->set.queue[q].fd, SOL_XDP, XDP_STATISTICS, &stats, &bytes) < 0)
		return own->missed[q];
	/* rx_dropped holds what found the fill ring empty */
	return stats.rx_dropped + stats.rx_ring_full;
}

void xb_uplink_refresh_stats(struct xb_uplink *uplink)
{
	struct xb_uplink_private *own = uplink->own;

	for (unsigned q = 0; uplink->running && q < own->set.n; q++) {
		uint64_t missed = read_missed(uplink, q);

		xb_count(&uplink->port.queues[q].rx_missed, missed - own->missed[q]);
		own->missed[q] = missed;
	}
	xb_count(&uplink->port.queues[0].rx_missed, xb_group_tap_missed(&own->tap));
}

/* ---- does what is redirected arrive? ---- */

static struct xb_delivery_counts count_delivery(const struct xb_uplink *uplink, unsigned q)
{
	const struct xb_uplink_private *own = uplink->own;
	struct xb_delivery_counts counts = {
		.redirected = xb_program_redirected(&own->program, uplink->slot, q)};

	atomic_thread_fence(memory_order_acquire); /* what is counted here came before the rest */
	counts.received = __atomic_load_n(own->lanes[q].xsk->rx.producer, __ATOMIC_ACQUIRE);
	counts.missed = read_missed(uplink, q);
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
