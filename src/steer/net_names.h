/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The system's names of services and protocols (/etc/services, /etc/protocols, and whatever else
 * nsswitch.conf names), read once.
 */
#ifndef XB_STEER_NET_NAMES_H
#define XB_STEER_NET_NAMES_H

#include <stdbool.h>
#include <stdint.h>

/** Reads both lists, at the first call. To be called before privileges are dropped, as reading may
 * not be allowed later, and may take long. Without the lists no name is known. One thread. */
void xb_net_names_load(void);

/**
 * The port of a service.
 *
 * @proto: IPPROTO_TCP, _UDP or _SCTP; 0: any.
 *
 * Returns 0, -ENOENT, or -ENOTUNIQ where it has several ports and `proto` does not tell which.
 */
int xb_net_service(const char *name, unsigned proto, uint16_t *ret_port);

/** The number of an IP protocol; false where no such name is known. */
bool xb_net_protocol(const char *name, uint64_t *ret_number);

#endif
