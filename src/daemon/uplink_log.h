/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XB_DAEMON_UPLINK_LOG_H
#define XB_DAEMON_UPLINK_LOG_H

#include "xsk/uplink.h"

/** Says in the log how an uplink runs that has started, and what is not as one might expect. */
void xb_say_uplink(const struct xb_uplink *uplink);

/** Says what becomes of VLAN tags on it, where that has changed. */
void xb_say_tags(const struct xb_uplink *uplink, const struct xb_tags *before);

#endif
