/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What an older daemon or program has left is read as what it is: each layout that outlives one of
 * them belongs to a schema. The layouts are those that the program's BTF tells.
 */
#include "steer.skel.h"
#include "xbridge/steer.h"

#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* What the layouts of this schema add up to. Where the test fails on another number, a layout has
 * changed: raise XB_SCHEMA, and write both numbers here. With XB_LAYOUT_SHOWN=1 in the environment
 * the test says what it adds up. */
#define SCHEMA 10u
#define LAYOUT 0x38156a97u

/* Not pinned: they go with the program. */
static const char *const passing[] = {"flows", "questions", "told"};

struct layout {
	const struct btf *btf;
	FILE *text;
	unsigned structs;
};

static void describe(struct layout *layout, uint32_t id, uint32_t at);

static void describe_members(struct layout *layout, const struct btf_type *type, uint32_t at)
{
	const struct btf_member *member = btf_members(type);

	layout->structs++;
	for (uint32_t i = 0; i < btf_vlen(type); i++, member++) {
		fprintf(layout->text, ".%s", btf__name_by_offset(layout->btf, member->name_off));
		describe(layout, member->type, at + btf_member_bit_offset(type, i));
	}
}

/* Writes names, places in bits, sizes and numbers of elements of a type and all that is in it. */
static void describe(struct layout *layout, uint32_t id, uint32_t at)
{
	const struct btf_type *type;
	const struct btf_enum *value;

	id = (uint32_t)btf__resolve_type(layout->btf, id);
	type = btf__type_by_id(layout->btf, id);
	fprintf(layout->text, "@%u:%lld ", at, (long long)btf__resolve_size(layout->btf, id));
	switch (btf_kind(type)) {
	case BTF_KIND_STRUCT:
	case BTF_KIND_UNION:
		describe_members(layout, type, at);
		break;
	case BTF_KIND_ARRAY:
		fprintf(layout->text, "[%u]", btf_array(type)->nelems);
		describe(layout, btf_array(type)->type, at);
		break;
	case BTF_KIND_ENUM:
		value = btf_enum(type);
		for (uint32_t i = 0; i < btf_vlen(type); i++, value++)
			fprintf(layout->text, "%s=%d ",
				btf__name_by_offset(layout->btf, value->name_off), value->val);
		break;
	default:
		break;
	}
}

#define PLACE(type, member) fprintf(layout->text, #member "@%zu ", offsetof(struct type, member))

/* What no map's type tells: what stands in front of a frame, and the records of a ring buffer. */
static void describe_records(struct layout *layout)
{
	fprintf(layout->text, "xb_meta:%zu ", sizeof(struct xb_meta));
	PLACE(xb_meta, magic);
	PLACE(xb_meta, generation);
	PLACE(xb_meta, verdict);
	PLACE(xb_meta, stage);
	PLACE(xb_meta, rule);
	fprintf(layout->text, "\nxb_dropped:%zu ", sizeof(struct xb_dropped));
	PLACE(xb_dropped, time_ns);
	PLACE(xb_dropped, rule);
	PLACE(xb_dropped, bytes);
	PLACE(xb_dropped, n);
	PLACE(xb_dropped, port);
	PLACE(xb_dropped, queue);
	PLACE(xb_dropped, verdict);
	PLACE(xb_dropped, stage);
	PLACE(xb_dropped, limited);
	PLACE(xb_dropped, data);
}

static int is_passing(const char *name)
{
	for (size_t i = 0; i < sizeof(passing) / sizeof(*passing); i++)
		if (!strcmp(name, passing[i]))
			return 1;
	return strchr(name, '.') != NULL; /* the program's own constants */
}

static void describe_map(struct layout *layout, const struct bpf_map *map)
{
	fprintf(layout->text, "%s ", bpf_map__name(map));
	if (bpf_map__btf_key_type_id(map))
		describe(layout, bpf_map__btf_key_type_id(map), 0);
	if (bpf_map__btf_value_type_id(map))
		describe(layout, bpf_map__btf_value_type_id(map), 0);
}

static uint32_t sum_of(const char *text)
{
	uint32_t sum = 2166136261u; /* FNV-1a */

	for (; *text; text++)
		sum = (sum ^ (uint8_t)*text) * 16777619u;
	return sum;
}

/* Adds up what is described, one by one: in which order maps come is the compiler's affair. */
static uint32_t sum_of_all(const struct steer_bpf *steer, unsigned *ret_structs)
{
	struct layout layout = {.btf = bpf_object__btf(steer->obj)};
	const struct bpf_map *map = NULL;
	uint32_t sum = 0;

	do {
		char *text = NULL;
		size_t bytes;

		map = bpf_object__next_map(steer->obj, map);
		layout.text = open_memstream(&text, &bytes);
		assert_non_null(layout.text);
		if (!map)
			describe_records(&layout);
		else if (!is_passing(bpf_map__name(map)))
			describe_map(&layout, map);
		fclose(layout.text);
		if (getenv("XB_LAYOUT_SHOWN"))
			puts(text);
		sum += sum_of(text);
		free(text);
	} while (map);
	*ret_structs = layout.structs;
	return sum;
}

static void a_layout_that_has_changed_has_a_schema_of_its_own(void **state)
{
	struct steer_bpf *steer = steer_bpf__open();
	unsigned structs;
	uint32_t sum;

	(void)state;
	assert_non_null(steer);
	sum = sum_of_all(steer, &structs);
	assert_true(structs > 12);
	if (XB_SCHEMA != SCHEMA || sum != LAYOUT)
		fail_msg("schema %u, layout 0x%08x", XB_SCHEMA, sum);
	steer_bpf__destroy(steer);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_layout_that_has_changed_has_a_schema_of_its_own),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
