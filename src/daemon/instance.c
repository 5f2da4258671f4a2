/* SPDX-License-Identifier: BSD-2-Clause */
#include "daemon/instance.h"

#include "daemon/capturing.h"
#include "daemon/door_kernel.h"
#include "daemon/doors.h"
#include "daemon/filter.h"
#include "daemon/limits.h"
#include "daemon/log.h"
#include "daemon/own.h"
#include "daemon/privileges.h"
#include "daemon/remarks.h"
#include "daemon/uplink_doors.h"
#include "netdev/netdev.h"

#include <errno.h>
#include <sched.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

/* Packets that may be under way beside those that rings hold. */
#define FRAMES_SLACK 3072u

/* Kernel ports that can be added while it runs, if huge pages are not to be too few for others. */
#define KERNELS_LATER 4u

/* How long the end may wait for others: less than the second that is promised, since the kernel
 * takes its time to free what is closed then. */
#define END_MS     650u
#define WORKERS_MS 300u /* how long of that workers may take to end */

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
		int ret = xb_netdev_read(config->uplinks[i].options.ifname, &netdev, err);

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

/* Room for the rings of kernel ports, those too that may come later: it takes memory when they do.
 */
static size_t ring_bytes(const struct xb_config *config)
{
	struct xb_kernel_config later = config->kernel;
	size_t bytes = xb_kernel_port_ring_bytes(&config->kernel);

	for (unsigned i = 0; i < config->n_kernels; i++)
		bytes += xb_kernel_port_ring_bytes(&config->kernels[i]);
	later.queues = 1;
	return bytes + KERNELS_LATER * xb_kernel_port_ring_bytes(&later);
}

/* Descriptors of the receive rings of all kernel ports. */
static unsigned kernel_buffers(const struct xb_config *config)
{
	unsigned n = config->no_kernel ? 0 : config->kernel.queues * config->kernel.queue_size;

	for (unsigned i = 0; i < config->n_kernels; i++)
		n += config->kernels[i].queues * config->kernels[i].queue_size;
	return n;
}

static unsigned pick_frames(const struct xb_config *config, const struct queue_count *count)
{
	if (config->frames)
		return config->frames;
	/* queues that are added later share what is free */
	return FRAMES_SLACK + count->all * XB_UPLINK_RING_DEFAULT + 2 * kernel_buffers(config);
}

/* What rings hold that are filled at once, and some for packets under way. */
static unsigned least_frames(const struct xb_config *config, const struct queue_count *count)
{
	return count->all * XB_UPLINK_RING_DEFAULT / 2 + kernel_buffers(config) + 1024;
}

static int check_frames(const struct xb_config *config, const struct queue_count *count,
			struct xb_error *err)
{
	unsigned least = least_frames(config, count);

	if (!config->frames || config->frames >= least)
		return 0;
	xb_refuse(err, -ENOMEM, "%u frames are too few to fill the rings", config->frames);
	xb_hint(err, "give more --frames, at least %u, or leave it out", least);
	return -ENOMEM;
}

/* ---- start ---- */

static struct xb_instance *instance_of(struct xb_job *life)
{
	return (struct xb_instance *)((char *)life - offsetof(struct xb_instance, life));
}

static void go_on(struct xb_instance *instance, void (*state)(struct xb_job *life))
{
	xb_job_enter(&instance->life, &instance->loop, "starting", XB_JOB_NO_LIMIT, state);
}

static void fail_start(struct xb_instance *instance, const struct xb_error *err)
{
	instance->failed = *err;
	instance->keep_programs = true;
	xb_job_rest(&instance->life);
	instance->on_started(instance, &instance->failed);
}

static void finish_start(struct xb_job *life)
{
	struct xb_instance *instance = instance_of(life);

	if (!xb_instance_is_settled(instance)) {
		xb_job_again(life);
		return;
	}
	xb_job_rest(life);
	instance->started_ns = xb_now_ns();
	instance->ready = true;
	xb_instance_mirror_fdb(instance);
	instance->on_started(instance, NULL);
}

