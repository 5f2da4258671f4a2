/* SPDX-License-Identifier: BSD-2-Clause */
#include "daemon/reload.h"

#include "daemon/log.h"

#include <string.h>

/* An option that only a restart can change. */
static void needs_restart(const char *name)
{
	xb_log(XB_LOG_WARNING, "%s has changed in the file: it takes a restart to apply it", name);
}

static void apply_queues(struct xb_instance *instance, unsigned queues)
{
	struct xb_error err = {0};

	if (queues == instance->config.kernel.queues)
		return;
	if (xb_instance_set_queues(instance, queues, &err) < 0)
		xb_log_error(XB_LOG_ERROR, "queues", &err);
	else
		xb_log(XB_LOG_INFO, "queues of %s: %u", instance->kernel.port->name, queues);
}

static void apply_verdict(struct xb_instance *instance, uint16_t verdict)
{
	struct xb_error err = {0};

	if (verdict == instance->config.verdict)
		return;
	if (xb_instance_set_verdict(instance, verdict, &err) < 0)
		xb_log_error(XB_LOG_ERROR, "default verdict", &err);
	else
		xb_log(XB_LOG_INFO, "the default verdict has changed");
}

static bool same_uplinks(const struct xb_config *a, const struct xb_config *b)
{
	if (a->n_uplinks != b->n_uplinks)
		return false;
	for (unsigned i = 0; i < a->n_uplinks; i++) {
		const struct xb_uplink_options *x = &a->uplinks[i], *y = &b->uplinks[i];

		if (strcmp(x->ifname, y->ifname) || x->sharing != y->sharing ||
		    x->csum != y->csum || x->xdp != y->xdp || x->mode != y->mode)
			return false;
	}
	return true;
}

static void name_the_rest(const struct xb_config *old, const struct xb_config *new)
{
	const struct xb_kernel_config *a = &old->kernel, *b = &new->kernel;

	if (!same_uplinks(old, new))
		needs_restart("uplink");
	if (strcmp(old->name, new->name))
		needs_restart("name");
	if (a->backend != b->backend)
		needs_restart("vhost-net or tap");
	if (strcmp(a->ifname, b->ifname))
		needs_restart("ifname");
	if (a->queue_size != b->queue_size)
		needs_restart("queue-size");
	if (a->mac_source != b->mac_source || memcmp(a->mac, b->mac, sizeof(a->mac)))
		needs_restart("mac");
	if (a->mtu != b->mtu)
		needs_restart("mtu");
	if (strcmp(a->netns, b->netns))
		needs_restart("netns");
	if (a->offload != b->offload)
		needs_restart("no-offload");
	if (old->workers != new->workers)
		needs_restart("workers");
	if (old->frames != new->frames)
		needs_restart("frames");
	if (old->stall_ms != new->stall_ms)
		needs_restart("stall-ms");
}

void xb_reload(struct xb_instance *instance)
{
	struct xb_config config;
	struct xb_error err = {0};

	if (!instance->config.file[0]) {
		xb_log(XB_LOG_NOTICE, "SIGHUP: there is no configuration file (--config) to read");
		return;
	}
	if (xb_config_parse(&config, instance->argc, instance->argv, &err) < 0) {
		xb_log(XB_LOG_ERROR, "%s; nothing was changed", err.what);
		return;
	}
	name_the_rest(&instance->config, &config);
	apply_queues(instance, config.kernel.queues);
	apply_verdict(instance, config.verdict);
	xb_log(XB_LOG_INFO, "read %s again", config.file);
}
