/* SPDX-License-Identifier: BSD-2-Clause */
#include "steer/steered.h"

#include <assert.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

static_assert(offsetof(struct xb_rule, id) == 0, "what a rule says is all after its id");

static const uint8_t *what_it_says(const struct xb_rule *rule)
{
	return (const uint8_t *)rule + sizeof(rule->id);
}

#define SAID_BYTES (sizeof(struct xb_rule) - sizeof(__u32))

bool xb_steered_same(const struct xb_rule *a, const struct xb_rule *b)
{
	return !memcmp(what_it_says(a), what_it_says(b), SAID_BYTES);
}

/* FNV-1a */
uint32_t xb_steered_hash(const struct xb_rule *rule)
{
	const uint8_t *said = what_it_says(rule);
	uint32_t hash = 2166136261u;

	for (size_t i = 0; i < SAID_BYTES; i++)
		hash = (hash ^ said[i]) * 16777619u;
	return hash;
}

const struct xb_steered_rule *xb_steered_find(const struct xb_steered_list *list, uint32_t id)
{
	for (unsigned rank = 0; rank < list->n; rank++)
		if (list->rules[rank].rule.id == id)
			return &list->rules[rank];
	return NULL;
}

void xb_steered_list_free(struct xb_steered_list *list)
{
	free(list->rules);
	*list = (struct xb_steered_list){0};
}
