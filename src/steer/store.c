/* SPDX-License-Identifier: BSD-2-Clause */
#include "steer/store.h"

#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

static_assert(sizeof(struct xb_in_force) == sizeof(xb_in_force_word) &&
		      offsetof(struct xb_table, in_force) % sizeof(xb_in_force_word) == 0,
	      "a table is replaced by one store");

static void put_in_force(struct xb_image_store *store, struct xb_in_force in_force)
{
	uint64_t word;

	memcpy(&word, &in_force, sizeof(word));
	/* release: a thread that reads the word sees the image that it names */
	__atomic_store_n((xb_in_force_word *)&store->table->in_force, word, __ATOMIC_RELEASE);
}

/* The highest generation of an image, so that the next one is new to every flow cache. */
static uint32_t last_generation(const struct xb_image_store *store)
{
	uint32_t last = store->table->in_force.generation;

	for (unsigned i = 0; i < XB_IMAGES; i++)
		if (store->images[i].head.generation > last)
			last = store->images[i].head.generation;
	return last;
}

int xb_image_store_init(struct xb_image_store *store, const struct xb_steer_maps *maps)
{
	*store = (struct xb_image_store){0};
	if (maps) {
		store->maps = *maps;
		store->table = maps->table;
		store->images = maps->images;
	} else {
		store->table = calloc(1, sizeof(*store->table));
		store->images = calloc(XB_IMAGES, sizeof(*store->images));
	}
	if (!store->table || !store->images) {
		xb_image_store_fini(store);
		return -ENOMEM;
	}
	store->generation = last_generation(store);
	if (xb_image_store_on_trial(store)) {
		xb_image_store_stand_back(store);
		xb_image_store_end_trial(store);
	}
	return 0;
}

void xb_image_store_fini(struct xb_image_store *store)
{
	if (!store->maps.table) {
		free(store->table);
		free(store->images);
	}
	*store = (struct xb_image_store){0};
}

const struct xb_image *xb_image_store_now(const struct xb_image_store *store)
{
	return &store->images[store->table->in_force.generation % XB_IMAGES];
}

/* A generation that no image has had, so that no flow cache knows it, and that belongs to the free
 * place. */
static uint32_t next_generation(struct xb_image_store *store)
{
	uint32_t in_force = store->table->in_force.generation;

	do
		store->generation++;
	while (!store->generation || store->generation % XB_IMAGES == in_force % XB_IMAGES);
	return store->generation;
}

int xb_image_store_flip(struct xb_image_store *store, struct xb_image *image, uint16_t verdict,
			struct xb_error *err)
{
	struct xb_in_force next = {.n_rules = (uint16_t)image->head.n_rules, .verdict = verdict};
	int ret = store->maps.wait_grace ? store->maps.wait_grace(store->maps.arg, err) : 0;
	unsigned place;

	if (ret < 0)
		return ret;
	next.generation = next_generation(store);
	place = next.generation % XB_IMAGES;
	if (store->maps.map_image)
		ret = store->maps.map_image(store->maps.arg, place, image->head.bytes, err);
	if (ret < 0)
		return ret;
	image->head.generation = next.generation;
	memcpy(&store->images[place], image, image->head.bytes);
	put_in_force(store, next);
	return 0;
}

size_t xb_image_store_bytes(const struct xb_image_store *store)
{
	size_t bytes = 0;

	for (unsigned i = 0; i < XB_IMAGES; i++)
		bytes += store->images[i].head.bytes;
	return bytes;
}

/* ---- trials ---- */

void xb_image_store_start_trial(struct xb_image_store *store, uint64_t by_ns)
{
	store->table->confirmed = store->table->in_force;
	xb_image_store_extend_trial(store, by_ns);
}

void xb_image_store_extend_trial(struct xb_image_store *store, uint64_t by_ns)
{
	__atomic_store_n(&store->table->confirm_by_ns, by_ns, __ATOMIC_RELEASE);
}

bool xb_image_store_on_trial(const struct xb_image_store *store)
{
	return store->table->confirm_by_ns != 0;
}

struct xb_in_force xb_image_store_stand_back(struct xb_image_store *store)
{
	struct xb_in_force before = store->table->in_force;

	put_in_force(store, store->table->confirmed);
	return before;
}

void xb_image_store_resume(struct xb_image_store *store, struct xb_in_force in_force)
{
	put_in_force(store, in_force);
}

void xb_image_store_end_trial(struct xb_image_store *store)
{
	xb_image_store_extend_trial(store, 0);
}
