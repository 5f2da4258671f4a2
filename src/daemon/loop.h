/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The control thread's loop: descriptors and timers, each with a function to call.
 */
#ifndef XB_DAEMON_LOOP_H
#define XB_DAEMON_LOOP_H

#include <stdbool.h>
#include <stdint.h>

struct xb_loop {
	int epoll_fd;
	bool stop;
};

/** A descriptor that the loop watches. It lives in the struct that it serves. */
struct xb_watch {
	int fd; /* -1: not watched */
	void (*ready)(struct xb_watch *watch, uint32_t events);
};

int xb_loop_init(struct xb_loop *loop);
void xb_loop_fini(struct xb_loop *loop);

/** Watches `fd` for `events` (EPOLLIN…). `watch` stays where it is until xb_loop_del. */
int xb_loop_add(struct xb_loop *loop, struct xb_watch *watch, int fd, uint32_t events,
		void (*ready)(struct xb_watch *watch, uint32_t events));
int xb_loop_change(struct xb_loop *loop, struct xb_watch *watch, uint32_t events);
/** Stops watching; the descriptor stays open. */
void xb_loop_del(struct xb_loop *loop, struct xb_watch *watch);

/** CLOCK_MONOTONIC. */
uint64_t xb_now_ns(void);

/** A timer descriptor that is readable every `ms`; -errno. */
int xb_loop_timer(unsigned ms);
/** Reads a timer's or an event's count, so that it is no longer readable. */
void xb_loop_drain(int fd);

/** Runs until loop->stop. One watch is called at a time, and may remove itself or others. */
int xb_loop_run(struct xb_loop *loop);

#endif
