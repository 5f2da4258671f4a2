/* SPDX-License-Identifier: BSD-2-Clause */
#include "daemon/arp.h"

#include <errno.h>
#include <net/if.h>
#include <stdio.h>

static int raise_setting(const char *ifname, const char *name, int wanted, struct xb_error *err)
{
	char path[64 + IF_NAMESIZE];
	FILE *file;
	int value;
	int ret = 0;

	snprintf(path, sizeof(path), "/proc/sys/net/ipv4/conf/%s/%s", ifname, name);
	file = fopen(path, "r+e");
	if (!file)
		return xb_fail(err, -errno, "open %s", path);
	if (fscanf(file, "%d", &value) != 1 || value < wanted) {
		rewind(file);
		fprintf(file, "%d\n", wanted);
	}
	if (fclose(file))
		ret = xb_fail(err, -errno, "write %s", path);
	return ret;
}

int xb_arp_confine(const char *ifname, struct xb_error *err)
{
	int ret = raise_setting(ifname, "arp_ignore", 1, err);

	return ret < 0 ? ret : raise_setting(ifname, "arp_announce", 2, err);
}
