/* SPDX-License-Identifier: BSD-2-Clause */
#include "cli/steer_file.h"

#include "cli/client.h"
#include "cli/say.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Reads a text, "-" being standard input, to its end. Returns it from the heap, or NULL and errno.
 */
static char *read_text(const char *path)
{
	bool is_stdin = !strcmp(path, "-");
	FILE *file = is_stdin ? stdin : fopen(path, "re");
	char *text = NULL;
	size_t room = 0;
	ssize_t bytes;

	if (!file)
		return NULL;
	bytes = getdelim(&text, &room, '\0', file);
	if (bytes < 0 && !ferror(file)) { /* an empty one */
		free(text);
		text = calloc(1, 1);
	} else if (bytes < 0 || !text[bytes - 1]) { /* a NUL byte: no text */
		errno = bytes < 0 ? errno : EINVAL;
		free(text);
		text = NULL;
	}
	if (!is_stdin)
		fclose(file);
	return text;
}

/* The first word that is no option's value, and so the file's name. */
static int place_of_file(int argc, char **argv)
{
	int i = 0;

	while (i < argc && !strcmp(argv[i], "--confirm"))
		i += 2;
	return i;
}

int xb_steer_load(const struct xb_common *common, int argc, char **argv)
{
	int at = place_of_file(argc, argv);
	char *name = argv[at];
	struct json_object *result = NULL;
	struct xb_error err = {0};
	char *text = read_text(name);
	int status;

	if (!text)
		return xb_say_failure(1, "steer load: can't read %s: %s", name, strerror(errno));
	memmove(&argv[1], &argv[0], (size_t)at * sizeof(*argv));
	argv[0] = text;
	status = xb_client_ask(common->name, 2 + argc, argv - 2, &result, &err);
	free(text);
	if (status)
		return xb_say_failure(status, "%s", err.what);
	if (common->json)
		status = xb_say_document(result);
	json_object_put(result);
	return status;
}
