/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The table of an instance's doors, by the ids of their ports.
 */
#ifndef XB_DAEMON_DOORS_H
#define XB_DAEMON_DOORS_H

#include "daemon/instance.h"

/** The first door whose id is at least `id`, and whose port is open; NULL: there is none. */
struct xb_door *xb_doors_from(const struct xb_instance *instance, unsigned id);

/** Loops over the doors whose ports are open, by id. */
#define xb_for_each_door(instance, door)                              \
	for (struct xb_door *door = xb_doors_from(instance, 0); door; \
	     door = xb_doors_from(instance, door->id + 1u))

/** Nothing waits for `change` any more. It goes on. */
void xb_doors_forget_change(struct xb_instance *instance, const struct xb_change *change);

/** Puts a door into the table, at its id. */
void xb_doors_add(struct xb_door *door);
/** Takes it out. */
void xb_doors_remove(struct xb_door *door);

/** The door of a name: what is called so now comes first (or has it as its alias), then what is
 * also known so, then what was called so before. NULL: none. */
struct xb_door *xb_doors_find(const struct xb_instance *instance, const char *name);

/** The port of a name, as xb_doors_find; NULL: none. */
struct xb_port *xb_instance_port(const struct xb_instance *instance, const char *name);

/** The name of the port of that id; "?": there is none. */
const char *xb_port_name(const struct xb_instance *instance, unsigned id);

/** Lets each door look at what it stands on, and then follow what others have become: takes out
 * what is gone or broken, brings back what has returned, adopts what has changed. After link events
 * (`links`) and once a second. doors_check.c */
void xb_doors_check(struct xb_instance *instance, bool links);

/** Whether a port is neither coming nor going: one that is can't be named. */
bool xb_door_is_there(const struct xb_door *door);

/** The first door that is an uplink's; NULL: there is none. */
const struct xb_door *xb_doors_first_uplink(const struct xb_instance *instance);

#endif
