/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Small processes that keep one right which the control thread gives up, and do one thing with it:
 * the reader (reader.h) and the deputy (deputy.h). They are made at the start, end with the daemon,
 * and have open what everybody has and a socket to it.
 */
#ifndef XB_DAEMON_HELPER_H
#define XB_DAEMON_HELPER_H

#include "core/error.h"
#include "daemon/filter.h"

#include <sys/types.h>

/** A helper's end of the socket. */
#define XB_HELPER_FD 3

struct xb_helper {
	const char *name;               /* of the process */
	int capability;                 /* what it keeps */
	enum xb_filter_kind filter;     /* what it may call */
	void (*serve)(const void *arg); /* until the socket's other end is closed */
};

/** Makes a helper, before privileges are given up. `ret_fd` is a socket of SOCK_SEQPACKET to it. */
int xb_helper_start(const struct xb_helper *helper, const void *arg, pid_t *ret_pid, int *ret_fd,
		    struct xb_error *err);

/** Ends it. */
void xb_helper_stop(pid_t pid, int fd);

/** Sends a message, with a descriptor unless that is -1. Returns its bytes or -errno. */
ssize_t xb_helper_send(int socket, const void *data, size_t bytes, int fd);

/** Receives a message into `data`; the descriptor that came with it, or -1, into `ret_fd`. Returns
 *  its bytes, 0 where the other side is gone, or -errno. `flags` as for recvmsg(2). */
ssize_t xb_helper_receive(int socket, void *data, size_t bytes, int flags, int *ret_fd);

#endif
