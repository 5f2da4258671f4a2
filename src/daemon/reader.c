/* SPDX-License-Identifier: BSD-2-Clause */
#include "daemon/reader.h"

#include "core/calls.h"
#include "core/cleanup.h"
#include "daemon/filter.h"
#include "daemon/privileges.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define SOCKET_FD (STDERR_FILENO + 1)

XB_CALL(reader, close);
XB_CALL(reader, exit_group);
XB_CALL(reader, open);
XB_CALL(reader, openat);
XB_CALL(reader, recvfrom);
XB_CALL(reader, sendmsg);
XB_CALL(control, recvmsg);
XB_CALL(control, sendto);

struct answer {
	uint32_t order;
	int code; /* 0: the descriptor comes with it; -errno */
};

/* A message and perhaps a descriptor. */
union fd_room {
	struct cmsghdr header;
	char room[CMSG_SPACE(sizeof(int))];
};

/* ---- the reader's side ---- */

static bool send_answer(const struct answer *answer, int fd)
{
	union fd_room control = {.header = {.cmsg_len = CMSG_LEN(sizeof(int)),
					    .cmsg_level = SOL_SOCKET,
					    .cmsg_type = SCM_RIGHTS}};
	struct iovec part = {(void *)answer, sizeof(*answer)};
	struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};

	if (fd >= 0) {
		memcpy(CMSG_DATA(&control.header), &fd, sizeof(fd));
		message.msg_control = &control;
		message.msg_controllen = sizeof(control.room);
	}
	return sendmsg(SOCKET_FD, &message, MSG_NOSIGNAL) == sizeof(*answer);
}

static _Noreturn void serve(const char *path)
{
	struct answer answer = {0};

	while (recv(SOCKET_FD, &answer.order, sizeof(answer.order), 0) == sizeof(answer.order)) {
		xb_auto_fd int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

		answer.code = fd < 0 ? -errno : 0;
		if (!send_answer(&answer, fd))
			break;
	}
	_exit(0);
}

static _Noreturn void be_reader(int fd, const char *path, pid_t maker)
{
	struct xb_error err = {0};

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	prctl(PR_SET_NAME, "xb-reader");
	if (getppid() != maker || (fd != SOCKET_FD && dup2(fd, SOCKET_FD) < 0) ||
	    close_range(SOCKET_FD + 1, ~0u, 0) < 0 || xb_privileges_drop_reader(&err) < 0)
		_exit(1);
	xb_filter_use(XB_FILTER_READER);
	serve(path);
}

/* ---- the daemon's side ---- */

int xb_reader_start(struct xb_reader *reader, const char *path, struct xb_error *err)
{
	pid_t self = getpid();
	int fds[2];
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0)
		return xb_fail(err, -errno, "make a socket to the reader of %.200s", path);
	pid = fork();
	if (pid == 0)
		be_reader(fds[1], path, self);
	close(fds[1]);
	if (pid < 0) {
		close(fds[0]);
		return xb_fail(err, -errno, "make the reader of %.200s", path);
	}
	*reader = (struct xb_reader){.pid = pid, .fd = fds[0], .file_fd = -1};
	return 0;
}

void xb_reader_stop(struct xb_reader *reader)
{
	if (!reader->pid)
		return;
	close(reader->fd); /* ends its loop; one that hangs in a file system ends here */
	kill(reader->pid, SIGKILL);
	waitpid(reader->pid, NULL, 0);
	xb_cleanup_close(&reader->file_fd);
	*reader = (struct xb_reader){.file_fd = -1};
}

void xb_reader_reaped(struct xb_reader *reader, pid_t pid)
{
	if (!reader->pid || reader->pid != pid)
		return;
	close(reader->fd);
	*reader = (struct xb_reader){.file_fd = reader->file_fd};
}

int xb_reader_ask(struct xb_reader *reader)
{
	xb_cleanup_close(&reader->file_fd); /* of an order that is out of date */
	reader->file_fd = -1;
	if (!reader->pid)
		return -EPIPE;
	reader->order++;
	return send(reader->fd, &reader->order, sizeof(reader->order),
		    MSG_NOSIGNAL | MSG_DONTWAIT) < 0
		       ? -errno
		       : 0;
}

/* One message. Returns its bytes or -errno; `ret_fd` is -1 where none came with it. */
static ssize_t receive(const struct xb_reader *reader, struct answer *ret_answer, int *ret_fd)
{
	union fd_room control;
	struct iovec part = {ret_answer, sizeof(*ret_answer)};
	struct msghdr message = {.msg_iov = &part,
				 .msg_iovlen = 1,
				 .msg_control = &control,
				 .msg_controllen = sizeof(control.room)};
	ssize_t got = recvmsg(reader->fd, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
	const struct cmsghdr *header = got > 0 ? CMSG_FIRSTHDR(&message) : NULL;

	*ret_fd = -1;
	if (header && header->cmsg_type == SCM_RIGHTS)
		memcpy(ret_fd, CMSG_DATA(header), sizeof(int));
	return got < 0 ? -errno : got;
}

int xb_reader_take(struct xb_reader *reader)
{
	for (;;) {
		struct answer answer;
		xb_auto_fd int fd = -1;
		ssize_t got = reader->pid ? receive(reader, &answer, &fd) : 0;

		if (got < 0 && got != -EINTR)
			return (int)got;
		if (got >= 0 && got != sizeof(answer))
			return -EPIPE;
		if (got < 0 || answer.order != reader->order)
			continue;
		if (!answer.code && fd < 0)
			return -EMFILE; /* we have no room for it */
		if (!answer.code)
			reader->file_fd = XB_TAKE_FD(fd);
		return answer.code;
	}
}
