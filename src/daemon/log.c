/* SPDX-License-Identifier: BSD-2-Clause */
#include "daemon/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void xb_log(enum xb_level level, const char *fmt, ...)
{
	static const char *const names[] = {
		[XB_LOG_ERROR] = "error: ", [XB_LOG_WARNING] = "warning: "};
	char line[1024];
	va_list args;

	va_start(args, fmt);
	vsnprintf(line, sizeof(line), fmt, args);
	va_end(args);
	if (getenv("JOURNAL_STREAM"))
		fprintf(stderr, "<%d>%s\n", level, line);
	else
		fprintf(stderr, "xbridge: %s%s\n", level <= XB_LOG_WARNING ? names[level] : "",
			line);
}

void xb_log_error(enum xb_level level, const char *prefix, const struct xb_error *err)
{
	char text[512];

	xb_log(level, "%s: %s", prefix, xb_error_text(err, text, sizeof(text)));
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
