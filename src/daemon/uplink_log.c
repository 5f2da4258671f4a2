/* SPDX-License-Identifier: BSD-2-Clause */
#include "daemon/uplink_log.h"

#include "daemon/log.h"

#include <string.h>

static void say_ways(const struct xb_uplink *uplink)
{
	xb_log(XB_LOG_INFO, "uplink %s: %u of %u queues, XDP %s by %s, AF_XDP %s, checksums %s",
	       uplink->port.name, uplink->port.n_queues, uplink->rx_queues,
	       uplink->attachment.mode == XB_XDP_NATIVE ? "native" : "generic",
	       uplink->attachment.way == XB_ATTACHED_DISPATCHER ? "dispatcher" : "link",
	       uplink->zerocopy ? "zero copy" : "copy",
	       uplink->port.caps.trusts_csum ? "trusted" : "verified by the receiver");
	xb_log(XB_LOG_INFO, "uplink %s: sends through %s (%s); choose with tx=xdp or tx=packet",
	       uplink->port.name, uplink->tx == XB_UPLINK_TX_PACKET ? "a packet socket" : "AF_XDP",
	       uplink->tx_why);
	if (uplink->attachment.native_code)
		xb_log(XB_LOG_NOTICE, "uplink %s: no native XDP (%s), generic instead",
		       uplink->port.name, strerror(-uplink->attachment.native_code));
	if (uplink->attachment.dispatcher_code)
		xb_log(XB_LOG_NOTICE,
		       "uplink %s: its XDP program is alone there, others can't join it (%s: %s)",
		       uplink->port.name, uplink->attachment.dispatcher_why,
		       strerror(-uplink->attachment.dispatcher_code));
}

static void say_lost_tags(const struct xb_uplink *uplink)
{
	char remedy[192];

	if (!xb_tags_are_lost(&uplink->tags))
		return;
	xb_tags_remedy(&uplink->tags, remedy, sizeof(remedy));
	xb_log(XB_LOG_WARNING,
	       "uplink %s: VLAN tags are lost before XDP sees a frame, and rules with `vlan ID` do "
	       "not match it: %s",
	       uplink->port.name, remedy);
}

void xb_say_tags(const struct xb_uplink *uplink, const struct xb_tags *before)
{
	const struct xb_tags *now = &uplink->tags;

	if (now->fate == before->fate)
		return;
	if (xb_tags_are_lost(now))
		say_lost_tags(uplink);
	else if (xb_tags_are_lost(before) && now->fate == XB_TAGS_STAY)
		xb_log(XB_LOG_NOTICE, "uplink %s: VLAN tags stay in frames now", uplink->port.name);
	else if (xb_tags_are_lost(before))
		xb_log(XB_LOG_NOTICE,
		       "uplink %s: its peer is in another network namespace now; whether VLAN tags "
		       "are lost is not known any more",
		       uplink->port.name);
}

/* What is joined to more than a frame holds passes to the uplink's own stack. */
static void say_joined(const struct xb_uplink *uplink)
{
	char remedy[128];

	if (uplink->attachment.mode != XB_XDP_GENERIC || !uplink->below.joined)
		return;
	xb_below_remedy(&uplink->below, remedy, sizeof(remedy));
	if (uplink->below.joined == XB_JOINED_PERHAPS) {
		xb_log(XB_LOG_NOTICE,
		       "uplink %s: if the peer of %s, in another network namespace, sends segments "
		       "whole, such of more than %u bytes pass to its own stack; then: %s",
		       uplink->port.name, uplink->below.joined_at, XB_REDIRECT_BYTES_MAX, remedy);
		return;
	}
	xb_log(XB_LOG_WARNING,
	       "uplink %s: frames may arrive joined from %s (%s), and such of more than %u bytes pass "
	       "to its own stack: %s",
	       uplink->port.name, uplink->below.joined_at,
	       uplink->below.joined == XB_JOINED_BY_PEER ? "its peer sends segments whole" : "GRO",
	       XB_REDIRECT_BYTES_MAX, remedy);
}

static void say_aggregate(const struct xb_uplink *uplink)
{
	if (!uplink->aggregate)
		return;
	if (uplink->attachment.mode == XB_XDP_GENERIC)
		xb_log(XB_LOG_NOTICE,
		       "uplink %s: is a bond; XDP runs above it (generic), since the kernel drops "
		       "what a program in its members' drivers redirects",
		       uplink->port.name);
	else
		xb_log(XB_LOG_WARNING,
		       "uplink %s: is a bond; the kernel drops what a native XDP program redirects "
		       "there: leave out xdp=native",
		       uplink->port.name);
}

/* What a dedicated uplink takes from the bond or bridge that it is a member of. */
static void say_member(const struct xb_uplink *uplink)
{
	const char *master = uplink->master.name;

	if (uplink->shared || !*master)
		return;
	if (uplink->master.aggregate)
		xb_log(XB_LOG_WARNING,
		       "uplink %s: is dedicated, and a member of %s, which gets no group frames "
		       "from it, and LACP (802.3ad) only by a rule: `in uplink ethertype 0x8809 to "
		       "pass`; leave out dedicated where it is to have both",
		       uplink->port.name, master);
	else
		xb_log(XB_LOG_WARNING,
		       "uplink %s: is dedicated, and a port of the bridge %s, which gets no group "
		       "frames from it, and its other ports nothing: leave out dedicated",
		       uplink->port.name, master);
}

void xb_say_uplink(const struct xb_uplink *uplink)
{
	say_ways(uplink);
	say_aggregate(uplink);
	say_member(uplink);
	say_lost_tags(uplink);
	say_joined(uplink);
}
