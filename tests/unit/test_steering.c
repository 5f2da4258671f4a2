/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The steering table without a gate: ids, slots and counters from change to change, and what is to
 * be confirmed.
 */
#include "steer/steering.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct xb_steering steering;

static uint8_t mac_of_kernel[6];

/* Three ports: kernel, and the uplinks va and vb. */
static int port_of_name(const void *arg, const char *name)
{
	static const char *const names[] = {"kernel", "va", "vb"};

	(void)arg;
	for (int id = 0; id < 3; id++)
		if (!strcmp(name, names[id]))
			return id;
	return -ENOENT;
}

static uint64_t uplinks(const void *arg)
{
	(void)arg;
	return 1u << 1 | 1u << 2;
}

/* vb loses VLAN tags. */
static uint64_t untagged(const void *arg)
{
	(void)arg;
	return 1u << 2;
}

/* va is a device of VLAN 7. */
static uint64_t of_vlan(const void *arg, uint16_t vlan)
{
	(void)arg;
	return vlan == 7 ? 1u << 1 : 0;
}

static bool kernel_mac(const void *arg, uint8_t ret_mac[6])
{
	(void)arg;
	memcpy(ret_mac, mac_of_kernel, 6);
	return true;
}

static int setup(void **state)
{
	const struct xb_rule_names names = {port_of_name, uplinks,    untagged,
					    of_vlan,      kernel_mac, NULL};

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

/* What a change must do that may join a trial. */
static unsigned joining(unsigned confirm_s)
{
	if (xb_steering_must_stand_back(&steering, confirm_s))
		xb_steering_stand_back(&steering);
	return confirm_s;
}

static uint32_t add_to_confirm(const char *text, unsigned confirm_s)
{
	struct xb_rule_list list = {0};
	struct xb_error err = {0};
	uint32_t id = 0;

	assert_int_equal(xb_rule_list_parse(&list, text, &err), 0);
	if (xb_steering_add(&steering, &list.rules[0], list.sources[0], joining(confirm_s), &id,
			    &err) < 0)
		fail_msg("%s", err.what);
	xb_rule_list_free(&list);
	return id;
}

static uint32_t add(const char *text)
{
	return add_to_confirm(text, 0);
}

static const char *listed(void)
{
	static char text[2048];
	FILE *out = fmemopen(text, sizeof(text), "w");

	fprintf(out, "default %s\n", steering.now.word);
	for (unsigned rank = 0; rank < steering.now.n; rank++) {
		xb_rule_print(&steering.now.rules[rank].rule, out);
		fputc('\n', out);
	}
	fclose(out);
	return text;
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
	assert_int_equal(steering.counts.next_slot, slot);
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

			assert_int_equal(steering.rules.stats[slot].met.packets, 0);
			assert_int_equal(steering.rules.limits[slot], 0);
			steering.rules.stats[slot].met.packets = steering.rules.limits[slot] = 7;
		}
	}
}

static void a_rule_that_stays_keeps_what_it_has_counted(void **state)
{
	uint32_t slot;

	(void)state;
	load("proto tcp to drop limit 5\nproto udp to drop\n");
	slot = steering.now.rules[0].slot;
	steering.rules.stats[slot].met.packets = steering.rules.limits[slot] = 7;
	load("prio 40000 to pass\nproto tcp to drop limit 5\n");
	assert_int_equal(steering.now.rules[1].slot, slot);
	assert_int_equal(steering.rules.stats[slot].met.packets, 7);
	assert_int_equal(steering.rules.limits[slot], 7);
}

/* ---- the ports that a rule is for ---- */

/* The rank that a frame from a port meets. */
static uint32_t meets(unsigned in)
{
	const struct xb_key key = {.has = 1u << XB_MATCH_IN | 1u << XB_MATCH_VLAN |
					  1u << XB_MATCH_DMAC,
				   .in = (uint8_t)in,
				   .vlan = XB_VLAN_NONE,
				   .dmac = {2, 0, 0, 0, 0, 9}};
	struct xb_walk walk;

	xb_walk_start(&walk, &key);
	return xb_walk_find(&walk, xb_steering_rules(&steering).image);
}

