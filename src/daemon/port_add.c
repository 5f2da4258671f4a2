/* SPDX-License-Identifier: BSD-2-Clause */
#include "daemon/port_add.h"

#include "daemon/door_kernel.h"
#include "daemon/door_uplink.h"
#include "daemon/doors.h"

#include <errno.h>

/* As the first one is, where a `--kernel` of `run` would say nothing else. */
static int add_kernel(struct xb_instance *instance, struct xb_kernel_config *config,
		      struct xb_change *change, struct xb_error *err)
{
	const struct xb_kernel_config *first = &instance->config.kernel;

	if (xb_doors_find(instance, config->ifname))
		return xb_refuse(err, -EEXIST, "there is a port %s already", config->ifname);
	config->backend = first->backend;
	config->queue_size = first->queue_size;
	config->offload = first->offload;
	return xb_kernel_door_open(instance, config, !instance->doors[XB_KERNEL_PORT_ID], change,
				   err);
}

int xb_ports_add(struct xb_instance *instance, int argc, const char *const *argv,
		 struct xb_change *change, struct xb_error *err)
{
	struct xb_config config;
	int ret;

	xb_config_init(&config);
	ret = xb_config_parse_port(&config, argc, argv, err);
	if (!ret && config.n_uplinks) {
		config.uplinks[0].options.stall_ns = (uint64_t)instance->config.stall_ms * 1000000u;
		ret = xb_uplink_door_add(instance, &config.uplinks[0], change, err);
	} else if (!ret) {
		ret = add_kernel(instance, &config.kernels[0], change, err);
	}
	xb_config_fini(&config);
	return ret;
}
