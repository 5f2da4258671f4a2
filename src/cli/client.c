/* SPDX-License-Identifier: BSD-2-Clause */
#include "cli/client.h"

#include "cli/liveness.h"
#include "core/cleanup.h"
#include "daemon/json.h"

#include <errno.h>
#include <glob.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

/* Longest that an answer may take. An instance that is busy with this command, and serves others
 * meanwhile, gets REPLIES_MAX times as long. */
#define REPLY_MS    5000
#define REPLIES_MAX 12
#define PROBE_MS    1000

#define NOT_UNDERSTOOD "the instance's answer can't be understood: is it of another version?"

#define fail(err, ...) (xb_fail(err, -EIO, __VA_ARGS__), 1)

/* An instance that is being asked. */
struct link {
	char path[256]; /* of its control socket */
	int fd;
	struct xb_passed passed; /* what came with the answer */
};

/* The only instance that answers. */
static int find_one(struct link *link, struct xb_error *err)
{
	glob_t list;
	int status = 0;

	if (glob(XB_RUN_DIR "/*.sock", 0, NULL, &list))
		list.gl_pathc = 0;
	for (size_t i = 0; i < list.gl_pathc && !status; i++) {
		int fd = xb_liveness_connect(list.gl_pathv[i], REPLY_MS);

		if (fd == -EACCES)
			status = fail(err, "%s: permission denied; ask as the user that runs it",
				      list.gl_pathv[i]);
		if (fd < 0)
			continue;
		if (link->fd >= 0) {
			close(fd);
			status = fail(err, "several instances are running; choose one with --name "
					   "(`xbridge instances` lists them)");
		} else {
			link->fd = fd;
			snprintf(link->path, sizeof(link->path), "%s", list.gl_pathv[i]);
		}
	}
	globfree(&list);
	if (!status && link->fd < 0)
		status = fail(err, "no instance is running; start one with `xbridge run`");
	return status;
}

/* Says that there is no answer, and what doctor would see. */
static int refuse_silence(const char *path, struct xb_error *err)
{
	struct xb_liveness liveness;

	xb_liveness_look(path, PROBE_MS, &liveness);
	if (!liveness.runs)
		return fail(err, "the instance ended without an answer");
	if (liveness.answers)
		return fail(err,
			    "the instance did not answer within %d s, though it answers others: "
			    "the command may still be under way",
			    REPLY_MS * REPLIES_MAX / 1000);
	return fail(err, "the instance did not answer within %d s; stalled? %s (%s)",
		    REPLY_MS / 1000, liveness.state, liveness.remedy);
}

static int find_named(const char *name, struct link *link, struct xb_error *err)
{
	snprintf(link->path, sizeof(link->path), "%s/%s.sock", XB_RUN_DIR, name);
	link->fd = xb_liveness_connect(link->path, REPLY_MS);
	if (link->fd >= 0)
		return 0;
	if (link->fd == -ENOENT || link->fd == -ECONNREFUSED)
		return fail(err, "no instance named '%.64s' is running", name);
	if (link->fd == -EAGAIN)
		return refuse_silence(link->path, err);
	return fail(err, "can't connect to %.100s: %s", link->path, strerror(-link->fd));
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
		xb_json_push(list, json_object_new_string(argv[i]));
	xb_json_add(request, "argv", list);
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

void xb_passed_close(struct xb_passed *passed)
{
	while (passed->n)
		close(passed->fds[--passed->n]);
}

/* Receives a piece; descriptors that come with it replace `passed`. */
static ssize_t receive(int fd, void *buf, size_t bytes, struct xb_passed *passed)
{
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(XB_CONTROL_FDS_MAX * sizeof(int))];
	} control;
	struct iovec part = {buf, bytes};
	struct msghdr message = {.msg_iov = &part,
				 .msg_iovlen = 1,
				 .msg_control = &control,
				 .msg_controllen = sizeof(control.room)};
	ssize_t n = recvmsg(fd, &message, MSG_CMSG_CLOEXEC);
	const struct cmsghdr *header = n > 0 ? CMSG_FIRSTHDR(&message) : NULL;

	if (header && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS) {
		size_t fds_bytes = header->cmsg_len - CMSG_LEN(0);

		xb_passed_close(passed);
		passed->n = (unsigned)(fds_bytes / sizeof(int));
		memcpy(passed->fds, CMSG_DATA(header), fds_bytes);
	}
	return n;
}

