/* SPDX-License-Identifier: BSD-2-Clause */
#include "daemon/control.h"

#include "core/calls.h"
#include "core/cleanup.h"
#include "daemon/json.h"
#include "daemon/log.h"
#include "daemon/name_lock.h"
#include "daemon/request.h"

#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

XB_CALL(control, accept4);
XB_CALL(control, listen);
XB_CALL(control, shutdown);
XB_CALL(control, umask);

static struct xb_control_client *client_of(struct xb_watch *watch)
{
	return (struct xb_control_client *)watch;
}

static void close_held(struct xb_hold *hold)
{
	while (hold->n_fds)
		close(hold->fds[--hold->n_fds]);
}

/* What the last command has left behind ends with the next one, or with the client. */
static void drop_hold(struct xb_control_client *client)
{
	close_held(&client->hold);
	if (client->hold.release)
		client->hold.release(client->control->instance, client->hold.what);
	client->hold = (struct xb_hold){0};
}

static void client_close(struct xb_control_client *client)
{
	int fd = client->watch.fd;

	drop_hold(client);
	json_object_put(client->reply);
	xb_loop_del(&client->control->instance->loop, &client->watch);
	close(fd);
	free(client->in);
	free(client->out);
	*client = (struct xb_control_client){.watch.fd = -1, .control = client->control};
}

/* ---- replies ---- */

/* Sends a piece of the reply; descriptors go with the first. */
static ssize_t client_send(struct xb_control_client *client)
{
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(XB_CONTROL_FDS_MAX * sizeof(int))];
	} control = {.header = {.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS}};
	size_t fds_bytes = client->hold.n_fds * sizeof(int);
	struct iovec part = {client->out + client->out_done, client->out_bytes - client->out_done};
	struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
	ssize_t n;

	if (fds_bytes) {
		control.header.cmsg_len = CMSG_LEN(fds_bytes);
		memcpy(CMSG_DATA(&control.header), client->hold.fds, fds_bytes);
		message.msg_control = &control;
		message.msg_controllen = CMSG_SPACE(fds_bytes);
	}
	n = sendmsg(client->watch.fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (n > 0)
		close_held(&client->hold);
	return n;
}

/* Writes what it can; the rest when the socket takes more. Returns false where the client is gone.
 */
static bool client_flush(struct xb_control_client *client)
{
	struct xb_loop *loop = &client->control->instance->loop;

	while (client->out_done < client->out_bytes) {
		ssize_t n = client_send(client);

		if (n < 0 && errno == EAGAIN)
			return xb_loop_change(loop, &client->watch, EPOLLOUT) == 0;
		if (n <= 0)
			return false;
		client->out_done += (size_t)n;
		client->idle_s = 0;
	}
	free(client->out);
	client->out = NULL;
	client->out_bytes = client->out_done = 0;
	return !client->closing && xb_loop_change(loop, &client->watch, EPOLLIN) == 0;
}

/* Takes `reply`. */
static bool client_reply(struct xb_control_client *client, struct json_object *reply)
{
	static const char sorry[] = "{\"ok\":false,\"exit\":1,\"error\":\"out of memory\"}";
	const char *text = reply ? json_object_to_json_string_ext(reply, JSON_C_TO_STRING_PLAIN)
				 : NULL;
	int n = asprintf(&client->out, "%s\n",
			 xb_json_was_short() || !text || !*text ? sorry : text);

	json_object_put(reply);
	if (n < 0) {
		client->out = NULL;
		return false;
	}
	client->out_bytes = (size_t)n;
	return client_flush(client);
}

static struct json_object *failure(int exit_status, const char *text)
{
	struct json_object *reply = json_object_new_object();

	xb_json_add(reply, "ok", json_object_new_boolean(false));
	xb_json_add(reply, "exit", json_object_new_int(exit_status));
	xb_json_add(reply, "error", json_object_new_string(text));
	return reply;
}

/* ---- requests ---- */

/* The reply to a command that has returned `ret`; NULL: it is not done. */
static struct json_object *reply_of(int ret, struct json_object *result, struct xb_error *err)
{
	struct json_object *reply;
	char text[512];

	if (ret == XB_LATER)
		return NULL;
	if (ret < 0) {
		xb_error_text(err, text, sizeof(text));
		return failure(ret == XB_USAGE ? 2 : 1, ret == XB_USAGE ? err->what : text);
	}
	reply = json_object_new_object();
	xb_json_add(reply, "ok", json_object_new_boolean(true));
	if (result)
		xb_json_add(reply, "result", result);
	else
		xb_json_add_null(reply, "result");
	return reply;
}

