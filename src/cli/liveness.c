/* SPDX-License-Identifier: BSD-2-Clause */
#include "cli/liveness.h"

#include "core/cleanup.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>

long long xb_liveness_now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000ll + now.tv_nsec / 1000000;
}

int xb_liveness_connect(const char *path, int timeout_ms)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	struct timeval limit = {.tv_sec = timeout_ms / 1000, .tv_usec = timeout_ms % 1000 * 1000};
	xb_auto_fd int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	if (strlen(path) >= sizeof(addr.sun_path))
		return -ENAMETOOLONG;
	strcpy(addr.sun_path, path);
	/* a socket whose queue of clients is full blocks the next one for so long */
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
		return -errno;
	return XB_TAKE_FD(fd);
}

pid_t xb_liveness_peer(int fd)
{
	struct ucred peer = {0};
	socklen_t bytes = sizeof(peer);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &bytes) < 0)
		return 0;
	return peer.pid;
}

static bool answers(int fd, long long deadline_ms)
{
	static const char request[] = "{\"argv\":[\"status\"]}\n";
	struct pollfd ready = {.fd = fd, .events = POLLIN};
	long long left_ms = deadline_ms - xb_liveness_now_ms();
	char first;

	if (send(fd, request, sizeof(request) - 1, MSG_NOSIGNAL) < 0)
		return false;
	return poll(&ready, 1, left_ms > 0 ? (int)left_ms : 0) == 1 &&
	       recv(fd, &first, 1, MSG_DONTWAIT) == 1;
}

/* The letter that the kernel has for what a process does; 0: not known. */
static char state_of(pid_t pid)
{
	char path[48], line[512], *end;
	FILE *file;
	char state = 0;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	file = fopen(path, "re");
	if (!file)
		return 0;
	/* the name, in parentheses, may have any character */
	if (fgets(line, sizeof(line), file) && (end = strrchr(line, ')')) && end[1])
		state = end[2];
	fclose(file);
	return state;
}

static void describe(struct xb_liveness *liveness)
{
	pid_t pid = liveness->pid;

	switch (state_of(pid)) {
	case 'T':
	case 't':
		snprintf(liveness->state, sizeof(liveness->state),
			 "its process %d is stopped, by a signal or a debugger", pid);
		snprintf(liveness->remedy, sizeof(liveness->remedy), "kill -CONT %d", pid);
		break;
	case 'D':
		snprintf(liveness->state, sizeof(liveness->state),
			 "its process %d waits inside the kernel", pid);
		snprintf(liveness->remedy, sizeof(liveness->remedy), "cat /proc/%d/stack; dmesg",
			 pid);
		break;
	case 0:
		snprintf(liveness->state, sizeof(liveness->state),
			 "its process can't be seen from here");
		snprintf(liveness->remedy, sizeof(liveness->remedy),
			 "ask where it was started, with its /proc");
		break;
	default:
		snprintf(liveness->state, sizeof(liveness->state),
			 "its process %d is alive, but doesn't serve its control socket", pid);
		snprintf(liveness->remedy, sizeof(liveness->remedy),
			 "gdb -p %d -batch -ex 'thread apply all bt'", pid);
	}
}

void xb_liveness_look(const char *path, int deadline_ms, struct xb_liveness *ret_liveness)
{
	long long end_ms = xb_liveness_now_ms() + deadline_ms;
	xb_auto_fd int fd = xb_liveness_connect(path, deadline_ms);
	struct xb_liveness liveness = {0};

	liveness.denied = fd == -EACCES || fd == -EPERM;
	liveness.runs = fd >= 0 || fd == -EAGAIN || liveness.denied;
	if (fd >= 0) {
		liveness.pid = xb_liveness_peer(fd);
		liveness.answers = answers(fd, end_ms);
	}
	if (liveness.runs && !liveness.answers && !liveness.denied)
		describe(&liveness);
	*ret_liveness = liveness;
}