static void a_rule_leaves_frames_of_its_own_port_to_the_next(void **state)
{
	(void)state;
	load("to kernel\nto va\nto drop\n");
	assert_int_equal(meets(0), 1);
	assert_int_equal(meets(1), 0);
	assert_int_equal(meets(2), 0);
}

static void a_list_of_ports_and_all_uplinks_are_what_they_say(void **state)
{
	(void)state;
	load("in kernel,vb to va\nin uplink to vb\nto drop\n");
	assert_int_equal(meets(0), 0);
	assert_int_equal(meets(1), 1);
	assert_int_equal(meets(2), 0);
	load("in uplink to pass\n");
	assert_int_equal(meets(0), XB_RANK_NONE);
	assert_int_equal(meets(1), 0);
}

static void what_can_not_match_is_in_force_and_doubted(void **state)
{
	static const struct {
		const char *text, *doubt;
	} rules[] = {
		{"in va to va", "never applies"},
		{"in va,vb to va", NULL},
		{"in kernel dmac own to drop", "dmac own"},
		{"in uplink dmac own to drop", NULL},
		{"smac 01:00:5e:00:00:01 to drop", "group address"},
		{"src 224.0.0.0/4 to drop", "multicast"},
		{"src ff02::/16 to drop", "multicast"},
		{"src 0.0.0.0/0 to drop", NULL},
		{"proto icmpv6 src 10.0.0.0/8 to drop", "icmpv6"},
		{"proto icmp ethertype ipv6 to drop", "icmp belongs to IPv4"},
		{"proto icmpv6 src ::/0 to drop", NULL},
		{"to drop limit 5", "the limit does nothing"},
		{"to kernel limit 5", NULL},
		{"in vb vlan 10 to drop", "loses VLAN tags"},
		{"vlan 10 to drop", "loses VLAN tags"},
		{"in kernel,va vlan 10 to drop", NULL},
		{"in vb vlan none to drop", NULL},
		{"in va,kernel vlan 7 to drop", "own tag is gone"},
		{"in kernel vlan 7 to drop", NULL},
	};

	(void)state;
	for (unsigned i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
		const char *doubts[XB_RULE_DOUBTS_MAX];
		uint32_t id = add(rules[i].text);
		unsigned n = xb_steering_doubts(&steering, &xb_steering_rule(&steering, id)->rule,
						doubts);

		if (n != (rules[i].doubt != NULL) || (n && !strstr(doubts[0], rules[i].doubt)))
			fail_msg("'%s': %s", rules[i].text, n ? doubts[0] : "no doubt");
	}
}

static void the_kernels_address_is_what_it_is_at_the_moment(void **state)
{
	(void)state;
	memcpy(mac_of_kernel, "\2\0\0\0\0\1", 6);
	load("dmac kernel to drop\n");
	assert_int_equal(meets(1), XB_RANK_NONE);
	assert_int_equal(xb_steering_refresh(&steering, NULL), 0);
	mac_of_kernel[5] = 9;
	assert_int_equal(xb_steering_refresh(&steering, NULL), 1);
	assert_int_equal(meets(1), 0);
	assert_int_equal(xb_steering_refresh(&steering, NULL), 0);
}

/* ---- changes ---- */

