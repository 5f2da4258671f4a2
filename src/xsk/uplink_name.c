/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * An uplink's names.
 *
 * Theory. The interface is its index; its name may change while it is used. The port is called what
 * the interface is called, and is known by what it was called before as well: rules and
 * configuration go on naming it so. One that has gone is looked for under the name that was given,
 * which is the only one that the doorman (daemon/doorman.h) takes for another interface: an index
 * may be that of another by then.
 */
#include "core/error.h"
#include "netdev/ifname.h"
#include "xsk/uplink_own.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

/* How often it is looked at anew when it is renamed at the same time. */
#define READ_TRIES 16u

bool xb_uplink_has_name(const struct xb_uplink *uplink, const char *name)
{
	for (unsigned i = 0; i < uplink->n_names; i++)
		if (!strcmp(name, uplink->names[i]))
			return true;
	return false;
}

/* The name that was given stays; of those since then the oldest makes room. */
static void note_name(struct xb_uplink *uplink, const char name[IF_NAMESIZE])
{
	if (xb_uplink_has_name(uplink, name))
		return;
	if (uplink->n_names == XB_UPLINK_NAMES_MAX) {
		memmove(&uplink->names[1], &uplink->names[2],
			(XB_UPLINK_NAMES_MAX - 2) * sizeof(uplink->names[0]));
		uplink->n_names--;
	}
	memcpy(uplink->names[uplink->n_names++], name, IF_NAMESIZE);
}

/* The name that the interface of that index has now. */
static int adopt_name(struct xb_uplink *uplink, uint32_t ifindex)
{
	char name[IF_NAMESIZE] = "";
	int ret = xb_ifname_read(ifindex, name);

	if (ret < 0)
		return ret;
	note_name(uplink, name);
	memcpy(uplink->options.ifname, name, sizeof(name));
	static_assert(sizeof(uplink->port.name) >= sizeof(name), "a port may be called so");
	memcpy(uplink->port.name, name, sizeof(name));
	return 0;
}

/* Reads the interface by its name of now. -EAGAIN: it was renamed meanwhile, and another may have
 * its name. */
static int read_by_name(const struct xb_uplink *uplink, struct xb_netdev *ret_netdev)
{
	int ret = xb_netdev_read(uplink->options.ifname, ret_netdev, NULL);

	if (ret == -ENODEV || (!ret && ret_netdev->ifindex != uplink->ifindex))
		return -EAGAIN;
	return ret;
}

int xb_uplink_read(struct xb_uplink *uplink, struct xb_netdev *ret_netdev)
{
	int ret = -EAGAIN;

	for (unsigned tries = 0; ret == -EAGAIN && tries < READ_TRIES; tries++) {
		ret = adopt_name(uplink, uplink->ifindex);
		if (!ret)
			ret = read_by_name(uplink, ret_netdev);
	}
	uplink->own->gone = ret == -ENODEV;
	return ret;
}

int xb_uplink_look_up(struct xb_uplink *uplink, struct xb_netdev *ret_netdev, struct xb_error *err)
{
	int ret;

	if (uplink->own && !uplink->own->gone && !xb_uplink_read(uplink, ret_netdev))
		return 0;
	if (!uplink->n_names)
		note_name(uplink, uplink->options.ifname);
	ret = xb_netdev_read(uplink->names[0], ret_netdev, err);
	return ret < 0 ? ret : adopt_name(uplink, ret_netdev->ifindex); /* an altname will do */
}
