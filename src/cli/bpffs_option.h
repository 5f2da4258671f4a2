/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XB_CLI_BPFFS_OPTION_H
#define XB_CLI_BPFFS_OPTION_H

#include "cli/command.h"

#include <stdbool.h>

/** The option --bpffs PATH of commands that look at what is pinned. */
extern const struct xb_command_option xb_bpffs_options[];

/** Takes --bpffs and its value out of argv, and uses it (gate/bpffs.h). `ret_given` (may be NULL):
 *  whether it was there. Returns 0, or 1 where it can't be used, which was said. */
int xb_bpffs_take(int *argc, char **argv, bool *ret_given);

#endif