static void the_default_verdict_is_part_of_the_table(void **state)
{
	struct xb_error err = {0};

	(void)state;
	assert_int_equal(xb_steering_verdict(&steering), XB_VERDICT_BRIDGE);
	load("default drop\nproto tcp to pass\n");
	assert_int_equal(xb_steering_verdict(&steering), XB_VERDICT_DROP);
	load("proto udp to pass\n");
	assert_int_equal(xb_steering_verdict(&steering), XB_VERDICT_DROP);
	assert_int_equal(xb_steering_set_default(&steering, "va", 0, &err), 0);
	assert_int_equal(xb_steering_verdict(&steering), XB_VERDICT_PORT(1));
	assert_string_equal(listed(), "default va\nid 2 proto udp to pass\n");
	assert_int_equal(xb_steering_set_default(&steering, "nowhere", 0, &err), -EINVAL);
	assert_string_equal(err.what, "default nowhere: there is no such port");
	assert_int_equal(xb_steering_verdict(&steering), XB_VERDICT_PORT(1));
}

static void what_is_wrong_with_a_default_is_told_with_its_line(void **state)
{
	struct xb_rule_list list = {0};
	struct xb_error err = {0};

	(void)state;
	assert_int_equal(xb_rule_list_parse(&list, "to drop\ndefault nowhere\n", &err), 0);
	assert_int_equal(xb_steering_load(&steering, &list, 0, &err), -EINVAL);
	assert_string_equal(err.what, "line 2: default nowhere: there is no such port");
	assert_int_equal(xb_rule_list_parse(&list, "default drop\n", &err), -EINVAL);
	assert_string_equal(err.what, "line 1: the default verdict was set in line 2");
	xb_rule_list_free(&list);
}

static void a_check_says_what_a_load_would_and_changes_nothing(void **state)
{
	struct xb_rule_list good = {0}, bad = {0};
	struct xb_error err = {0};

	(void)state;
	load("default drop\nto pass\n");
	assert_int_equal(xb_rule_list_parse(&good, "default va\nproto tcp to drop\n", NULL), 0);
	assert_int_equal(xb_rule_list_parse(&bad, "to drop\nto nowhere\n", NULL), 0);
	assert_int_equal(xb_steering_check(&steering, &good, &err), 0);
	assert_int_equal(xb_steering_check(&steering, &bad, &err), -EINVAL);
	assert_string_equal(err.what,
			    "line 2: rule, character 4, 'nowhere': there is no such port");
	assert_string_equal(listed(), "default drop\nid 1 to pass\n");
	assert_int_equal(xb_steering_verdict(&steering), XB_VERDICT_DROP);
	xb_rule_list_free(&good);
	xb_rule_list_free(&bad);
}

static void a_rule_is_replaced_in_its_place(void **state)
{
	struct xb_error err = {0};
	struct xb_rule rule;

	(void)state;
	load("proto tcp to drop\nproto udp to drop\n");
	steering.rules.stats[steering.now.rules[0].slot].met.packets = 7;
	assert_int_equal(xb_rule_parse("proto sctp to pass", &rule, NULL), 0);
	assert_int_equal(
		xb_steering_replace(&steering, 1, &rule, (struct xb_rule_source){0}, 0, &err), 0);
	assert_string_equal(listed(),
			    "default bridge\nid 1 proto sctp to pass\nid 2 proto udp to drop\n");
	assert_int_equal(steering.rules.stats[steering.now.rules[0].slot].met.packets, 0);
	assert_int_equal(
		xb_steering_replace(&steering, 3, &rule, (struct xb_rule_source){0}, 0, &err),
		-ENOENT);
}

static void all_rules_that_are_named_are_deleted_or_none(void **state)
{
	static const uint32_t wrong[] = {1, 2, 9}, right[] = {3, 1};

	(void)state;
	load("proto 1 to drop\nproto 2 to drop\nproto 3 to drop\n");
	assert_int_equal(xb_steering_del(&steering, wrong, 3, 0, NULL), -ENOENT);
	assert_int_equal(steering.now.n, 3);
	assert_int_equal(xb_steering_del(&steering, right, 2, 0, NULL), 0);
	assert_string_equal(listed(), "default bridge\nid 2 proto 2 to drop\n");
}

/* ---- trials ---- */

