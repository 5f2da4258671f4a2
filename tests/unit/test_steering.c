/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The steering table without a gate: ids, slots and counters from change to change, and what is to
 * be confirmed.
 */
#include "daemon/steering.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct xb_steering steering;

/* Two ports: kernel, and the uplink va. */
static int port_of_name(const void *arg, const char *name, bool *ret_uplink)
{
	(void)arg;
	*ret_uplink = !strcmp(name, "va");
	return *ret_uplink ? 1 : !strcmp(name, "kernel") ? 0 : -ENOENT;
}

static int setup(void **state)
{
	const struct xb_rule_names names = {.port = port_of_name};

	(void)state;
	return xb_steering_init(&steering, NULL, &names, NULL);
}

static int teardown(void **state)
{
	(void)state;
	xb_steering_fini(&steering);
	return 0;
}

static void load_to_confirm(const char *text, unsigned confirm_s)
{
	struct xb_rule_list list = {0};
	struct xb_error err = {0};

	if (xb_rule_list_parse(&list, text, &err) < 0 ||
	    xb_steering_load(&steering, &list, confirm_s, &err) < 0)
		fail_msg("%s", err.what);
	xb_rule_list_free(&list);
}

static void load(const char *text)
{
	load_to_confirm(text, 0);
}

/* Loads `n` rules that no other table has, behind those of `first`. */
static void load_with_new(const char *first, unsigned n)
{
	static unsigned serial;
	char *text = NULL;
	size_t bytes;
	FILE *out = open_memstream(&text, &bytes);

	serial++;
	fputs(first, out);
	for (unsigned i = 0; i < n; i++)
		fprintf(out, "src 10.%u.%u.%u to drop\n", serial % 256, i / 256, i % 256);
	fclose(out);
	load(text);
	free(text);
}

static void load_new(unsigned n)
{
	load_with_new("", n);
}

static uint32_t add(const char *text)
{
	struct xb_rule_list list = {0};
	struct xb_error err = {0};
	uint32_t id = 0;

	assert_int_equal(xb_rule_list_parse(&list, text, &err), 0);
	if (xb_steering_add(&steering, &list.rules[0], list.sources[0], &id, &err) < 0)
		fail_msg("%s", err.what);
	xb_rule_list_free(&list);
	return id;
}

/* ---- names ---- */

static void a_name_that_no_port_has_is_told_with_its_place(void **state)
{
	static const struct {
		const char *text, *said;
	} mistakes[] = {
		{"to nowhere\n", "line 1: rule, character 4, 'nowhere': there is no such port"},
		{"to drop\n  proto udp in nowhere to drop # there\n",
		 "line 2: rule, character 16, 'nowhere': there is no such port"},
		{"prio 7 in va to nowhere limit 5\n",
		 "line 1: rule, character 17, 'nowhere': there is no such port"},
		{"in kernel to pass\n",
		 "line 1: rule, character 14, 'pass', in kernel: only an uplink has a stack to "
		 "pass to"},
	};

	(void)state;
	for (unsigned i = 0; i < sizeof(mistakes) / sizeof(mistakes[0]); i++) {
		struct xb_rule_list list = {0};
		struct xb_error err = {0};

		assert_int_equal(xb_rule_list_parse(&list, mistakes[i].text, &err), 0);
		assert_int_equal(xb_steering_load(&steering, &list, 0, &err), -EINVAL);
		assert_string_equal(err.what, mistakes[i].said);
		xb_rule_list_free(&list);
	}
}

/* ---- ids ---- */

static void beside_the_highest_id_others_are_found(void **state)
{
	(void)state;
	load("id 4294967295 to drop\nid 2 to drop\n");
	assert_int_equal(add("to drop"), 1);
	assert_int_equal(add("to drop"), 3);
	load("id 1 proto udp to drop\nto pass\nto kernel\nid 4294967295 to drop\n");
	assert_int_equal(steering.now.n, 4);
	assert_int_equal(steering.now.rules[0].rule.id, 1);
	assert_int_equal(steering.now.rules[1].rule.id, 4);
	assert_int_equal(steering.now.rules[2].rule.id, 5);
	load("");
	assert_int_equal(add("to drop"), 1);
}

/* ---- slots ---- */

struct slots {
	bool has[XB_RULES_MAX];
};

