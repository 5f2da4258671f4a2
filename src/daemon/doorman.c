/* SPDX-License-Identifier: BSD-2-Clause */
#include "daemon/doorman.h"

#include "daemon/privileges.h"
#include "xsk/pins.h"

#include <errno.h>
#include <net/if.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* How long an order may take. libxdp waits for a lock, which others may hold as long as they like,
 * and a daemon that is to end can't wait with it. */
#define ATTACH_MS 10000
#define DETACH_MS 3000

/* ---- the doorman's side ---- */

/* The program goes to the interface of that index: it has to be the one of that name, too, in the
 * namespace that xbridge was started in, which this process never leaves. */
static bool is_allowed(const struct xb_config *config, const struct xb_gate_order *order)
{
	if (order->slot >= XB_UPLINKS_MAX)
		return false;
	for (unsigned i = 0; order->attach && i < config->n_uplinks; i++)
		if (!strncmp(order->ifname, config->uplinks[i].ifname, sizeof(order->ifname)))
			return order->ifindex &&
			       if_nametoindex(config->uplinks[i].ifname) == order->ifindex;
	return !order->attach;
}

static void carry_out(const struct xb_config *config, const struct xb_gate_order *order,
		      struct xb_gate_outcome *ret_outcome)
{
	struct xb_gate_outcome outcome = {0};
	struct xb_gate gate;

	if (!is_allowed(config, order)) {
		outcome.code = xb_fail(&outcome.err, -EPERM, "order of an XDP program");
	} else if (!order->attach) { /* pins are enough */
		outcome.code = xb_pin_take_off(config->name, order->slot, &outcome.err);
	} else {
		outcome.code = xb_gate_open(&gate, config->name, &outcome.err);
		if (!outcome.code)
			xb_gate_carry_out(&gate, order, &outcome);
	}
	*ret_outcome = outcome;
}

/* Ends this process when its maker does. */
static void end_with(pid_t maker)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != maker) /* it has ended before */
		_exit(1);
}

static void serve_one(int fd, const struct xb_config *config, const struct xb_gate_order *order)
{
	struct xb_gate_outcome outcome = {.code = -ECHILD};
	pid_t self = getpid();
	pid_t pid = fork();
	int status = 0;

	if (pid == 0) {
		end_with(self);
		carry_out(config, order, &outcome);
		_exit(send(fd, &outcome, sizeof(outcome), MSG_NOSIGNAL) != sizeof(outcome));
	}
	if (pid > 0 && waitpid(pid, &status, 0) == pid && status == 0)
		return;
	xb_fail(&outcome.err, outcome.code, "carry out an order of an XDP program");
	send(fd, &outcome, sizeof(outcome), MSG_NOSIGNAL);
}

static void serve(int fd, const struct xb_config *config)
{
	struct xb_gate_order order;
	ssize_t got;

	do {
		got = recv(fd, &order, sizeof(order), 0);
		if (got == sizeof(order))
			serve_one(fd, config, &order);
	} while (got > 0 || (got < 0 && errno == EINTR));
}

static void be_doorman(int fd, const struct xb_config *config, pid_t maker)
{
	const int only = STDERR_FILENO + 1;
	struct xb_error err = {0};

	end_with(maker);
	prctl(PR_SET_NAME, "xb-doorman");
	if ((fd != only && dup2(fd, only) < 0) || close_range(only + 1, ~0u, 0) < 0 ||
	    xb_privileges_drop_doorman(&err) < 0)
		_exit(1);
	serve(only, config);
	_exit(0);
}

/* ---- the daemon's side ---- */

int xb_doorman_start(struct xb_doorman *doorman, const struct xb_config *config,
		     struct xb_error *err)
{
	pid_t self = getpid();
	int fds[2];
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0)
		return xb_fail(err, -errno, "make a socket to the doorman");
	pid = fork();
	if (pid == 0) {
		close(fds[0]);
		be_doorman(fds[1], config, self);
	}
	close(fds[1]);
	if (pid < 0) {
		close(fds[0]);
		return xb_fail(err, -errno, "make the doorman");
	}
	*doorman = (struct xb_doorman){.pid = pid, .fd = fds[0]};
	return 0;
}

void xb_doorman_stop(struct xb_doorman *doorman)
{
	if (!doorman->pid)
		return;
	if (doorman->late)
		kill(doorman->pid, SIGKILL);
	close(doorman->fd); /* ends its loop */
	waitpid(doorman->pid, NULL, 0);
	*doorman = (struct xb_doorman){0};
}

/* Waits for the doorman's answer. Returns its bytes, 0 where it is gone, or -errno. */
static ssize_t receive(const struct xb_doorman *doorman, int timeout_ms,
		       struct xb_gate_outcome *ret_outcome)
{
	struct pollfd watch = {.fd = doorman->fd, .events = POLLIN};
	ssize_t got;
	int ret;

	do
		ret = poll(&watch, 1, timeout_ms);
	while (ret < 0 && errno == EINTR);
	if (ret <= 0)
		return ret < 0 ? -errno : -ETIMEDOUT;
	got = recv(doorman->fd, ret_outcome, sizeof(*ret_outcome), 0);
	return got < 0 ? -errno : got;
}

static ssize_t exchange(struct xb_doorman *doorman, const struct xb_gate_order *order,
			struct xb_gate_outcome *ret_outcome)
{
	ssize_t got;

	/* there is one order at a time: the answer to the last is of no use any more */
	if (doorman->late && receive(doorman, 0, ret_outcome) == -ETIMEDOUT)
		return -ETIMEDOUT;
	doorman->late = false;
	if (send(doorman->fd, order, sizeof(*order), MSG_NOSIGNAL) < 0)
		return -errno;
	got = receive(doorman, order->attach ? ATTACH_MS : DETACH_MS, ret_outcome);
	doorman->late = got == -ETIMEDOUT;
	return got;
}

void xb_doorman_carry_out(void *arg, const struct xb_gate_order *order,
			  struct xb_gate_outcome *ret_outcome)
{
	struct xb_doorman *doorman = arg;
	ssize_t got = exchange(doorman, order, ret_outcome);
	int code = got < 0 ? (int)got : -EPIPE;

	if (got == sizeof(*ret_outcome))
		return;
	*ret_outcome = (struct xb_gate_outcome){.code = code};
	xb_fail(&ret_outcome->err, code, "give the doorman an order");
	if (doorman->late)
		xb_hint(&ret_outcome->err,
			"it still waits, perhaps for somebody who holds the lock "
			"of libxdp (a flock on /sys/fs/bpf/xdp)");
	else
		xb_hint(&ret_outcome->err, "the process xb-doorman is gone: restart xbridge");
}
