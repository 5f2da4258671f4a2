/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * `xbridge explain`: what would become of a frame, and why. Two are asked, the running instance
 * (daemon/explain.h) and, for an uplink's frame, a twin of its XDP program (gate/twin.h); that they
 * disagree is an error.
 */
#ifndef XB_CLI_EXPLAIN_H
#define XB_CLI_EXPLAIN_H

#include "cli/command.h"

/**
 * Explains a frame that a match describes, or each of a capture file's.
 *
 * @argv: [in PORT] MATCH…, or pcap FILE|- [in PORT].
 *
 * Prints the answer, and on standard error what went wrong. Returns the exit status.
 */
int xb_explain(const struct xb_common *common, int argc, char **argv);

#endif
