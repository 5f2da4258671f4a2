/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory. An address belongs to one port. The kernel's interface comes first: with `mac uplink` it
 * has the uplink's, and anybody may give it that at any time (`ip link set tap0 address …`). The
 * uplink's entry yields then, or all that tap0 sends would be taken for a forgery (smac_taken).
 */
#include "daemon/own.h"

#include "daemon/doors.h"

#include <string.h>

static bool same_mac(const uint8_t a[6], const uint8_t b[6])
{
	return !memcmp(a, b, 6);
}

static struct xb_fdb_key key_of(const struct xb_instance_own *own)
{
	return xb_fdb_key(own->domain, own->mac, XB_FDB_VLAN_ANY);
}

static bool has_own(const struct xb_instance_own *list, unsigned n,
		    const struct xb_instance_own *own)
{
	for (unsigned i = 0; i < n; i++)
		if (list[i].port == own->port && list[i].domain == own->domain &&
		    same_mac(list[i].mac, own->mac))
			return true;
	return false;
}

static void add_own(struct xb_instance_own *list, unsigned *n, const struct xb_door *door)
{
	for (unsigned i = 0; i < *n; i++)
		if (list[i].domain == door->port->domain && same_mac(list[i].mac, door->mac))
			return;
	memcpy(list[*n].mac, door->mac, sizeof(list[*n].mac));
	list[*n].domain = door->port->domain;
	list[(*n)++].port = door->port->id;
}

static void add_all(const struct xb_instance *instance, bool uplinks, struct xb_instance_own *list,
		    unsigned *n)
{
	xb_for_each_door(instance, door)
	{
		if (door->port->caps.uplink == uplinks)
			add_own(list, n, door);
	}
}

/* Entries that stay are never missing: a packet meanwhile would be flooded. */
void xb_own_enter(struct xb_instance *instance)
{
	struct xb_instance_own list[XB_PORTS_MAX] = {0};
	unsigned n = 0;

	add_all(instance, false, list, &n); /* the first to claim an address has it */
	add_all(instance, true, list, &n);
	for (unsigned i = 0; i < instance->n_own; i++)
		if (!has_own(list, n, &instance->own[i]))
			xb_fdb_del(instance->fdb, key_of(&instance->own[i]), XB_FDB_OWN);
	/* setting what is there does nothing */
	for (unsigned i = 0; i < n; i++)
		xb_fdb_set(instance->fdb, key_of(&list[i]), list[i].port, XB_FDB_OWN);
	memcpy(instance->own, list, sizeof(list));
	instance->n_own = n;
}
