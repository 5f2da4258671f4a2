/* SPDX-License-Identifier: BSD-2-Clause */
#include "daemon/instance.h"

#include "daemon/arp.h"
#include "daemon/capturing.h"
#include "daemon/log.h"
#include "daemon/privileges.h"
#include "daemon/remarks.h"
#include "daemon/uplink_log.h"
#include "xsk/netdev.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Packets that may be under way beside those that rings hold. */
#define FRAMES_SLACK 8192u

/* How long queues that retire may take to run empty. What lies in them then is lost, and nobody
 * counts it. */
#define RETIRE_MS 3000u

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
	unsigned kernel_queues = xb_kernel_port_queues_max(config);

	if (config->frames)
		return config->frames;
	/* those that may be added later get what their receive rings hold */
	return FRAMES_SLACK + count->all * XB_UPLINK_RING_DEFAULT +
	       (kernel_queues + config->kernel.queues) * config->kernel.queue_size;
}

/* What rings hold that are filled at once, and some for packets under way. */
static int check_frames(const struct xb_config *config, const struct queue_count *count,
			struct xb_error *err)
{
	unsigned least = count->all * XB_UPLINK_RING_DEFAULT / 2 +
			 config->kernel.queues * config->kernel.queue_size + 1024;

	if (!config->frames || config->frames >= least)
		return 0;
	xb_refuse(err, -ENOMEM, "%u frames are too few to fill the rings", config->frames);
	xb_hint(err, "give more --frames, at least %u, or leave it out", least);
	return -ENOMEM;
}

/* ---- ports ---- */

/* An earlier run that was killed may have used uplinks that this one does not name. */
static void detach_unnamed(struct xb_instance *instance)
{
	struct xb_gate_pin pins[XB_UPLINKS_MAX * 4];
	int n = xb_gate_list(pins, XB_UPLINKS_MAX * 4);

	for (int i = 0; i < n && i < (int)(XB_UPLINKS_MAX * 4); i++) {
		struct xb_error err = {0};

		if (strcmp(pins[i].instance, instance->config.name) ||
		    instance->gate.claimed & 1u << pins[i].slot)
			continue;
		if (xb_gate_detach_slot(&instance->gate, pins[i].slot, &err) < 0)
			xb_log_error(XB_LOG_WARNING, "what an earlier run left", &err);
		else if (pins[i].ifname[0])
			xb_log(XB_LOG_NOTICE,
			       "removed the program that an earlier run had left on %s",
			       pins[i].ifname);
	}
}

/* A shared uplink's address stays its own stack's: tap0 would never get a frame. */
static int refuse_shared_mac(const struct xb_uplink *uplink, struct xb_error *err)
{
	if (!uplink->options.lends_mac || !uplink->shared)
		return 0;
	xb_fail(err, -EINVAL, "mac uplink: %s is shared (%s)", uplink->port.name,
		uplink->shared_reason);
	xb_hint(err, "--uplink %s,dedicated lets the address move to the kernel's interface",
		uplink->port.name);
	return -EINVAL;
}

static int open_uplinks(struct xb_instance *instance, struct xb_error *err)
{
	struct xb_config *config = &instance->config;

	if (!config->n_uplinks)
		return 0;
	if (xb_gate_open(&instance->gate, config->name, err) < 0)
		return err->code;
	instance->gate_open = true;
	instance->gate.delegate = (struct xb_gate_delegate){xb_doorman_carry_out,
							    &instance->doorman};
	xb_gate_tick(&instance->gate, xb_now_ns());
	xb_drop_feed_reset(&instance->gate);
	if (instance->gate.replaced)
		xb_log(XB_LOG_NOTICE, "maps of another version were pinned; they were replaced");
	if (instance->gate.taken_over)
		xb_log(XB_LOG_NOTICE, "took over the maps of an earlier run");
	for (unsigned i = 0; i < config->n_uplinks; i++) {
		struct xb_uplink *uplink;

		config->uplinks[i].port_id = (uint16_t)(XB_KERNEL_PORT_ID + 1 + i);
		if (xb_uplink_new(&config->uplinks[i], &instance->gate, &instance->arena, &uplink,
				  err) < 0)
			return err->code;
		instance->uplinks[instance->n_uplinks++].uplink = uplink;
		xb_log(XB_LOG_INFO,
		       "uplink %s is %s (%s): %s; choose with --uplink %s,shared or %s,dedicated",
		       uplink->port.name, uplink->shared ? "shared" : "dedicated",
		       uplink->shared_reason,
		       uplink->shared ? "its stack keeps its own and group frames"
				      : "xbridge takes all frames but those to its own addresses",
		       uplink->port.name, uplink->port.name);
		if (refuse_shared_mac(uplink, err) < 0)
			return err->code;
	}
	return 0;
}

