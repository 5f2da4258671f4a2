/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A MAC address that is the same at each start: made from the machine's id and the instance's name.
 */
#ifndef XB_DAEMON_MAC_H
#define XB_DAEMON_MAC_H

#include <stdint.h>

/** Fills and returns `ret_mac`: locally administered, unicast. Where the machine has no id
 *  (machine-id(5)), the host name stands in. */
const uint8_t *xb_mac_stable(const char *name, uint8_t ret_mac[6]);

#endif
