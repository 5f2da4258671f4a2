/* SPDX-License-Identifier: BSD-2-Clause */
#include "steer/words.h"

#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <netinet/in.h>
#include <string.h>

bool xb_word_range(char *word, uint16_t max, struct xb_range *ret_range)
{
	char *dash = strchr(word, '-');
	uint64_t first, last;

	if (dash)
		*dash = '\0';
	if (!xb_word_number(word, 0, max, &first) ||
	    !xb_word_number(dash ? dash + 1 : word, 0, max, &last) || first > last)
		return false;
	*ret_range = (struct xb_range){(uint16_t)first, (uint16_t)last};
	return true;
}

bool xb_word_prefix(char *word, struct xb_prefix *ret_prefix)
{
	struct xb_prefix prefix = {0};
	char *slash = strchr(word, '/');
	uint64_t bits;

	if (slash)
		*slash = '\0';
	if (inet_pton(AF_INET, word, prefix.addr) == 1)
		prefix.family = 4;
	else if (inet_pton(AF_INET6, word, prefix.addr) == 1)
		prefix.family = 6;
	else
		return false;
	bits = prefix.family == 4 ? 32 : 128;
	if (slash && !xb_word_number(slash + 1, 0, bits, &bits))
		return false;
	prefix.bits = (uint8_t)bits;
	for (unsigned i = 0; i < sizeof(prefix.addr); i++) {
		unsigned left = prefix.bits > 8 * i ? prefix.bits - 8 * i : 0;

		if (left < 8)
			prefix.addr[i] &= (uint8_t)(0xff00 >> left);
	}
	*ret_prefix = prefix;
	return true;
}

const struct xb_word xb_vlan_words[] = {{"none", XB_VLAN_NONE}, {0}};

const struct xb_word xb_proto_words[] = {
	{"tcp", IPPROTO_TCP},       {"udp", IPPROTO_UDP},   {"icmp", IPPROTO_ICMP},
	{"icmpv6", IPPROTO_ICMPV6}, {"sctp", IPPROTO_SCTP}, {0},
};

const struct xb_word xb_ethertype_words[] = {
	{"ipv4", ETH_P_IP}, {"ipv6", ETH_P_IPV6}, {"arp", ETH_P_ARP}, {"ip", ETH_P_IP}, {0},
};

const struct xb_word xb_frag_words[] = {
	{"no", XB_FRAG_NO},
	{"first", XB_FRAG_FIRST},
	{"later", XB_FRAG_LATER},
	{0},
};

/* from the lowest bit on */
static const char *const tcp_flags[] = {"fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr"};

bool xb_word_named(const struct xb_word *words, const char *word, uint64_t *ret_number)
{
	for (; words->word; words++)
		if (!strcmp(words->word, word)) {
			*ret_number = words->number;
			return true;
		}
	return false;
}

const char *xb_word_name(const struct xb_word *words, unsigned number)
{
	for (; words->word; words++)
		if (words->number == number)
			return words->word;
	return NULL;
}

bool xb_word_flags(char *word, uint8_t *ret_flags)
{
	uint64_t number;
	uint8_t flags = 0;
	char *save = NULL;

	if (xb_word_number(word, 0, 0xff, &number)) {
		*ret_flags = (uint8_t)number;
		return true;
	}
	if (!*word || *word == ',' || word[strlen(word) - 1] == ',' || strstr(word, ",,"))
		return false;
	for (char *name = strtok_r(word, ",", &save); name; name = strtok_r(NULL, ",", &save)) {
		unsigned bit = 0;

		while (bit < 8 && strcmp(tcp_flags[bit], name))
			bit++;
		if (bit == 8)
			return false;
		flags |= (uint8_t)(1u << bit);
	}
	*ret_flags = flags;
	return true;
}

bool xb_word_port(const char *word, char ret_name[XB_RULE_NAME_BYTES])
{
	size_t len = strlen(word);

	if (!len || len >= XB_RULE_NAME_BYTES)
		return false;
	memcpy(ret_name, word, len + 1);
	return true;
}

const char *xb_next_port(const char *list, char ret_name[XB_RULE_NAME_BYTES])
{
	size_t len = strcspn(list, ",");
	size_t kept = len < XB_RULE_NAME_BYTES ? len : XB_RULE_NAME_BYTES - 1;

	memcpy(ret_name, list, kept);
	ret_name[kept] = '\0';
	return list + len + (list[len] == ',');
}

bool xb_word_ports(const char *word, char ret_names[XB_RULE_IN_BYTES])
{
	size_t len = strlen(word);
	size_t name = 0;

	if (!len || len >= XB_RULE_IN_BYTES)
		return false;
	for (size_t i = 0; i <= len; i++) {
		if (word[i] && word[i] != ',') {
			name++;
			continue;
		}
		if (!name || name >= XB_RULE_NAME_BYTES)
			return false;
		name = 0;
	}
	memcpy(ret_names, word, len + 1);
	return true;
}

static bool is_control(char c)
{
	return (unsigned char)c < ' ' || c == 0x7f;
}

const char *xb_word_text(const char *at, char ret_text[XB_RULE_COMMENT_BYTES])
{
	bool quoted = *at == '"';
	char text[XB_RULE_COMMENT_BYTES] = {0};
	size_t n = 0;

	for (at += quoted; quoted ? *at != '"' : *at && *at != ' ' && *at != '\t'; at++) {
		if (quoted && *at == '\\' && (at[1] == '"' || at[1] == '\\'))
			at++;
		else if (*at == '"' || is_control(*at)) /* the end of the text, too */
			return NULL;
		if (n == sizeof(text) - 1)
			return NULL;
		text[n++] = *at;
	}
	at += quoted;
	if (!n || (*at && *at != ' ' && *at != '\t'))
		return NULL;
	memcpy(ret_text, text, sizeof(text));
	return at;
}

void xb_text_print(const char *text, FILE *out)
{
	fputc('"', out);
	for (; *text; text++) {
		if (*text == '"' || *text == '\\')
			fputc('\\', out);
		fputc(*text, out);
	}
	fputc('"', out);
}

void xb_prefix_print(const struct xb_prefix *prefix, FILE *out)
{
	char text[INET6_ADDRSTRLEN];

	inet_ntop(prefix->family == 4 ? AF_INET : AF_INET6, prefix->addr, text, sizeof(text));
	fprintf(out, "%s/%u", text, prefix->bits);
}

void xb_range_print(const struct xb_range *range, FILE *out)
{
	fprintf(out, "%u", range->first);
	if (range->last != range->first)
		fprintf(out, "-%u", range->last);
}

void xb_flags_print(uint8_t flags, FILE *out)
{
	const char *comma = "";

	if (!flags)
		fputc('0', out);
	for (unsigned bit = 0; bit < 8; bit++)
		if (flags >> bit & 1) {
			fprintf(out, "%s%s", comma, tcp_flags[bit]);
			comma = ",";
		}
}