static void a_confirmation_that_is_late_confirms_nothing(void **state)
{
	uint64_t end_ns;

	(void)state;
	load("proto tcp to drop\n");
	load_to_confirm("proto udp to drop\n", 1);
	end_ns = steering.confirm_by_ns;
	assert_int_equal(xb_steering_confirm(&steering, end_ns, NULL), -ETIME);
	assert_int_equal(xb_steering_tick(&steering, end_ns), 1);
	assert_int_equal(steering.now.n, 1);
	assert_int_equal(steering.now.rules[0].rule.proto, 6);

	load_to_confirm("proto udp to drop\n", 1);
	end_ns = steering.confirm_by_ns;
	assert_int_equal(xb_steering_confirm(&steering, end_ns - 1, NULL), 0);
	assert_int_equal(xb_steering_tick(&steering, end_ns), 0);
	assert_int_equal(steering.now.rules[0].rule.proto, 17);
}

/* What a program would judge by at `time_ns`. */
static struct xb_in_force in_force_at(uint64_t time_ns)
{
	const struct xb_table *table = steering.store.table;

	return table->confirm_by_ns && time_ns >= table->confirm_by_ns ? table->confirmed
								       : table->in_force;
}

static uint32_t rules_at(uint64_t time_ns)
{
	return steering.store.images[in_force_at(time_ns).generation % XB_IMAGES].head.n_rules;
}

#define FAR_NS (~0ull)

static void changes_that_join_a_trial_are_taken_back_with_it(void **state)
{
	uint64_t end_ns;

	(void)state;
	load("default drop\nproto tcp to drop limit 5\n");
	steering.rules.stats[steering.now.rules[0].slot].met.packets = 7;
	assert_int_equal(add_to_confirm("proto udp to drop", 30), 2);
	assert_int_equal(add_to_confirm("proto sctp to drop", 30), 3);
	assert_int_equal(xb_steering_set_default(&steering, "pass", joining(30), NULL), 0);
	assert_int_equal(xb_steering_del(&steering, (uint32_t[]){1}, 1, joining(30), NULL), 0);
	assert_string_equal(listed(),
			    "default pass\nid 2 proto udp to drop\nid 3 proto sctp to drop\n");
	assert_int_equal(rules_at(0), 2);
	assert_int_equal(in_force_at(0).verdict, XB_VERDICT_PASS);
	/* whatever becomes of this process, the programs go back to what was confirmed */
	assert_int_equal(rules_at(FAR_NS), 1);
	assert_int_equal(in_force_at(FAR_NS).verdict, XB_VERDICT_DROP);
	end_ns = steering.confirm_by_ns;
	assert_int_equal(xb_steering_tick(&steering, end_ns - 1), 0);
	assert_int_equal(xb_steering_tick(&steering, end_ns), 1);
	assert_string_equal(listed(), "default drop\nid 1 proto tcp to drop limit 5:8\n");
	assert_int_equal(steering.rules.stats[steering.now.rules[0].slot].met.packets, 7);
	assert_int_equal(rules_at(0), 1);
	assert_int_equal(xb_steering_verdict(&steering), XB_VERDICT_DROP);
	assert_int_equal(meets(1), XB_RANK_NONE);
}

/* The confirmed table's image is never written while it may come back: what joins a trial takes the
 * other place, and workers let go of that first. */
