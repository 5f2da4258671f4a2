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
