/* SPDX-License-Identifier: BSD-2-Clause */
#include "daemon/privileges.h"

#include "core/calls.h"

#include <cap-ng.h>
#include <errno.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/resource.h>

XB_CALL(control, capget);
XB_CALL(control, capset);
XB_CALL(control, prctl);
XB_CALL(doorman, capget);
XB_CALL(doorman, capset);
XB_CALL(doorman, prctl);

#define IN_FORCE (CAPNG_EFFECTIVE | CAPNG_PERMITTED)

static bool memlock_is_limited(void)
{
	struct rlimit limit;

	return getrlimit(RLIMIT_MEMLOCK, &limit) < 0 || limit.rlim_cur != RLIM_INFINITY;
}

int xb_privileges_seal(struct xb_error *err)
{
	for (int cap = 0; prctl(PR_CAPBSET_READ, cap) >= 0; cap++)
		if (prctl(PR_CAPBSET_DROP, cap) < 0)
			break; /* without CAP_SETPCAP it stays, and does nothing */
	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0 ||
	    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return xb_fail(err, -errno, "give up ambient capabilities and new privileges");
	return 0;
}

int xb_privileges_drop_thread(void)
{
	capng_clear(CAPNG_SELECT_CAPS);
	return capng_apply(CAPNG_SELECT_CAPS) < 0 ? -EPERM : 0;
}

struct kept {
	int cap;
	bool wanted;
	capng_type_t sets;
};

/* Gives up all but what is wanted. */
static int keep_only(const struct kept *keep, size_t n, struct xb_error *err)
{
	bool held[CAP_LAST_CAP + 1];

	/* What we never had can't be kept. */
	capng_get_caps_process();
	for (size_t i = 0; i < n; i++)
		held[i] = capng_have_capability(CAPNG_PERMITTED, (unsigned)keep[i].cap) > 0;
	capng_clear(CAPNG_SELECT_CAPS);
	for (size_t i = 0; i < n; i++)
		if (keep[i].wanted && held[i])
			capng_update(CAPNG_ADD, keep[i].sets, (unsigned)keep[i].cap);
	if (capng_apply(CAPNG_SELECT_CAPS) < 0)
		return xb_fail(err, -EPERM, "give up capabilities");
	return 0;
}

static bool needs_netns(const struct xb_config *config)
{
	for (unsigned i = 0; i < config->n_kernels; i++)
		if (config->kernels[i].netns[0])
			return true;
	return config->kernel.netns[0];
}

int xb_privileges_drop_control(const struct xb_config *config, struct xb_error *err)
{
	const struct kept keep[] = {
		{CAP_NET_ADMIN, config->n_uplinks, IN_FORCE}, /* otherwise its deputy has it */
		{CAP_NET_RAW, config->n_uplinks, IN_FORCE},
		{CAP_BPF, config->n_uplinks, IN_FORCE},
		{CAP_SYS_ADMIN, needs_netns(config), IN_FORCE},
		{CAP_IPC_LOCK, config->n_uplinks && memlock_is_limited(), CAPNG_PERMITTED},
	};

	return keep_only(keep, sizeof(keep) / sizeof(keep[0]), err);
}

int xb_privileges_drop_doorman(struct xb_error *err)
{
	const struct kept keep[] = {
		{CAP_NET_ADMIN, true, IN_FORCE},
		{CAP_BPF, true, IN_FORCE},
		{CAP_PERFMON, true, IN_FORCE},
		{CAP_SYS_ADMIN, true, IN_FORCE},
	};

	return keep_only(keep, sizeof(keep) / sizeof(keep[0]), err);
}

int xb_privileges_drop_helper(int capability, struct xb_error *err)
{
	const struct kept keep[] = {{capability, true, IN_FORCE}};

	return keep_only(keep, 1, err);
}

void xb_privileges_lock_memory(bool on)
{
	capng_get_caps_process();
	if (capng_have_capability(CAPNG_PERMITTED, CAP_IPC_LOCK) <= 0)
		return;
	capng_update(on ? CAPNG_ADD : CAPNG_DROP, CAPNG_EFFECTIVE, CAP_IPC_LOCK);
	capng_apply(CAPNG_SELECT_CAPS);
}

static void raise_limit(__rlimit_resource_t resource)
{
	struct rlimit limit = {RLIM_INFINITY, RLIM_INFINITY};

	if (!setrlimit(resource, &limit) || getrlimit(resource, &limit) < 0)
		return;
	limit.rlim_cur = limit.rlim_max;
	setrlimit(resource, &limit);
}

void xb_privileges_raise_limits(void)
{
	raise_limit(RLIMIT_MEMLOCK);
	raise_limit(RLIMIT_NOFILE);
}
