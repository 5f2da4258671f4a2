/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XB_CLI_DETACH_H
#define XB_CLI_DETACH_H

#include "cli/command.h"

/** `xbridge detach IFACE`: takes off what an instance that has ended left there. */
int xb_detach_program(const struct xb_common *common, int argc, char **argv);

#endif
