/* SPDX-License-Identifier: BSD-2-Clause */
#include "daemon/doorman.h"

#include "core/calls.h"
#include "core/cleanup.h"
#include "daemon/doorman_own.h"
#include "daemon/log.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

XB_CALL(control, kill);
XB_CALL(control, poll);
XB_CALL(control, socketpair);
XB_CALL(control, wait4);
XB_CALL(control, waitid);

#define NS_PER_MS 1000000ull

/* When to try again to have one in reserve. */
#define REFILL_MS 1000u

/* How long an order may take, and in a hurry. */
#define ATTACH_MS 30000u
#define DETACH_MS 3000u
#define HURRY_MS  200u

/* When to look again for an answer that has come and was not read yet. */
#define ANSWERED_MS 10u

/* How often an order is given again, for want of memory. */
#define ORDER_TRIES 100u

static void send_waiting(struct xb_doorman *doorman);
static void fill_reserve(struct xb_doorman *doorman);

static struct xb_doorman_seat *reserve(struct xb_doorman *doorman)
{
	return &doorman->seats[doorman->on_duty == &doorman->seats[0]];
}

static bool is_taken(const struct xb_doorman_seat *seat)
{
	return seat->watch.fd >= 0;
}

/* ---- the line of errands ---- */

/* Takes the first errand out of the line; the caller sees to the next one. */
static struct xb_errand *take_first(struct xb_doorman *doorman)
{
	struct xb_errand *errand = doorman->first;

	xb_loop_forget(doorman->loop, &doorman->limit);
	doorman->first = errand->next;
	errand->next = NULL;
	errand->on_its_way = false;
	return errand;
}

/* What its owner does then may begin others. */
static void deliver(struct xb_errand *errand)
{
	if (errand->done)
		errand->done(errand);
}

static void deliver_failure(struct xb_errand *errand, int code, const char *hint)
{
	errand->outcome = (struct xb_gate_outcome){.code = code};
	xb_fail(&errand->outcome.err, code, "give the doorman an order");
	xb_hint(&errand->outcome.err, "%s", hint);
	deliver(errand);
}

/* ---- a doorman that ends ---- */

static void leave_seat(struct xb_doorman_seat *seat)
{
	int fd = seat->watch.fd;

	xb_loop_del(seat->doorman->loop, &seat->watch);
	close(fd);
}

static void kill_one(const struct xb_doorman_seat *seat)
{
	if (seat->pid && !seat->reaped)
		kill(seat->pid, SIGKILL);
}

static void begin_duty(struct xb_doorman *doorman)
{
	if (!is_taken(reserve(doorman)))
		fill_reserve(doorman);
	send_waiting(doorman);
}

/* The other one takes over, as soon as it is there. What was being done is done again: who puts a
 * program on an interface looks first at what is there. */
static void take_over(struct xb_doorman *doorman)
{
	doorman->on_duty = reserve(doorman);
	for (struct xb_errand *errand = doorman->first; errand; errand = errand->next)
		errand->sent = false;
	xb_loop_forget(doorman->loop, &doorman->limit);
	if (doorman->on_duty->here)
		begin_duty(doorman);
}

static void on_refill(struct xb_timer *timer)
{
	struct xb_doorman *doorman =
		(struct xb_doorman *)((char *)timer - offsetof(struct xb_doorman, refill));

	if (is_taken(doorman->on_duty) && doorman->on_duty->here && !is_taken(reserve(doorman)))
		fill_reserve(doorman);
}

/* Without one in reserve all goes on; it is tried again. */
static void lack_reserve(struct xb_doorman *doorman, const char *why)
{
	if (!doorman->lacks_reserve)
		xb_log(XB_LOG_WARNING,
		       "no process xb-doorman is in reserve (%s); it is tried again", why);
	doorman->lacks_reserve = true;
	xb_loop_at(doorman->loop, &doorman->refill, xb_now_ns() + REFILL_MS * NS_PER_MS, on_refill);
}

