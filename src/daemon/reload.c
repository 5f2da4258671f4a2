/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What is applied is the difference between the file as it was read last and as it is now: what
 * commands have changed since, and the file has not, stays. What failed is tried again next time.
 */
#include "daemon/reload.h"

#include "core/cleanup.h"
#include "daemon/door_kernel.h"
#include "daemon/door_uplink.h"
#include "daemon/doors.h"
#include "daemon/kernel_follow.h"
#include "daemon/log.h"
#include "daemon/mac.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

/* How long a file may take to open. */
#define OPEN_MS 5000u

/* An option that only a restart can change. */
static void needs_restart(const char *name)
{
	xb_log(XB_LOG_WARNING, "%s has changed in the file: it takes a restart to apply it", name);
}

/* What the file asks for; one at a time. */
static struct {
	struct xb_change change; /* first */
	struct xb_instance *instance;
	unsigned queues;
} resizing;

static void on_resized(struct xb_change *change)
{
	struct xb_instance *instance = resizing.instance;

	if (change->code < 0) {
		xb_log_error(XB_LOG_ERROR, "queues", &change->err);
		return;
	}
	instance->config.kernel.queues = resizing.queues;
	xb_log(XB_LOG_INFO, "queues of %s: %u", xb_kernel_door_first(instance)->base.port->name,
	       resizing.queues);
}

static void apply_queues(struct xb_kernel_door *door, unsigned queues)
{
	struct xb_instance *instance = door->base.instance;
	struct xb_error err = {0};

	if (queues == instance->config.kernel.queues)
		return;
	resizing.change = (struct xb_change){.done = on_resized};
	resizing.instance = instance;
	resizing.queues = queues;
	if (door->base.ops->set_queues(&door->base, queues, &resizing.change, &err) < 0)
		xb_log_error(XB_LOG_ERROR, "queues", &err);
}

static bool same_rules(const struct xb_rule_list *a, const struct xb_rule_list *b)
{
	return a->n == b->n && (!a->n || !memcmp(a->rules, b->rules, a->n * sizeof(a->rules[0])));
}

/* Takes one rule that says the same out of a list; its order doesn't matter. */
static void take_out(struct xb_rule_list *list, const struct xb_rule *rule)
{
	for (unsigned i = 0; i < list->n; i++) {
		struct xb_rule there = list->rules[i];

		there.id = rule->id;
		if (memcmp(&there, rule, sizeof(there)) != 0)
			continue;
		list->rules[i] = list->rules[--list->n];
		return;
	}
}

/* The table in force, with the file's changes applied to it. */
static int make_table(const struct xb_instance *instance, const struct xb_config *new,
		      struct xb_rule_list *wanted, struct xb_error *err)
{
	const struct xb_config *old = &instance->config;
	int ret = xb_steering_copy(&instance->steering, wanted, err);

	for (unsigned i = 0; !ret && i < old->rules.n; i++)
		take_out(wanted, &old->rules.rules[i]);
	for (unsigned i = 0; !ret && i < new->rules.n; i++)
		ret = xb_rule_list_add(wanted, &new->rules.rules[i], new->rules.sources[i], err);
	if (!ret && strcmp(old->verdict_word, new->verdict_word))
		ret = xb_rule_list_set_verdict(wanted, new->verdict_word, 0, err);
	return ret;
}

/* The file's rules and default verdict change as the file did; what was changed since stays. */
static void apply_table(struct xb_instance *instance, struct xb_config *new)
{
	struct xb_config *old = &instance->config;
	struct xb_rule_list wanted = {0}, swap;
	struct xb_error err = {0};
	int ret;

	if (same_rules(&old->rules, &new->rules) && !strcmp(old->verdict_word, new->verdict_word))
		return;
	if (instance->steering.confirm_by_ns) {
		xb_log(XB_LOG_ERROR,
		       "rules: a change of the table is on trial (`steer confirm`); the "
		       "file's rules have not been applied");
		return;
	}
	ret = make_table(instance, new, &wanted, &err);
	if (!ret)
		ret = xb_steering_load(&instance->steering, &wanted, 0, &err);
	xb_rule_list_free(&wanted);
	if (ret < 0) {
		xb_log_error(XB_LOG_ERROR, "rules", &err);
		return;
	}
	xb_instance_steered(instance);
	swap = old->rules;
	old->rules = new->rules;
	new->rules = swap;
	strcpy(old->verdict_word, new->verdict_word);
	xb_log(XB_LOG_INFO, "the steering table has changed: %u rules, default %s",
	       instance->steering.now.n, instance->steering.now.word);
}

