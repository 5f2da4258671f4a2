/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * `xbridge doctor [IFACE] [--json]`: what this host can do for xbridge, and what stands in the way.
 */
#ifndef XB_CLI_DOCTOR_H
#define XB_CLI_DOCTOR_H

#include "cli/command.h"

/**
 * Looks at the host and prints a line for each thing found on stdout, with the remedy below it
 * where one is due.
 *
 * It changes nothing: what can only be tried is tried on a TAP in a network namespace of its own,
 * or on BPF programs that are attached nowhere, and is gone on return. No capability is needed;
 * without some, lines say what could not be looked at.
 *
 * @argv:   the interface that is to be an uplink: looks at it, too. None: a line for each interface
 *          that could be one.
 * With --json: one JSON document: {"findings":[{"check","state","text","remedy"}…]}.
 *
 * Returns 0, or 1 where something stands in the way (a line says `fail`). Forks; call it from a
 * process of one thread.
 */
int xb_doctor(const struct xb_common *common, int argc, char **argv);

#endif