static bool is_anybody_there(const struct xb_doorman *doorman)
{
	if (is_taken(&doorman->seats[0]) || is_taken(&doorman->seats[1]))
		return true;
	xb_log(XB_LOG_ERROR, "both processes xb-doorman have ended: no XDP program can be attached "
			     "any more; restart xbridge");
	return false;
}

static void on_end(struct xb_doorman_seat *seat)
{
	struct xb_doorman *doorman = seat->doorman;

	leave_seat(seat);
	if (!is_anybody_there(doorman)) {
		send_waiting(doorman);
		return;
	}
	if (!seat->here && seat != doorman->on_duty) {
		lack_reserve(doorman, "it has not come up");
		return;
	}
	xb_log(XB_LOG_WARNING, "the process xb-doorman (%d) has ended; another replaces it",
	       (int)seat->pid);
	if (seat == doorman->on_duty)
		take_over(doorman);
	else
		fill_reserve(doorman);
}

bool xb_doorman_has_answered(const struct xb_doorman *doorman)
{
	struct pollfd socket = {.fd = -1, .events = POLLIN};

	if (doorman->first && is_taken(doorman->on_duty))
		socket.fd = doorman->on_duty->watch.fd;
	return poll(&socket, 1, 0) == 1 && socket.revents & POLLIN;
}

/* The order that the one on duty is at has taken too long: it goes, and the order with it. */
static void on_limit(struct xb_timer *timer)
{
	struct xb_doorman *doorman =
		(struct xb_doorman *)((char *)timer - offsetof(struct xb_doorman, limit));
	struct xb_errand *late;

	if (xb_doorman_has_answered(doorman)) { /* it is this thread that is late */
		xb_loop_at(doorman->loop, timer, xb_now_ns() + ANSWERED_MS * NS_PER_MS, on_limit);
		return;
	}
	late = take_first(doorman);
	kill_one(doorman->on_duty);
	leave_seat(doorman->on_duty);
	if (is_anybody_there(doorman))
		take_over(doorman);
	else
		send_waiting(doorman);
	deliver_failure(late, -ETIMEDOUT,
			"it still waits, perhaps for somebody who holds the lock of libxdp (a "
			"flock on /sys/fs/bpf/xdp)");
}

/* ---- what they say ---- */

static void on_answer(struct xb_watch *watch, uint32_t events)
{
	struct xb_doorman_seat *seat = (struct xb_doorman_seat *)watch;
	struct xb_doorman *doorman = seat->doorman;
	struct xb_doorman_answer answer;
	struct xb_errand *errand;
	ssize_t got = recv(watch->fd, &answer, sizeof(answer), MSG_DONTWAIT);

	(void)events;
	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (got != sizeof(answer)) {
		on_end(seat);
		return;
	}
	if (!seat->here) {
		seat->pid = answer.pid;
		seat->here = true;
		doorman->lacks_reserve = false;
		if (seat == doorman->on_duty)
			begin_duty(doorman);
	}
	if (answer.here || seat != doorman->on_duty || !doorman->first)
		return;
	errand = take_first(doorman);
	errand->outcome = answer.outcome;
	send_waiting(doorman);
	deliver(errand);
}

/* ---- what they are told ---- */

static unsigned limit_ms(const struct xb_doorman *doorman, const struct xb_errand *errand)
{
	if (doorman->hurried && errand->order.attach)
		return HURRY_MS;
	return errand->order.attach ? ATTACH_MS : DETACH_MS;
}

static void on_nobody(struct xb_timer *timer)
{
	struct xb_doorman *doorman =
		(struct xb_doorman *)((char *)timer - offsetof(struct xb_doorman, limit));

	struct xb_errand *errand = take_first(doorman);

	send_waiting(doorman);
	deliver_failure(errand, -EPIPE, "the process xb-doorman is gone: restart xbridge");
}