/* Waits until there is something to receive. Returns false, with `err` saying why, where nothing
 * comes. */
static bool wait_for_answer(const struct link *link, struct xb_error *err)
{
	for (int round = 0; round < REPLIES_MAX; round++) {
		struct pollfd ready = {.fd = link->fd, .events = POLLIN};
		struct xb_liveness liveness;

		if (poll(&ready, 1, REPLY_MS) == 1)
			return true;
		xb_liveness_look(link->path, PROBE_MS, &liveness);
		if (!liveness.answers)
			break;
	}
	refuse_silence(link->path, err);
	return false;
}

/* Says why receive() brought no more: `n` is what it returned. */
static void refuse_end(ssize_t n, struct xb_error *err)
{
	if (!n || errno == ECONNRESET)
		xb_fail(err, -EIO, "the instance hung up without an answer: is it stopping?");
	else
		xb_fail(err, -EIO, "the instance's answer can't be received: %s", strerror(errno));
}

/* NULL where none comes: `err` says why. */
static struct json_object *read_reply(struct link *link, struct xb_error *err)
{
	struct json_tokener *tokener = json_tokener_new();
	enum json_tokener_error state = json_tokener_continue;
	struct json_object *reply = NULL;
	char piece[16384];

	if (!tokener) {
		xb_fail(err, -ENOMEM, "out of memory");
		return NULL;
	}
	while (state == json_tokener_continue && wait_for_answer(link, err)) {
		ssize_t n = receive(link->fd, piece, sizeof(piece), &link->passed);

		if (n <= 0) {
			refuse_end(n, err);
			break;
		}
		reply = json_tokener_parse_ex(tokener, piece, (int)n);
		state = json_tokener_get_error(tokener);
	}
	if (state != json_tokener_continue && !reply)
		xb_fail(err, -EIO, NOT_UNDERSTOOD);
	json_tokener_free(tokener);
	return reply;
}

bool xb_client_runs(const char *name)
{
	struct link link = {.fd = -1};
	struct xb_error ignored;
	bool runs = find_named(name, &link, &ignored) == 0;

	if (link.fd >= 0)
		close(link.fd);
	return runs;
}

/* Takes the result out of a reply. Returns the exit status. */
static int take_result(struct json_object *reply, struct json_object **ret_result,
		       struct xb_error *err)
{
	struct json_object *value;
	int status;

	if (json_object_object_get_ex(reply, "result", &value)) {
		*ret_result = json_object_get(value);
		return 0;
	}
	if (!json_object_object_get_ex(reply, "error", &value))
		return fail(err, NOT_UNDERSTOOD);
	status = fail(err, "%s", json_object_get_string(value));
	if (json_object_object_get_ex(reply, "exit", &value))
		status = json_object_get_int(value);
	return status;
}

int xb_client_hold(const char *name, int argc, char *const *argv, struct json_object **ret_result,
		   int *ret_socket, struct xb_passed *ret_passed, struct xb_error *err)
{
	struct link link = {.fd = -1};
	struct json_object *reply = NULL;
	int status = name ? find_named(name, &link, err) : find_one(&link, err);

	if (!status) {
		send_request(link.fd, argc, argv);
		reply = read_reply(&link, err);
		status = reply ? take_result(reply, ret_result, err) : 1;
	}
	if (!status) {
		*ret_socket = XB_TAKE_FD(link.fd);
		*ret_passed = link.passed;
		link.passed.n = 0;
	}
	if (link.fd >= 0)
		close(link.fd);
	xb_passed_close(&link.passed);
	json_object_put(reply);
	return status;
}

int xb_client_ask(const char *name, int argc, char *const *argv, struct json_object **ret_result,
		  struct xb_error *err)
{
	xb_auto_passed struct xb_passed passed = {0};
	xb_auto_fd int fd = -1;

	return xb_client_hold(name, argc, argv, ret_result, &fd, &passed, err);
}

int xb_client_status(const char *name, struct json_object **ret_status, pid_t *ret_pid,
		     struct xb_error *err)
{
	static char command[] = "status";
	char *words[] = {command};
	xb_auto_passed struct xb_passed passed = {0};
	xb_auto_fd int fd = -1;
	int status = xb_client_hold(name, 1, words, ret_status, &fd, &passed, err);

	if (!status)
		*ret_pid = xb_liveness_peer(fd);
	return status;
}
