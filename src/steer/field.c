/* SPDX-License-Identifier: BSD-2-Clause */
#include "steer/field.h"

#include "steer/net_names.h"
#include "xbridge/steer.h"

#include <assert.h>
#include <ctype.h>
#include <string.h>

/* ---- the table ---- */

#define ROW(NAME, name, KIND, BITS, FIRST, LAST, LAYER, words, keyword, value, expected, help, \
	    ...)                                                                               \
	[XB_MATCH_##NAME] = {keyword,                                                          \
			     value,                                                            \
			     expected,                                                         \
			     help,                                                             \
			     words,                                                            \
			     XB_FIELD_##KIND,                                                  \
			     FIRST,                                                            \
			     LAST,                                                             \
			     (BITS) == 8 ? (LAST) + 1 : 0,                                     \
			     offsetof(struct xb_rule, name),                                   \
			     offsetof(struct xb_key, name),                                    \
			     (BITS) / 8},

const struct xb_field xb_fields[XB_MATCH_COUNT] = {XB_FIELDS(ROW)};

/* Whether so many bits of a key hold what a rule says, by kind. */
#define FITS_OWN(bits)      ((bits) == 8)
#define FITS_PORTS(bits)    ((bits) == 8)
#define FITS_NUMBER(bits)   ((bits) == 8 || (bits) == 16)
#define FITS_PROTOCOL(bits) ((bits) == 8)
#define FITS_HEX(bits)      FITS_NUMBER(bits)
#define FITS_NAME(bits)     FITS_NUMBER(bits)
#define FITS_MAC(bits)      ((bits) == 48)
#define FITS_DMAC(bits)     ((bits) == 48)
#define FITS_PREFIX(bits)   ((bits) == 128)
#define FITS_RANGE(bits)    FITS_NUMBER(bits)
#define FITS_SERVICE(bits)  ((bits) == 16)
#define FITS_FLAGS(bits)    ((bits) == 8)

