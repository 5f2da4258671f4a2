/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The way out of an uplink: AF_XDP's TX rings, or a packet socket.
 *
 * In copy mode the kernel makes a buffer of each frame on an AF_XDP ring and takes it through the
 * driver alone; segments have been cut and summed by a worker before. A packet socket costs less
 * there, whatever the packets (docs/adr/018). With zero copy AF_XDP is what costs nothing.
 *
 * A packet socket takes no frame beyond the interface's MTU, but for one 802.1Q tag. The frames
 * that it would refuse go by AF_XDP, which asks for no MTU: checksum finished, in one frame.
 */
#include "xsk/uplink_own.h"

#include "core/checksum.h"

#include <stdio.h>
#include <string.h>

static struct xb_lane *tx_lane(struct xb_port *port, unsigned q)
{
	struct xb_uplink_private *own = xb_to_uplink(port)->own;

	return &own->lanes[q % own->tx_lanes];
}

/* ---- AF_XDP ---- */

static unsigned tx_batch(struct xb_port *port, unsigned q, struct xb_cache *cache,
			 struct xb_frame **pkts, unsigned n)
{
	return xb_lane_tx(tx_lane(port, q), cache, pkts, n);
}

static unsigned kick(struct xb_port *port, unsigned q, struct xb_cache *cache)
{
	return xb_lane_kick(tx_lane(port, q), cache);
}

static const struct xb_port_ops xdp_ops = {
	.rx_batch = xb_uplink_rx_batch,
	.tx_batch = tx_batch,
	.kick = kick,
	.arm = xb_uplink_arm,
	.disarm = xb_uplink_disarm,
	.beat = xb_uplink_beat,
};

/* ---- a packet socket ---- */

/* Brings a packet into the shape that AF_XDP takes. Returns the reason to drop it, or
 * XB_DROP_COUNT. */
static enum xb_drop make_plain(struct xb_cache *cache, struct xb_frame **pkt)
{
	struct xb_frame *flat;

	if ((*pkt)->offload.csum != XB_CSUM_COMPLETE && xb_csum_finish(*pkt) < 0)
		return XB_DROP_TX_BAD;
	if ((*pkt)->count == 1)
		return XB_DROP_COUNT;
	flat = xb_packet_copy(cache, *pkt);
	if (!flat)
		return XB_DROP_TX_NO_FRAME;
	xb_packet_free(cache, *pkt);
	*pkt = flat;
	return XB_DROP_COUNT;
}

/* Sends what the packet socket would refuse. The kernel is told at once, so that what follows by
 * the packet socket does not overtake it. */
static unsigned tx_long(struct xb_port *port, unsigned q, struct xb_cache *cache,
			struct xb_frame **pkts, unsigned n)
{
	unsigned done;

	for (done = 0; done < n; done++) {
		enum xb_drop reason = make_plain(cache, &pkts[done]);

		if (reason != XB_DROP_COUNT)
			xb_port_drop(port, q, cache, pkts[done], reason);
		else if (!tx_batch(port, q, cache, &pkts[done], 1))
			break;
	}
	kick(port, q, cache);
	return done;
}

static unsigned packet_tx_batch(struct xb_port *port, unsigned q, struct xb_cache *cache,
				struct xb_frame **pkts, unsigned n)
{
	const struct xb_packet_tx *tx = &xb_to_uplink(port)->own->packet_tx;
	unsigned done = 0;

	while (done < n) {
		bool refused = xb_packet_tx_refuses(tx, pkts[done]);
		unsigned run = 1, sent;

		while (done + run < n && xb_packet_tx_refuses(tx, pkts[done + run]) == refused)
			run++;
		sent = refused ? tx_long(port, q, cache, pkts + done, run)
			       : xb_packet_tx_send(tx, port, q, cache, pkts + done, run);
		done += sent;
		if (sent < run)
			break;
	}
	return done;
}

static const struct xb_port_ops packet_ops = {
	.rx_batch = xb_uplink_rx_batch,
	.tx_batch = packet_tx_batch,
	.kick = kick, /* for what went by AF_XDP; the packet socket has completed all that it took
		       */
	.arm = xb_uplink_arm,
	.disarm = xb_uplink_disarm,
	.beat = xb_uplink_beat,
};

/* ---- which ---- */

const struct xb_port_ops *xb_uplink_ops(enum xb_uplink_tx tx)
{
	return tx == XB_UPLINK_TX_PACKET ? &packet_ops : &xdp_ops;
}

static void use(struct xb_uplink *uplink, enum xb_uplink_tx tx, const char *why)
{
	const bool packet = tx == XB_UPLINK_TX_PACKET;

	uplink->tx = tx;
	snprintf(uplink->tx_why, sizeof(uplink->tx_why), "%s", why);
	uplink->port.ops = xb_uplink_ops(tx);
	uplink->port.caps.takes = packet ? XB_PACKET_TX_TAKES : 0;
	uplink->port.caps.frames_max = packet ? XB_PACKET_FRAMES_MAX : 1;
}

int xb_uplink_open_tx(struct xb_uplink *uplink, struct xb_error *err)
{
	const enum xb_uplink_tx wanted = uplink->options.tx;
	char why[128];
	int ret;

	if (wanted == XB_UPLINK_TX_XDP || (wanted == XB_UPLINK_TX_AUTO && uplink->zerocopy)) {
		use(uplink, XB_UPLINK_TX_XDP,
		    wanted == XB_UPLINK_TX_XDP ? "as configured" : "its driver copies nothing");
		return 0;
	}
	ret = xb_packet_tx_open(&uplink->own->packet_tx, uplink->ifindex, uplink->port.name,
				uplink->mtu, err);
	if (ret < 0 && wanted == XB_UPLINK_TX_PACKET)
		return ret;
	if (ret < 0) {
		snprintf(why, sizeof(why), "no packet socket: %s", strerror(-ret));
		use(uplink, XB_UPLINK_TX_XDP, why);
		if (err)
			*err = (struct xb_error){0};
		return 0;
	}
	use(uplink, XB_UPLINK_TX_PACKET,
	    wanted == XB_UPLINK_TX_PACKET ? "as configured" : "AF_XDP has no zero copy here");
	return 0;
}
