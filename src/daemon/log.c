/* SPDX-License-Identifier: BSD-2-Clause */
#include "daemon/log.h"

#include "daemon/limits.h"

#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void put(enum xb_level level, const char *line)
{
	static const char *const names[] = {
		[XB_LOG_ERROR] = "error: ", [XB_LOG_WARNING] = "warning: "};

	if (getenv("JOURNAL_STREAM"))
		fprintf(stderr, "<%d>%s\n", level, line);
	else
		fprintf(stderr, "xbridge: %s%s\n", level <= XB_LOG_WARNING ? names[level] : "",
			line);
}

/* Whether standard error takes a line now. A pipe that nobody reads, or a terminal that stands
 * still, would hold us up; one that says yes takes at least PIPE_BUF bytes, which is more than a
 * line. */
static bool takes_line(void)
{
	struct pollfd out = {.fd = STDERR_FILENO, .events = POLLOUT};

	return poll(&out, 1, 0) != 0;
}

void xb_log(enum xb_level level, const char *fmt, ...)
{
	static unsigned lost;
	char line[1024];
	va_list args;

	if (!takes_line()) {
		lost++;
		return;
	}
	if (lost) {
		snprintf(line, sizeof(line), "%u lines of this log are lost: nobody has read it",
			 lost);
		lost = 0;
		put(XB_LOG_WARNING, line);
		if (!takes_line()) {
			lost = 1;
			return;
		}
	}
	va_start(args, fmt);
	vsnprintf(line, sizeof(line), fmt, args);
	va_end(args);
	put(level, line);
}

void xb_log_error(enum xb_level level, const char *prefix, const struct xb_error *err)
{
	struct xb_error told = *err;
	char text[1024];

	xb_limits_explain(&told);
	xb_log(level, "%s: %s", prefix, xb_error_text(&told, text, sizeof(text)));
}

void xb_log_trouble(char *said, unsigned long bytes, const char *name, const struct xb_error *err)
{
	char text[512];

	xb_error_text(err, text, sizeof(text));
	if (!strncmp(text, said, bytes - 1))
		return;
	snprintf(said, bytes, "%s", text);
	xb_log(XB_LOG_WARNING, "%s can't be used: %s", name, text);
}
