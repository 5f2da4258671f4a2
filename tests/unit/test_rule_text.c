/* SPDX-License-Identifier: BSD-2-Clause */
#include "steer/text.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define RULE_TEXT_BYTES 512

static struct xb_rule parsed(const char *text)
{
	struct xb_rule rule;
	struct xb_error err = {0};

	if (xb_rule_parse(text, &rule, &err) < 0)
		fail_msg("'%s': %s", text, err.what);
	return rule;
}

static const char *printed(const struct xb_rule *rule)
{
	static char text[RULE_TEXT_BYTES];
	FILE *out = fmemopen(text, sizeof(text), "w");

	xb_rule_print(rule, out);
	fclose(out);
	return text;
}

static const char all_at_once[] =
	"id 1 prio 2 in eth0 vlan 3 smac 02:00:00:00:00:01 dmac 02:00:00:00:00:02 "
	"ethertype ipv4 proto tcp src 10.0.0.0/8 dst 10.1.0.0/16 sport 1-2 dport 3-4 "
	"tcp-flags syn/syn dscp 5 frag first to kernel limit 6:7 comment \"all, \\\"at once\\\"\"";

static void a_rule_prints_as_it_was_written(void **state)
{
	static const char *const rules[] = {
		"to drop",
		"to kernel",
		"id 7 to pass",
		"id 4294967295 prio 0 to bridge",
		"prio 100 in eth0 to pass",
		"in eth0,eth1,tap0 to pass",
		"in uplink to drop",
		"vlan none to drop",
		"vlan 0 to drop",
		"vlan 4094 to drop",
		"smac 02:00:00:00:00:ff to drop",
		"dmac 01:80:c2:00:00:0e to kernel",
		"dmac own to kernel",
		"dmac kernel to kernel",
		"ethertype arp to kernel",
		"ethertype ipv4 to kernel",
		"ethertype ipv6 to kernel",
		"ethertype 0x88cc to kernel",
		"proto tcp to kernel",
		"proto sctp to kernel",
		"proto 89 to kernel",
		"proto 0 to kernel",
		"src 10.0.0.0/8 to drop",
		"src 0.0.0.0/0 to drop",
		"src 192.0.2.1/32 dst 198.51.100.0/25 to drop",
		"src ::/0 to drop",
		"src 2001:db8::/32 dst 2001:db8::1/128 to drop",
		"sport 0-1023 dport 53 to kernel",
		"proto udp dport 67-68 to kernel",
		"tcp-flags syn/syn,ack to kernel limit 1000:100",
		"tcp-flags 0/fin,syn,rst,psh,ack,urg,ece,cwr to drop",
		"proto icmp icmp-type 8 to kernel limit 10:1",
		"proto icmpv6 icmp-type 133-137 to kernel",
		"dscp 0 to bridge",
		"dscp 46 to bridge",
		"frag no to bridge",
		"frag first to kernel",
		"frag later to kernel",
		"to drop comment \"x\"",
		"to drop limit 5:8 comment \"why: a \\\"#\\\" and a \\\\\"",
		all_at_once,
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rules) / sizeof(*rules); i++) {
		struct xb_rule rule = parsed(rules[i]);

		assert_string_equal(printed(&rule), rules[i]);
	}
}

