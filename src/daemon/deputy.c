/* SPDX-License-Identifier: BSD-2-Clause */
#include "daemon/deputy.h"

#include "core/calls.h"
#include "core/cleanup.h"
#include "daemon/helper.h"
#include "vhost/tap_admin.h"

#include <errno.h>
#include <linux/capability.h>
#include <linux/if_tun.h>
#include <linux/sockios.h>
#include <poll.h>
#include <stdbool.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* A request waits for the kernel's lock of network interfaces at most. */
#define ANSWER_MS 2000

XB_CALL(deputy, close);
XB_CALL(deputy, ioctl);
XB_CALL(control, poll);
XB_CALL(control, ppoll);

/* There and back. */
struct message {
	unsigned long cmd;
	int code; /* 0 or -errno */
	struct ifreq req;
};

/* ---- the deputy's side ---- */

static bool is_allowed(const struct message *message, const char *ifname)
{
	return (message->cmd == TUNSETIFF || message->cmd == SIOCSIFMTU ||
		message->cmd == SIOCSIFFLAGS) &&
	       !strncmp(message->req.ifr_name, ifname, IFNAMSIZ);
}

static void serve(const void *arg)
{
	struct message message = {0};
	ssize_t got;

	do {
		xb_auto_fd int fd = -1;

		got = xb_helper_receive(XB_HELPER_FD, &message, sizeof(message), 0, &fd);
		if (got != sizeof(message))
			continue;
		message.code = -EPERM;
		if (fd >= 0 && is_allowed(&message, arg))
			message.code = ioctl(fd, message.cmd, &message.req) < 0 ? -errno : 0;
		got = xb_helper_send(XB_HELPER_FD, &message, sizeof(message), -1);
	} while (got == sizeof(message));
}

/* ---- the daemon's side ---- */

/* Does somebody have to change something, or is this a question? */
static bool needs_right(unsigned long cmd)
{
	return cmd == TUNSETIFF || cmd == SIOCSIFMTU || cmd == SIOCSIFFLAGS;
}

static int exchange(const struct xb_deputy *deputy, int fd, struct message *message)
{
	struct pollfd watch = {.fd = deputy->fd, .events = POLLIN};
	xb_auto_fd int none = -1;
	ssize_t got = xb_helper_send(deputy->fd, message, sizeof(*message), fd);

	if (got < 0)
		return (int)got;
	if (poll(&watch, 1, ANSWER_MS) <= 0)
		return -ETIMEDOUT;
	got = xb_helper_receive(deputy->fd, message, sizeof(*message), 0, &none);
	if (got != sizeof(*message))
		return got < 0 ? (int)got : -EPIPE;
	return message->code;
}

static int request(void *arg, int fd, unsigned long cmd, struct ifreq *req)
{
	struct message message = {.cmd = cmd, .req = *req};
	struct xb_deputy *deputy = arg;
	int ret;

	if (!needs_right(cmd) || !deputy->pid)
		return ioctl(fd, cmd, req) < 0 ? -errno : 0;
	ret = exchange(deputy, fd, &message);
	if (ret == -ETIMEDOUT) /* its answer would be taken for that to the next request */
		xb_deputy_stop(deputy);
	if (!ret)
		*req = message.req;
	return ret;
}

int xb_deputy_start(struct xb_deputy *deputy, const char *ifname, struct xb_error *err)
{
	static const struct xb_helper helper = {
		.name = "xb-deputy",
		.capability = CAP_NET_ADMIN,
		.filter = XB_FILTER_DEPUTY,
		.serve = serve,
	};

	return xb_helper_start(&helper, ifname, &deputy->pid, &deputy->fd, err);
}

void xb_deputy_take_office(struct xb_deputy *deputy)
{
	const struct xb_tap_admin admin = {.request = request, .arg = deputy};

	xb_tap_admin_set(&admin);
}

void xb_deputy_stop(struct xb_deputy *deputy)
{
	if (deputy->pid)
		xb_helper_stop(deputy->pid, deputy->fd);
	*deputy = (struct xb_deputy){0};
}

void xb_deputy_reaped(struct xb_deputy *deputy, pid_t pid)
{
	if (!deputy->pid || deputy->pid != pid)
		return;
	close(deputy->fd);
	*deputy = (struct xb_deputy){0};
}