static void send_to(const struct xb_doorman_seat *seat, const struct xb_doorman_order *order)
{
	/* where this fails its other end has closed, which the loop is about to say */
	for (unsigned tries = 0; tries < ORDER_TRIES; tries++)
		if (send(seat->watch.fd, order, sizeof(*order), MSG_NOSIGNAL | MSG_DONTWAIT) >= 0 ||
		    errno == EPIPE)
			break;
}

static void send_order(struct xb_doorman *doorman, struct xb_errand *errand)
{
	struct xb_doorman_order order = {.gate = errand->order};

	send_to(doorman->on_duty, &order);
	errand->sent = true;
}

/* One that is not there yet finds it in its socket. */
void xb_doorman_tell(struct xb_doorman *doorman, const char *ifname, bool is_uplink)
{
	struct xb_doorman_order order = {.duty = is_uplink ? XB_DUTY_KNOW : XB_DUTY_FORGET};

	snprintf(order.gate.ifname, sizeof(order.gate.ifname), "%s", ifname);
	for (unsigned i = 0; i < 2; i++)
		if (is_taken(&doorman->seats[i]))
			send_to(&doorman->seats[i], &order);
}

/* Has the orders in line carried out: the doorman gets all of them, so that it goes on with the
 * next one however late the answer to the last is read here. The time of the first one runs. */
static void send_waiting(struct xb_doorman *doorman)
{
	struct xb_errand *first = doorman->first;

	if (!first || (is_taken(doorman->on_duty) && !doorman->on_duty->here))
		return; /* its first word makes this go on */
	if (!is_taken(doorman->on_duty)) {
		xb_loop_at(doorman->loop, &doorman->limit, xb_now_ns(), on_nobody);
		return;
	}
	for (struct xb_errand *errand = first; errand; errand = errand->next)
		if (!errand->sent)
			send_order(doorman, errand);
	if (!doorman->limit.at_ns)
		xb_loop_at(doorman->loop, &doorman->limit,
			   xb_now_ns() + limit_ms(doorman, first) * NS_PER_MS, on_limit);
}

void xb_doorman_give(struct xb_doorman *doorman, struct xb_errand *errand,
		     void (*done)(struct xb_errand *errand))
{
	struct xb_errand **last = &doorman->first;

	errand->done = done;
	errand->next = NULL;
	errand->sent = false;
	errand->on_its_way = true;
	while (*last)
		last = &(*last)->next;
	*last = errand;
	send_waiting(doorman);
}

void xb_doorman_call_off(struct xb_doorman *doorman, struct xb_errand *errand)
{
	struct xb_errand **at = &doorman->first;

	errand->done = NULL; /* of one that is sent an answer is to come */
	while (*at && *at != errand)
		at = &(*at)->next;
	if (!*at || errand->sent || errand == doorman->first)
		return;
	*at = errand->next;
	errand->on_its_way = false;
}

void xb_doorman_hurry(struct xb_doorman *doorman)
{
	uint64_t by_ns = xb_now_ns() + HURRY_MS * NS_PER_MS;

	doorman->hurried = true;
	if (doorman->first && doorman->limit.at_ns > by_ns)
		xb_loop_at(doorman->loop, &doorman->limit, by_ns, on_limit);
}

/* ---- making them ---- */

/* Watches our end of a doorman's socket. Returns the other end or -errno. */
static int make_socket(struct xb_doorman_seat *seat)
{
	int fds[2];
	int ret;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0)
		return -errno;
	ret = xb_loop_add(seat->doorman->loop, &seat->watch, fds[0], EPOLLIN, on_answer);
	if (ret < 0) {
		close(fds[0]);
		close(fds[1]);
		return ret;
	}
	seat->pid = 0;
	seat->here = seat->reaped = false;
	return fds[1];
}

