/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The ports' own addresses in the forwarding table: they neither age nor move.
 */
#include "daemon/instance.h"

#include <string.h>

static bool has_own(const struct xb_instance_own *list, unsigned n,
		    const struct xb_instance_own *own)
{
	for (unsigned i = 0; i < n; i++)
		if (list[i].port == own->port && !memcmp(list[i].mac, own->mac, sizeof(own->mac)))
			return true;
	return false;
}

static unsigned list_own(struct xb_instance *instance, struct xb_instance_own *ret_list)
{
	unsigned n = 0;

	/* The kernel port's comes first: with `--mac uplink` it is the uplink's too. */
	if (instance->kernel_running)
		xb_tap_get_mac(&instance->kernel.tap, instance->kernel.mac);
	memcpy(ret_list[n].mac, instance->kernel.mac, sizeof(instance->kernel.mac));
	ret_list[n++].port = instance->kernel.port->id;
	for (unsigned i = 0; i < instance->n_uplinks; i++) {
		const struct xb_uplink *uplink = instance->uplinks[i].uplink;

		memcpy(ret_list[n].mac, uplink->mac, sizeof(uplink->mac));
		ret_list[n++].port = uplink->port.id;
	}
	return n;
}

/* Entries that stay are never missing: a packet meanwhile would be flooded. */
void xb_instance_refresh_own(struct xb_instance *instance)
{
	struct xb_instance_own list[1 + XB_UPLINKS_MAX] = {0};
	unsigned n = list_own(instance, list);

	for (unsigned i = 0; i < instance->n_own; i++)
		if (!has_own(list, n, &instance->own[i]))
			xb_fdb_del(instance->fdb, xb_fdb_key(instance->own[i].mac, XB_FDB_VLAN_ANY),
				   XB_FDB_OWN);
	/* Setting what is there does nothing; what another port has, is tried again at each look.
	 */
	for (unsigned i = 0; i < n; i++)
		xb_fdb_set(instance->fdb, xb_fdb_key(list[i].mac, XB_FDB_VLAN_ANY), list[i].port,
			   XB_FDB_OWN);
	memcpy(instance->own, list, sizeof(list));
	instance->n_own = n;
}