int xb_instance_start_uplink(struct xb_instance *instance, struct xb_instance_uplink *entry,
			     struct xb_error *err)
{
	int ret;

	xb_privileges_lock_memory(true);
	ret = xb_uplink_start(entry->uplink, &instance->cache, err);
	xb_privileges_lock_memory(false);
	if (ret < 0)
		return ret;
	xb_say_uplink(entry->uplink);
	return 0;
}

/* Beside a shared uplink both interfaces would answer ARP for each other's address. */
static void confine_arp(struct xb_instance *instance)
{
	const char *ifname = instance->kernel.port->name;
	struct xb_error err = {0};

	for (unsigned i = 0; i < instance->n_uplinks; i++) {
		const struct xb_uplink *uplink = instance->uplinks[i].uplink;

		if (!uplink->shared || !xb_kernel_port_is_here(&instance->kernel))
			continue;
		if (xb_arp_confine(ifname, &err) < 0)
			xb_log_error(XB_LOG_WARNING, "ARP", &err);
		if (instance->arp_said)
			return;
		instance->arp_said = true;
		xb_log(XB_LOG_WARNING,
		       "%s lies beside the shared uplink %s: %s answers for no address but its own "
		       "(arp_ignore=1 arp_announce=2), but %s still answers ARP for %s's address; "
		       "a network namespace of its own (--netns) avoids that",
		       ifname, uplink->port.name, ifname, uplink->port.name, ifname);
		return;
	}
}

int xb_instance_start_kernel(struct xb_instance *instance, struct xb_error *err)
{
	int ret;

	confine_arp(instance);
	xb_instance_follow_carrier(instance);
	ret = xb_kernel_port_start(&instance->kernel, instance->config.kernel.queues,
				   &instance->cache, err);
	if (ret < 0)
		return ret;
	instance->kernel_running = true;
	if (!atomic_load(&instance->kernel.port->up))
		xb_log(XB_LOG_NOTICE, "%s is down: bring it up (ip link set %s up)",
		       instance->kernel.port->name, instance->kernel.port->name);
	return 0;
}

unsigned xb_instance_lent_mtu(const struct xb_instance *instance)
{
	unsigned mtu = instance->n_uplinks ? instance->uplinks[0].uplink->mtu : 0;

	return mtu < XB_UPLINK_MTU_MAX ? mtu : XB_UPLINK_MTU_MAX;
}

static int port_of_name(const void *arg, const char *name, bool *ret_uplink)
{
	const struct xb_port *port = xb_instance_port((struct xb_instance *)arg, name);

	if (!port)
		return -ENOENT;
	*ret_uplink = port->caps.uplink;
	return port->id;
}

static int start_steering(struct xb_instance *instance, struct xb_error *err)
{
	struct xb_rule_names names = {.port = port_of_name, .arg = instance};
	int ret = xb_steering_init(&instance->steering,
				   instance->gate_open ? &instance->gate : NULL, &names, err);

	/* without any rule, too: an earlier run may have left some */
	return ret ? ret : xb_steering_load(&instance->steering, &instance->config.rules, 0, err);
}

static int start_ports(struct xb_instance *instance, struct xb_error *err)
{
	const struct xb_uplink *first = instance->n_uplinks ? instance->uplinks[0].uplink : NULL;
	int ret = xb_kernel_port_open(&instance->kernel, &instance->config,
				      first ? first->mac : NULL, xb_instance_lent_mtu(instance),
				      &instance->arena, err);

	if (!ret)
		ret = xb_instance_start_kernel(instance, err);
	if (ret < 0)
		return ret;
	instance->followed_mtu = first ? first->mtu : 0;
	xb_log(XB_LOG_INFO, "%s: %s", instance->kernel.port->name, instance->kernel.why);
	/* before any frame comes in; its ports have their names now */
	ret = start_steering(instance, err);
	for (unsigned i = 0; !ret && i < instance->n_uplinks; i++)
		ret = xb_instance_start_uplink(instance, &instance->uplinks[i], err);
	if (!ret)
		xb_remark_start(instance);
	return ret;
}

