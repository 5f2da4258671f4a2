/* SPDX-License-Identifier: BSD-2-Clause */
#include "daemon/instance.h"

#include "daemon/log.h"
#include "daemon/privileges.h"
#include "xsk/netdev.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Packets that may be under way beside those that rings hold. */
#define FRAMES_SLACK 8192u

/* How long queues that retire may take to run empty. */
#define RETIRE_MS 500u

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* ---- what a configuration needs ---- */

/* RX queues of all uplinks, and of the one that has most. */
struct queue_count {
	unsigned all, most;
};

static int count_queues(const struct xb_config *config, struct queue_count *ret_count,
			struct xb_error *err)
{
	struct queue_count count = {.most = config->kernel.queues};

	for (unsigned i = 0; i < config->n_uplinks; i++) {
		struct xb_netdev netdev;
		int ret = xb_netdev_read(config->uplinks[i].ifname, &netdev, err);

		if (ret < 0)
			return ret;
		count.all += netdev.rx_queues;
		if (netdev.rx_queues > count.most)
			count.most = netdev.rx_queues;
	}
	*ret_count = count;
	return 0;
}

static unsigned pick_workers(const struct xb_config *config, const struct queue_count *count)
{
	cpu_set_t cpus;
	unsigned n;

	if (config->workers)
		return config->workers;
	n = sched_getaffinity(0, sizeof(cpus), &cpus) ? 1 : (unsigned)CPU_COUNT(&cpus);
	if (config->n_cpus)
		n = config->n_cpus;
	n = n < count->most ? n : count->most;
	return n < XB_WORKERS_MAX ? n : XB_WORKERS_MAX;
}

static unsigned pick_frames(const struct xb_config *config, const struct queue_count *count)
{
	unsigned kernel_queues = config->kernel.queues > XB_KERNEL_QUEUES_SPARE
					 ? config->kernel.queues
					 : XB_KERNEL_QUEUES_SPARE;

	if (config->frames)
		return config->frames;
	return FRAMES_SLACK + count->all * XB_UPLINK_RING_DEFAULT +
	       kernel_queues * config->kernel.queue_size * 2;
}

/* ---- ports ---- */

static int open_uplinks(struct xb_instance *instance, struct xb_error *err)
{
	struct xb_config *config = &instance->config;

	if (!config->n_uplinks)
		return 0;
	if (xb_gate_open(&instance->gate, config->name, err) < 0)
		return err->code;
	instance->gate_open = true;
	if (instance->gate.replaced)
		xb_log(XB_LOG_NOTICE, "maps of another version were pinned; they were replaced");
	if (instance->gate.taken_over)
		xb_log(XB_LOG_NOTICE, "took over the maps of an earlier run");
	for (unsigned i = 0; i < config->n_uplinks; i++) {
		struct xb_uplink *uplink;

		if (xb_uplink_new(&config->uplinks[i], &instance->gate, &instance->arena, &uplink,
				  err) < 0)
			return err->code;
		uplink->port.id = (uint16_t)(XB_KERNEL_PORT_ID + 1 + i);
		instance->uplinks[instance->n_uplinks++].uplink = uplink;
		xb_log(XB_LOG_INFO,
		       "uplink %s is %s (%s); choose with --uplink %s,shared or "
		       "%s,dedicated",
		       uplink->port.name, uplink->shared ? "shared" : "dedicated",
		       uplink->shared_reason, uplink->port.name, uplink->port.name);
	}
	return 0;
}

static void say_uplink(const struct xb_uplink *uplink)
{
	xb_log(XB_LOG_INFO, "uplink %s: %u of %u queues, XDP %s, AF_XDP %s, checksums %s",
	       uplink->port.name, uplink->port.n_queues, uplink->rx_queues,
	       uplink->attachment.mode == XB_XDP_NATIVE ? "native" : "generic",
	       uplink->zerocopy ? "zero copy" : "copy",
	       uplink->port.caps.trusts_csum ? "trusted" : "verified by the receiver");
	if (uplink->attachment.native_code)
		xb_log(XB_LOG_NOTICE, "uplink %s: no native XDP (%s), generic instead",
		       uplink->port.name, strerror(-uplink->attachment.native_code));
}

