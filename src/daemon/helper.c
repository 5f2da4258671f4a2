/* SPDX-License-Identifier: BSD-2-Clause */
#include "daemon/helper.h"

#include "core/calls.h"
#include "daemon/privileges.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static_assert(XB_HELPER_FD == STDERR_FILENO + 1, "it is the first that closing leaves out");

XB_CALL(control, recvmsg);
XB_CALL(control, sendmsg);
XB_CALL(control, kill);
XB_CALL(control, wait4);
XB_CALL(deputy, exit_group);
XB_CALL(deputy, recvmsg);
XB_CALL(deputy, sendmsg);
XB_CALL(reader, exit_group);
XB_CALL(reader, recvmsg);
XB_CALL(reader, sendmsg);

static _Noreturn void be_helper(const struct xb_helper *helper, const void *arg, int fd,
				pid_t maker)
{
	struct xb_error err = {0};

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	prctl(PR_SET_NAME, helper->name);
	if (getppid() != maker || (fd != XB_HELPER_FD && dup2(fd, XB_HELPER_FD) < 0) ||
	    close_range(XB_HELPER_FD + 1, ~0u, 0) < 0 ||
	    xb_privileges_drop_helper(helper->capability, &err) < 0)
		_exit(1);
	xb_filter_use(helper->filter);
	helper->serve(arg);
	_exit(0);
}

int xb_helper_start(const struct xb_helper *helper, const void *arg, pid_t *ret_pid, int *ret_fd,
		    struct xb_error *err)
{
	pid_t self = getpid();
	int fds[2];
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0)
		return xb_fail(err, -errno, "make a socket to the process %s", helper->name);
	pid = fork();
	if (pid == 0)
		be_helper(helper, arg, fds[1], self);
	close(fds[1]);
	if (pid < 0) {
		close(fds[0]);
		return xb_fail(err, -errno, "make the process %s", helper->name);
	}
	*ret_pid = pid;
	*ret_fd = fds[0];
	return 0;
}

void xb_helper_stop(pid_t pid, int fd)
{
	close(fd); /* ends its loop; one that hangs in the kernel ends by this: */
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

/* Room for one descriptor. */
union fd_room {
	struct cmsghdr header;
	char room[CMSG_SPACE(sizeof(int))];
};

ssize_t xb_helper_send(int socket, const void *data, size_t bytes, int fd)
{
	union fd_room control = {.header = {.cmsg_len = CMSG_LEN(sizeof(int)),
					    .cmsg_level = SOL_SOCKET,
					    .cmsg_type = SCM_RIGHTS}};
	struct iovec part = {(void *)data, bytes};
	struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
	ssize_t sent;

	if (fd >= 0) {
		memcpy(CMSG_DATA(&control.header), &fd, sizeof(fd));
		message.msg_control = &control;
		message.msg_controllen = sizeof(control.room);
	}
	sent = sendmsg(socket, &message, MSG_NOSIGNAL);
	return sent < 0 ? -errno : sent;
}

ssize_t xb_helper_receive(int socket, void *data, size_t bytes, int flags, int *ret_fd)
{
	union fd_room control;
	struct iovec part = {data, bytes};
	struct msghdr message = {.msg_iov = &part,
				 .msg_iovlen = 1,
				 .msg_control = &control,
				 .msg_controllen = sizeof(control.room)};
	ssize_t got = recvmsg(socket, &message, MSG_CMSG_CLOEXEC | flags);
	const struct cmsghdr *header = got > 0 ? CMSG_FIRSTHDR(&message) : NULL;

	*ret_fd = -1;
	if (header && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS)
		memcpy(ret_fd, CMSG_DATA(header), sizeof(int));
	return got < 0 ? -errno : got;
}
