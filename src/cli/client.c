/* SPDX-License-Identifier: BSD-2-Clause */
#include "cli/client.h"

#include "core/cleanup.h"
#include "xbridge/control.h"

#include <errno.h>
#include <glob.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

/* Longest that a reply may take: a change of queues waits for some RCU grace periods. */
#define REPLY_S 30

#define NOT_UNDERSTOOD "the instance's answer is not understood: is it of another version?"

#define fail(err, ...) (xb_fail(err, -EIO, __VA_ARGS__), 1)

static int connect_to(const char *path)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	struct timeval limit = {.tv_sec = REPLY_S};
	xb_auto_fd int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	if (strlen(path) >= sizeof(addr.sun_path))
		return -ENAMETOOLONG;
	strcpy(addr.sun_path, path);
	if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	return XB_TAKE_FD(fd);
}

/* The only instance that answers. */
static int find_one(int *ret_fd, struct xb_error *err)
{
	int found = -1;
	glob_t list;
	int status = 0;

	if (glob(XB_RUN_DIR "/*.sock", 0, NULL, &list))
		list.gl_pathc = 0;
	for (size_t i = 0; i < list.gl_pathc && !status; i++) {
		int fd = connect_to(list.gl_pathv[i]);

		if (fd == -EACCES)
			status = fail(err, "%s: permission denied; ask as the user that runs it",
				      list.gl_pathv[i]);
		if (fd < 0)
			continue;
		if (found >= 0) {
			close(fd);
			status = fail(err, "several instances run; choose with --name (see %s)",
				      XB_RUN_DIR);
		} else {
			found = fd;
		}
	}
	globfree(&list);
	if (!status && found < 0)
		status = fail(err, "no instance runs; start one with `xbridge run`");
	if (status && found >= 0)
		close(found);
	*ret_fd = found;
	return status;
}

static int find_named(const char *name, int *ret_fd, struct xb_error *err)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/%s.sock", XB_RUN_DIR, name);
	*ret_fd = connect_to(path);
	if (*ret_fd >= 0)
		return 0;
	if (*ret_fd == -ENOENT || *ret_fd == -ECONNREFUSED)
		return fail(err, "no instance named '%.64s' runs", name);
	return fail(err, "connect to %.100s: %s", path, strerror(-*ret_fd));
}

/* Sends what the other side takes: one that hangs up before it has read all of it may have said
 * why. */
static void send_request(int fd, int argc, char *const *argv)
{
	struct json_object *request = json_object_new_object();
	struct json_object *list = json_object_new_array();
	xb_auto_free char *line = NULL;
	int bytes;

	for (int i = 0; i < argc; i++)
		json_object_array_add(list, json_object_new_string(argv[i]));
	json_object_object_add(request, "argv", list);
	bytes = asprintf(&line, "%s\n",
			 json_object_to_json_string_ext(request, JSON_C_TO_STRING_PLAIN));
	json_object_put(request);
	if (bytes < 0)
		line = NULL; /* asprintf(3) leaves it undefined; the reply will be a complaint */
	for (int done = 0; done < bytes;) {
		ssize_t n = send(fd, line + done, (size_t)(bytes - done), MSG_NOSIGNAL);

		if (n <= 0)
			break;
		done += (int)n;
	}
}

/* Receives a piece; a descriptor that comes with it replaces `passed`. */
static ssize_t receive(int fd, void *buf, size_t bytes, int *passed)
{
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec part = {buf, bytes};
	struct msghdr message = {.msg_iov = &part,
				 .msg_iovlen = 1,
				 .msg_control = &control,
				 .msg_controllen = sizeof(control.room)};
	ssize_t n = recvmsg(fd, &message, MSG_CMSG_CLOEXEC);
	const struct cmsghdr *header = n > 0 ? CMSG_FIRSTHDR(&message) : NULL;

	if (header && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS) {
		if (*passed >= 0)
			close(*passed);
		memcpy(passed, CMSG_DATA(header), sizeof(*passed));
	}
	return n;
}

/* Says why receive() brought no more: `n` is what it returned. */
static void refuse_silence(ssize_t n, struct xb_error *err)
{
	if (!n || errno == ECONNRESET)
		xb_fail(err, -EIO, "the instance hung up without an answer: is it stopping?");
	else if (errno == EAGAIN)
		xb_fail(err, -EIO, "the instance gave no answer within %d s", REPLY_S);
	else
		xb_fail(err, -EIO, "receive the instance's answer: %s", strerror(errno));
}

/* NULL where none comes: `err` says why. */
static struct json_object *read_reply(int fd, int *passed, struct xb_error *err)
{
	struct json_tokener *tokener = json_tokener_new();
	enum json_tokener_error state = json_tokener_continue;
	struct json_object *reply = NULL;
	char piece[16384];
	ssize_t n = 0;

	if (!tokener) {
		xb_fail(err, -ENOMEM, "out of memory");
		return NULL;
	}
	while (state == json_tokener_continue) {
		n = receive(fd, piece, sizeof(piece), passed);
		if (n <= 0)
			break;
		reply = json_tokener_parse_ex(tokener, piece, (int)n);
		state = json_tokener_get_error(tokener);
	}
	if (n <= 0)
		refuse_silence(n, err);
	else if (!reply)
		xb_fail(err, -EIO, NOT_UNDERSTOOD);
	json_tokener_free(tokener);
	return reply;
}

bool xb_client_runs(const char *name)
{
	struct xb_error ignored;
	xb_auto_fd int fd = -1;

	return find_named(name, &fd, &ignored) == 0;
}

int xb_client_hold(const char *name, int argc, char *const *argv, struct json_object **ret_result,
		   int *ret_socket, int *ret_fd, struct xb_error *err)
{
	struct json_object *reply, *value;
	xb_auto_fd int passed = -1;
	xb_auto_fd int fd = -1;
	int status = name ? find_named(name, &fd, err) : find_one(&fd, err);

	if (status)
		return status;
	send_request(fd, argc, argv);
	reply = read_reply(fd, &passed, err);
	if (!reply)
		return 1;
	if (json_object_object_get_ex(reply, "result", &value)) {
		*ret_result = json_object_get(value);
		*ret_socket = XB_TAKE_FD(fd);
		*ret_fd = XB_TAKE_FD(passed);
	} else if (json_object_object_get_ex(reply, "error", &value)) {
		status = fail(err, "%s", json_object_get_string(value));
		if (json_object_object_get_ex(reply, "exit", &value))
			status = json_object_get_int(value);
	} else {
		status = fail(err, NOT_UNDERSTOOD);
	}
	json_object_put(reply);
	return status;
}

int xb_client_ask(const char *name, int argc, char *const *argv, struct json_object **ret_result,
		  struct xb_error *err)
{
	xb_auto_fd int passed = -1;
	xb_auto_fd int fd = -1;

	return xb_client_hold(name, argc, argv, ret_result, &fd, &passed, err);
}
