/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What --help and `help` print, within 80 columns.
 */
#ifndef XB_CLI_HELP_H
#define XB_CLI_HELP_H

#include "cli/command.h"

#include <stdio.h>

/** All commands, a line each, and what they have in common. */
void xb_help_all(FILE *out);

/** One command: grammar, options, examples. */
void xb_help_command(const struct xb_command *command, FILE *out);

/** A topic, with the commands of its word. */
void xb_help_topic(const struct xb_topic *topic, FILE *out);

/** `help [COMMAND…|TOPIC]`; returns the exit status. */
int xb_help(int argc, char **argv);

#endif
