/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * MAC and MTU of a TAP that was opened by name, and how they go back to what they were.
 *
 * Theory. Whoever makes a TAP beforehand has set it up as it should be: it keeps what no option
 * names, and what an option has changed is undone at the end. One that an earlier run of ours has
 * left (it is persistent) is told by its address, which is the one that it would get if it were
 * made now: that one is ours, and follows the uplink as it did.
 */
#include "vhost/tap.h"
#include "vhost/tap_parts.h"

#include <errno.h>
#include <string.h>

static int set_mac(struct xb_tap *tap, const uint8_t *mac, struct xb_error *err)
{
	int ret = mac ? xb_tap_set_mac(tap, mac) : 0;

	if (ret < 0) {
		xb_fail(err, ret, "set the MAC address of the TAP %s", tap->name);
		if (ret == -EADDRNOTAVAIL)
			xb_hint(err,
				"an interface can't have a group address or 00:00:00:00:00:00");
	}
	return ret;
}

static int set_mtu(struct xb_tap *tap, unsigned mtu, struct xb_error *err)
{
	int ret = mtu ? xb_tap_set_mtu(tap, mtu) : 0;

	if (ret < 0) {
		xb_fail(err, ret, "set the MTU of the TAP %s to %u", tap->name, mtu);
		xb_hint(err, ret == -EPERM ? "it needs CAP_NET_ADMIN" : "68 to 65521 are possible");
	}
	return ret;
}

static void read_settings(const struct xb_tap *tap, struct xb_tap_settings *ret_settings)
{
	if (xb_tap_get_mac(tap, ret_settings->mac) < 0 ||
	    xb_tap_get_mtu(tap, &ret_settings->mtu) < 0)
		ret_settings->mtu = 0;
}

int xb_tap_set_up_as(struct xb_tap *tap, const struct xb_tap_options *options, struct xb_error *err)
{
	bool ours = tap->made;
	int ret;

	if (!tap->made) {
		read_settings(tap, &tap->before);
		ours = options->default_mac && !memcmp(tap->before.mac, options->default_mac, 6);
		tap->found = !ours;
	}
	ret = set_mac(tap, options->mac || !ours ? options->mac : options->default_mac, err);
	if (!ret)
		ret = set_mtu(tap, options->mtu || !ours ? options->mtu : options->default_mtu,
			      err);
	return ret;
}

void xb_tap_give_back(struct xb_tap *tap)
{
	struct xb_tap_settings now = {0};

	if (!tap->found || !tap->before.mtu)
		return;
	read_settings(tap, &now);
	if (!now.mtu)
		return; /* it is gone, or out of reach */
	if (tap->given.mtu == now.mtu && now.mtu != tap->before.mtu)
		xb_tap_set_mtu(tap, tap->before.mtu);
	if (!memcmp(tap->given.mac, now.mac, sizeof(now.mac)) &&
	    memcmp(tap->before.mac, now.mac, sizeof(now.mac)) != 0)
		xb_tap_set_mac(tap, tap->before.mac);
}
