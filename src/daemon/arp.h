/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ARP on an interface that shares a segment with another one of its namespace.
 */
#ifndef XB_DAEMON_ARP_H
#define XB_DAEMON_ARP_H

#include "core/error.h"

/**
 * Keeps an interface of this network namespace from answering ARP for addresses that are not its
 * own (arp_ignore=1), and from asking with such addresses (arp_announce=2). Stricter settings stay.
 *
 * Returns 0 or -errno. Needs CAP_NET_ADMIN, and a /proc/sys that can be written.
 */
int xb_arp_confine(const char *ifname, struct xb_error *err);

#endif
