/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The properties of a TAP's interface that the tun driver can't be asked for. These requests go by
 * the interface's name, as it is at that moment, and through a socket in its namespace.
 */
#include "vhost/tap.h"
#include "vhost/tap_admin.h"
#include "vhost/tap_parts.h"

#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

/* A SIOC… request by name, in the TAP's namespace. */
static int link_ioctl(const struct xb_tap *tap, unsigned long cmd, struct ifreq *req)
{
	struct ifreq named;
	int ret;

	if (!xb_tap_is_reached(tap))
		return -ENODEV;
	ret = xb_tap_request(tap, &named);
	if (ret < 0)
		return ret == -EBADFD ? -ENODEV : ret;
	memcpy(req->ifr_name, named.ifr_name, IFNAMSIZ);
	return xb_tap_admin_request(tap->ctl_fd, cmd, req);
}

int xb_tap_get_mtu(const struct xb_tap *tap, unsigned *ret_mtu)
{
	struct ifreq req = {0};
	int ret = link_ioctl(tap, SIOCGIFMTU, &req);

	if (ret == 0)
		*ret_mtu = (unsigned)req.ifr_mtu;
	return ret;
}

int xb_tap_set_mtu(struct xb_tap *tap, unsigned mtu)
{
	struct ifreq req = {.ifr_mtu = (int)mtu};
	int ret = link_ioctl(tap, SIOCSIFMTU, &req);

	if (ret == 0)
		tap->given.mtu = mtu;
	return ret;
}

int xb_tap_get_up(const struct xb_tap *tap, bool *ret_up)
{
	struct ifreq req = {0};
	int ret = link_ioctl(tap, SIOCGIFFLAGS, &req);

	if (ret == 0)
		*ret_up = req.ifr_flags & IFF_UP;
	return ret;
}

int xb_tap_set_up(struct xb_tap *tap, bool up)
{
	struct ifreq req = {0};
	int ret = link_ioctl(tap, SIOCGIFFLAGS, &req);

	if (ret < 0)
		return ret;
	req.ifr_flags = (short)((req.ifr_flags & ~IFF_UP) | (up ? IFF_UP : 0));
	return link_ioctl(tap, SIOCSIFFLAGS, &req);
}

int xb_tap_get_ifindex(const struct xb_tap *tap, unsigned *ret_ifindex)
{
	struct ifreq req = {0};
	int ret = link_ioctl(tap, SIOCGIFINDEX, &req);

	if (ret == 0)
		*ret_ifindex = (unsigned)req.ifr_ifindex;
	return ret;
}
