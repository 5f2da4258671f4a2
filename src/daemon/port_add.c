/* SPDX-License-Identifier: BSD-2-Clause */
#include "daemon/port_add.h"

#include "daemon/door_uplink.h"

int xb_ports_add(struct xb_instance *instance, int argc, const char *const *argv,
		 struct xb_change *change, struct xb_error *err)
{
	struct xb_config config;
	int ret;

	xb_config_init(&config);
	ret = xb_config_parse_port(&config, argc, argv, err);
	if (!ret) {
		config.uplinks[0].stall_ns = (uint64_t)instance->config.stall_ms * 1000000u;
		ret = xb_uplink_door_add(instance, &config.uplinks[0], change, err);
	}
	xb_config_fini(&config);
	return ret;
}
