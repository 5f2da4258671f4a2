/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The ports' own addresses. In the forwarding table they neither age nor move; in the gate those of
 * an uplink's stack make frames pass.
 *
 * Theory. An address belongs to one port. The kernel's interface comes first: with `mac uplink` it
 * has the uplink's, and anybody may give it that at any time (`ip link set tap0 address …`). The
 * uplink's entry yields then, or all that tap0 sends would be taken for a forgery (smac_taken), and
 * a dedicated uplink lends its address: frames to it come to tap0. A shared one does not, since
 * what its stack has stays with it.
 */
#include "daemon/instance.h"
#include "daemon/log.h"

#include <errno.h>
#include <string.h>

#define MAC_FMT       "%02x:%02x:%02x:%02x:%02x:%02x"
#define MAC_ARGS(mac) (mac)[0], (mac)[1], (mac)[2], (mac)[3], (mac)[4], (mac)[5]

static bool same_mac(const uint8_t a[6], const uint8_t b[6])
{
	return !memcmp(a, b, 6);
}

void xb_instance_refresh_macs(struct xb_instance *instance, struct xb_instance_uplink *entry)
{
	struct xb_error err = {0};
	int ret = xb_uplink_refresh_macs(entry->uplink, &err);

	entry->macs_due = xb_is_shortage(ret);
	if (entry->macs_due)
		return; /* the look at the uplink says why */
	if (ret < 0 && err.code != -ENODEV)
		xb_log_error(XB_LOG_WARNING, "own addresses", &err);
	if (ret > 0 && instance->workers.worker) /* it is published in due course at the start */
		xb_instance_publish(instance);
}

void xb_instance_look_for_macs(struct xb_instance_uplink *entry)
{
	uint64_t digest;

	if (entry->lost || xb_own_macs_digest(entry->uplink->ifindex, &digest) < 0 ||
	    digest == entry->digest)
		return;
	entry->digest = digest;
	entry->macs_due = true;
}

/* ---- tap0 and the uplinks ---- */

/* With `mac uplink`: tap0 has the address that the uplink has by now, unless somebody has given it
 * another since. */
static void follow_mac(struct xb_instance *instance)
{
	struct xb_kernel_port *kernel = &instance->kernel;
	const struct xb_uplink *first = instance->uplinks[0].uplink;
	bool follows = same_mac(kernel->mac, instance->followed_mac);
	int ret;

	if (instance->config.kernel.mac_source != XB_MAC_UPLINK || !instance->kernel_running ||
	    same_mac(first->mac, instance->followed_mac))
		return;
	memcpy(instance->followed_mac, first->mac, sizeof(instance->followed_mac));
	if (!follows)
		return;
	ret = xb_tap_set_mac(&kernel->tap, first->mac);
	if (ret < 0) {
		xb_log(XB_LOG_WARNING, "%s: its address can't follow the uplink's: %s",
		       kernel->port->name, strerror(-ret));
		return;
	}
	memcpy(kernel->mac, first->mac, sizeof(kernel->mac));
	xb_log(XB_LOG_NOTICE, "%s has the address of uplink %s, which is " MAC_FMT " now",
	       kernel->port->name, first->port.name, MAC_ARGS(first->mac));
}

static void say_lent(const struct xb_instance *instance, const struct xb_uplink *uplink, bool lent)
{
	const char *tap = instance->kernel.port->name;
	const char *name = uplink->port.name;

	if (uplink->shared && lent)
		xb_log(XB_LOG_WARNING,
		       "%s has the address of the shared uplink %s: frames to it stay with the stack "
		       "of %s; give %s another address, or start with --uplink %s,dedicated",
		       tap, name, name, tap, name);
	else if (lent)
		xb_log(XB_LOG_NOTICE,
		       "%s has the address of uplink %s: frames to it go to %s, not to the stack of %s",
		       tap, name, tap, name);
	else
		xb_log(XB_LOG_NOTICE,
		       "%s has another address than uplink %s now: frames to that of %s go to its own "
		       "stack again",
		       tap, name, name);
}

static void lend(struct xb_instance *instance, struct xb_instance_uplink *entry)
{
	struct xb_uplink *uplink = entry->uplink;
	bool lends = same_mac(uplink->mac, instance->kernel.mac);

	if (lends == uplink->options.lends_mac)
		return;
	uplink->options.lends_mac = lends;
	if (entry->lost || xb_job_is_busy(&entry->job))
		entry->macs_due = true;
	else
		xb_instance_refresh_macs(instance, entry);
	say_lent(instance, uplink, lends);
}

/* ---- the forwarding table ---- */

static bool has_own(const struct xb_instance_own *list, unsigned n,
		    const struct xb_instance_own *own)
{
	for (unsigned i = 0; i < n; i++)
		if (list[i].port == own->port && same_mac(list[i].mac, own->mac))
			return true;
	return false;
}

static void add_own(struct xb_instance_own *list, unsigned *n, const struct xb_port *port,
		    const uint8_t mac[6])
{
	for (unsigned i = 0; i < *n; i++)
		if (same_mac(list[i].mac, mac))
			return;
	memcpy(list[*n].mac, mac, sizeof(list[*n].mac));
	list[(*n)++].port = port->id;
}

/* Who comes first has an address that several claim. */
static unsigned list_own(const struct xb_instance *instance, struct xb_instance_own *ret_list)
{
	unsigned n = 0;

	add_own(ret_list, &n, instance->kernel.port, instance->kernel.mac);
	for (unsigned i = 0; i < instance->n_uplinks; i++) {
		const struct xb_uplink *uplink = instance->uplinks[i].uplink;

		add_own(ret_list, &n, &uplink->port, uplink->mac);
	}
	return n;
}

/* Entries that stay are never missing: a packet meanwhile would be flooded. */
static void enter_own(struct xb_instance *instance)
{
	struct xb_instance_own list[1 + XB_UPLINKS_MAX] = {0};
	unsigned n = list_own(instance, list);

	for (unsigned i = 0; i < instance->n_own; i++)
		if (!has_own(list, n, &instance->own[i]))
			xb_fdb_del(instance->fdb, xb_fdb_key(instance->own[i].mac, XB_FDB_VLAN_ANY),
				   XB_FDB_OWN);
	/* Setting what is there does nothing; what does not fit is tried again at each look. */
	for (unsigned i = 0; i < n; i++)
		xb_fdb_set(instance->fdb, xb_fdb_key(list[i].mac, XB_FDB_VLAN_ANY), list[i].port,
			   XB_FDB_OWN);
	memcpy(instance->own, list, sizeof(list));
	instance->n_own = n;
}

void xb_instance_refresh_own(struct xb_instance *instance)
{
	if (instance->kernel_running)
		xb_tap_get_mac(&instance->kernel.tap, instance->kernel.mac);
	if (instance->n_uplinks)
		follow_mac(instance);
	enter_own(instance);
	for (unsigned i = 0; i < instance->n_uplinks; i++)
		lend(instance, &instance->uplinks[i]);
}
