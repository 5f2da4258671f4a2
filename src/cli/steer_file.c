/* SPDX-License-Identifier: BSD-2-Clause */
#include "cli/steer_file.h"

#include "cli/client.h"
#include "cli/say.h"
#include "cli/text.h"

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

/* The first word that is neither an option nor its value, and so the file's name. */
static int place_of_file(int argc, char **argv)
{
	int i = 0;

	while (i < argc && !strncmp(argv[i], "--", 2))
		i += strcmp(argv[i], "--confirm") ? 1 : 2;
	return i;
}

/* Asks the daemon with the file's text in the place of its name; that stands first. */
static int ask_with_text(const struct xb_common *common, int argc, char **argv,
			 struct json_object **ret_result)
{
	int at = place_of_file(argc, argv);
	char *name = argv[at];
	struct xb_error err = {0};
	char *text = read_text(name);
	int status;

	if (!text)
		return xb_say_failure(1, "steer: can't read %s: %s", name, strerror(errno));
	memmove(&argv[1], &argv[0], (size_t)at * sizeof(*argv));
	argv[0] = text;
	status = xb_client_ask(common->name, 2 + argc, argv - 2, ret_result, &err);
	free(text);
	return status ? xb_say_failure(status, "%s", err.what) : 0;
}

int xb_steer_load(const struct xb_common *common, int argc, char **argv)
{
	struct json_object *result = NULL;
	int status = ask_with_text(common, argc, argv, &result);

	if (!status && common->json)
		status = xb_say_document(result);
	else if (!status)
		xb_text_warnings(result);
	json_object_put(result);
	return status;
}

int xb_steer_check(const struct xb_common *common, int argc, char **argv)
{
	struct json_object *result = NULL;
	int status = ask_with_text(common, argc, argv, &result);

	if (!status && common->json)
		status = xb_say_document(result);
	else if (!status)
		xb_text_checked(result);
	json_object_put(result);
	return status;
}
