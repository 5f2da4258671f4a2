/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XB_CLI_INSTANCES_H
#define XB_CLI_INSTANCES_H

#include "cli/command.h"

/** `xbridge instances`: those that run on this host, and whether each answers. */
int xb_instances(const struct xb_common *common, int argc, char **argv);

#endif