static void on_worker_start(void *arg, unsigned worker)
{
	struct xb_instance *instance = arg;

	(void)worker;
	if (xb_privileges_drop_thread() < 0)
		atomic_store(&instance->workers_privileged, true);
	xb_filter_use(XB_FILTER_WORKER); /* where there is none, the control thread says so */
}

static int start_workers(struct xb_instance *instance, struct xb_error *err)
{
	const struct xb_config *config = &instance->config;
	struct xb_workers_options options = {
		.beat_ns = (uint64_t)config->stall_ms * 1000000u / 4,
		.on_start = on_worker_start,
		.arg = instance,
	};
	struct queue_count count;
	int ret = count_queues(config, &count, err);

	if (ret < 0)
		return ret;
	options.n = pick_workers(config, &count);
	ret = xb_workers_start(&instance->workers, &instance->arena, &options, err);
	if (ret < 0)
		return ret;
	xb_cpus_say(config, instance->workers.n);
	xb_cpus_pin(&instance->pinning, &instance->workers, config);
	instance->cache.thread = instance->workers.n;
	/* all of them have started when they have seen that there is no port yet */
	instance->published.generation = xb_workers_offer(&instance->workers, NULL);
	return 0;
}

static void await_workers(struct xb_job *life)
{
	struct xb_instance *instance = instance_of(life);
	struct xb_error err = {0};

	if (!xb_workers_reached(&instance->workers, instance->published.generation)) {
		xb_job_again(life);
		return;
	}
	if (atomic_load(&instance->workers_privileged)) {
		xb_fail(&err, -EPERM, "give up the capabilities of the workers");
		xb_hint(&err, "capset must be allowed: no seccomp filter may refuse it");
		fail_start(instance, &err);
		return;
	}
	xb_instance_publish(instance);
	go_on(instance, finish_start);
}

static void make_workers(struct xb_instance *instance)
{
	struct xb_error err = {0};
	int ret = instance->gate_open
			  ? xb_fdb_mirror_new(&instance->gate, &instance->fdb_mirror, &err)
			  : 0;

	if (ret < 0) {
		fail_start(instance, &err);
		return;
	}
	xb_own_enter(instance);
	if (start_workers(instance, &err) < 0)
		fail_start(instance, &err);
	else
		go_on(instance, await_workers);
}

/* An earlier run that was killed may have used uplinks that this one does not name. */
static void list_unnamed(struct xb_instance *instance)
{
	const unsigned max = sizeof(instance->unnamed) / sizeof(instance->unnamed[0]);
	int n = instance->gate_open ? xb_gate_list(instance->unnamed, max) : 0;
	unsigned kept = 0;

	for (int i = 0; i < n && i < (int)max; i++)
		if (!strcmp(instance->unnamed[i].instance, instance->config.name) &&
		    !(instance->gate.claimed & 1u << instance->unnamed[i].slot))
			instance->unnamed[kept++] = instance->unnamed[i];
	instance->n_unnamed = kept;
}

static void on_unnamed_detached(struct xb_errand *errand)
{
	struct xb_instance *instance =
		(struct xb_instance *)((char *)errand -
				       offsetof(struct xb_instance, unnamed_errand));
	const struct xb_gate_pin *pin = &instance->unnamed[instance->n_unnamed - 1];

	xb_uplink_doors_cleared(instance, errand->outcome.cleared);
	if (errand->outcome.code) {
		xb_log_error(XB_LOG_WARNING, "what an earlier run left", &errand->outcome.err);
	} else {
		xb_gate_detached(&instance->gate, pin->slot);
		if (pin->ifname[0])
			xb_log(XB_LOG_NOTICE,
			       "removed the program that an earlier run had left on %s",
			       pin->ifname);
	}
	instance->n_unnamed--;
	xb_job_poke(&instance->life);
}

