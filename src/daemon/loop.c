/* SPDX-License-Identifier: BSD-2-Clause */
#include "daemon/loop.h"

#include "core/calls.h"

#include <errno.h>
#include <limits.h>
#include <stddef.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

XB_CALL(control, epoll_create1);
XB_CALL(control, epoll_ctl);
XB_CALL(control, epoll_pwait);
XB_CALL(control, epoll_wait);
XB_CALL(control, timerfd_create);
XB_CALL(control, timerfd_settime);

#define NS_PER_MS 1000000u

int xb_loop_init(struct xb_loop *loop, struct xb_error *err)
{
	*loop = (struct xb_loop){.epoll_fd = epoll_create1(EPOLL_CLOEXEC)};
	return loop->epoll_fd < 0 ? xb_fail(err, -errno, "make an epoll descriptor") : 0;
}

void xb_loop_fini(struct xb_loop *loop)
{
	if (loop->epoll_fd >= 0)
		close(loop->epoll_fd);
	loop->epoll_fd = -1;
}

int xb_loop_add(struct xb_loop *loop, struct xb_watch *watch, int fd, uint32_t events,
		void (*ready)(struct xb_watch *watch, uint32_t events))
{
	struct epoll_event event = {.events = events, .data.ptr = watch};

	*watch = (struct xb_watch){.fd = -1, .ready = ready};
	if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0)
		return -errno;
	watch->fd = fd;
	return 0;
}

int xb_loop_change(struct xb_loop *loop, struct xb_watch *watch, uint32_t events)
{
	struct epoll_event event = {.events = events, .data.ptr = watch};

	return epoll_ctl(loop->epoll_fd, EPOLL_CTL_MOD, watch->fd, &event) < 0 ? -errno : 0;
}

void xb_loop_del(struct xb_loop *loop, struct xb_watch *watch)
{
	if (watch->fd >= 0)
		epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, watch->fd, NULL);
	watch->fd = -1;
}

uint64_t xb_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

int xb_loop_timer(unsigned ms)
{
	struct timespec period = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
	struct itimerspec spec = {.it_interval = period, .it_value = period};
	int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);

	if (fd < 0)
		return -errno;
	if (timerfd_settime(fd, 0, &spec, NULL) < 0) {
		int code = -errno;

		close(fd);
		return code;
	}
	return fd;
}

void xb_loop_drain(int fd)
{
	uint64_t count;
	ssize_t got = read(fd, &count, sizeof(count));

	(void)got; /* EAGAIN: nothing had come */
}

/* ---- times ---- */

void xb_loop_forget(struct xb_loop *loop, struct xb_timer *timer)
{
	struct xb_timer **at = &loop->timers;

	while (*at && *at != timer)
		at = &(*at)->next;
	if (*at)
		*at = timer->next;
	timer->at_ns = 0;
	timer->next = NULL;
}

void xb_loop_at(struct xb_loop *loop, struct xb_timer *timer, uint64_t at_ns,
		void (*due)(struct xb_timer *timer))
{
	struct xb_timer **at = &loop->timers;

	xb_loop_forget(loop, timer);
	while (*at && (*at)->at_ns <= at_ns)
		at = &(*at)->next;
	timer->at_ns = at_ns;
	timer->due = due;
	timer->next = *at;
	*at = timer;
}

/* Calls what is due by now. What it sets anew is for the next turn, so that descriptors get theirs.
 */
static void call_due(struct xb_loop *loop)
{
	uint64_t now_ns = xb_now_ns();

	for (struct xb_timer *timer; !loop->stop && (timer = loop->timers);) {
		if (timer->at_ns > now_ns)
			return;
		xb_loop_forget(loop, timer);
		timer->due(timer);
	}
}

/* How long to sleep at most: until the soonest timer; -1: as long as nothing happens. */
static int sleep_ms(const struct xb_loop *loop)
{
	uint64_t now_ns = xb_now_ns();
	uint64_t ms;

	if (!loop->timers)
		return -1;
	if (loop->timers->at_ns <= now_ns)
		return 0;
	ms = (loop->timers->at_ns - now_ns + NS_PER_MS - 1) / NS_PER_MS;
	return ms < INT_MAX ? (int)ms : INT_MAX;
}

int xb_loop_run(struct xb_loop *loop)
{
	while (!loop->stop) {
		/* One event a turn: what it does may take away the watch of the next. */
		struct epoll_event event;
		struct xb_watch *watch;
		int n;

		call_due(loop);
		if (loop->stop)
			break;
		n = epoll_wait(loop->epoll_fd, &event, 1, sleep_ms(loop));
		if (n < 0 && errno != EINTR)
			return -errno;
		if (n <= 0)
			continue;
		watch = event.data.ptr;
		watch->ready(watch, event.events);
	}
	return 0;
}
