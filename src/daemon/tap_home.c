/* SPDX-License-Identifier: BSD-2-Clause */
#include "daemon/tap_home.h"

#include "core/calls.h"
#include "core/cleanup.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

XB_CALL(control, pidfd_open);

/* The process whose namespace a path names; 0: it names none, or this process. */
static pid_t pid_of(const char *netns)
{
	int pid = 0, len = 0;

	if (sscanf(netns, "/proc/%d/ns/%n", &pid, &len) != 1 || !len || pid == getpid())
		return 0;
	return pid;
}

void xb_tap_home_note(struct xb_tap_home *home, const char *netns, const struct xb_netns_id *where)
{
	pid_t pid = pid_of(netns);

	xb_cleanup_close(&home->pid_fd);
	*home = (struct xb_tap_home){.made_in = *where, .pid_fd = -1};
	if (pid)
		home->pid_fd = (int)syscall(__NR_pidfd_open, pid, 0);
}

void xb_tap_home_fini(struct xb_tap_home *home)
{
	xb_cleanup_close(&home->pid_fd);
	home->pid_fd = -1;
}

static void look_at_process(struct xb_tap_home *home)
{
	struct pollfd fd = {.fd = home->pid_fd, .events = POLLIN};

	if (home->pid_fd < 0 || poll(&fd, 1, 0) != 1)
		return;
	home->ended = true;
	xb_tap_home_fini(home);
}

/* Whether a name leads to no namespace, as opposed to: one that could not be asked for. */
static bool is_absent(int ret)
{
	return ret == -ENOENT || ret == -ENOTDIR || ret == -ESRCH || ret == -EINVAL;
}

enum xb_home_state xb_tap_home_look(struct xb_tap_home *home, const char *netns)
{
	struct xb_netns_id now;
	int ret;

	look_at_process(home);
	ret = xb_netns_id_of(netns, &now);
	/* Where we are not told, of a process that lives or for want of memory, it is what it was,
	 * as far as we know. */
	if (ret < 0)
		return home->ended || is_absent(ret) ? XB_HOME_GONE : XB_HOME_SAME;
	if (xb_netns_id_same(&now, &home->made_in))
		return XB_HOME_SAME;
	/* another process has got the number, whose namespace nobody meant */
	return home->ended ? XB_HOME_GONE : XB_HOME_ANOTHER;
}
