/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Domains: the ports among which frames are bridged and flooded. Rules may cross them.
 *
 * A domain is a name for people and a number for the forwarding table. The default one has the name
 * "" and the number 0; another exists as long as a port is in it.
 */
#ifndef XB_DAEMON_DOMAINS_H
#define XB_DAEMON_DOMAINS_H

#include "daemon/instance.h"

/** The number of a domain, which is made where there is none of that name; or -ENOSPC:
 * XB_DOMAINS_MAX have ports. The caller puts a port into it at once. */
int xb_domains_take(struct xb_instance *instance, const char *name, struct xb_error *err);

/** The number of a domain that has ports, or is the default one; -ENOENT: there is none of that
 * name. */
int xb_domains_find(const struct xb_instance *instance, const char *name);

#endif