static int start_uplink(struct xb_instance *instance, struct xb_instance_uplink *entry,
			struct xb_error *err)
{
	int ret = xb_uplink_start(entry->uplink, &instance->cache, err);

	if (!ret)
		say_uplink(entry->uplink);
	return ret;
}

static int start_ports(struct xb_instance *instance, struct xb_error *err)
{
	const struct xb_uplink *first = instance->n_uplinks ? instance->uplinks[0].uplink : NULL;
	int ret = xb_kernel_port_open(&instance->kernel, &instance->config,
				      first ? first->mac : NULL, first ? first->mtu : 0,
				      &instance->arena, err);

	if (!ret)
		ret = xb_kernel_port_start(&instance->kernel, instance->config.kernel.queues,
					   &instance->cache, err);
	if (ret < 0)
		return ret;
	instance->kernel_running = true;
	xb_log(XB_LOG_INFO, "%s: %s", instance->kernel.port->name, instance->kernel.why);
	for (unsigned i = 0; !ret && i < instance->n_uplinks; i++)
		ret = start_uplink(instance, &instance->uplinks[i], err);
	return ret;
}

/* ---- own addresses: they neither age nor move ---- */

static bool not_own(const struct xb_fdb_row *row, void *arg)
{
	(void)arg;
	return row->kind != XB_FDB_OWN;
}

static void set_own(struct xb_instance *instance, const uint8_t mac[6], const struct xb_port *port)
{
	xb_fdb_set(instance->fdb, xb_fdb_key(mac, XB_FDB_VLAN_ANY), port->id, XB_FDB_OWN);
}

/* The kernel port's address comes first: with `--mac uplink` it is the uplink's too. */
static void refresh_own(struct xb_instance *instance)
{
	xb_fdb_sweep(instance->fdb, not_own, NULL);
	if (instance->kernel.port) {
		xb_tap_get_mac(&instance->kernel.tap, instance->kernel.mac);
		set_own(instance, instance->kernel.mac, instance->kernel.port);
	}
	for (unsigned i = 0; i < instance->n_uplinks; i++)
		set_own(instance, instance->uplinks[i].uplink->mac,
			&instance->uplinks[i].uplink->port);
}

/* ---- publishing ---- */

int xb_instance_publish(struct xb_instance *instance)
{
	struct xb_snapshot *snapshot = calloc(1, sizeof(*snapshot));

	if (!snapshot)
		return -ENOMEM;
	snapshot->verdict = instance->config.verdict;
	snapshot->fdb = instance->fdb;
	if (instance->kernel_running)
		xb_snapshot_add(snapshot, instance->kernel.port);
	for (unsigned i = 0; i < instance->n_uplinks; i++)
		if (instance->uplinks[i].uplink->running)
			xb_snapshot_add(snapshot, &instance->uplinks[i].uplink->port);
	xb_workers_publish(&instance->workers, snapshot);
	free(instance->snapshot);
	instance->snapshot = snapshot;
	return 0;
}

/* Publishes the ports without `out`. */
static void unpublish(struct xb_instance *instance, const struct xb_port *out)
{
	struct xb_snapshot *snapshot = calloc(1, sizeof(*snapshot));

	if (snapshot) {
		snapshot->verdict = instance->snapshot->verdict;
		snapshot->fdb = instance->fdb;
		for (unsigned i = 0; i < instance->snapshot->n_ports; i++)
			if (instance->snapshot->port_list[i] != out)
				xb_snapshot_add(snapshot, instance->snapshot->port_list[i]);
	}
	xb_workers_publish(&instance->workers, snapshot); /* none at all, where memory is short */
	free(instance->snapshot);
	instance->snapshot = snapshot;
}

struct xb_port *xb_instance_port(struct xb_instance *instance, const char *name)
{
	if (instance->kernel.port &&
	    (!strcmp(name, "kernel") || !strcmp(name, instance->kernel.port->name)))
		return instance->kernel.port;
	for (unsigned i = 0; i < instance->n_uplinks; i++)
		if (!strcmp(name, instance->uplinks[i].uplink->port.name))
			return &instance->uplinks[i].uplink->port;
	return NULL;
}

/* ---- queues ---- */

static void pause_ms(unsigned ms)
{
	struct timespec pause = {.tv_nsec = (long)ms * 1000000};

	nanosleep(&pause, NULL);
}

