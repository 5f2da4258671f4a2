/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Any text as a rule: refused with a reason, or what is printed of it reads as the same rule.
 */
#include "steer/text.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct xb_rule rule, again;
	struct xb_error err = {0};
	char *text = malloc(size + 1), *printed = NULL;
	size_t bytes;
	FILE *out;

	if (!text)
		return 0;
	memcpy(text, data, size);
	text[size] = '\0';
	if (xb_rule_parse(text, &rule, &err) < 0) {
		if (!err.what[0])
			abort();
		free(text);
		return 0;
	}
	free(text);
	out = open_memstream(&printed, &bytes);
	if (!out)
		return 0;
	xb_rule_print(&rule, out);
	fclose(out);
	if (xb_rule_parse(printed, &again, &err) < 0 || memcmp(&rule, &again, sizeof(rule)) != 0)
		abort();
	free(printed);
	return 0;
}
