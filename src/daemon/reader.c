/* SPDX-License-Identifier: BSD-2-Clause */
#include "daemon/reader.h"

#include "core/calls.h"
#include "core/cleanup.h"
#include "daemon/helper.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sys/socket.h>
#include <unistd.h>

XB_CALL(reader, close);
XB_CALL(reader, open);
XB_CALL(reader, openat);

struct answer {
	uint32_t order;
	int code; /* 0: the descriptor comes with it; -errno */
};

/* ---- the reader's side ---- */

static void serve(const void *path)
{
	struct answer answer = {0};
	ssize_t got;
	int none;

	do {
		xb_auto_fd int fd = -1;

		got = xb_helper_receive(XB_HELPER_FD, &answer.order, sizeof(answer.order), 0,
					&none);
		if (got != sizeof(answer.order))
			return;
		fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
		answer.code = fd < 0 ? -errno : 0;
		got = xb_helper_send(XB_HELPER_FD, &answer, sizeof(answer), fd);
	} while (got == sizeof(answer));
}

/* ---- the daemon's side ---- */

int xb_reader_start(struct xb_reader *reader, const char *path, struct xb_error *err)
{
	static const struct xb_helper helper = {
		.name = "xb-reader",
		.capability = CAP_DAC_READ_SEARCH,
		.filter = XB_FILTER_READER,
		.serve = serve,
	};

	reader->file_fd = -1;
	return xb_helper_start(&helper, path, &reader->pid, &reader->fd, err);
}

void xb_reader_stop(struct xb_reader *reader)
{
	if (!reader->pid)
		return;
	xb_helper_stop(reader->pid, reader->fd);
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

int xb_reader_take(struct xb_reader *reader)
{
	for (;;) {
		struct answer answer;
		xb_auto_fd int fd = -1;
		ssize_t got = reader->pid ? xb_helper_receive(reader->fd, &answer, sizeof(answer),
							      MSG_DONTWAIT, &fd)
					  : 0;

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
