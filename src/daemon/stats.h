/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The books of an instance: what its ports, its workers and its XDP programs have counted since it
 * started, or since `stats reset`.
 *
 * Counters are never set back, as others may be about to add to them: a reset keeps what they are,
 * and it is taken off whatever is read later.
 *
 * Control thread.
 */
#ifndef XB_DAEMON_STATS_H
#define XB_DAEMON_STATS_H

#include "daemon/instance.h"

#include <json-c/json.h>

/** What `stats` says: a new document. */
struct json_object *xb_query_stats(struct xb_instance *instance);

/** Leaves, of the stats of all ports, those of one. */
void xb_stats_only(struct json_object *stats, const char *port);

/** Adds what a port has counted, which is about to go, to what departed ones have. Returns 0, or
 * -ENOMEM: then it is lost. */
int xb_stats_depart(struct xb_door *door);

/** Lets all counters, those of rules too, begin at nothing. Returns 0 or -ENOMEM. */
int xb_stats_reset(struct xb_instance *instance, struct xb_error *err);

#endif
