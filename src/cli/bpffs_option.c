/* SPDX-License-Identifier: BSD-2-Clause */
#include "cli/bpffs_option.h"

#include "cli/say.h"
#include "gate/bpffs.h"

#include <string.h>

#define NAME "--bpffs"

const struct xb_command_option xb_bpffs_options[] = {
	{NAME, NULL, "PATH",
	 "look for pins in the BPF file system at PATH; default: " XB_BPFFS_DEFAULT, 0, 0},
	{0},
};

int xb_bpffs_take(int *argc, char **argv, bool *ret_given)
{
	struct xb_error err = {0};
	char text[1024];
	int left = 0;

	for (int i = 0; i < *argc; i++) {
		if (strcmp(argv[i], NAME) != 0 || i + 1 == *argc)
			argv[left++] = argv[i];
		else if (xb_bpffs_use(argv[++i], &err) < 0)
			return xb_say_failure(1, "%s", xb_error_text(&err, text, sizeof(text)));
	}
	if (ret_given)
		*ret_given = left < *argc;
	*argc = left;
	return 0;
}