static void detach_unnamed(struct xb_job *life)
{
	struct xb_instance *instance = instance_of(life);
	struct xb_errand *errand = &instance->unnamed_errand;

	if (errand->on_its_way)
		return;
	if (!instance->n_unnamed) {
		make_workers(instance);
		return;
	}
	errand->order =
		(struct xb_gate_order){.slot = instance->unnamed[instance->n_unnamed - 1].slot};
	xb_doorman_give(&instance->doorman, errand, on_unnamed_detached);
}

/* Whether a port can't be had, which ends the start. One that could not be opened is among them. */
static bool has_failed(struct xb_instance *instance)
{
	for (unsigned id = 0; id < XB_PORTS_MAX; id++) {
		const struct xb_door *door = instance->doors[id];

		if (!door || !door->failed.code)
			continue;
		fail_start(instance, &door->failed);
		return true;
	}
	return false;
}

static bool all_published(const struct xb_instance *instance, bool uplinks)
{
	for (unsigned id = 0; id < XB_PORTS_MAX; id++) {
		const struct xb_door *door = instance->doors[id];

		if (door && !door->published &&
		    (uplinks || !door->port || !door->port->caps.uplink))
			return false;
	}
	return true;
}

static void await_bound(struct xb_job *life)
{
	struct xb_instance *instance = instance_of(life);

	if (has_failed(instance) || !all_published(instance, true))
		return; /* a door pokes us */
	xb_remark_start(instance);
	list_unnamed(instance);
	go_on(instance, detach_unnamed);
}

static void await_kernel(struct xb_job *life)
{
	struct xb_instance *instance = instance_of(life);
	struct xb_error err = {0};

	if (has_failed(instance) || !all_published(instance, false))
		return;
	/* before any frame comes in; its ports have their names now */
	if (xb_instance_start_steering(instance, &err) < 0) {
		fail_start(instance, &err);
		return;
	}
	xb_uplink_doors_bind(instance);
	go_on(instance, await_bound);
}

static int open_kernels(struct xb_instance *instance, struct xb_error *err)
{
	const struct xb_config *config = &instance->config;
	int ret = config->no_kernel
			  ? 0
			  : xb_kernel_door_open(instance, &config->kernel, true, NULL, err);

	for (unsigned i = 0; !ret && i < config->n_kernels; i++)
		ret = xb_kernel_door_open(instance, &config->kernels[i], false, NULL, err);
	return ret;
}

static void await_attached(struct xb_job *life)
{
	struct xb_instance *instance = instance_of(life);
	struct xb_error err = {0};

	if (has_failed(instance) || !xb_uplink_doors_are_attached(instance))
		return;
	if (open_kernels(instance, &err) < 0)
		fail_start(instance, &err);
	else
		go_on(instance, await_kernel);
}

static int open_gate(struct xb_instance *instance, struct xb_error *err)
{
	if (xb_gate_open(&instance->gate, instance->config.name, err) < 0)
		return err->code;
	instance->gate_open = true;
	xb_gate_tick(&instance->gate, xb_now_ns());
	xb_drop_feed_reset(&instance->gate);
	if (instance->gate.replaced)
		xb_log(XB_LOG_NOTICE, "maps of another version were pinned; they were replaced");
	if (instance->gate.taken_over)
		xb_log(XB_LOG_NOTICE, "took over the maps of an earlier run");
	return 0;
}

static void open_uplinks(struct xb_job *life)
{
	struct xb_instance *instance = instance_of(life);
	struct xb_error err = {0};
	int ret = 0;

	if (instance->config.n_uplinks && !instance->gate_open)
		ret = open_gate(instance, &err);
	else if (instance->n_uplinks < instance->config.n_uplinks)
		ret = xb_uplink_door_open(instance, &instance->config.uplinks[instance->n_uplinks],
					  &err);
	if (ret < 0) {
		fail_start(instance, &err);
	} else if (instance->n_uplinks < instance->config.n_uplinks) {
		go_on(instance, open_uplinks); /* one at a time */
	} else {
		xb_uplink_doors_attach(instance);
		go_on(instance, await_attached);
	}
}

