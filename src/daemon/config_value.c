/* SPDX-License-Identifier: BSD-2-Clause */
#include "daemon/config_value.h"

#include "core/word.h"
#include "steer/verdict.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int xb_value_refuse(struct xb_error *err, const char *value, const char *expected)
{
	return xb_fail(err, -EINVAL, "'%.64s': %s is expected", value, expected);
}

int xb_value_number(const char *value, unsigned min, unsigned max, unsigned *ret_number,
		    struct xb_error *err)
{
	uint64_t number;

	if (!xb_word_decimal(value, min, max, &number))
		return xb_fail(err, -EINVAL, "'%.64s': a number from %u to %u is expected", value,
			       min, max);
	*ret_number = (unsigned)number;
	return 0;
}

int xb_value_text(const char *value, char *ret_text, size_t bytes, const char *what,
		  struct xb_error *err)
{
	size_t len = strlen(value);

	if (!len || len >= bytes)
		return xb_fail(err, -EINVAL, "'%.64s': %s of 1 to %zu characters is expected",
			       value, what, bytes - 1);
	memcpy(ret_text, value, len + 1);
	return 0;
}

int xb_value_mac(const char *value, uint8_t ret_mac[6], struct xb_error *err)
{
	uint8_t mac[6];

	if (!xb_word_mac(value, mac) || mac[0] & 1)
		return xb_value_refuse(err, value,
				       "'uplink' or a unicast MAC address like 02:00:00:00:00:01");
	memcpy(ret_mac, mac, sizeof(mac));
	return 0;
}

bool xb_value_ends_open(const char *value)
{
	size_t len = strlen(value);

	return len && value[len - 1] == ',';
}

int xb_value_fds(const char *value, struct xb_fd_list *ret_list, struct xb_error *err)
{
	struct xb_fd_list list = {0};
	char word[16];
	const char *at = value;

	if (xb_value_ends_open(value))
		return xb_value_refuse(err, value, "a list of descriptors like 3,4");
	while (*at) {
		size_t len = strcspn(at, ",");
		unsigned fd = 0;

		if (!len || len >= sizeof(word) || list.n == XB_TAP_QUEUES_MAX)
			return xb_value_refuse(err, value, "a list of descriptors like 3,4");
		memcpy(word, at, len);
		word[len] = '\0';
		if (xb_value_number(word, 0, 1u << 20, &fd, err) < 0)
			return xb_value_refuse(err, value, "a list of descriptors like 3,4");
		for (unsigned i = 0; i < list.n; i++)
			if (list.fds[i] == (int)fd)
				return xb_fail(err, -EINVAL,
					       "'%.64s': descriptor %u is named twice", value, fd);
		list.fds[list.n++] = (int)fd;
		at += len + (at[len] == ',');
	}
	*ret_list = list;
	return 0;
}

#define COMPARED_MAX 32u

static unsigned least(unsigned a, unsigned b, unsigned c)
{
	unsigned ab = a < b ? a : b;

	return ab < c ? ab : c;
}

unsigned xb_value_distance(const char *word, size_t len, const char *known)
{
	size_t known_len = strlen(known);
	unsigned row[COMPARED_MAX +
		     1]; /* from what was read of `word` to each beginning of `known` */

	if (len > COMPARED_MAX || known_len > COMPARED_MAX)
		return (unsigned)len;
	for (unsigned k = 0; k <= known_len; k++)
		row[k] = k;
	for (size_t w = 0; w < len; w++) {
		unsigned before = row[0]++;

		for (size_t k = 0; k < known_len; k++) {
			unsigned above = row[k + 1];

			row[k + 1] = least(before + (word[w] != known[k]), above + 1, row[k] + 1);
			before = above;
		}
	}
	return row[known_len];
}

/* A word of a fixed set; its index, or -1. */
int xb_value_one_of(const char *word, const char *const *words)
{
	for (int i = 0; words[i]; i++)
		if (!strcmp(word, words[i]))
			return i;
	return -1;
}

/* Words that mean something else where a port can be named. */
int xb_value_not_reserved(const char *value, struct xb_error *err)
{
	if (xb_verdict_named(value, NULL) || !strcmp(value, "kernel"))
		return xb_fail(err, -EINVAL,
			       "'%s': another name is expected; " XB_VERDICTS_NAMED
			       " and kernel are words of rules",
			       value);
	if (strchr(value, '#'))
		return xb_fail(err, -EINVAL,
			       "'%.64s': a name can't have a '#', which starts a comment", value);
	return 0;
}

int xb_value_ifname(const char *value, char ret_name[IFNAMSIZ], struct xb_error *err)
{
	int ret = xb_value_not_reserved(value, err);

	return ret < 0 ? ret : xb_value_text(value, ret_name, IFNAMSIZ, "an interface's name", err);
}

int xb_value_domain(const char *value, char ret_name[XB_NAME_BYTES], struct xb_error *err)
{
	return xb_value_text(value, ret_name, XB_NAME_BYTES, "the name of a domain", err);
}

static const struct {
	const char *word;
	struct xb_offload_set set;
} offloads[] = {
	{"csum", {XB_TAKES_CSUM, XB_TAKES_CSUM}},
	{"tso", {0, XB_TAKES_TSO}},
	{"gro", {XB_TAKES_TSO, 0}},
	{"uso", {XB_TAKES_USO, XB_TAKES_USO}},
};
#define N_OFFLOADS (sizeof(offloads) / sizeof(offloads[0]))

static bool add_offload(const char *word, struct xb_offload_set *set)
{
	for (size_t i = 0; i < N_OFFLOADS; i++) {
		if (strcmp(word, offloads[i].word) != 0)
			continue;
		set->takes |= offloads[i].set.takes;
		set->gives |= offloads[i].set.gives;
		return true;
	}
	return false;
}

int xb_value_offload(const char *value, struct xb_offload_set *ret_set, struct xb_error *err)
{
	static const char expected[] = "none, or a list of csum, tso, gro and uso";
	struct xb_offload_set set = {0};
	char words[64];
	char *rest = words;
	char *word;

	if (strlen(value) >= sizeof(words))
		return xb_value_refuse(err, value, expected);
	strcpy(words, value);
	while (strcmp(value, "none") != 0 && (word = strsep(&rest, ",")))
		if (!add_offload(word, &set))
			return xb_value_refuse(err, value, expected);
	if ((set.takes | set.gives) && !(set.takes & XB_TAKES_CSUM))
		return xb_value_refuse(err, value, "csum, which the others take,");
	*ret_set = set;
	return 0;
}

void xb_offload_text(struct xb_offload_set set, char *buf)
{
	*buf = '\0';
	for (size_t i = 0; i < N_OFFLOADS; i++) {
		const struct xb_offload_set *one = &offloads[i].set;

		if ((set.takes & one->takes) != one->takes ||
		    (set.gives & one->gives) != one->gives)
			continue;
		strcat(buf, *buf ? "," : "");
		strcat(buf, offloads[i].word);
	}
	if (!*buf)
		strcpy(buf, "none");
}
