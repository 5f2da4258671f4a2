/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The manual pages, in roff, and the reference of drop reasons, in Markdown: for the build.
 */
#ifndef XB_CLI_MANUAL_H
#define XB_CLI_MANUAL_H

/**
 * Writes a page for each command's first word, xbridge-WORD.1, one for each topic without commands,
 * xbridge-WORD.7, and `commands`, the table of commands within xbridge(1), into a directory.
 * Returns the exit status.
 */
int xb_manual_write(const char *directory);

/** Prints docs/drop-reasons.md. */
void xb_manual_drops(void);

#endif
