/* SPDX-License-Identifier: BSD-2-Clause */
#include "daemon/domains.h"

#include "daemon/doors.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static bool is_in_use(const struct xb_instance *instance, unsigned number)
{
	if (!number)
		return true;
	xb_for_each_door(instance, door)
	{
		if (door->port->domain == number)
			return true;
	}
	return false;
}

int xb_domains_find(const struct xb_instance *instance, const char *name)
{
	for (unsigned i = 0; i < XB_DOMAINS_MAX; i++)
		if (!strcmp(instance->domains[i], name) && is_in_use(instance, i))
			return (int)i;
	return -ENOENT;
}

int xb_domains_take(struct xb_instance *instance, const char *name, struct xb_error *err)
{
	int number = xb_domains_find(instance, name);

	for (unsigned i = 1; number < 0 && i < XB_DOMAINS_MAX; i++) {
		if (is_in_use(instance, i))
			continue;
		snprintf(instance->domains[i], sizeof(instance->domains[i]), "%s", name);
		number = (int)i;
	}
	if (number >= 0)
		return number;
	xb_refuse(err, -ENOSPC, "domain %s is one too many: %u can have ports", name,
		  XB_DOMAINS_MAX);
	return -ENOSPC;
}