static int make_memory(struct xb_instance *instance, struct xb_error *err)
{
	const struct xb_config *config = &instance->config;
	struct queue_count count;
	int ret = count_queues(config, &count, err);

	if (!ret)
		ret = check_frames(config, &count, err);
	if (!ret)
		ret = xb_limits_check_memory(pick_frames(config, &count),
					     least_frames(config, &count), config->n_uplinks > 0,
					     err);
	if (!ret)
		ret = xb_arena_init(&instance->arena, pick_frames(config, &count),
				    ring_bytes(config), err);
	if (ret < 0)
		return ret;
	xb_cache_init(&instance->cache, &instance->arena);
	instance->fdb = xb_fdb_new();
	if (!instance->fdb)
		return xb_fail(err, -ENOMEM, "allocate the forwarding table");
	ret = xb_loop_watch_init(&instance->loops);
	return ret < 0 ? xb_fail(err, ret, "read random bytes") : 0;
}

/* A piece at a time: SIGTERM is heard in between. */
static void fill_memory(struct xb_job *life)
{
	struct xb_instance *instance = instance_of(life);
	struct xb_error err = {0};
	int ret = xb_arena_populate(&instance->arena, &err);

	if (ret == -EAGAIN)
		go_on(instance, fill_memory);
	else if (ret < 0)
		fail_start(instance, &err);
	else
		go_on(instance, open_uplinks);
}

static void begin(struct xb_job *life)
{
	struct xb_instance *instance = instance_of(life);
	const struct xb_config *config = &instance->config;
	struct xb_error err = {0};
	int ret = xb_cpus_check(config, &err);

	/* before there is anything that it should not have */
	if (!ret && config->n_uplinks)
		ret = xb_doorman_start(&instance->doorman, &instance->loop, config, &err);
	if (!ret)
		ret = make_memory(instance, &err);
	if (ret < 0)
		fail_start(instance, &err);
	else
		go_on(instance, fill_memory);
}

void xb_instance_start(struct xb_instance *instance,
		       void (*on_started)(struct xb_instance *instance, const struct xb_error *err))
{
	instance->on_started = on_started;
	go_on(instance, begin);
}

/* ---- end ---- */

static void go_on_ending(struct xb_instance *instance, void (*state)(struct xb_job *life))
{
	uint64_t now_ns = xb_now_ns();
	uint64_t left_ns = instance->end_by_ns > now_ns ? instance->end_by_ns - now_ns : 0;

	xb_job_enter(&instance->life, &instance->loop, "ending", (unsigned)(left_ns / 1000000u) + 1,
		     state);
}

/* Whether a program of ours is left somewhere, perhaps of an earlier run: it needs its maps. */
static bool has_programs(struct xb_instance *instance)
{
	const unsigned max = sizeof(instance->unnamed) / sizeof(instance->unnamed[0]);
	int n = xb_gate_list(instance->unnamed, max);

	for (int i = 0; i < n && i < (int)max; i++)
		if (!strcmp(instance->unnamed[i].instance, instance->config.name))
			return true;
	return false;
}

static void remove_gate(struct xb_instance *instance)
{
	struct xb_error err = {0};

	if (!instance->abandoned) /* workers may still beat */
		xb_gate_close(&instance->gate);
	instance->gate_open = false;
	if (!instance->programs_left && !has_programs(instance) &&
	    xb_gate_remove(instance->config.name, &err) < 0)
		xb_log_error(XB_LOG_WARNING, "remove the pinned maps", &err);
}

static void finish_end(struct xb_instance *instance)
{
	xb_fdb_mirror_free(instance->fdb_mirror);
	instance->fdb_mirror = NULL;
	if (!instance->abandoned)
		xb_uplink_doors_free(instance);
	xb_doorman_stop(&instance->doorman); /* but for one that was left */
	if (instance->gate_open)
		remove_gate(instance);
	xb_job_rest(&instance->life);
	instance->on_ended(instance);
}

