/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XB_CLI_WATCH_H
#define XB_CLI_WATCH_H

#include "cli/command.h"

/**
 * `xbridge stats --watch`: what each port moves in a second, once a second, with the time; the
 * first time since nothing is known of before, totals alone. With --json: a line for each look,
 * with the fields "time" and, from the second on, "rates" (port → counter → per second).
 *
 * Ends when it is interrupted, or the instance no longer answers. Returns the exit status.
 */
int xb_watch_stats(const struct xb_common *common, int argc, char **argv);

#endif