/* ---- own addresses: they neither age nor move ---- */

static bool has_own(const struct xb_instance_own *list, unsigned n,
		    const struct xb_instance_own *own)
{
	for (unsigned i = 0; i < n; i++)
		if (list[i].port == own->port && !memcmp(list[i].mac, own->mac, sizeof(own->mac)))
			return true;
	return false;
}

static unsigned list_own(struct xb_instance *instance, struct xb_instance_own *ret_list)
{
	unsigned n = 0;

	/* The kernel port's comes first: with `--mac uplink` it is the uplink's too. */
	if (instance->kernel_running)
		xb_tap_get_mac(&instance->kernel.tap, instance->kernel.mac);
	memcpy(ret_list[n].mac, instance->kernel.mac, sizeof(instance->kernel.mac));
	ret_list[n++].port = instance->kernel.port->id;
	for (unsigned i = 0; i < instance->n_uplinks; i++) {
		const struct xb_uplink *uplink = instance->uplinks[i].uplink;

		memcpy(ret_list[n].mac, uplink->mac, sizeof(uplink->mac));
		ret_list[n++].port = uplink->port.id;
	}
	return n;
}

/* Entries that stay are never missing: a packet meanwhile would be flooded. */
void xb_instance_refresh_own(struct xb_instance *instance)
{
	struct xb_instance_own list[1 + XB_UPLINKS_MAX] = {0};
	unsigned n = list_own(instance, list);

	for (unsigned i = 0; i < instance->n_own; i++)
		if (!has_own(list, n, &instance->own[i]))
			xb_fdb_del(instance->fdb, xb_fdb_key(instance->own[i].mac, XB_FDB_VLAN_ANY),
				   XB_FDB_OWN);
	/* Setting what is there does nothing; what another port has, is tried again at each look.
	 */
	for (unsigned i = 0; i < n; i++)
		xb_fdb_set(instance->fdb, xb_fdb_key(list[i].mac, XB_FDB_VLAN_ANY), list[i].port,
			   XB_FDB_OWN);
	memcpy(instance->own, list, sizeof(list));
	instance->n_own = n;
}

/* ---- publishing ---- */

/* A snapshot to fill: the one of the two that no worker holds. */
static struct xb_snapshot *blank_snapshot(struct xb_instance *instance)
{
	struct xb_snapshot *snapshot = &instance->snapshots[instance->published ^ 1];

	*snapshot = (struct xb_snapshot){
		.verdict = instance->config.verdict,
		.fdb = instance->fdb,
		.rules = xb_steering_rules(&instance->steering),
		.captures = instance->captures,
	};
	return snapshot;
}

/* A port that is stopped is there all the same, without queues: what a rule sends there is its drop
 * (port_down). */
static void add_port(struct xb_snapshot *snapshot, struct xb_port *port, bool running)
{
	xb_snapshot_add(snapshot, port);
	if (!running)
		snapshot->queues[port->id] = 0;
}

static void add_own_macs(struct xb_snapshot *snapshot, const struct xb_uplink *uplink)
{
	for (unsigned i = 0; i < uplink->n_own_macs; i++)
		xb_snapshot_add_own(snapshot, &uplink->port, uplink->own_macs[i].mac);
}

static void publish(struct xb_instance *instance, const struct xb_port *out)
{
	struct xb_snapshot *snapshot = blank_snapshot(instance);

	add_port(snapshot, instance->kernel.port,
		 instance->kernel_running && instance->kernel.port != out);
	for (unsigned i = 0; i < instance->n_uplinks; i++) {
		struct xb_uplink *uplink = instance->uplinks[i].uplink;

		add_port(snapshot, &uplink->port, uplink->running && &uplink->port != out);
		add_own_macs(snapshot, uplink);
	}
	xb_workers_publish(&instance->workers, snapshot);
	instance->published ^= 1;
	instance->cache.captures = snapshot->captures.n ? &snapshot->captures : NULL;
}

