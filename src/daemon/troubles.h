/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What is wrong with a port while it runs, in words: said in the log when it begins, and by
 * `status` and `doctor` as long as it lasts.
 */
#ifndef XB_DAEMON_TROUBLES_H
#define XB_DAEMON_TROUBLES_H

#include "daemon/instance.h"

#include <json-c/json.h>

/** A port lies on one segment with others. Returns whether that is so. */
bool xb_trouble_loop(const struct xb_instance *instance, const struct xb_port *port,
		     struct xb_trouble *ret_trouble);

/** All troubles of a port, for `status`: a list of {"text", "remedy"}. */
struct json_object *xb_troubles_json(const struct xb_door *door);

/** Looks for new troubles and for the end of others, and says so: twice a second. */
void xb_instance_watch(struct xb_instance *instance);

#endif