static struct json_object *answer_line(struct xb_control_client *client, const char *line,
				       size_t bytes)
{
	struct xb_request request;
	struct xb_error err = {0};
	struct json_object *result = NULL, *reply;
	const char *wrong = xb_request_parse(&request, line, bytes);
	int ret;

	if (wrong) {
		reply = failure(2, wrong);
	} else {
		ret = xb_command_run(client->control->instance, request.argc, request.argv, &result,
				     &client->hold, &err);
		reply = reply_of(ret, result, &err);
	}
	xb_request_fini(&request);
	return reply;
}

/* Looks whether the command of a line that has gone on is done. */
static struct json_object *resume_line(struct xb_control_client *client, const char *line,
				       size_t bytes)
{
	struct xb_instance *instance = client->control->instance;
	struct json_object *result = NULL;
	struct xb_error err = {0};
	int ret = client->hold.resume(instance, &client->hold, &result, &err);
	struct xb_request request;

	if (!ret && !xb_request_parse(&request, line, bytes))
		xb_command_done(instance, request.argc, request.argv, result,
				instance->steering.confirm_by_ns);
	if (!ret)
		xb_request_fini(&request);
	return reply_of(ret, result, &err);
}

/* ---- requests that are not done at once ---- */

static void look_at_waiting(struct xb_job *job);

/* The client waits: nothing more is read from it meanwhile, but that it hangs up is noticed. */
static bool begin_waiting(struct xb_control_client *client)
{
	struct xb_control *control = client->control;

	client->waits = true;
	if (!xb_job_is_busy(&control->waiting))
		xb_job_enter(&control->waiting, &control->instance->loop, "waiting",
			     XB_JOB_NO_LIMIT, look_at_waiting);
	return xb_loop_change(&control->instance->loop, &client->watch, 0) == 0;
}

/* Takes the first line out of what has been read. */
static void consume_line(struct xb_control_client *client, size_t bytes)
{
	client->in_bytes -= bytes + 1;
	memmove(client->in, client->in + bytes + 1, client->in_bytes);
}

/* Answers the first line, as far as that can be done now. Returns false where the client is to be
 * closed. */
static bool serve_line(struct xb_control_client *client, size_t bytes)
{
	struct xb_instance *instance = client->control->instance;
	uint64_t before = instance->published.wanted;

	if (client->hold.resume)
		client->reply = resume_line(client, client->in, bytes);
	else
		client->reply = answer_line(client, client->in, bytes);
	if (!client->reply)
		return begin_waiting(client);
	/* one that has changed nothing waits for nobody */
	client->change = instance->published.wanted != before ? instance->published.wanted : 0;
	consume_line(client, bytes);
	return true;
}

/* Sends the reply that is there, once the workers see what it speaks of. */
static bool send_reply(struct xb_control_client *client)
{
	struct xb_control *control = client->control;
	struct json_object *reply = client->reply;

	if (!xb_instance_is_quiet(control->instance, client->change))
		return begin_waiting(client);
	client->reply = NULL;
	client->waits = false;
	return client_reply(client, reply);
}

/* Answers the lines that are there, one at a time. Returns false where the client is to be closed.
 */
static bool client_lines(struct xb_control_client *client)
{
	char why[64];
	char *end;

	while (!client->out && (end = memchr(client->in, '\n', client->in_bytes))) {
		drop_hold(client);
		if (!serve_line(client, (size_t)(end - client->in)))
			return false;
		if (client->reply && !send_reply(client))
			return false;
		if (client->waits)
			return true;
	}
	if (client->out || client->in_bytes < XB_CONTROL_LINE_MAX)
		return true;
	client->closing = true;
	snprintf(why, sizeof(why), "the request is longer than %u bytes", XB_CONTROL_LINE_MAX);
	return client_reply(client, failure(2, why));
}

/* Looks whether what a client waits for is done; then the rest of its lines has its turn. */
static bool client_resume(struct xb_control_client *client)
{
	const char *end;

	if (!client->reply) {
		end = memchr(client->in, '\n', client->in_bytes);
		if (!serve_line(client, (size_t)(end - client->in)))
			return false;
	}
	if (client->reply && !send_reply(client))
		return false;
	return client->waits || client_lines(client);
}

static void look_at_waiting(struct xb_job *job)
{
	struct xb_control *control =
		(struct xb_control *)((char *)job - offsetof(struct xb_control, waiting));
	bool any = false;

	for (unsigned i = 0; i < XB_CONTROL_CLIENTS_MAX; i++) {
		struct xb_control_client *client = &control->clients[i];

		if (client->watch.fd < 0 || !client->waits)
			continue;
		if (!client_resume(client))
			client_close(client);
		any = any || client->waits;
	}
	if (any)
		xb_job_again(job);
	else
		xb_job_rest(job);
}