/* Lets the queues from `queues` on run empty while their workers still serve them. */
static void retire(struct xb_instance *instance, unsigned queues)
{
	uint64_t end_ns = now_ns() + RETIRE_MS * 1000000ull;

	if (!xb_kernel_port_retire(&instance->kernel, queues)) {
		xb_log(XB_LOG_WARNING,
		       "%s: flows can't be moved off its queues first; what lies in "
		       "them is lost",
		       instance->kernel.port->name);
		return;
	}
	while (xb_kernel_port_waiting(&instance->kernel, queues) && now_ns() < end_ns)
		pause_ms(1);
	pause_ms(2); /* what the kernel has taken out of the queue reaches the ring */
}

int xb_instance_set_queues(struct xb_instance *instance, unsigned queues, struct xb_error *err)
{
	struct xb_port *port = instance->kernel.port;
	unsigned before = port->n_queues;
	int ret;

	if (!queues || queues > port->queues_max)
		return xb_fail(err, -EINVAL, "%u queues for %s, which has at most %u", queues,
			       port->name, port->queues_max);
	if (queues == before)
		return 0;
	if (queues < before) {
		retire(instance, queues);
		port->n_queues = (uint16_t)queues;
		xb_instance_publish(instance);
		port->n_queues = (uint16_t)before;
	}
	ret = xb_kernel_port_resize(&instance->kernel, queues, &instance->cache, err);
	if (!ret)
		instance->config.kernel.queues = queues;
	xb_instance_publish(instance);
	return ret;
}

/* ---- the default verdict ---- */

int xb_instance_set_verdict(struct xb_instance *instance, uint16_t verdict, struct xb_error *err)
{
	instance->generation++;
	for (unsigned i = 0; i < instance->n_uplinks; i++) {
		int ret = xb_uplink_set_verdict(instance->uplinks[i].uplink, verdict,
						instance->generation, err);

		if (ret < 0)
			return ret;
	}
	instance->config.verdict = verdict;
	xb_instance_publish(instance);
	return 0;
}

/* ---- what happens to interfaces meanwhile ---- */

static void check_uplink(struct xb_instance *instance, struct xb_instance_uplink *entry)
{
	struct xb_uplink *uplink = entry->uplink;
	struct xb_error err = {0};

	if (uplink->running && xb_uplink_refresh_link(uplink) == -ENODEV) {
		unpublish(instance, &uplink->port);
		xb_uplink_stop(uplink, &instance->cache);
		entry->lost = true;
		xb_log(XB_LOG_WARNING, "uplink %s is gone; it is used again when it is back",
		       uplink->port.name);
	}
	if (!entry->lost)
		return;
	if (xb_uplink_reopen(uplink, &err) < 0 || start_uplink(instance, entry, &err) < 0)
		return;
	entry->lost = false;
	xb_instance_publish(instance);
	xb_log(XB_LOG_NOTICE, "uplink %s is back", uplink->port.name);
}

/* Opens the kernel port anew after its interface was deleted. */
static void reopen_kernel(struct xb_instance *instance)
{
	const struct xb_uplink *first = instance->n_uplinks ? instance->uplinks[0].uplink : NULL;
	struct xb_error err = {0};
	int ret = xb_kernel_port_reopen(&instance->kernel, &instance->config,
					first ? first->mac : NULL, first ? first->mtu : 0, &err);

	if (!ret)
		ret = xb_kernel_port_start(&instance->kernel, instance->config.kernel.queues,
					   &instance->cache, &err);
	if (ret < 0)
		return;
	instance->kernel_running = true;
	xb_instance_publish(instance);
	xb_log(XB_LOG_NOTICE, "%s is back", instance->kernel.port->name);
}

static void check_kernel(struct xb_instance *instance)
{
	int ret;

	if (!instance->kernel_running) {
		reopen_kernel(instance);
		return;
	}
	ret = xb_kernel_port_check(&instance->kernel);
	if (!ret)
		return;
	unpublish(instance, instance->kernel.port);
	xb_kernel_port_stop(&instance->kernel, &instance->cache);
	instance->kernel_running = false;
	xb_log(XB_LOG_WARNING, "%s %s; it is made again", instance->kernel.port->name,
	       ret == -ENODEV ? "was deleted" : "has failed");
	reopen_kernel(instance);
}