const struct xb_snapshot *xb_instance_snapshot(const struct xb_instance *instance)
{
	return &instance->snapshots[instance->published];
}

void xb_instance_publish(struct xb_instance *instance)
{
	publish(instance, NULL);
}

void xb_instance_unpublish(struct xb_instance *instance, const struct xb_port *out)
{
	publish(instance, out);
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
	uint64_t end_ns = xb_now_ns() + RETIRE_MS * 1000000ull;
	unsigned times_empty = 0;

	if (!xb_kernel_port_retire(&instance->kernel, queues)) {
		xb_log(XB_LOG_WARNING,
		       "%s: flows can't be moved off its queues first, so packets that wait there are lost",
		       instance->kernel.port->name);
		return;
	}
	/* A sender that had chosen a queue before may put its packet there between two looks. */
	while (times_empty < 2 && xb_now_ns() < end_ns) {
		times_empty = xb_kernel_port_waiting(&instance->kernel, queues) ? 0
										: times_empty + 1;
		pause_ms(1);
	}
}

/* Waits until what is posted on the queues from `queues` on, which nobody sends to any more, is
 * sent. */
static void finish_sending(struct xb_instance *instance, unsigned queues)
{
	struct xb_port *port = instance->kernel.port;
	uint64_t end_ns = xb_now_ns() + RETIRE_MS * 1000000ull;

	for (unsigned q = queues; q < port->n_queues; q++)
		while (port->ops->kick(port, q, &instance->cache) && xb_now_ns() < end_ns)
			pause_ms(1);
}

