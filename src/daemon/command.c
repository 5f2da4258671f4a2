/* SPDX-License-Identifier: BSD-2-Clause */
#include "daemon/command.h"

#include <errno.h>
#include <stdlib.h>

int xb_done(const struct xb_request *request)
{
	*request->ret_result = json_object_new_object();
	return 0;
}

int xb_no_port(const struct xb_request *request, const char *name)
{
	xb_refuse(request->err, -ENOENT, "there is no port '%.64s'", name);
	xb_hint(request->err, "`xbridge port list` names them");
	return -ENOENT;
}

int xb_read_count(const struct xb_request *request, const char *what, const char *word,
		  unsigned long max, unsigned long *ret_count)
{
	char *end;

	errno = 0;
	*ret_count = strtoul(word, &end, 10);
	if (errno || *end || end == word || *word == '-' || !*ret_count || *ret_count > max)
		return xb_usage(request->err, "%s '%.32s': a number from 1 to %lu is expected",
				what, word, max);
	return 0;
}
