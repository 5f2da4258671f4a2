/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The tables of completion for bash and zsh, made from the table of commands: for the build.
 */
#ifndef XB_CLI_COMPLETION_H
#define XB_CLI_COMPLETION_H

/** Prints shell functions that tell what can be typed. Returns the exit status. */
int xb_completion_print(void);

#endif
