/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Which port a name means: what is called so now comes first, then what is also known so, then what
 * was called so before.
 */
#include "daemon/instance.h"
#include "netdev/ifname.h"

#include <string.h>

static struct xb_port *called_so(struct xb_instance *instance, const char *name)
{
	for (unsigned i = 0; i < instance->n_uplinks; i++)
		if (!strcmp(name, instance->uplinks[i].uplink->port.name))
			return &instance->uplinks[i].uplink->port;
	return NULL;
}

static struct xb_port *known_so(struct xb_instance *instance, const char *name)
{
	uint32_t ifindex = instance->n_uplinks ? xb_ifname_index(name) : 0;

	for (unsigned i = 0; ifindex && i < instance->n_uplinks; i++)
		if (!instance->uplinks[i].lost && ifindex == instance->uplinks[i].uplink->ifindex)
			return &instance->uplinks[i].uplink->port;
	return NULL;
}

static struct xb_port *once_called_so(struct xb_instance *instance, const char *name)
{
	for (unsigned i = 0; i < instance->n_uplinks; i++)
		if (xb_uplink_has_name(instance->uplinks[i].uplink, name))
			return &instance->uplinks[i].uplink->port;
	return NULL;
}

struct xb_port *xb_instance_port(struct xb_instance *instance, const char *name)
{
	struct xb_port *port;

	if (instance->kernel.port &&
	    (!strcmp(name, "kernel") || !strcmp(name, instance->kernel.port->name)))
		return instance->kernel.port;
	port = called_so(instance, name);
	if (!port)
		port = known_so(instance, name);
	return port ? port : once_called_so(instance, name);
}