void xb_instance_check(struct xb_instance *instance)
{
	check_kernel(instance);
	for (unsigned i = 0; i < instance->n_uplinks; i++) {
		struct xb_error err = {0};

		check_uplink(instance, &instance->uplinks[i]);
		if (!instance->uplinks[i].lost &&
		    xb_uplink_refresh_macs(instance->uplinks[i].uplink, NULL, &err) < 0 &&
		    err.code != -ENODEV)
			xb_log_error(XB_LOG_WARNING, "own addresses", &err);
	}
	refresh_own(instance);
}

void xb_instance_tick(struct xb_instance *instance)
{
	xb_fdb_age(instance->fdb, (uint32_t)(now_ns() / 1000000000u));
	for (unsigned i = 0; i < instance->n_uplinks; i++)
		xb_uplink_refresh_stats(instance->uplinks[i].uplink);
}

/* ---- life ---- */

static void on_worker_start(void *arg, unsigned worker)
{
	const struct xb_instance *instance = arg;
	const struct xb_config *config = &instance->config;

	if (config->n_cpus) {
		cpu_set_t cpus;

		CPU_ZERO(&cpus);
		CPU_SET(config->cpus[worker % config->n_cpus], &cpus);
		sched_setaffinity(0, sizeof(cpus), &cpus);
	}
	xb_privileges_drop_thread();
}

static int start(struct xb_instance *instance, struct xb_error *err)
{
	struct xb_workers_options options = {.on_start = on_worker_start, .arg = instance};
	const struct xb_config *config = &instance->config;
	struct queue_count count;
	int ret = count_queues(config, &count, err);

	if (!ret)
		ret = xb_arena_init(&instance->arena, pick_frames(config, &count),
				    xb_kernel_port_ring_bytes(config), err);
	if (ret < 0)
		return ret;
	xb_cache_init(&instance->cache, &instance->arena);
	instance->fdb = xb_fdb_new();
	if (!instance->fdb)
		return xb_fail(err, -ENOMEM, "allocate the forwarding table");
	ret = open_uplinks(instance, err);
	if (!ret)
		ret = start_ports(instance, err);
	if (ret < 0)
		return ret;
	refresh_own(instance);
	options.n = pick_workers(config, &count);
	options.beat_ns = (uint64_t)config->stall_ms * 1000000u / 4;
	ret = xb_workers_start(&instance->workers, &instance->arena, &options, err);
	if (ret < 0)
		return ret;
	instance->started_ns = now_ns();
	ret = xb_instance_publish(instance);
	return ret < 0 ? xb_fail(err, ret, "publish the ports") : 0;
}

int xb_instance_start(struct xb_instance *instance, struct xb_error *err)
{
	int ret = start(instance, err);

	if (ret < 0)
		xb_instance_stop(instance);
	return ret;
}

static void stop_uplinks(struct xb_instance *instance)
{
	struct xb_error err = {0};

	for (unsigned i = 0; i < instance->n_uplinks; i++) {
		struct xb_uplink *uplink = instance->uplinks[i].uplink;
		uint32_t slot = uplink->slot;

		xb_uplink_stop(uplink, &instance->cache);
		if (xb_gate_detach_slot(&instance->gate, slot, &err) < 0)
			xb_log_error(XB_LOG_WARNING, uplink->port.name, &err);
		xb_uplink_free(uplink, NULL);
	}
	instance->n_uplinks = 0;
	if (!instance->gate_open)
		return;
	xb_gate_close(&instance->gate);
	if (xb_gate_remove(instance->config.name, &err) < 0)
		xb_log_error(XB_LOG_WARNING, "remove the pinned maps", &err);
	instance->gate_open = false;
}

void xb_instance_stop(struct xb_instance *instance)
{
	if (instance->workers.worker) {
		xb_workers_publish(&instance->workers, NULL);
		xb_workers_stop(&instance->workers);
	}
	free(instance->snapshot);
	instance->snapshot = NULL;
	stop_uplinks(instance);
	if (instance->kernel.port)
		xb_kernel_port_close(&instance->kernel, &instance->cache);
	instance->kernel_running = false;
	xb_fdb_free(instance->fdb);
	instance->fdb = NULL;
	if (instance->arena.base) {
		xb_cache_fini(&instance->cache);
		xb_arena_fini(&instance->arena);
	}
}
