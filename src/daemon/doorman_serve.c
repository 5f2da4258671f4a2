/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The doorman's own process.
 */
#include "daemon/doorman_own.h"

#include "core/calls.h"
#include "daemon/doorman.h"
#include "daemon/filter.h"
#include "daemon/log.h"
#include "daemon/name_lock.h"
#include "daemon/privileges.h"
#include "gate/pins.h"

#include <errno.h>
#include <net/if.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

XB_CALL(doorman, alarm);
XB_CALL(doorman, clone);
XB_CALL(doorman, clone3);
XB_CALL(doorman, close_range);
XB_CALL(doorman, dup2);
XB_CALL(doorman, dup3);
XB_CALL(doorman, flock);
XB_CALL(doorman, getppid);
XB_CALL(doorman, kill);
XB_CALL(doorman, set_robust_list);
XB_CALL(doorman, wait4);

/* The only descriptor that is open beside the standard ones. */
#define SOCKET_FD (STDERR_FILENO + 1)

/* How often a new doorman looks whether the daemon is its parent by now, a millisecond each. */
#define ADOPTION_LOOKS 5000u

#define ANSWER_TRIES 100u

static _Noreturn void serve(const struct xb_config *config, pid_t maker);

/* ---- orders to the gate ---- */

/* The uplinks: those of the configuration, and those that the daemon has told of since. */
static struct {
	char ifname[IF_NAMESIZE]; /* "": none */
	uint32_t ifindex; /* when it was seen first, or last given a program: it may have been
			     renamed since */
} uplinks[XB_UPLINKS_MAX];

static void forget(const char *ifname)
{
	for (unsigned i = 0; i < XB_UPLINKS_MAX; i++)
		if (!strcmp(uplinks[i].ifname, ifname))
			memset(&uplinks[i], 0, sizeof(uplinks[i]));
}

static void know(const char *ifname)
{
	unsigned i = 0;

	forget(ifname); /* it may be another interface by now */
	while (i < XB_UPLINKS_MAX && uplinks[i].ifname[0])
		i++;
	if (i == XB_UPLINKS_MAX)
		return;
	snprintf(uplinks[i].ifname, sizeof(uplinks[i].ifname), "%s", ifname);
	uplinks[i].ifindex = if_nametoindex(ifname);
}

/* A doorman that was made by another knows what that one knew. */
static void get_to_know(const struct xb_config *config)
{
	static bool knows;

	for (unsigned i = 0; !knows && i < config->n_uplinks; i++)
		know(config->uplinks[i].options.ifname);
	knows = true;
}

/* The program goes to the interface of that index: it has to be that of an uplink, in the namespace
 * that xbridge was started in, which this process never leaves. */
static int check(const struct xb_gate_order *order)
{
	int ret = -EPERM;

	if (order->slot >= XB_UPLINKS_MAX)
		return -EPERM;
	if (!order->attach)
		return 0;
	for (unsigned i = 0; order->ifindex && i < XB_UPLINKS_MAX; i++) {
		unsigned index;

		if (!uplinks[i].ifname[0])
			continue;
		if (order->ifindex == uplinks[i].ifindex)
			return 0;
		index = if_nametoindex(uplinks[i].ifname);
		if (!index) {
			ret = -errno; /* one of them can't be told just now */
		} else if (index == order->ifindex) {
			uplinks[i].ifindex = index;
			return 0;
		}
	}
	return ret;
}

static void carry_out(const struct xb_config *config, const struct xb_gate_order *order,
		      struct xb_gate_outcome *ret_outcome)
{
	struct xb_gate_outcome outcome = {0};
	struct xb_gate gate;

