/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Which CPUs the workers run on. Those that --cpus names, one for each worker in turn; otherwise
 * all that this process may use, which is what its cpuset and its affinity leave.
 *
 * The kernel lets a thread run elsewhere when its CPU goes offline, and does not put it back when
 * the CPU returns: the control thread looks once a second.
 */
#ifndef XB_DAEMON_CPUS_H
#define XB_DAEMON_CPUS_H

#include "core/worker.h"
#include "daemon/config.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

/** Room for a list of CPUs as text. */
#define XB_CPUS_BYTES 128u

/** Fails where --cpus names a CPU that this process can't run on: one that is not there, is offline
 * or is not in its cpuset. */
int xb_cpus_check(const struct xb_config *config, struct xb_error *err);

/** Logs which CPUs the workers may use, where they are not all of this host's and nobody chose
 * them; of those that were chosen, which are left over or shared. */
void xb_cpus_say(const struct xb_config *config, unsigned n_workers);

/** What was found when the workers' CPUs were looked at last. */
struct xb_pinning {
	bool started;    /* the workers were pinned once: to pin one now means again */
	uint64_t astray; /* a bit for each worker that could not be pinned */
};

/** Pins each worker to its CPU, where --cpus names one and it is not pinned there. Logs that one
 * could not be pinned, once, and that it is pinned again. To be called once a second. */
void xb_cpus_pin(struct xb_pinning *pinning, const struct xb_workers *workers,
		 const struct xb_config *config);

/** Writes the CPUs that a thread may run on, like "0-1,4", into `ret_text`. */
void xb_cpus_of_thread(pthread_t thread, char ret_text[XB_CPUS_BYTES]);

#endif