static void workers_see_the_confirmed_table_while_a_trials_is_rewritten(void **state)
{
	struct xb_error err = {0};

	(void)state;
	load("default drop\nproto tcp to drop\nproto udp to drop\n");
	load_to_confirm("default pass\nto drop\n", 30);
	assert_int_equal(xb_steering_set_default(&steering, "bridge", 30, &err), -EBUSY);
	xb_steering_stand_back(&steering);
	assert_int_equal(xb_steering_rules(&steering).image->head.n_rules, 2);
	assert_int_equal(xb_steering_verdict(&steering), XB_VERDICT_DROP);
	assert_int_equal(rules_at(0), 2);
	/* nothing comes of it */
	assert_true(xb_steering_resume(&steering));
	assert_int_equal(xb_steering_rules(&steering).image->head.n_rules, 1);
	assert_int_equal(xb_steering_verdict(&steering), XB_VERDICT_PASS);
	assert_int_equal(rules_at(0), 1);
	/* or it is confirmed meanwhile */
	xb_steering_stand_back(&steering);
	assert_int_equal(xb_steering_confirm(&steering, 0, NULL), 0);
	assert_int_equal(rules_at(FAR_NS), 1);
	assert_int_equal(xb_steering_verdict(&steering), XB_VERDICT_PASS);
}

static void a_trial_needs_us_alive(void **state)
{
	const uint64_t second_ns = 1000000000u;
	uint64_t end_ns, by_ns;

	(void)state;
	load("proto tcp to drop\n");
	load_to_confirm("default drop\n", 60);
	end_ns = steering.confirm_by_ns;
	by_ns = steering.store.table->confirm_by_ns;
	assert_true(by_ns < end_ns - 50 * second_ns);
	assert_int_equal(rules_at(by_ns - 1), 0);
	assert_int_equal(rules_at(by_ns), 1);
	assert_int_equal(xb_steering_tick(&steering, by_ns - second_ns), 0);
	assert_int_equal(rules_at(by_ns), 0);
	assert_int_equal(xb_steering_tick(&steering, end_ns - 1), 0);
	assert_int_equal(steering.store.table->confirm_by_ns, end_ns);
}

static void without_confirmation_nothing_is_changed_during_a_trial(void **state)
{
	struct xb_rule_list none = {0};
	struct xb_error err = {0};
	struct xb_rule rule;
	uint32_t id;

	(void)state;
	load("proto tcp to drop\n");
	load_to_confirm("proto udp to drop\n", 30);
	assert_int_equal(xb_rule_parse("to pass", &rule, NULL), 0);
	assert_int_equal(
		xb_steering_add(&steering, &rule, (struct xb_rule_source){0}, 0, &id, &err),
		-EBUSY);
	assert_int_equal(xb_steering_set_default(&steering, "drop", 0, &err), -EBUSY);
	assert_int_equal(xb_steering_del(&steering, (uint32_t[]){2}, 1, 0, &err), -EBUSY);
	assert_int_equal(xb_steering_revert(&steering, NULL), 0);
	assert_int_equal(steering.now.rules[0].rule.proto, 6);
	assert_int_equal(xb_steering_revert(&steering, NULL), -ENOENT);
	/* a whole table that is loaded for good ends the trial */
	load_to_confirm("proto udp to drop\n", 30);
	assert_int_equal(xb_steering_load(&steering, &none, 0, &err), 0);
	assert_int_equal(steering.confirm_by_ns, 0);
	assert_int_equal(rules_at(FAR_NS), 0);
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
		TEST(a_rule_leaves_frames_of_its_own_port_to_the_next),
		TEST(a_list_of_ports_and_all_uplinks_are_what_they_say),
		TEST(what_can_not_match_is_in_force_and_doubted),
		TEST(the_kernels_address_is_what_it_is_at_the_moment),
		TEST(the_default_verdict_is_part_of_the_table),
		TEST(what_is_wrong_with_a_default_is_told_with_its_line),
		TEST(a_check_says_what_a_load_would_and_changes_nothing),
		TEST(a_rule_is_replaced_in_its_place),
		TEST(all_rules_that_are_named_are_deleted_or_none),
		TEST(a_confirmation_that_is_late_confirms_nothing),
		TEST(changes_that_join_a_trial_are_taken_back_with_it),
		TEST(workers_see_the_confirmed_table_while_a_trials_is_rewritten),
		TEST(a_trial_needs_us_alive),
		TEST(without_confirmation_nothing_is_changed_during_a_trial),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