	outcome.code = check(order);
	if (outcome.code < 0) {
		xb_fail(&outcome.err, outcome.code, "order of an XDP program");
	} else if (!order->attach) { /* pins are enough */
		outcome.code = xb_pin_take_off(config->name, order->slot, &outcome.cleared,
					       &outcome.err);
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

static bool answer(const struct xb_gate_outcome *outcome, bool here, pid_t pid)
{
	struct xb_doorman_answer answer = {.pid = pid, .here = here};

	if (outcome)
		answer.outcome = *outcome;
	/* what was carried out and is not told is not undone: for want of memory it is said again
	 */
	for (unsigned tries = 0; tries < ANSWER_TRIES; tries++) {
		if (send(SOCKET_FD, &answer, sizeof(answer), MSG_NOSIGNAL) == sizeof(answer))
			return true;
		if (errno == EPIPE)
			break;
	}
	return false;
}

/* Whether a child has ended, as it should. */
static bool has_done(pid_t pid)
{
	pid_t ended;
	int status;

	do {
		ended = waitpid(pid, &status, 0);
	} while (ended < 0 && errno == EINTR);
	return ended == pid && status == 0;
}

static void serve_gate(const struct xb_config *config, const struct xb_gate_order *order)
{
	struct xb_gate_outcome outcome = {.code = -EIO};
	pid_t self = getpid();
	pid_t pid = fork();

	if (pid < 0)
		outcome.code = -errno;
	if (pid == 0) {
		end_with(self);
		if (!order->attach)
			alarm(XB_LEFT_S);
		carry_out(config, order, &outcome);
		_exit(!answer(&outcome, false, self));
	}
	if (pid > 0 && has_done(pid))
		return;
	xb_fail(&outcome.err, outcome.code, "carry out an order of an XDP program");
	answer(&outcome, false, self);
}

/* A program is put on for the daemon, and not without it. One that is being taken off is taken off
 * even if the daemon ends meanwhile; those that are in line then are the sweep's. */
static void serve_daemon(const struct xb_config *config, const struct xb_gate_order *order,
			 pid_t maker)
{
	prctl(PR_SET_PDEATHSIG, order->attach ? SIGKILL : 0);
	if (getppid() == maker)
		serve_gate(config, order);
	prctl(PR_SET_PDEATHSIG, 0);
}

/* The daemon has ended, or is about to. Nobody hears an answer. */
static void sweep(const struct xb_config *config)
{
	struct xb_error err = {0};
	pid_t self = getpid();
	pid_t pid = fork();

	if (pid == 0) {
		end_with(self);
		alarm(XB_LEFT_S);
		if (xb_gate_remove(config->name, &err) < 0)
			xb_log_error(XB_LOG_WARNING, "remove what is pinned", &err);
		_exit(err.code != 0);
	}
	if (pid < 0 || !has_done(pid))
		xb_log(XB_LOG_WARNING,
		       "XDP programs of %s stay; they pass frames: `xbridge doctor` lists them, "
		       "`xbridge detach IFACE` takes one off",
		       config->name);
	xb_name_leave(config->name);
}

/* ---- another one ---- */

/* The process between this one and the new one has ended, or is about to: then the daemon, which
 * takes orphans in, is the parent, and the new one can end with it. */
static void await_adoption(pid_t maker)
{
	static const struct timespec pause = {.tv_nsec = 1000000};

	for (unsigned i = 0; i < ADOPTION_LOOKS && getppid() != maker; i++)
		nanosleep(&pause, NULL);
}

static void make_another(int fd, const struct xb_config *config, pid_t maker)
{
	pid_t pid = fork();

	if (pid == 0) {
		if (fork() != 0)
			_exit(0);
		await_adoption(maker);
		xb_doorman_serve(fd, config, maker);
	}
	if (pid > 0)
		waitpid(pid, NULL, 0);
}

/* ---- its life ---- */

/* Takes the next order, and the descriptor that may come with it (-1: none). */
static ssize_t receive(struct xb_doorman_order *order, int *ret_fd)
{
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec part = {order, sizeof(*order)};
	struct msghdr message = {.msg_iov = &part,
				 .msg_iovlen = 1,
				 .msg_control = &control,
				 .msg_controllen = sizeof(control.room)};
	ssize_t got = recvmsg(SOCKET_FD, &message, MSG_CMSG_CLOEXEC);
	const struct cmsghdr *header = got > 0 ? CMSG_FIRSTHDR(&message) : NULL;

	*ret_fd = -1;
	if (header && header->cmsg_type == SCM_RIGHTS)
		memcpy(ret_fd, CMSG_DATA(header), sizeof(int));
	return got;
}

static void serve_order(const struct xb_doorman_order *order, int fd,
			const struct xb_config *config, pid_t maker)
{
	switch (order->duty) {
	case XB_DUTY_GATE:
		serve_daemon(config, &order->gate, maker);
		break;
	case XB_DUTY_KNOW:
		know(order->gate.ifname);
		break;
	case XB_DUTY_FORGET:
		forget(order->gate.ifname);
		break;
	case XB_DUTY_ANOTHER:
		if (fd >= 0)
			make_another(fd, config, maker);
		break;
	case XB_DUTY_SWEEP:
		sweep(config);
		break;
	}
}

static _Noreturn void serve(const struct xb_config *config, pid_t maker)
{
	struct xb_doorman_order order;
	ssize_t got;
	int fd;

	get_to_know(config);
	prctl(PR_SET_PDEATHSIG, 0); /* the end of the socket says it, too, and in its turn */
	do {
		got = receive(&order, &fd);
		if (got == sizeof(order))
			serve_order(&order, fd, config, maker);
		if (fd >= 0)
			close(fd);
	} while (got > 0 || (got < 0 && errno == EINTR));
	_exit(0);
}

_Noreturn void xb_doorman_serve(int fd, const struct xb_config *config, pid_t maker)
{
	struct xb_error err = {0};
	int ret = 0;

	end_with(maker);
	prctl(PR_SET_NAME, "xb-doorman");
	if ((fd != SOCKET_FD && dup2(fd, SOCKET_FD) < 0) || close_range(SOCKET_FD + 1, ~0u, 0) < 0)
		ret = xb_fail(&err, -errno, "keep no descriptor of the daemon's");
	if (!ret)
		ret = xb_privileges_drop_doorman(&err);
	if (!ret && !answer(NULL, true, getpid()))
		ret = xb_fail(&err, -errno, "report for duty");
	if (ret < 0) { /* nobody else can say why */
		xb_log_error(XB_LOG_ERROR, "the process xb-doorman ends", &err);
		_exit(1);
	}
	xb_filter_use(XB_FILTER_DOORMAN);
	serve(config, maker);
}
