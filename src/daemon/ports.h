/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Ports that come and go while an instance runs.
 *
 *      add:    (opened) ─► its door's own states ─► xb_ports_came, or xb_ports_failed
 *      remove: leaving ─► its door closes ─► xb_ports_closed ─► forgetting ─► (freed)
 *
 * A port that goes leaves in steps: workers let go of its queues; the door takes back all that it
 * has given to others; what the tables know of it is forgotten, and the snapshot without it is
 * published; what it has counted is added to what departed ports have; and its id is given back
 * (port_ids.h).
 */
#ifndef XB_DAEMON_PORTS_H
#define XB_DAEMON_PORTS_H

#include "daemon/door.h"

/** Begins to remove a port. Returns 0, -EAGAIN (it is at something: ask again), or -EBUSY: rules
 * name it. */
int xb_ports_remove(struct xb_door *door, struct xb_change *change, struct xb_error *err);

/* For doors. */

/** One that was being added runs. */
void xb_ports_came(struct xb_door *door);
/** One that was being added can't be had. */
void xb_ports_failed(struct xb_door *door, const struct xb_error *err);
/** One that was being added can't be had, and has nothing to be taken back: it was never in a
 * snapshot. */
void xb_ports_gave_up(struct xb_door *door, const struct xb_error *err);
/** One that goes holds nothing any more, and nothing holds it but tables and snapshots. */
void xb_ports_closed(struct xb_door *door);

#endif