int xb_instance_set_queues(struct xb_instance *instance, unsigned queues, struct xb_error *err)
{
	struct xb_port *port = instance->kernel.port;
	unsigned before = port->n_queues;
	int ret;

	if (!instance->kernel_running)
		return xb_fail(err, -ENODEV, "queues of %s", port->name);
	if (!queues || queues > port->queues_max)
		return xb_refuse(err, -EINVAL,
				 "%u queues are too many for %s, which has at most %u", queues,
				 port->name, port->queues_max);
	if (queues == before)
		return 0;
	if (queues < before) {
		retire(instance, queues);
		port->n_queues = (uint16_t)queues;
		xb_instance_publish(instance);
		port->n_queues = (uint16_t)before;
		finish_sending(instance, queues);
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

/* ---- time ---- */

static void expire_rules(struct xb_instance *instance)
{
	struct xb_error err = {0};
	int ret = xb_steering_expire(&instance->steering, xb_now_ns(), &err);

	if (ret < 0)
		xb_log_error(XB_LOG_ERROR, "take unconfirmed rules back", &err);
	if (ret <= 0)
		return;
	xb_instance_publish(instance);
	xb_log(XB_LOG_WARNING, "the rules were not confirmed in time: the %u before are back",
	       instance->steering.now.n);
}

void xb_instance_tick(struct xb_instance *instance)
{
	if (instance->gate_open)
		xb_gate_tick(&instance->gate, xb_now_ns());
	expire_rules(instance);
	xb_workers_wake(&instance->workers);
	xb_cpus_pin(&instance->pinning, &instance->workers, &instance->config);
	xb_fdb_age(instance->fdb, (uint32_t)(xb_now_ns() / 1000000000u));
	for (unsigned i = 0; i < instance->n_uplinks; i++)
		xb_uplink_refresh_stats(instance->uplinks[i].uplink);
	xb_remark_mtus(instance);
}

void xb_instance_mirror_fdb(struct xb_instance *instance)
{
	const char *names[XB_PORTS_MAX] = {[XB_KERNEL_PORT_ID] = instance->kernel.port->name};
	struct xb_error err = {0};
	int ret;

	if (!instance->fdb_mirror)
		return;
	for (unsigned i = 0; i < instance->n_uplinks; i++) {
		const struct xb_port *port = &instance->uplinks[i].uplink->port;

		names[port->id] = port->name;
	}
	ret = xb_fdb_mirror_update(instance->fdb_mirror, instance->fdb, names, &err);
	if (ret < 0 && !instance->fdb_mirror_lags)
		xb_log_error(XB_LOG_WARNING, "mirror the forwarding table", &err);
	instance->fdb_mirror_lags = ret < 0;
}

/* ---- life ---- */

static void on_worker_start(void *arg, unsigned worker)
{
	struct xb_instance *instance = arg;

	(void)worker;
	if (xb_privileges_drop_thread() < 0)
		atomic_store(&instance->workers_privileged, true);
}

static int start_workers(struct xb_instance *instance, const struct queue_count *count,
			 struct xb_error *err)
{
	const struct xb_config *config = &instance->config;
	struct xb_workers_options options = {
		.n = pick_workers(config, count),
		.beat_ns = (uint64_t)config->stall_ms * 1000000u / 4,
		.on_start = on_worker_start,
		.arg = instance,
	};
	int ret = xb_workers_start(&instance->workers, &instance->arena, &options, err);

	if (ret < 0)
		return ret;
	xb_cpus_say(config);
	xb_cpus_pin(&instance->pinning, &instance->workers, config);
	instance->cache.thread = instance->workers.n;
	/* all of them have started when they have seen that there is no port yet */
	xb_workers_publish(&instance->workers, NULL);
	if (!atomic_load(&instance->workers_privileged))
		return 0;
	xb_fail(err, -EPERM, "give up the capabilities of the workers");
	xb_hint(err, "capset must be allowed: no seccomp filter may refuse it");
	return -EPERM;
}

static int start(struct xb_instance *instance, struct xb_error *err)
{
	const struct xb_config *config = &instance->config;
	struct queue_count count;
	int ret = count_queues(config, &count, err);

	instance->queues_read = config->kernel.queues;
	/* before there is anything that it should not have */
	if (!ret && config->n_uplinks)
		ret = xb_doorman_start(&instance->doorman, config, err);
	if (!ret)
		ret = check_frames(config, &count, err);
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
	if (instance->gate_open) {
		detach_unnamed(instance);
		ret = xb_fdb_mirror_new(&instance->gate, &instance->fdb_mirror, err);
	}
	if (ret < 0)
		return ret;
	xb_instance_refresh_own(instance);
	ret = start_workers(instance, &count, err);
	if (ret < 0)
		return ret;
	instance->started_ns = xb_now_ns();
	xb_instance_publish(instance);
	xb_instance_mirror_fdb(instance);
	return 0;
}

int xb_instance_start(struct xb_instance *instance, struct xb_error *err)
{
	int ret = xb_cpus_check(&instance->config, err);

	if (!ret)
		ret = start(instance, err);
	if (ret < 0) {
		instance->keep_programs = true;
		xb_instance_stop(instance);
	}
	return ret;
}

/* Takes an uplink's program off, unless it is one that a failed start has found there. */
static void detach_uplink(struct xb_instance *instance, struct xb_uplink *uplink)
{
	struct xb_error err = {0};

	if (instance->keep_programs && uplink->attachment.taken_over)
		return;
	if (xb_gate_detach_slot(&instance->gate, uplink->slot, &err) < 0)
		xb_log_error(XB_LOG_WARNING, uplink->port.name, &err);
}

static void stop_uplinks(struct xb_instance *instance)
{
	bool keep = instance->keep_programs && instance->gate.taken_over;
	struct xb_error err = {0};

	for (unsigned i = 0; i < instance->n_uplinks; i++) {
		struct xb_uplink *uplink = instance->uplinks[i].uplink;

		xb_uplink_stop(uplink, &instance->cache);
		detach_uplink(instance, uplink);
		xb_uplink_free(uplink, NULL);
	}
	instance->n_uplinks = 0;
	if (!instance->gate_open)
		return;
	xb_fdb_mirror_free(instance->fdb_mirror);
	instance->fdb_mirror = NULL;
	xb_gate_close(&instance->gate);
	/* a doorman that is late still works there, and may hold what we would wait for */
	if (!keep && !instance->doorman.late && xb_gate_remove(instance->config.name, &err) < 0)
		xb_log_error(XB_LOG_WARNING, "remove the pinned maps", &err);
	instance->gate_open = false;
}

void xb_instance_stop(struct xb_instance *instance)
{
	xb_capturing_unwatch(instance);
	if (instance->workers.worker) {
		xb_workers_publish(&instance->workers, NULL);
		xb_workers_stop(&instance->workers);
	}
	xb_steering_fini(&instance->steering);
	stop_uplinks(instance);
	xb_doorman_stop(&instance->doorman);
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
