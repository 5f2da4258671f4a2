/* SPDX-License-Identifier: BSD-2-Clause */
#include "daemon/cpus.h"

#include "core/calls.h"
#include "daemon/log.h"

#include <assert.h>
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

XB_CALL(control, sched_getaffinity);
XB_CALL(control, sched_setaffinity);

static_assert(XB_WORKERS_MAX <= 64, "`astray` has a bit for each worker");

static void write_list(const cpu_set_t *set, char ret_text[XB_CPUS_BYTES])
{
	size_t n = 0;

	ret_text[0] = '\0';
	for (int first = 0; first < CPU_SETSIZE && n < XB_CPUS_BYTES - 1; first++) {
		int last = first;

		if (!CPU_ISSET(first, set))
			continue;
		while (last + 1 < CPU_SETSIZE && CPU_ISSET(last + 1, set))
			last++;
		n += (size_t)snprintf(ret_text + n, XB_CPUS_BYTES - n, "%s%d", n ? "," : "", first);
		if (last > first && n < XB_CPUS_BYTES)
			n += (size_t)snprintf(ret_text + n, XB_CPUS_BYTES - n, "-%d", last);
		first = last;
	}
}

void xb_cpus_of_thread(pthread_t thread, char ret_text[XB_CPUS_BYTES])
{
	cpu_set_t set;

	CPU_ZERO(&set);
	pthread_getaffinity_np(thread, sizeof(set), &set);
	write_list(&set, ret_text);
}

/* ---- before there are workers ---- */

/* Runs in a thread of its own: a thread that has once set its affinity no longer follows a cpuset
 * that is widened later. */
static void *find_reachable(void *ret_set)
{
	cpu_set_t all;

	memset(&all, 0xff, sizeof(all));
	CPU_ZERO((cpu_set_t *)ret_set);
	sched_setaffinity(0, sizeof(all), &all); /* the kernel cuts it down to what may be */
	sched_getaffinity(0, sizeof(cpu_set_t), ret_set);
	return NULL;
}

int xb_cpus_check(const struct xb_config *config, struct xb_error *err)
{
	char list[XB_CPUS_BYTES];
	cpu_set_t reachable;
	pthread_t thread;
	int code;

	if (!config->n_cpus)
		return 0;
	code = pthread_create(&thread, NULL, find_reachable, &reachable);
	if (code)
		return xb_fail(err, -code, "make a thread");
	pthread_join(thread, NULL);
	write_list(&reachable, list);
	for (unsigned i = 0; i < config->n_cpus; i++) {
		if (CPU_ISSET(config->cpus[i], &reachable))
			continue;
		xb_fail(err, -EINVAL, "cpus: pin a worker to CPU %u, where CPUs %s can be used",
			config->cpus[i], list);
		xb_hint(err, "name some of these; others are not there, offline, or outside the "
			     "cpuset that this process was given");
		return -EINVAL;
	}
	return 0;
}

/* The CPUs that --cpus names, from the n-th on. */
static void write_named(const struct xb_config *config, unsigned n, char ret_text[XB_CPUS_BYTES])
{
	cpu_set_t set;

	CPU_ZERO(&set);
	for (; n < config->n_cpus; n++)
		CPU_SET(config->cpus[n], &set);
	write_list(&set, ret_text);
}

/* Workers and the CPUs that were named for them are not of the same number. */
static void say_uneven(const struct xb_config *config, unsigned n_workers)
{
	char list[XB_CPUS_BYTES];

	write_named(config, n_workers < config->n_cpus ? n_workers : 0, list);
	if (n_workers > config->n_cpus)
		xb_log(XB_LOG_WARNING,
		       "cpus: %u workers share CPU %s: name one for each, or have fewer (--workers)",
		       n_workers, list);
	else if (n_workers < config->n_cpus)
		xb_log(XB_LOG_WARNING, "cpus: no worker runs on CPU %s: there %s %u (%s)", list,
		       n_workers == 1 ? "is" : "are", n_workers,
		       config->workers ? "--workers" : "one for each queue of the port with most");
}

void xb_cpus_say(const struct xb_config *config, unsigned n_workers)
{
	long online = sysconf(_SC_NPROCESSORS_ONLN);
	char list[XB_CPUS_BYTES];
	cpu_set_t set;

	if (config->n_cpus)
		say_uneven(config, n_workers);
	if (config->n_cpus || sched_getaffinity(0, sizeof(set), &set) < 0 ||
	    CPU_COUNT(&set) >= online)
		return;
	write_list(&set, list);
	xb_log(XB_LOG_NOTICE,
	       "workers use CPUs %s of the %ld online: this process's cpuset or affinity has no "
	       "others",
	       list, online);
}

/* ---- workers ---- */

static void pin_one(struct xb_pinning *pinning, const struct xb_workers *workers, unsigned w,
		    unsigned cpu)
{
	pthread_t thread = workers->worker[w].thread;
	uint64_t bit = 1ull << w;
	char list[XB_CPUS_BYTES];
	cpu_set_t wanted, there;
	int code;

	CPU_ZERO(&wanted);
	CPU_SET(cpu, &wanted);
	if (!pthread_getaffinity_np(thread, sizeof(there), &there) && CPU_EQUAL(&wanted, &there))
		return;
	write_list(&there, list);
	code = pthread_setaffinity_np(thread, sizeof(wanted), &wanted);
	if (!code && pinning->started)
		xb_log(XB_LOG_NOTICE, "worker %u is pinned to CPU %u again; it ran on CPUs %s", w,
		       cpu, list);
	else if (code && !(pinning->astray & bit))
		xb_log(XB_LOG_WARNING,
		       "worker %u can't be pinned to CPU %u: %s (offline, or outside the cpuset?); "
		       "it runs on CPUs %s until it can",
		       w, cpu, strerror(code), list);
	pinning->astray = code ? pinning->astray | bit : pinning->astray & ~bit;
}

void xb_cpus_pin(struct xb_pinning *pinning, const struct xb_workers *workers,
		 const struct xb_config *config)
{
	for (unsigned w = 0; config->n_cpus && w < workers->n; w++)
		pin_one(pinning, workers, w, config->cpus[w % config->n_cpus]);
	pinning->started = true;
}
