/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * `xbridge run`: the daemon, in the foreground, until SIGTERM or SIGINT.
 */
#ifndef XB_DAEMON_RUN_H
#define XB_DAEMON_RUN_H

/** Runs an instance as the arguments behind `run` say; they live as long as it. Says on standard
 *  error what it does and what goes wrong. Returns the exit status: 0 stopped as asked, 1 failed,
 *  2 wrong usage. */
int xb_run(int argc, char **argv);

#endif