#define FITS(NAME, name, KIND, BITS, FIRST, LAST, ...)                               \
	static_assert(FITS_##KIND(BITS), #NAME ": its kind and its bits don't fit"); \
	static_assert((FIRST) <= (LAST) && (LAST) <= ((BITS) == 8 ? 0xff : 0xffff),  \
		      #NAME ": a key doesn't hold all numbers that a rule may say");
XB_FIELDS(FITS)

/* ---- reading ---- */

static bool read_number(const struct xb_field *field, const char *word, uint16_t *ret_number)
{
	uint64_t number;
	bool named = field->words && xb_word_named(field->words, word, &number);

	if (!named && field->kind == XB_FIELD_PROTOCOL)
		named = xb_net_protocol(word, &number);
	if (!named && (field->kind == XB_FIELD_NAME ||
		       !xb_word_number(word, field->first, field->last, &number)))
		return false;
	*ret_number = (uint16_t)number;
	return true;
}

static bool read_flags(char *word, struct xb_flags *ret_flags)
{
	char *slash = strchr(word, '/');

	if (!slash)
		return false;
	*slash = '\0';
	return xb_word_flags(word, &ret_flags->set) && xb_word_flags(slash + 1, &ret_flags->mask);
}

static void *at(const struct xb_field *field, struct xb_rule *rule)
{
	return (char *)rule + field->at;
}

bool xb_field_read(const struct xb_field *field, char *word, struct xb_rule *rule)
{
	void *to = at(field, rule);

	switch (field->kind) {
	case XB_FIELD_OWN:
		*(uint16_t *)to = !strcmp(word, "own");
		return *(uint16_t *)to;
	case XB_FIELD_PORTS:
		return xb_word_ports(word, to);
	case XB_FIELD_NUMBER:
	case XB_FIELD_PROTOCOL:
	case XB_FIELD_HEX:
	case XB_FIELD_NAME:
		return read_number(field, word, to);
	case XB_FIELD_MAC:
	case XB_FIELD_DMAC:
		return xb_word_mac(word, to);
	case XB_FIELD_PREFIX:
		return xb_word_prefix(word, to);
	case XB_FIELD_SERVICE:
		if (!isdigit((unsigned char)*word))
			return true;
		return xb_word_range(word, field->last, to);
	case XB_FIELD_RANGE:
		return xb_word_range(word, field->last, to);
	case XB_FIELD_FLAGS:
		return read_flags(word, to);
	}
	return false;
}

void xb_field_set_port(const struct xb_field *field, uint16_t port, struct xb_rule *rule)
{
	assert(field->kind == XB_FIELD_SERVICE);
	*(struct xb_range *)at(field, rule) = (struct xb_range){port, port};
}

/* ---- printing ---- */

static void print_number(const struct xb_field *field, uint16_t number, FILE *out)
{
	const char *name = field->words ? xb_word_name(field->words, number) : NULL;

	if (name)
		fputs(name, out);
	else
		fprintf(out, field->kind == XB_FIELD_HEX ? "0x%04x" : "%u", number);
}

static void print_flags(const struct xb_flags *flags, FILE *out)
{
	xb_flags_print(flags->set, out);
	fputc('/', out);
	xb_flags_print(flags->mask, out);
}

void xb_field_print(const struct xb_field *field, const struct xb_rule *rule, FILE *out)
{
	const void *from = xb_field_of(field, rule);
	char mac[XB_MAC_TEXT_BYTES];

	switch (field->kind) {
	case XB_FIELD_OWN:
		fputs("own", out);
		break;
	case XB_FIELD_PORTS:
		fputs(from, out);
		break;
	case XB_FIELD_NUMBER:
	case XB_FIELD_PROTOCOL:
	case XB_FIELD_HEX:
	case XB_FIELD_NAME:
		print_number(field, *(const uint16_t *)from, out);
		break;
	case XB_FIELD_DMAC:
		if (rule->dmac_kernel) {
			fputs("kernel", out);
			break;
		}
		/* fallthrough */
	case XB_FIELD_MAC:
		fputs(xb_mac_text(from, mac), out);
		break;
	case XB_FIELD_PREFIX:
		xb_prefix_print(from, out);
		break;
	case XB_FIELD_RANGE:
	case XB_FIELD_SERVICE:
		xb_range_print(from, out);
		break;
	case XB_FIELD_FLAGS:
		print_flags(from, out);
	}
}

/* ---- from a key ---- */

static uint16_t number_in(const struct xb_field *field, const void *from)
{
	return field->key_bytes == 1 ? *(const uint8_t *)from : *(const uint16_t *)from;
}

static void copy_from_key(const struct xb_field *field, const struct xb_key *key,
			  struct xb_rule *rule)
{
	const void *from = (const char *)key + field->key_at;
	void *to = at(field, rule);
	uint16_t number;

	switch (field->kind) {
	case XB_FIELD_OWN:
	case XB_FIELD_PORTS:
		break; /* the address itself, and the port's name, say more */
	case XB_FIELD_NUMBER:
	case XB_FIELD_PROTOCOL:
	case XB_FIELD_HEX:
	case XB_FIELD_NAME:
		*(uint16_t *)to = number_in(field, from);
		break;
	case XB_FIELD_MAC:
	case XB_FIELD_DMAC:
		memcpy(to, from, field->key_bytes);
		break;
	case XB_FIELD_PREFIX:
		*(struct xb_prefix *)to = (struct xb_prefix){.family = key->family,
							     .bits = key->family == 4 ? 32 : 128};
		memcpy(((struct xb_prefix *)to)->addr, from, key->family == 4 ? 4 : 16);
		break;
	case XB_FIELD_RANGE:
	case XB_FIELD_SERVICE:
		number = number_in(field, from);
		*(struct xb_range *)to = (struct xb_range){number, number};
		break;
	case XB_FIELD_FLAGS:
		*(struct xb_flags *)to = (struct xb_flags){*(const uint8_t *)from, UINT8_MAX};
	}
}

struct xb_rule xb_rule_of_key(const struct xb_key *key, const char *in)
{
	struct xb_rule rule = {.match = key->has & ~(1u << XB_MATCH_DMAC_OWN)};

	snprintf(rule.in, sizeof(rule.in), "%s", in);
	for (unsigned what = 0; what < XB_MATCH_COUNT; what++)
		if (XB_RULE_TESTS(&rule, what))
			copy_from_key(&xb_fields[what], key, &rule);
	return rule;
}