static bool client_read(struct xb_control_client *client)
{
	ssize_t n = recv(client->watch.fd, client->in + client->in_bytes,
			 XB_CONTROL_LINE_MAX - client->in_bytes, MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return true;
	if (n <= 0)
		return false;
	client->in_bytes += (size_t)n;
	return client_lines(client);
}

static void client_ready(struct xb_watch *watch, uint32_t events)
{
	struct xb_control_client *client = client_of(watch);
	bool keep;

	if (client->waits) /* it has hung up */
		keep = false;
	else if (client->out)
		keep = client_flush(client) && client_lines(client);
	else
		keep = events & EPOLLIN && client_read(client);
	if (!keep)
		client_close(client);
}

/* ---- the socket ---- */

static void turn_away(int fd)
{
	static const char full[] = "{\"ok\":false,\"exit\":1,\"error\":\"64 clients are connected "
				   "already; try again later\"}\n";
	ssize_t sent = send(fd, full, sizeof(full) - 1, MSG_NOSIGNAL | MSG_DONTWAIT);

	(void)sent;
	close(fd);
}

static void on_client(struct xb_watch *watch, uint32_t events)
{
	struct xb_control *control =
		(struct xb_control *)((char *)watch - offsetof(struct xb_control, watch));
	int fd = accept4(watch->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct xb_control_client *client = NULL;

	(void)events;
	if (fd < 0) {
		/* Without descriptors the client stays in line: it is looked at again at the next
		 * tick. */
		if (errno == EMFILE || errno == ENFILE)
			xb_loop_change(&control->instance->loop, watch, 0);
		return;
	}
	for (unsigned i = 0; !client && i < XB_CONTROL_CLIENTS_MAX; i++)
		if (control->clients[i].watch.fd < 0)
			client = &control->clients[i];
	if (!client) {
		turn_away(fd);
		return;
	}
	*client = (struct xb_control_client){.watch.fd = -1, .control = control};
	client->in = malloc(XB_CONTROL_LINE_MAX);
	if (!client->in ||
	    xb_loop_add(&control->instance->loop, &client->watch, fd, EPOLLIN, client_ready) < 0) {
		free(client->in);
		close(fd);
	}
}

void xb_control_init(struct xb_control *control)
{
	*control = (struct xb_control){.watch.fd = -1};
	for (unsigned i = 0; i < XB_CONTROL_CLIENTS_MAX; i++)
		control->clients[i].watch.fd = -1;
}

int xb_control_open(struct xb_control *control, struct xb_instance *instance, struct xb_error *err)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	xb_auto_fd int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	mode_t mask;
	int ret;

	control->instance = instance;
	if (fd < 0)
		return xb_fail(err, -errno, "make the control socket");
	if (xb_name_socket(instance->config.name, addr.sun_path, sizeof(addr.sun_path)) >=
	    (int)sizeof(addr.sun_path))
		return xb_fail(err, -ENAMETOOLONG, "control socket of '%s'", instance->config.name);
	unlink(addr.sun_path); /* a killed run's, since the name is ours */
	mask = umask(0177);
	ret = bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 ? -errno : 0;
	umask(mask);
	if (!ret && listen(fd, SOMAXCONN) < 0)
		ret = -errno;
	if (!ret)
		ret = xb_loop_add(&instance->loop, &control->watch, fd, EPOLLIN, on_client);
	if (ret < 0) {
		errno = -ret;
		return xb_name_refuse(err, "bind", addr.sun_path);
	}
	(void)XB_TAKE_FD(fd);
	return 0;
}

/* One that has been silent for too long. Where a reply waits already it reads nothing either. */
static void hang_up(struct xb_control_client *client)
{
	char why[64];

	client->closing = true;
	snprintf(why, sizeof(why), "no complete request within %u s", XB_CONTROL_IDLE_S);
	if (client->out || !client_reply(client, failure(2, why)))
		client_close(client);
}

void xb_control_tick(struct xb_control *control)
{
	if (control->watch.fd >= 0)
		xb_loop_change(&control->instance->loop, &control->watch, EPOLLIN);
	for (unsigned i = 0; i < XB_CONTROL_CLIENTS_MAX; i++) {
		struct xb_control_client *client = &control->clients[i];

		if (client->watch.fd >= 0 && !client->hold.release && !client->waits &&
		    ++client->idle_s > XB_CONTROL_IDLE_S)
			hang_up(client);
	}
}

/* Those that wait are told why they wait in vain. */
static void turn_out(struct xb_control_client *client)
{
	client->closing = true;
	if (client->waits && !client->out)
		client_reply(client, failure(1, "xbridge is stopping; what was asked for may have "
						"been done, or not"));
	client_close(client);
}

void xb_control_hang_up(struct xb_control *control)
{
	int fd = control->watch.fd;
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)];

	xb_job_rest(&control->waiting);
	for (unsigned i = 0; i < XB_CONTROL_CLIENTS_MAX; i++)
		if (control->clients[i].watch.fd >= 0)
			turn_out(&control->clients[i]);
	if (fd < 0)
		return;
	xb_loop_del(&control->instance->loop, &control->watch);
	close(fd);
	xb_name_socket(control->instance->config.name, path, sizeof(path));
	unlink(path);
}