static void await_detached(struct xb_job *life)
{
	struct xb_instance *instance = instance_of(life);

	if (instance->n_detaching && !xb_job_is_late(life))
		return;
	if (instance->n_detaching && xb_doorman_has_answered(&instance->doorman)) {
		xb_job_again(life); /* it is this thread that is late */
		return;
	}
	/* after a start that has failed, what an earlier run had left has to stay */
	instance->left = instance->n_detaching && !instance->keep_programs &&
			 !xb_doorman_leave(&instance->doorman, instance->lock_fd);
	xb_uplink_doors_give_up(instance);
	finish_end(instance);
}

/* No worker is left: nobody uses the ports any more. */
static void close_ports(struct xb_instance *instance)
{
	xb_uplink_doors_stop(instance);
	xb_kernel_doors_close(instance);
}

static void await_ended(struct xb_job *life)
{
	struct xb_instance *instance = instance_of(life);
	uint64_t patience_ns = (END_MS - WORKERS_MS) * 1000000ull;

	if (!xb_workers_have_ended(&instance->workers)) {
		if (xb_now_ns() + patience_ns < instance->end_by_ns) {
			xb_job_again(life);
			return;
		}
		instance->abandoned = true;
		xb_log(XB_LOG_WARNING, "a worker has not ended in time: the kernel has to free "
				       "what it holds");
	} else {
		if (instance->workers.worker)
			xb_workers_stop(&instance->workers);
		close_ports(instance);
	}
	go_on_ending(instance, await_detached);
}

void xb_instance_end(struct xb_instance *instance, void (*on_ended)(struct xb_instance *instance))
{
	instance->ready = false;
	instance->on_ended = on_ended;
	instance->end_by_ns = xb_now_ns() + END_MS * 1000000ull;
	xb_capturing_unwatch(instance);
	instance->ending = true;
	xb_job_rest(&instance->reloading);
	xb_job_rest(&instance->captures_job);
	xb_kernel_doors_rest(instance);
	xb_instance_unpublish_all(instance);
	if (instance->workers.worker)
		xb_workers_end(&instance->workers);
	if (instance->doorman.loop) {
		xb_doorman_hurry(&instance->doorman);
		xb_doorman_call_off(&instance->doorman, &instance->unnamed_errand);
	}
	xb_uplink_doors_end(instance);
	go_on_ending(instance, await_ended);
}

void xb_instance_fini(struct xb_instance *instance)
{
	xb_capturing_free_left(instance);
	xb_steering_fini(&instance->steering);
	free(instance->departed);
	instance->departed = NULL;
	free(instance->books_at_reset);
	instance->books_at_reset = NULL;
	xb_fdb_free(instance->fdb);
	instance->fdb = NULL;
	if (instance->arena.base) {
		xb_cache_fini(&instance->cache);
		xb_arena_fini(&instance->arena);
	}
}

/* ---- while it runs ---- */

void xb_instance_tick(struct xb_instance *instance)
{
	if (instance->gate_open)
		xb_gate_tick(&instance->gate, xb_now_ns());
	xb_instance_check_steering(instance);
	xb_port_ids_look(instance);
	xb_workers_wake(&instance->workers);
	xb_cpus_pin(&instance->pinning, &instance->workers, &instance->config);
	xb_fdb_age(instance->fdb, (uint32_t)(xb_now_ns() / 1000000000u));
	xb_for_each_door(instance, door)
	{
		if (door->ops->refresh_stats)
			door->ops->refresh_stats(door);
	}
	xb_remark_mtus(instance);
}

void xb_instance_mirror_fdb(struct xb_instance *instance)
{
	const char *names[XB_PORTS_MAX] = {NULL};
	struct xb_error err = {0};
	int ret;

	if (!instance->fdb_mirror)
		return;
	xb_for_each_door(instance, door)
	{
		names[door->port->id] = door->port->name;
	}
	ret = xb_fdb_mirror_update(instance->fdb_mirror, instance->fdb, names, &err);
	if (ret < 0 && !instance->fdb_mirror_lags)
		xb_log_error(XB_LOG_WARNING, "mirror the forwarding table", &err);
	instance->fdb_mirror_lags = ret < 0;
}
