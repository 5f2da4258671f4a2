/* SPDX-License-Identifier: BSD-2-Clause */
#include "steer/net_names.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>

#define NAMES_MAX  8192u /* entries of a list; a longer one is cut */
#define NAME_BYTES 32u

struct entry {
	char name[NAME_BYTES];
	uint16_t number;
	uint8_t proto; /* of a service */
};

struct list {
	struct entry *entries;
	size_t n;
};

static struct list services, protocols;
static bool loaded;

static void add_name(struct list *list, const char *name, unsigned number, unsigned proto)
{
	size_t len = strlen(name);
	struct entry *entry;

	if (list->n == NAMES_MAX || len >= NAME_BYTES)
		return;
	if (!(list->n & (list->n - 1))) { /* it is full at each power of two */
		size_t room = list->n ? list->n * 2 : 1;
		struct entry *entries = realloc(list->entries, room * sizeof(*entries));

		if (!entries)
			return;
		list->entries = entries;
	}
	entry = &list->entries[list->n++];
	*entry = (struct entry){.number = (uint16_t)number, .proto = (uint8_t)proto};
	memcpy(entry->name, name, len + 1);
}

static void add_names(struct list *list, const char *name, char *const *aliases, unsigned number,
		      unsigned proto)
{
	add_name(list, name, number, proto);
	for (; aliases && *aliases; aliases++)
		add_name(list, *aliases, number, proto);
}

static unsigned proto_of(const char *name)
{
	return !strcmp(name, "tcp")    ? IPPROTO_TCP
	       : !strcmp(name, "udp")  ? IPPROTO_UDP
	       : !strcmp(name, "sctp") ? IPPROTO_SCTP
				       : 0;
}

void xb_net_names_load(void)
{
	struct protoent *protocol;
	struct servent *service;

	if (loaded)
		return;
	loaded = true;
	setservent(1);
	while ((service = getservent()))
		if (proto_of(service->s_proto))
			add_names(&services, service->s_name, service->s_aliases,
				  ntohs((uint16_t)service->s_port), proto_of(service->s_proto));
	endservent();
	setprotoent(1);
	while ((protocol = getprotoent()))
		if (protocol->p_proto >= 0 && protocol->p_proto <= UINT8_MAX)
			add_names(&protocols, protocol->p_name, protocol->p_aliases,
				  (unsigned)protocol->p_proto, 0);
	endprotoent();
}

int xb_net_service(const char *name, unsigned proto, uint16_t *ret_port)
{
	const struct entry *found = NULL;

	xb_net_names_load();
	for (size_t i = 0; i < services.n; i++) {
		const struct entry *entry = &services.entries[i];

		if (strcmp(entry->name, name) || (proto && entry->proto != proto))
			continue;
		if (found && found->number != entry->number)
			return -ENOTUNIQ;
		found = entry;
	}
	if (!found)
		return -ENOENT;
	*ret_port = found->number;
	return 0;
}

bool xb_net_protocol(const char *name, uint64_t *ret_number)
{
	xb_net_names_load();
	for (size_t i = 0; i < protocols.n; i++)
		if (!strcmp(protocols.entries[i].name, name)) {
			*ret_number = protocols.entries[i].number;
			return true;
		}
	return false;
}
