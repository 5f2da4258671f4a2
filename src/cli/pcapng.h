/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Writing pcapng (draft-ietf-opsawg-pcapng): one section, an interface for each port, packets with
 * direction, queue and a comment. libpcap reads the format but does not write it.
 *
 * Write errors stay in the stream, for ferror().
 */
#ifndef XB_CLI_PCAPNG_H
#define XB_CLI_PCAPNG_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/** Starts a section, written by `application`. */
void xb_pcapng_start(FILE *out, const char *application);

/** Describes the next Ethernet interface; the first one has the number 0. Times have nanoseconds.
 *  @snap: bytes of a packet at most. */
void xb_pcapng_interface(FILE *out, const char *name, uint32_t snap);

struct xb_pcapng_packet {
	uint32_t interface; /* its number */
	uint64_t time_ns;   /* since 1970 */
	const void *data;
	uint32_t n;     /* bytes that are there */
	uint32_t bytes; /* of the packet */
	bool out;       /* sent by the interface, else received */
	uint32_t queue;
	const char *comment;
};
void xb_pcapng_packet(FILE *out, const struct xb_pcapng_packet *packet);

/** Says how many packets of an interface were lost; at the end. */
void xb_pcapng_lost(FILE *out, uint32_t interface, uint64_t time_ns, uint64_t lost);

#endif
