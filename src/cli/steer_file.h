/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XB_CLI_STEER_FILE_H
#define XB_CLI_STEER_FILE_H

#include "cli/command.h"

/** `xbridge steer load FILE|-`: the daemon gets the file's text in place of its name. */
int xb_steer_load(const struct xb_common *common, int argc, char **argv);

/** `xbridge steer check FILE|-`, likewise. */
int xb_steer_check(const struct xb_common *common, int argc, char **argv);

#endif
