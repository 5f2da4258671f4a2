/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * `xbridge capture`: shows packets as they cross an instance's ports, or writes them to a file.
 */
#ifndef XB_CLI_CAPTURE_H
#define XB_CLI_CAPTURE_H

#include "cli/command.h"

/**
 * Captures until it is interrupted, COUNT packets have come, or the instance ends.
 *
 * @argv: [NAME] [--drops] [-w FILE|-] [-c COUNT] [--snap BYTES].
 *
 * Says at the end, on standard error, how many packets were captured and lost. Returns the exit
 * status.
 */
int xb_capture_packets(const struct xb_common *common, int argc, char **argv);

#endif