static void apply_mtu(struct xb_kernel_door *door, unsigned mtu)
{
	struct xb_instance *instance = door->base.instance;
	struct xb_kernel_port *kernel = &door->kernel;
	const struct xb_tap *tap = &kernel->tap;
	unsigned wanted = mtu ? mtu : tap->found ? tap->before.mtu : xb_kernel_lent(door).mtu;
	int ret;

	if (mtu == instance->config.kernel.mtu || kernel->tap.handed_in)
		return;
	/* the next look at it adopts it */
	ret = wanted && door->base.running ? xb_tap_set_mtu(&kernel->tap, wanted) : 0;
	if (ret < 0)
		xb_log(XB_LOG_ERROR, "mtu %u of %s: %s", wanted, kernel->port->name,
		       strerror(-ret));
	else
		instance->config.kernel.mtu = door->config.mtu = mtu;
}

/* The address that the kernel's interface is to have; NULL, with `err`: it can't. */
static const uint8_t *wanted_mac(const struct xb_kernel_door *door,
				 const struct xb_kernel_config *new, uint8_t stable[6],
				 struct xb_error *err)
{
	const struct xb_kernel_port *kernel = &door->kernel;
	const struct xb_door *first;

	switch (new->mac_source) {
	case XB_MAC_GIVEN:
		return new->mac;
	case XB_MAC_UPLINK:
		/* an uplink that only the file has takes a restart */
		first = xb_doors_first_uplink(door->base.instance);
		if (first && !xb_uplink_door_may_lend(first, err))
			return first->mac;
		if (!first)
			xb_refuse(err, -ENODEV, "mac uplink: there is no uplink as yet");
		return NULL;
	case XB_MAC_STABLE:
		break;
	}
	return kernel->tap.found ? kernel->tap.before.mac : xb_mac_stable(door->name, stable);
}

static void apply_mac(struct xb_kernel_door *door, const struct xb_kernel_config *new)
{
	struct xb_instance *instance = door->base.instance;
	struct xb_kernel_config *old = &instance->config.kernel;
	struct xb_kernel_port *kernel = &door->kernel;
	struct xb_error err = {0};
	const uint8_t *mac;
	uint8_t stable[6];
	int ret = 0;

	if ((new->mac_source == old->mac_source && !memcmp(new->mac, old->mac, sizeof(old->mac))) ||
	    kernel->tap.handed_in)
		return;
	mac = wanted_mac(door, new, stable, &err);
	if (!mac) {
		xb_log_error(XB_LOG_ERROR, "the file's mac is not applied", &err);
		return;
	}
	if (door->base.running)
		ret = xb_tap_set_mac(&kernel->tap, mac);
	if (ret < 0) {
		xb_log(XB_LOG_ERROR, "mac of %s: %s", kernel->port->name, strerror(-ret));
		return;
	}
	memcpy(kernel->mac, mac, sizeof(kernel->mac));
	memcpy(door->base.mac, mac, sizeof(door->base.mac));
	if (new->mac_source == XB_MAC_UPLINK)
		memcpy(door->followed_mac, mac, sizeof(door->followed_mac));
	old->mac_source = door->config.mac_source = new->mac_source;
	memcpy(old->mac, new->mac, sizeof(old->mac));
	memcpy(door->config.mac, new->mac, sizeof(new->mac));
	xb_doors_check(instance, false); /* an uplink lends its address, or has it back */
	xb_log(XB_LOG_INFO, "the address of %s has changed", kernel->port->name);
}

static void apply_offload(struct xb_kernel_door *door, struct xb_offload_set offload)
{
	struct xb_offload_set *old = &door->base.instance->config.kernel.offload;
	struct xb_error err = {0};

	if (offload.takes == old->takes && offload.gives == old->gives)
		return;
	/* it may be at other queues, which were changed just now: then the next time */
	if (door->base.ops->set_offload(&door->base, offload, NULL, &err) < 0) {
		xb_log_error(XB_LOG_ERROR, "the file's offload is not applied", &err);
		return;
	}
	*old = offload;
	xb_log(XB_LOG_INFO, "offloads of %s are negotiated again", door->base.port->name);
}

static bool same_fds(const struct xb_fd_list *a, const struct xb_fd_list *b)
{
	return a->n == b->n && !memcmp(a->fds, b->fds, a->n * sizeof(a->fds[0]));
}

static bool same_cpus(const struct xb_config *a, const struct xb_config *b)
{
	return a->n_cpus == b->n_cpus && !memcmp(a->cpus, b->cpus, a->n_cpus * sizeof(a->cpus[0]));
}

static bool same_uplinks(const struct xb_config *a, const struct xb_config *b)
{
	if (a->n_uplinks != b->n_uplinks)
		return false;
	for (unsigned i = 0; i < a->n_uplinks; i++) {
		const struct xb_uplink_options *x = &a->uplinks[i].options;
		const struct xb_uplink_options *y = &b->uplinks[i].options;

		if (strcmp(x->ifname, y->ifname) ||
		    strcmp(a->uplinks[i].domain, b->uplinks[i].domain) ||
		    (x->sharing == XB_SHARING_DEDICATED) != (y->sharing == XB_SHARING_DEDICATED) ||
		    x->csum != y->csum || x->xdp.mode != y->xdp.mode ||
		    x->xdp.exclusive != y->xdp.exclusive || x->mode != y->mode || x->tx != y->tx)
			return false;
	}
	return true;
}

