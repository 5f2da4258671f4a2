/* SPDX-License-Identifier: BSD-2-Clause */
#include "daemon/command.h"

#include "core/word.h"

#include <errno.h>

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
	uint64_t count;

	if (!xb_word_decimal(word, 1, max, &count))
		return xb_usage(request->err, "%s '%.32s': a number from 1 to %lu is expected",
				what, word, max);
	*ret_count = count;
	return 0;
}