static void other_spellings_mean_the_same(void **state)
{
	static const struct {
		const char *written, *means;
	} pairs[] = {
		{"  to\tdrop ", "to drop"},
		{"prio 32768 to drop", "to drop"},
		{"dport 53 proto udp to drop", "proto udp dport 53 to drop"},
		{"dport 53-53 to drop", "dport 53 to drop"},
		{"dport 0x35 to drop", "dport 53 to drop"},
		{"proto 6 to drop", "proto tcp to drop"},
		{"ethertype ip to drop", "ethertype ipv4 to drop"},
		{"ethertype 0x0806 to drop", "ethertype arp to drop"},
		{"ethertype 2054 to drop", "ethertype arp to drop"},
		{"src 10.1.2.3/8 to drop", "src 10.0.0.0/8 to drop"},
		{"src 10.1.2.3 to drop", "src 10.1.2.3/32 to drop"},
		{"src 192.0.2.255/31 to drop", "src 192.0.2.254/31 to drop"},
		{"dst 2001:DB8:0::1 to drop", "dst 2001:db8::1/128 to drop"},
		{"dst 2001:db8:ffff::/33 to drop", "dst 2001:db8:8000::/33 to drop"},
		{"smac 02:00:00:00:00:FF to drop", "smac 02:00:00:00:00:ff to drop"},
		{"tcp-flags 0x02/0x12 to drop", "tcp-flags syn/syn,ack to drop"},
		{"tcp-flags syn/ack,syn to drop", "tcp-flags syn/syn,ack to drop"},
		{"to drop limit 5", "to drop limit 5:8"},
		{"to drop limit 80", "to drop limit 80:8"},
		{"to drop limit 90", "to drop limit 90:9"},
		{"proto tcp dport bgp to drop", "proto tcp dport 179 to drop"},
		{"dport bgp proto tcp to drop", "proto tcp dport 179 to drop"},
		{"dport domain to drop", "dport 53 to drop"},
		{"dport syslog proto udp to drop", "proto udp dport 514 to drop"},
		{"sport ssh dport ssh to drop", "sport 22 dport 22 to drop"},
		{"proto gre to drop", "proto 47 to drop"},
		{"proto ospf to drop", "proto 89 to drop"},
		{"to drop comment x", "to drop comment \"x\""},
		{"to drop comment  \"a b\" limit 9", "to drop limit 9:8 comment \"a b\""},
		{"to drop limit 1000", "to drop limit 1000:100"},
		{"to drop limit 1:1000000", "to drop limit 1:1000000"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(pairs) / sizeof(*pairs); i++) {
		struct xb_rule rule = parsed(pairs[i].written);
		struct xb_rule same = parsed(pairs[i].means);

		assert_string_equal(printed(&rule), pairs[i].means);
		assert_memory_equal(&rule, &same, sizeof(rule));
	}
}

static void a_mistake_is_named_with_its_place_and_what_was_expected(void **state)
{
	static const struct {
		const char *text, *place, *expected;
	} mistakes[] = {
		{"", "at its end", "or to"},
		{"proto", "at its end", "name of a protocol"},
		{"proto tcp", "at its end", "or to"},
		{"proto tcp to", "at its end", "pass, bridge, drop"},
		{"prot tcp to drop", "character 1, 'prot'", "proto"},
		{"proto  tpc to drop", "character 8, 'tpc'", "name of a protocol"},
		{"proto 256 to drop", "character 7, '256'", "0 to 255"},
		{"proto -1 to drop", "character 7, '-1'", "0 to 255"},
		{"proto tcp proto udp to drop", "character 11, 'proto'", "each once"},
		{"dmac own dmac 02:00:00:00:00:01 to drop", "character 10, 'dmac'", "each once"},
		{"id 1 id 2 to drop", "character 6, 'id'", "each once"},
		{"id 0 to drop", "character 4, '0'", "from 1"},
		{"prio 1 prio 1 to drop", "character 8, 'prio'", "each once"},
		{"prio 4294967296 to drop", "character 6", "4294967295"},
		{"in a-name-that-is-longer-than-any-port-has to drop", "character 4",
		 "name of a port"},
		{"vlan 4095 to drop", "character 6, '4095'", "4094"},
		{"vlan 5x to drop", "character 6, '5x'", "4094"},
		{"smac own to drop", "character 6, 'own'", "MAC"},
		{"smac 02:00:00:00:00:0 to drop", "character 6", "MAC"},
		{"dmac 02-00-00-00-00-01 to drop", "character 6", "'own', 'kernel' or a MAC"},
		{"ethertype 0x05ff to drop", "character 11, '0x05ff'", "0x0600"},
		{"ethertype 0x to drop", "character 11, '0x'", "0x0600"},
		{"src 10.0.0/8 to drop", "character 5, '10.0.0/8'", "prefix"},
		{"src 10.0.0.0/33 to drop", "character 5", "prefix"},
		{"src 10.0.0.0/ to drop", "character 5", "prefix"},
		{"dst 2001:db8::/129 to drop", "character 5", "prefix"},
		{"dport 2-1 to drop", "character 7, '2-1'", "range"},
		{"dport 1- to drop", "character 7, '1-'", "range"},
		{"dport 65536 to drop", "character 7", "range"},
		{"tcp-flags syn to drop", "character 11, 'syn'", "SET/MASK"},
		{"tcp-flags syn,/syn to drop", "character 11", "SET/MASK"},
		{"tcp-flags /syn to drop", "character 11", "SET/MASK"},
		{"tcp-flags foo/syn to drop", "character 11", "SET/MASK"},
		{"proto icmp icmp-type 256 to drop", "character 22, '256'", "0 to 255"},
		{"dscp 64 to drop", "character 6, '64'", "63"},
		{"frag yes to drop", "character 6, 'yes'", "no, first or later"},
		{"frag 0 to drop", "character 6, '0'", "no, first or later"},
		{"to drop limit", "at its end", "PPS"},
		{"to drop limit 0", "character 15, '0'", "PPS"},
		{"to drop limit 100000001", "character 15", "100000000"},
		{"proto 0x0x6 to drop", "character 7, '0x0x6'", "name of a protocol"},
		{"to drop limit 5:0", "character 15, '5:0'", "PPS"},
		{"to drop limit 5:", "character 15, '5:'", "PPS"},
		{"to drop now", "character 9, 'now'", "limit or comment"},
		{"to drop limit 5 now", "character 17, 'now'", "the end"},
		{"in eth0, to drop", "character 4, 'eth0,'", "joined by commas"},
		{"in ,eth0 to drop", "character 4, ',eth0'", "joined by commas"},
		{"in a,,b to drop", "character 4, 'a,,b'", "joined by commas"},
		{"vlan any to drop", "character 6, 'any'", "'none' or"},
		{"smac kernel to drop", "character 6, 'kernel'", "MAC"},
		{"dport nonesuch to drop", "character 7, 'nonesuch'", "has none of that name"},
		{"dport bgp-bgp to drop", "character 7, 'bgp-bgp'", "has none of that name"},
		{"to drop limit 1 limit 2", "character 17, 'limit'", "each once"},
		{"to drop comment", "at its end", "text in double quotes"},
		{"to drop comment \"", "character 17, '\"'", "text in double quotes"},
		{"to drop comment \"\"", "character 17, '\"\"'", "text in double quotes"},
		{"to drop comment \"a\"b", "character 17, '\"a\"b'", "text in double quotes"},
		{"to drop comment a b", "character 19, 'b'", "the end"},
		{"to drop comment \"1234567890123456789012345678901234567890123456789012345678901234\"",
		 "character 17", "63 bytes"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(mistakes) / sizeof(*mistakes); i++) {
		struct xb_rule rule = {.id = 5}, untouched = rule;
		struct xb_error err = {0};

		if (xb_rule_parse(mistakes[i].text, &rule, &err) != -EINVAL)
			fail_msg("taken: %s", mistakes[i].text);
		assert_memory_equal(&rule, &untouched, sizeof(rule));
		if (!strstr(err.what, mistakes[i].place) || !strstr(err.what, mistakes[i].expected))
			fail_msg("'%s': %s", mistakes[i].text, err.what);
	}
}

static void a_rule_that_no_frame_could_match_is_refused_with_place_and_reason(void **state)
{
	static const struct {
		const char *text, *place, *why;
	} rules[] = {
		{"src 10.0.0.0/8 dst ::1 to drop", "character 20, '::1'", "different families"},
		{"dst ::1 src 10.0.0.0/8 to drop", "character 5, '::1'", "different families"},
		{"ethertype arp src 10.0.0.0/8 to drop", "character 11, 'arp'", "its ethertype"},
		{"ethertype 0x88cc dport 5 to drop", "character 11, '0x88cc'", "its ethertype"},
		{"ethertype arp dscp 5 to drop", "character 11, 'arp'", "its ethertype"},
		{"ethertype ipv6 src 10.0.0.0/8 to drop", "character 11, 'ipv6'",
		 "not of the ethertype's family"},
		{"ethertype ipv4 dst ::1 to drop", "character 11, 'ipv4'",
		 "not of the ethertype's family"},
		{"proto icmp dport 5 to drop", "character 18, '5'", "have ports"},
		{"proto 89 sport 5-7 to drop", "character 16, '5-7'", "have ports"},
		{"proto udp tcp-flags syn/syn to drop", "character 21, 'syn/syn'", "only tcp"},
		{"tcp-flags syn,ack/syn to drop", "character 11, 'syn,ack/syn'", "MASK leaves out"},
		{"icmp-type 8 to drop", "character 11, '8'", "'proto icmp' or 'proto icmpv6' is"},
		{"proto tcp icmp-type 8 to drop", "character 21, '8'",
		 "'proto icmp' or 'proto icmpv6' is"},
		{"proto icmp icmp-type 8 tcp-flags 0/0 to drop", "character 34, '0/0'", "only tcp"},
		{"proto icmp icmp-type 8 dport 5 to drop", "character 30, '5'", "have ports"},
		{"frag later dport 5 to drop", "character 6, 'later'", "later fragment"},
		{"frag later proto icmp icmp-type 8 to drop", "character 6, 'later'",
		 "later fragment"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rules) / sizeof(*rules); i++) {
		struct xb_rule rule;
		struct xb_error err = {0};

		assert_int_equal(xb_rule_parse(rules[i].text, &rule, &err), -EINVAL);
		if (!strstr(err.what, rules[i].place) || !strstr(err.what, rules[i].why))
			fail_msg("'%s': %s", rules[i].text, err.what);
	}
}

/* Cuts and damages good rules: each is taken or refused with words, and what is taken prints as
 * something that means the same. */
static void any_text_is_taken_or_refused_and_means_what_it_prints(void **state)
{
	static const char *const seeds[] = {
		all_at_once,
		"id 3 smac 02:00:00:00:00:01 ethertype ipv6 dst 2001:db8::/47 sport 53 to drop",
		"dmac 33:33:00:00:00:01 proto icmpv6 icmp-type 133-137 frag no to bridge limit 9",
	};
	static const char damage[] = " \t/:-,.0x19afz\x80\x01\"\\#";
	unsigned taken = 0;

	(void)state;
	srandom(1);
	for (unsigned round = 0; round < 60000; round++) {
		char text[RULE_TEXT_BYTES];
		struct xb_rule rule, again;
		struct xb_error err = {0};
		size_t len;

		strcpy(text, seeds[round % 3]);
		len = strlen(text);
		for (long n = random() % 3; n >= 0; n--)
			text[(size_t)random() % len] =
				damage[(size_t)random() % (sizeof(damage) - 1)];
		if (random() % 8 == 0)
			text[(size_t)random() % len] = '\0';
		if (xb_rule_parse(text, &rule, &err) < 0) {
			assert_true(strlen(err.what) > 10);
			continue;
		}
		taken++;
		again = parsed(printed(&rule));
		assert_memory_equal(&rule, &again, sizeof(rule));
	}
	assert_true(taken > 1000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_rule_prints_as_it_was_written),
		cmocka_unit_test(other_spellings_mean_the_same),
		cmocka_unit_test(a_mistake_is_named_with_its_place_and_what_was_expected),
		cmocka_unit_test(a_rule_that_no_frame_could_match_is_refused_with_place_and_reason),
		cmocka_unit_test(any_text_is_taken_or_refused_and_means_what_it_prints),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
