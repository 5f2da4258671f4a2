/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The control thread's loop: descriptors and times, each with a function to call.
 *
 * Nothing that is called from here waits: what takes long is a job (job.h).
 */
#ifndef XB_DAEMON_LOOP_H
#define XB_DAEMON_LOOP_H

#include "core/error.h"

#include <stdbool.h>
#include <stdint.h>

struct xb_timer;

struct xb_loop {
	int epoll_fd;
	bool stop;
	struct xb_timer *timers; /* that are set, soonest first */
};

/** A time at which something is to be done. It lives in the struct that it serves; all zero, it is
 * not set. */
struct xb_timer {
	uint64_t at_ns; /* CLOCK_MONOTONIC; 0: not set */
	void (*due)(struct xb_timer *timer);
	struct xb_timer *next;
};

/** A descriptor that the loop watches. It lives in the struct that it serves. */
struct xb_watch {
	int fd; /* -1: not watched */
	void (*ready)(struct xb_watch *watch, uint32_t events);
};

int xb_loop_init(struct xb_loop *loop, struct xb_error *err);
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

/** Calls `due` once, at `at_ns` or as soon after that as the loop gets there (it sleeps by the
 * millisecond). A timer that is set already is set anew. */
void xb_loop_at(struct xb_loop *loop, struct xb_timer *timer, uint64_t at_ns,
		void (*due)(struct xb_timer *timer));
/** Takes a timer back, set or not. */
void xb_loop_forget(struct xb_loop *loop, struct xb_timer *timer);

/** Runs until loop->stop. One watch or timer is called at a time, and may remove itself or others.
 */
int xb_loop_run(struct xb_loop *loop);

#endif