static struct slots slots_now(void)
{
	struct slots slots = {0};

	for (unsigned rank = 0; rank < steering.now.n; rank++) {
		assert_false(slots.has[steering.now.rules[rank].slot]);
		slots.has[steering.now.rules[rank].slot] = true;
	}
	return slots;
}

static unsigned shared(const struct slots *a, const struct slots *b)
{
	unsigned n = 0;

	for (unsigned slot = 0; slot < XB_RULES_MAX; slot++)
		n += a->has[slot] && b->has[slot];
	return n;
}

/* Frames that met the tables before may still count there. */
static void new_rules_have_slots_that_two_tables_did_not_have(void **state)
{
	struct slots last = {0}, but_one = {0};

	(void)state;
	for (unsigned i = 0; i < 50; i++) {
		struct slots now;

		load_new(1000 + i);
		now = slots_now();
		assert_int_equal(shared(&now, &last), 0);
		assert_int_equal(shared(&now, &but_one), 0);
		but_one = last;
		last = now;
	}
}

static void a_slot_rests_for_a_table_even_if_it_is_next_in_turn(void **state)
{
	static const char old[] = "proto tcp to drop\n";
	uint32_t slot;

	(void)state;
	load(old);
	slot = steering.now.rules[0].slot;
	for (unsigned i = 0; i < 3; i++) /* all others have their turn */
		load_with_new(old, (XB_RULES_MAX - 1) / 3);
	assert_int_equal(steering.next_slot, slot);
	load("");
	load_new(1);
	assert_int_not_equal(steering.now.rules[0].slot, slot);
}

static void new_rules_start_at_nothing_wherever_they_count(void **state)
{
	static const unsigned sizes[] = {1000, 1500, 2000, 4096, 4096, 3000, 10, 4096};

	(void)state;
	for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		load_new(sizes[i]);
		for (unsigned rank = 0; rank < steering.now.n; rank++) {
			uint32_t slot = steering.now.rules[rank].slot;

			assert_int_equal(steering.rules.stats[slot].packets, 0);
			assert_int_equal(steering.rules.limits[slot], 0);
			steering.rules.stats[slot].packets = steering.rules.limits[slot] = 7;
		}
	}
}

static void a_rule_that_stays_keeps_what_it_has_counted(void **state)
{
	uint32_t slot;

	(void)state;
	load("proto tcp to drop limit 5\nproto udp to drop\n");
	slot = steering.now.rules[0].slot;
	steering.rules.stats[slot].packets = steering.rules.limits[slot] = 7;
	load("prio 40000 to pass\nproto tcp to drop limit 5\n");
	assert_int_equal(steering.now.rules[1].slot, slot);
	assert_int_equal(steering.rules.stats[slot].packets, 7);
	assert_int_equal(steering.rules.limits[slot], 7);
}

/* ---- confirmation ---- */

static void a_confirmation_that_is_late_confirms_nothing(void **state)
{
	uint64_t end_ns;

	(void)state;
	load("proto tcp to drop\n");
	load_to_confirm("proto udp to drop\n", 1);
	end_ns = steering.confirm_by_ns;
	assert_int_equal(xb_steering_confirm(&steering, end_ns, NULL), -ETIME);
	assert_int_equal(xb_steering_expire(&steering, end_ns, NULL), 1);
	assert_int_equal(steering.now.n, 1);
	assert_int_equal(steering.now.rules[0].rule.proto, 6);

	load_to_confirm("proto udp to drop\n", 1);
	end_ns = steering.confirm_by_ns;
	assert_int_equal(xb_steering_confirm(&steering, end_ns - 1, NULL), 0);
	assert_int_equal(xb_steering_expire(&steering, end_ns, NULL), 0);
	assert_int_equal(steering.now.rules[0].rule.proto, 17);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(beside_the_highest_id_others_are_found),
		TEST(new_rules_have_slots_that_two_tables_did_not_have),
		TEST(a_slot_rests_for_a_table_even_if_it_is_next_in_turn),
		TEST(a_name_that_no_port_has_is_told_with_its_place),
		TEST(new_rules_start_at_nothing_wherever_they_count),
		TEST(a_rule_that_stays_keeps_what_it_has_counted),
		TEST(a_confirmation_that_is_late_confirms_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
