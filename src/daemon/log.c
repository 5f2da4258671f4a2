/* SPDX-License-Identifier: BSD-2-Clause */
#include "daemon/log.h"

#include "daemon/limits.h"

#include <json-c/json.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static bool as_json;

void xb_log_use_json(bool json)
{
	as_json = json;
}

static void put_json(enum xb_level level, const char *line)
{
	static const char *const names[] = {[XB_LOG_ERROR] = "error",
					    [XB_LOG_WARNING] = "warning",
					    [XB_LOG_NOTICE] = "notice",
					    [XB_LOG_INFO] = "info"};
	struct json_object *record = json_object_new_object();
	struct timespec now;
	char date[32], time[48];
	struct tm utc;

	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &utc);
	strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%S", &utc);
	snprintf(time, sizeof(time), "%s.%03ldZ", date, now.tv_nsec / 1000000);
	json_object_object_add(record, "time", json_object_new_string(time));
	json_object_object_add(record, "level", json_object_new_string(names[level]));
	json_object_object_add(record, "message", json_object_new_string(line));
	fprintf(stderr, "%s\n",
		json_object_to_json_string_ext(record, JSON_C_TO_STRING_PLAIN |
							       JSON_C_TO_STRING_NOSLASHESCAPE));
	json_object_put(record);
}

/* The time of day, for whoever looks at a terminal; journals and files of logs have their own. */
static const char *clock_of_terminal(char buf[40])
{
	struct timespec now;
	struct tm local;
	char clock[16];

	buf[0] = '\0';
	if (!isatty(STDERR_FILENO))
		return buf;
	clock_gettime(CLOCK_REALTIME, &now);
	localtime_r(&now.tv_sec, &local);
	strftime(clock, sizeof(clock), "%H:%M:%S", &local);
	snprintf(buf, 40, "%s.%03ld ", clock, now.tv_nsec / 1000000);
	return buf;
}

static void put(enum xb_level level, const char *line)
{
	static const char *const names[] = {
		[XB_LOG_ERROR] = "error: ", [XB_LOG_WARNING] = "warning: "};
	char clock[40];

	if (as_json)
		put_json(level, line);
	else if (getenv("JOURNAL_STREAM"))
		fprintf(stderr, "<%d>%s\n", level, line);
	else
		fprintf(stderr, "%sxbridge: %s%s\n", clock_of_terminal(clock),
			level <= XB_LOG_WARNING ? names[level] : "", line);
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
