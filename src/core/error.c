/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void record(struct xb_error *err, int code, bool whole, const char *fmt, va_list args)
{
	if (!err)
		return;
	err->code = code;
	err->whole = whole;
	err->hint[0] = '\0';
	vsnprintf(err->what, sizeof(err->what), fmt, args);
}

int xb_fail(struct xb_error *err, int code, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	record(err, code, false, fmt, args);
	va_end(args);
	return code;
}

int xb_refuse(struct xb_error *err, int code, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	record(err, code, true, fmt, args);
	va_end(args);
	return code;
}

void xb_hint(struct xb_error *err, const char *fmt, ...)
{
	va_list args;

	if (!err || err->hint[0])
		return;
	va_start(args, fmt);
	vsnprintf(err->hint, sizeof(err->hint), fmt, args);
	va_end(args);
}

const char *xb_error_text(const struct xb_error *err, char *buf, unsigned long buf_bytes)
{
	snprintf(buf, buf_bytes, "%s%s%s%s%s", err->what, err->whole ? "" : ": ",
		 err->whole ? "" : strerror(-err->code), err->hint[0] ? "; " : "", err->hint);
	return buf;
}

bool xb_is_shortage(int code)
{
	return code == -EMFILE || code == -ENFILE || code == -ENOMEM || code == -ENOBUFS;
}