static bool same_kernels(const struct xb_config *a, const struct xb_config *b)
{
	return a->n_kernels == b->n_kernels &&
	       !memcmp(a->kernels, b->kernels, a->n_kernels * sizeof(a->kernels[0]));
}

static void name_the_rest(const struct xb_instance *instance, const struct xb_config *new)
{
	const struct xb_config *old = &instance->config;
	const struct xb_kernel_config *a = &old->kernel, *b = &new->kernel;

	if (!same_uplinks(old, new))
		needs_restart("uplink");
	if (old->no_kernel != new->no_kernel)
		needs_restart("no-kernel");
	if (!same_kernels(old, new))
		needs_restart("kernel");
	if (strcmp(old->name, new->name))
		needs_restart("name");
	if (a->backend != b->backend)
		needs_restart("vhost-net or tap");
	if (strcmp(a->ifname, b->ifname))
		needs_restart("ifname");
	if (a->queue_size != b->queue_size)
		needs_restart("queue-size");
	if (strcmp(a->netns, b->netns))
		needs_restart("netns");
	if (a->persist && !b->persist)
		xb_remark_not_persistent(instance);
	else if (a->persist != b->persist)
		needs_restart("persist");
	if (!same_fds(&a->tap_fds, &b->tap_fds))
		needs_restart("tap-fd");
	if (!same_fds(&a->vhost_fds, &b->vhost_fds))
		needs_restart("vhost-fd");
	if (!same_cpus(old, new))
		needs_restart("cpus");
	if (old->workers != new->workers)
		needs_restart("workers");
	if (old->frames != new->frames)
		needs_restart("frames");
	if (old->stall_ms != new->stall_ms)
		needs_restart("stall-ms");
	if (strcmp(old->bpffs, new->bpffs))
		needs_restart("bpffs");
}

static struct xb_instance *instance_of(struct xb_job *job)
{
	return (struct xb_instance *)((char *)job - offsetof(struct xb_instance, reloading));
}

/* `fd` is the file; -1: it is opened here. */
static void reload(struct xb_instance *instance, int fd)
{
	struct xb_kernel_door *door = xb_kernel_door_first(instance);
	struct xb_config config;
	struct xb_error err = {0};

	if (xb_config_parse(&config, instance->argc, instance->argv, fd, &err) < 0) {
		xb_log(XB_LOG_ERROR, "%s; nothing was changed", err.what);
		xb_config_fini(&config);
		return;
	}
	name_the_rest(instance, &config);
	if (door) {
		apply_queues(door, config.kernel.queues);
		apply_mtu(door, config.kernel.mtu);
		apply_mac(door, &config.kernel);
		apply_offload(door, config.kernel.offload);
	}
	apply_table(instance, &config);
	xb_config_fini(&config);
	xb_log_use_json(config.log_json);
	xb_log(XB_LOG_INFO, "read %s again", config.file);
}

/* The kernel's port may be at something, and the workers may look at old rules yet. */
static void reloading(struct xb_job *job)
{
	struct xb_instance *instance = instance_of(job);
	const struct xb_kernel_door *door = xb_kernel_door_first(instance);

	if ((door && xb_job_is_busy(&door->base.job)) || !xb_instance_is_settled(instance)) {
		xb_job_again(job);
		return;
	}
	xb_job_rest(job);
	reload(instance, XB_TAKE_FD(instance->reader.file_fd));
}

/* The reader opens the file: we may no longer be allowed to. Without a reader we try. */
static void opening(struct xb_job *job)
{
	struct xb_instance *instance = instance_of(job);
	int ret = xb_reader_take(&instance->reader);

	if (!ret || ret == -EPIPE) {
		xb_job_enter(job, &instance->loop, "reading the file again", XB_JOB_NO_LIMIT,
			     reloading);
	} else if (ret == -EAGAIN && !xb_job_is_late(job)) {
		xb_job_again(job);
	} else {
		xb_job_rest(job);
		xb_log(XB_LOG_ERROR, "open %s: %s; nothing was changed", instance->config.file,
		       ret == -EAGAIN ? "it takes too long" : strerror(-ret));
	}
}

void xb_reload(struct xb_instance *instance)
{
	if (!instance->config.file[0]) {
		xb_log(XB_LOG_NOTICE, "SIGHUP: there is no configuration file (--config) to read");
		return;
	}
	xb_reader_ask(&instance->reader);
	xb_job_enter(&instance->reloading, &instance->loop, "opening the file", OPEN_MS, opening);
}
