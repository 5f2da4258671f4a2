/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The process xb-reader, which opens the configuration file for us when it is to be read again.
 *
 * The file that the start could read may be out of our reach by then: it belongs to another user,
 * or lies in such a user's folder, and the control thread has given up the right to pass over that.
 * The reader keeps CAP_DAC_READ_SEARCH, and opens one file, whose name it was made with. It opens
 * it by name each time, since an editor puts a new file in the old one's place.
 */
#ifndef XB_DAEMON_READER_H
#define XB_DAEMON_READER_H

#include "core/error.h"

#include <stdint.h>
#include <sys/types.h>

struct xb_reader {
	pid_t pid; /* 0: there is none */
	int fd;
	uint32_t order; /* the number of the last one: an answer to another is too late */
	int file_fd;    /* the file, once it is open; whoever reads it takes it; -1: none */
};

/** Makes the reader of the file at `path`, before privileges are given up. */
int xb_reader_start(struct xb_reader *reader, const char *path, struct xb_error *err);

/** Ends it. */
void xb_reader_stop(struct xb_reader *reader);

/** It has ended, and was waited for. */
void xb_reader_reaped(struct xb_reader *reader, pid_t pid);

/** Asks for the file. Returns 0 or -errno: there is no reader. */
int xb_reader_ask(struct xb_reader *reader);

/** Takes the answer. Never waits. Returns 0: file_fd is the file; -EAGAIN: not yet; -EPIPE: the
 * reader has ended; otherwise why it can't be opened. */
int xb_reader_take(struct xb_reader *reader);

#endif