/* Gives the one on duty an order that comes with a descriptor. */
static int send_with(const struct xb_doorman *doorman, enum xb_doorman_duty duty, int fd)
{
	struct xb_doorman_order order = {.duty = duty};
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(sizeof(int))];
	} control = {.header = {.cmsg_len = CMSG_LEN(sizeof(int)),
				.cmsg_level = SOL_SOCKET,
				.cmsg_type = SCM_RIGHTS}};
	struct iovec part = {&order, sizeof(order)};
	struct msghdr message = {.msg_iov = &part,
				 .msg_iovlen = 1,
				 .msg_control = &control,
				 .msg_controllen = sizeof(control.room)};

	memcpy(CMSG_DATA(&control.header), &fd, sizeof(int));
	return sendmsg(doorman->on_duty->watch.fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT) < 0
		       ? -errno
		       : 0;
}

/* Lets the one on duty make another. */
static void fill_reserve(struct xb_doorman *doorman)
{
	xb_auto_fd int fd = make_socket(reserve(doorman));

	if (fd < 0)
		lack_reserve(doorman, strerror(-fd));
	else
		send_with(doorman, XB_DUTY_ANOTHER, fd); /* where it fails, that one ends, too */
}

static int make_one(struct xb_doorman_seat *seat, const struct xb_config *config,
		    struct xb_error *err)
{
	pid_t self = getpid();
	xb_auto_fd int fd = make_socket(seat);
	pid_t pid;

	if (fd < 0)
		return xb_fail(err, fd, "make a socket to the doorman");
	pid = fork();
	if (pid == 0)
		xb_doorman_serve(fd, config, self);
	if (pid < 0)
		return xb_fail(err, -errno, "make the doorman");
	seat->pid = pid;
	return 0;
}

int xb_doorman_start(struct xb_doorman *doorman, struct xb_loop *loop,
		     const struct xb_config *config, struct xb_error *err)
{
	int ret = 0;

	*doorman = (struct xb_doorman){.loop = loop, .on_duty = &doorman->seats[0]};
	for (unsigned i = 0; i < 2; i++) {
		doorman->seats[i].watch.fd = -1;
		doorman->seats[i].doorman = doorman;
	}
	if (prctl(PR_SET_CHILD_SUBREAPER, 1) < 0)
		ret = xb_fail(err, -errno, "take in orphans (PR_SET_CHILD_SUBREAPER)");
	for (unsigned i = 0; !ret && i < 2; i++)
		ret = make_one(&doorman->seats[i], config, err);
	if (ret < 0)
		xb_doorman_stop(doorman);
	return ret;
}

void xb_doorman_reaped(struct xb_doorman *doorman, pid_t pid)
{
	for (unsigned i = 0; doorman->loop && i < 2; i++)
		if (doorman->seats[i].pid == pid)
			doorman->seats[i].reaped = true;
}

int xb_doorman_leave(struct xb_doorman *doorman, int lock_fd)
{
	struct xb_doorman_seat *seat = doorman->on_duty;
	int ret = -ENOENT;

	for (unsigned tries = 0; is_taken(seat) && ret < 0 && tries < ORDER_TRIES; tries++)
		ret = send_with(doorman, XB_DUTY_SWEEP, lock_fd);
	if (!ret)
		leave_seat(seat);
	return ret;
}

void xb_doorman_stop(struct xb_doorman *doorman)
{
	bool was_taken[2];

	if (!doorman->loop)
		return;
	xb_loop_forget(doorman->loop, &doorman->limit);
	xb_loop_forget(doorman->loop, &doorman->refill);
	for (unsigned i = 0; i < 2; i++) {
		struct xb_doorman_seat *seat = &doorman->seats[i];

		was_taken[i] = is_taken(seat);
		if (!was_taken[i])
			continue;
		leave_seat(seat); /* ends its loop */
		kill_one(seat);
	}
	/* after both are told, so that they end at the same time */
	for (unsigned i = 0; i < 2; i++)
		if (was_taken[i] && doorman->seats[i].pid && !doorman->seats[i].reaped)
			waitpid(doorman->seats[i].pid, NULL, 0);
	*doorman = (struct xb_doorman){0};
}
