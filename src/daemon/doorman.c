/* SPDX-License-Identifier: BSD-2-Clause */
#include "daemon/doorman.h"

#include "daemon/privileges.h"
#include "xsk/pins.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- the doorman's side ---- */

static bool is_allowed(const struct xb_config *config, const struct xb_gate_order *order)
{
	if (order->slot >= XB_UPLINKS_MAX)
		return false;
	for (unsigned i = 0; order->attach && i < config->n_uplinks; i++)
		if (!strncmp(order->ifname, config->uplinks[i].ifname, sizeof(order->ifname)))
			return true;
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
	close(doorman->fd); /* ends its loop */
	waitpid(doorman->pid, NULL, 0);
	*doorman = (struct xb_doorman){0};
}

static ssize_t exchange(const struct xb_doorman *doorman, const struct xb_gate_order *order,
			struct xb_gate_outcome *ret_outcome)
{
	ssize_t got;

	if (send(doorman->fd, order, sizeof(*order), MSG_NOSIGNAL) < 0)
		return -errno;
	do
		got = recv(doorman->fd, ret_outcome, sizeof(*ret_outcome), 0);
	while (got < 0 && errno == EINTR);
	return got < 0 ? -errno : got;
}

void xb_doorman_carry_out(void *doorman, const struct xb_gate_order *order,
			  struct xb_gate_outcome *ret_outcome)
{
	ssize_t got = exchange(doorman, order, ret_outcome);

	if (got == sizeof(*ret_outcome))
		return;
	*ret_outcome = (struct xb_gate_outcome){.code = got < 0 ? (int)got : -EPIPE};
	xb_fail(&ret_outcome->err, ret_outcome->code, "give the doorman an order");
	xb_hint(&ret_outcome->err, "the process xb-doorman is gone: restart xbridge");
}
