/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Whether an instance that should run does answer, and what its process is doing otherwise.
 */
#ifndef XB_CLI_LIVENESS_H
#define XB_CLI_LIVENESS_H

#include <stdbool.h>
#include <sys/types.h>

struct xb_liveness {
	bool runs;       /* somebody listens on its socket */
	bool answers;    /* within the deadline */
	bool denied;     /* we may not ask */
	pid_t pid;       /* 0: not known */
	char state[160]; /* what the process does, where it doesn't answer: "is stopped (…)" */
	char remedy[128];
};

/**
 * Asks an instance for its status, and looks at its process where it gives none.
 *
 * @path:        of its control socket.
 * @deadline_ms: longest that its answer may take, connecting included.
 */
void xb_liveness_look(const char *path, int deadline_ms, struct xb_liveness *ret_liveness);

/** Milliseconds of a clock that only runs forwards: for deadlines. */
long long xb_liveness_now_ms(void);

/** The process that listens at the other end of a connection; 0: it can't be seen from here. */
pid_t xb_liveness_peer(int fd);

/** Connects to an instance's control socket, for at most `timeout_ms`. Returns a descriptor or
 *  -errno; -EAGAIN: it has not accepted in time. */
int xb_liveness_connect(const char *path, int timeout_ms);

#endif
