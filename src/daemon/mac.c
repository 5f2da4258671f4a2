/* SPDX-License-Identifier: BSD-2-Clause */
#include "daemon/mac.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* FNV-1a, 64 bits: well spread, and not meant to hide anything. */
static uint64_t hash(uint64_t seed, const char *text)
{
	for (; *text; text++)
		seed = (seed ^ (uint8_t)*text) * 0x100000001b3u;
	return seed;
}

static void machine_id(char *ret_id, size_t bytes)
{
	FILE *file = fopen("/etc/machine-id", "re");

	ret_id[0] = '\0';
	if (file) {
		if (!fgets(ret_id, (int)bytes, file))
			ret_id[0] = '\0';
		fclose(file);
	}
	if (!ret_id[0] && gethostname(ret_id, bytes) < 0)
		ret_id[0] = '\0';
	ret_id[bytes - 1] = '\0';
}

const uint8_t *xb_mac_stable(const char *name, uint8_t ret_mac[6])
{
	char id[64];
	uint64_t sum;

	machine_id(id, sizeof(id));
	sum = hash(hash(hash(0xcbf29ce484222325u, "xbridge"), id), name);
	for (unsigned i = 0; i < 6; i++)
		ret_mac[i] = (uint8_t)(sum >> 8 * i);
	ret_mac[0] = (uint8_t)((ret_mac[0] & 0xfc) | 0x02);
	return ret_mac;
}
