/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The forwarding table as the pinned map `fdb` shows it to people.
 *
 * Control thread only. Needs what the gate's maps need: CAP_BPF.
 */
#ifndef XB_GATE_FDB_MIRROR_H
#define XB_GATE_FDB_MIRROR_H

#include "core/error.h"
#include "core/fdb.h"
#include "gate/gate.h"

struct xb_fdb_mirror;

/** A mirror in the map of an open gate, which stays open for as long. What an earlier run has left
 *  in the map goes. Returns 0, -ENOMEM or what the kernel says. */
int xb_fdb_mirror_new(const struct xb_gate *gate, struct xb_fdb_mirror **ret_mirror,
		      struct xb_error *err);

/** The map stays as it is. */
void xb_fdb_mirror_free(struct xb_fdb_mirror *mirror);

/**
 * Makes the map show the forwarding table of now. What has not changed is not touched, what stays
 * is never missing.
 *
 * @names: of the ports, by id; each that the table names has one.
 *
 * Returns 0 or -errno: then the map is empty, and the next time shows all of the table again.
 */
int xb_fdb_mirror_update(struct xb_fdb_mirror *mirror, const struct xb_fdb *fdb,
			 const char *const names[XB_PORTS_MAX], struct xb_error *err);

#endif
