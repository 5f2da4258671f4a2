/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The fields that rules can ask of a frame (xbridge/field.h), as a table: what a rule says of each,
 * read, printed and compared with a frame.
 */
#ifndef XB_STEER_FIELD_H
#define XB_STEER_FIELD_H

#include "steer/words.h"
#include "xbridge/parse.h"
#include "xbridge/rule.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/** What a rule says of a field: see xbridge/field.h. */
enum xb_field_kind {
	XB_FIELD_OWN,
	XB_FIELD_PORTS,
	XB_FIELD_NUMBER,
	XB_FIELD_PROTOCOL,
	XB_FIELD_HEX,
	XB_FIELD_NAME,
	XB_FIELD_MAC,
	XB_FIELD_DMAC,
	XB_FIELD_PREFIX,
	XB_FIELD_RANGE,
	XB_FIELD_SERVICE,
	XB_FIELD_FLAGS,
};

struct xb_field {
	const char *keyword;         /* of two fields one may have that of the other: DMAC_OWN */
	const char *value;           /* the grammar of what follows it; NULL: the other says it */
	const char *expected;        /* the same, for an error; NULL where `value` is */
	const char *help;            /* for a person; NULL where `value` is */
	const struct xb_word *words; /* names for numbers, or NULL */
	enum xb_field_kind kind;
	uint16_t first, last;     /* numbers that a rule may say, both included */
	unsigned places;          /* values that a frame can have there; 0: more than 256 */
	size_t at;                /* in struct xb_rule */
	size_t key_at, key_bytes; /* in struct xb_key */
};

/** By enum xb_match. */
extern const struct xb_field xb_fields[XB_MATCH_COUNT];

/** Fields of TCP, UDP, SCTP and ICMP, as bits of xb_rule.match: a later fragment has none of them.
 */
static inline uint32_t xb_fields_of_transport(void)
{
	return xb_has_of(XB_LAYER_PORTS) | xb_has_of(XB_LAYER_TCP) | xb_has_of(XB_LAYER_ICMP);
}

/** The same, and those of IP: only IPv4 and IPv6 have any of them. */
static inline uint32_t xb_fields_of_ip(void)
{
	return xb_fields_of_transport() | xb_has_of(XB_LAYER_IP) | xb_has_of(XB_LAYER_CHAIN);
}

/** Where a rule holds what it says of a field. */
static inline const void *xb_field_of(const struct xb_field *field, const struct xb_rule *rule)
{
	return (const char *)rule + field->at;
}

/**
 * Reads what a rule says of a field, one word, which it may change. The name of a service is left
 * to xb_field_set_port, as its number may depend on what follows; the words `own` and `kernel` of a
 * DMAC are left to the caller.
 *
 * Returns whether it is that.
 */
bool xb_field_read(const struct xb_field *field, char *word, struct xb_rule *rule);

/** Lets a rule ask for one port, in a field of kind SERVICE. */
void xb_field_set_port(const struct xb_field *field, uint16_t port, struct xb_rule *rule);

/** Writes what a rule says of a field, as xb_field_read reads it. */
void xb_field_print(const struct xb_field *field, const struct xb_rule *rule, FILE *out);

/** The rule that asks for all that a key holds, and for nothing that it doesn't: as a person reads
 * a frame.
 *
 * @in: the name of the port that the frame came in by. */
struct xb_rule xb_rule_of_key(const struct xb_key *key, const char *in);

#endif
