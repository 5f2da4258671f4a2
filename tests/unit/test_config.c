/* SPDX-License-Identifier: BSD-2-Clause */
#include "daemon/config_value.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define WORDS_MAX 32

/* Parses a command line as a shell without quotes would split it. */
static int parse(struct xb_config *config, const char *line, struct xb_error *err)
{
	static char words[1024];
	char *argv[WORDS_MAX];
	char *save = NULL;
	int argc = 0;

	snprintf(words, sizeof(words), "%s", line);
	for (char *word = strtok_r(words, " ", &save); word; word = strtok_r(NULL, " ", &save))
		argv[argc++] = word;
	*err = (struct xb_error){0};
	return xb_config_parse(config, argc, argv, -1, err);
}

static void assert_good(struct xb_config *config, const char *line)
{
	struct xb_error err;

	if (parse(config, line, &err) < 0)
		fail_msg("'%s': %s", line, err.what);
}

/* The line is refused, and what is said contains `word`. */
static void assert_refused(const char *line, const char *word)
{
	struct xb_config config;
	struct xb_error err;

	if (!parse(&config, line, &err))
		fail_msg("'%s' was taken", line);
	if (!strstr(err.what, word))
		fail_msg("'%s': '%s' does not say '%s'", line, err.what, word);
}

static void test_nothing_said_means_tap0_bridged(void **state)
{
	struct xb_config config;

	(void)state;
	assert_good(&config, "");
	assert_string_equal(config.kernel.ifname, "tap0");
	assert_string_equal(config.name, "tap0");
	assert_int_equal(config.kernel.backend, XB_KERNEL_AUTO);
	assert_int_equal(config.kernel.queues, 1);
	assert_int_equal(config.kernel.offload.takes, XB_TAKES_ALL);
	assert_int_equal(config.kernel.offload.gives, XB_TAKES_ALL);
	assert_string_equal(config.verdict_word, "bridge");
	assert_int_equal(config.stall_ms, 1000);
	assert_int_equal(config.n_uplinks, 0);
}

static void test_values_come_behind_a_space_or_an_equals_sign(void **state)
{
	struct xb_config config;

	(void)state;
	assert_good(&config, "--queues 4 --ifname=t1 --queue-size=512 --mtu 9000 --no-offload "
			     "--persist --netns=blue --workers 2 --cpus 1,4-6 --frames=2048");
	assert_int_equal(config.kernel.queues, 4);
	assert_int_equal(config.kernel.queue_size, 512);
	assert_int_equal(config.kernel.mtu, 9000);
	assert_int_equal(config.kernel.offload.takes | config.kernel.offload.gives, 0);
	assert_true(config.kernel.persist);
	assert_string_equal(config.kernel.netns, "blue");
	assert_string_equal(config.name, "t1");
	assert_int_equal(config.workers, 2);
	assert_int_equal(config.n_cpus, 4);
	assert_int_equal(config.cpus[0], 1);
	assert_int_equal(config.cpus[3], 6);
	assert_int_equal(config.frames, 2048);
}

static void test_an_uplink_has_options_behind_commas(void **state)
{
	struct xb_config config;

	(void)state;
	assert_good(
		&config,
		"--uplink e0,dedicated,csum=verify,xdp=generic,mode=copy,tx=packet --uplink e1,shared,xdp=native,xdp=exclusive "
		"--stall-ms 250");
	assert_int_equal(config.n_uplinks, 2);
	assert_string_equal(config.uplinks[0].options.ifname, "e0");
	assert_int_equal(config.uplinks[0].options.sharing, XB_SHARING_DEDICATED);
	assert_int_equal(config.uplinks[0].options.csum, XB_CSUM_POLICY_VERIFY);
	assert_int_equal(config.uplinks[0].options.xdp.mode, XB_XDP_GENERIC);
	assert_int_equal(config.uplinks[0].options.mode, XB_XSK_COPY);
	assert_int_equal(config.uplinks[0].options.tx, XB_UPLINK_TX_PACKET);
	assert_false(config.uplinks[0].options.xdp.exclusive);
	assert_int_equal(config.uplinks[1].options.sharing, XB_SHARING_SHARED);
	assert_int_equal(config.uplinks[1].options.xdp.mode, XB_XDP_NATIVE);
	assert_int_equal(config.uplinks[1].options.tx, XB_UPLINK_TX_AUTO);
	assert_true(config.uplinks[1].options.xdp.exclusive);
	assert_int_equal(config.uplinks[1].options.stall_ns, 250000000);
	assert_good(&config, "--uplink e0");
	assert_int_equal(config.uplinks[0].options.sharing, XB_SHARING_DEFAULT);
}

static void test_words_of_rules_name_no_port(void **state)
{
	static const char *const words[] = {"pass", "bridge", "drop", "kernel"};
	static const char *const options[] = {"ifname", "uplink", "name"};
	char line[64];

	(void)state;
	for (unsigned w = 0; w < 4; w++) {
		for (unsigned o = 0; o < 3; o++) {
			snprintf(line, sizeof(line), "--%s %s", options[o], words[w]);
			assert_refused(line, "pass, bridge, drop and kernel are words of rules");
			assert_refused(line, options[o]);
		}
	}
	assert_refused("--uplink kernel,dedicated", "words of rules");
	assert_refused("--uplink e0,tx=socket", "tx=auto|xdp|packet");
	assert_refused("--uplink e0,auto", "shared, dedicated");
}

static void test_the_default_verdict_may_be_any_port(void **state)
{
	static const struct {
		const char *line, *word;
	} good[] = {
		{"--default pass", "pass"},
		{"--default drop", "drop"},
		{"--default bridge", "bridge"},
		{"--default kernel", "kernel"},
		{"--default tap0", "tap0"},
		{"--default t1 --ifname t1", "t1"},
		{"--default kernel --tap-fd 3", "kernel"},
		{"--default e1 --uplink e0 --uplink e1", "e1"},
	};
	struct xb_config config;

	(void)state;
	for (unsigned i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		assert_good(&config, good[i].line);
		assert_string_equal(config.verdict_word, good[i].word);
	}
	assert_refused("--default=", "default '': pass, bridge, drop, kernel or the name of an");
	assert_refused("--default= --tap-fd 3", "default ''");
	assert_refused("--default e1 --uplink e0", "default 'e1'");
	assert_refused("--default tap0 --ifname t1", "default 'tap0'");
	assert_refused("--default a-name-that-is-too-long", "pass, bridge, drop");
}

static void test_as_many_queues_as_are_handed_in_unless_it_is_said(void **state)
{
	struct xb_config config;

	(void)state;
	assert_good(&config, "--tap-fd 3,4,5");
	assert_int_equal(config.kernel.queues, 3);
	assert_good(&config, "--tap-fd 3,4,5 --queues 2");
	assert_int_equal(config.kernel.queues, 2);
	assert_good(&config, "--tap-fd 3,4,5 --vhost-fd 6,7");
	assert_int_equal(config.kernel.queues, 2);
	assert_good(&config, "--tap-fd 3 --vhost-fd 6,7");
	assert_int_equal(config.kernel.queues, 1);
}

static void test_a_mistake_is_named_with_what_is_expected(void **state)
{
	(void)state;
	assert_refused("--queues 0", "from 1 to");
	assert_refused("--queues x", "'x'");
	assert_refused("--queues -1", "'-1'");
	assert_refused("--queues 4x", "'4x'");
	assert_refused("--queues", "N is expected");
	assert_refused("--queue-size 100", "power of two");
	assert_refused("--queue-size 65536", "power of two");
	assert_refused("--tap=yes", "takes no value");
	assert_refused("--ifname a-name-that-is-too-long", "1 to 15 characters");
	assert_refused("--uplink a-name-that-is-too-long", "1 to 15 characters");
	assert_refused("--uplink e0,fast", "'fast'");
	assert_refused("--uplink e0 --uplink e0", "named twice");
	assert_refused("--uplink tap0", "both uplink and ifname");
	assert_refused("--mac 01:00:00:00:00:01", "unicast");
	assert_refused("--mac 02:00:00:00:00", "02:00:00:00:00:01");
	assert_refused("--mac uplink", "no uplink");
	assert_refused("--cpus 3-1", "list of CPUs");
	assert_refused("--cpus ,", "list of CPUs");
	assert_refused("--cpus 0,", "'0,': a list of CPUs");
	assert_refused("--tap-fd 3,", "'3,': a list of descriptors");
	assert_refused("--uplink e0,", "uplink ''");
	assert_refused("--uplink e0,,dedicated", "uplink ''");
	assert_refused("--tap-fd 3,,4", "list of descriptors");
	assert_refused("--tap-fd 3 --ifname t0", "can't be used with it");
	assert_refused("--tap-fd 3 --mac 02:00:00:00:00:01", "mac and mtu can't be used with it");
	assert_refused("--tap-fd 3 --mac uplink --uplink e0", "mac and mtu can't be used with it");
	assert_refused("--tap-fd 3 --mtu 1400", "ip link set");
	assert_refused("--tap --vhost-fd 3", "can't be used with tap");
	assert_refused("--default nowhere", "pass, bridge, drop");
	assert_refused("--name a/b", "'/'");
	assert_refused("--name a#b", "can't have a '#'");
	assert_refused("--ifname t#0", "can't have a '#'");
	assert_refused("--uplink e#0,dedicated", "can't have a '#'");
	assert_refused("--frobnicate", "no option");
	assert_refused("-q", "no option");
	assert_refused("tap0", "no option");
}

static void test_a_mistyped_option_is_named_with_the_one_that_was_meant(void **state)
{
	(void)state;
	assert_refused("--uplnk e0", "no option '--uplnk'; did you mean '--uplink'?");
	assert_refused("--uplnk=e0", "no option '--uplnk'; did you mean '--uplink'?");
	assert_refused("--quues 2", "no option '--quues'; did you mean '--queues'?");
	assert_refused("-workers 2", "no option '-workers'; did you mean '--workers'?");
	assert_refused("--queues 2 mtu 1400", "no option 'mtu'; did you mean '--mtu'?");
	assert_refused("--frobnicate e0", "no option '--frobnicate'");
	assert_refused("--uplink e0 --netnamespace blue", "no option '--netnamespace'");
}

static void test_what_is_said_twice_is_a_mistake(void **state)
{
	(void)state;
	assert_refused("--queues 2 --queues 2", "queues is given twice");
	assert_refused("--no-offload --no-offload", "no-offload is given twice");
	assert_refused("--config /dev/null --config /dev/null", "config is given twice");
	assert_refused("--name a --ifname t0 --name b", "name is given twice");
	assert_refused("--tap --vhost-net", "tap and vhost-net exclude each other");
	assert_refused("--vhost-net --tap", "vhost-net and tap exclude each other");
	assert_refused("--uplink e0,shared,dedicated", "'shared,dedicated'");
	assert_refused("--uplink e0,dedicated,csum=trust,dedicated", "'dedicated,dedicated'");
	assert_refused("--uplink e0,csum=trust,csum=verify", "'csum=trust,csum=verify'");
	assert_refused("--uplink e0,xdp=native,xdp=generic", "'xdp=native,xdp=generic'");
	assert_refused("--uplink e0,xdp=exclusive,xdp=exclusive", "'xdp=exclusive,xdp=exclusive'");
	assert_refused("--uplink e0,mode=copy,mode=zerocopy", "'mode=copy,mode=zerocopy'");
	assert_refused("--uplink e0,tx=xdp,tx=packet", "'tx=xdp,tx=packet'");
	assert_refused("--cpus 1,0-2", "CPU 1 is named twice");
	assert_refused("--tap-fd 3,4,3", "descriptor 3 is named twice");
	assert_refused("--tap-fd 3,4 --vhost-fd 5,4", "descriptor 4 is named twice");
}

static void fill_file(const char *path, const char *text)
{
	FILE *file = fopen(path, "w");

	assert_non_null(file);
	assert_true(fputs(text, file) >= 0);
	fclose(file);
}

/* A configuration file of this text; the caller unlinks it. */
static void write_file(char *ret_path, size_t bytes, const char *text)
{
	int fd;

	snprintf(ret_path, bytes, "%s/xb-config-XXXXXX",
		 getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
	fd = mkstemp(ret_path);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
}

static void test_a_file_says_the_same_and_the_command_line_overrides_it(void **state)
{
	struct xb_config config;
	char path[256], line[512];

	(void)state;
	write_file(path, sizeof(path),
		   "# a comment\n\n  uplink e0,shared # another\nqueues 8\n\tpersist\nifname t9");
	snprintf(line, sizeof(line), "--queues 2 --config %s", path);
	assert_good(&config, line);
	assert_int_equal(config.kernel.queues, 2);
	assert_true(config.kernel.persist);
	assert_string_equal(config.kernel.ifname, "t9");
	assert_int_equal(config.n_uplinks, 1);
	unlink(path);
	write_file(path, sizeof(path), "vhost-net\nqueues 8\n");
	snprintf(line, sizeof(line), "--config %s --tap --queues 2", path);
	assert_good(&config, line);
	assert_int_equal(config.kernel.backend, XB_KERNEL_TAP);
	fill_file(path, "queues 2\nmtu 1400\nqueues 3\n");
	assert_refused(line, "line 3: queues is given twice");
	unlink(path);
}

static void test_a_mistake_in_a_file_is_named_with_its_line(void **state)
{
	char path[256], line[512];

	(void)state;
	write_file(path, sizeof(path), "mtu 1400\n\nqueues many\n");
	snprintf(line, sizeof(line), "--config %s", path);
	assert_refused(line, "line 3");
	assert_refused(line, "'many'");
	unlink(path);
}

static void test_offloads_are_chosen_by_words(void **state)
{
	struct xb_config config;
	char text[XB_OFFLOAD_BYTES];

	(void)state;
	assert_good(&config, "--offload csum,tso");
	assert_int_equal(config.kernel.offload.takes, XB_TAKES_CSUM);
	assert_int_equal(config.kernel.offload.gives, XB_TAKES_CSUM | XB_TAKES_TSO);
	assert_good(&config, "--offload gro,csum");
	assert_int_equal(config.kernel.offload.takes, XB_TAKES_CSUM | XB_TAKES_TSO);
	assert_int_equal(config.kernel.offload.gives, XB_TAKES_CSUM);
	xb_offload_text(config.kernel.offload, text);
	assert_string_equal(text, "csum,gro");
	xb_offload_text(XB_OFFLOAD_ALL, text);
	assert_string_equal(text, "csum,tso,gro,uso");
	xb_offload_text((struct xb_offload_set){0}, text);
	assert_string_equal(text, "none");
	assert_refused("--offload tso", "csum, which the others take");
	assert_refused("--offload csum,lro",
		       "none, or a list of csum, tso, gro and uso is expected");
	assert_refused("--offload csum, ", "is expected");
	assert_refused("--offload csum --no-offload", "exclude each other");
}

static void test_a_long_value_or_path_does_not_cut_off_what_is_expected(void **state)
{
	char path[600], line[1024], dir[300];

	(void)state;
	snprintf(line, sizeof(line), "--uplink e0,%0240d", 0);
	assert_refused(line, "tx=auto|xdp|packet or domain=NAME is expected");
	snprintf(dir, sizeof(dir), "%s/xb-%0200d-XXXXXX",
		 getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp", 0);
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/%0200d", dir, 0);
	fill_file(path, "queues 1\nuplink e0,fast\n");
	snprintf(line, sizeof(line), "--config %s", path);
	assert_refused(line, "00, line 2: uplink 'fast'");
	assert_refused(line, "tx=auto|xdp|packet or domain=NAME is expected");
	unlink(path);
	rmdir(dir);
}

static void test_a_file_that_can_not_be_read_is_not_an_empty_one(void **state)
{
	(void)state;
	assert_refused("--config /", "/, line 1: Is a directory");
	assert_refused("--config /proc/self/mem", "line 1: Input/output error");
}

static void test_a_line_that_is_too_long_is_refused_and_not_split(void **state)
{
	struct xb_config config;
	char path[256], line[512], text[9000];

	(void)state;
	/* so that one that was split would be taken */
	snprintf(text, sizeof(text), "queues 1%4086s\nmtu 1400\nworkers 3%4200s\n", "", "");
	write_file(path, sizeof(path), "");
	fill_file(path, text);
	snprintf(line, sizeof(line), "--config %s", path);
	assert_refused(line, "line 3: lines of text of up to 4094 characters");
	*strstr(text, "workers 3") = '\0';
	fill_file(path, text);
	assert_good(&config, line);
	assert_int_equal(config.kernel.mtu, 1400);
	snprintf(text, sizeof(text), "queues 4%4086s", ""); /* to the end of the file */
	fill_file(path, text);
	assert_good(&config, line);
	assert_int_equal(config.kernel.queues, 4);
	unlink(path);
}

static void test_a_file_names_no_other_file(void **state)
{
	char path[256], line[512];

	(void)state;
	write_file(path, sizeof(path), "config /etc/passwd\n");
	snprintf(line, sizeof(line), "--config %s", path);
	assert_refused(line, "can't name another");
	unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nothing_said_means_tap0_bridged),
		cmocka_unit_test(test_values_come_behind_a_space_or_an_equals_sign),
		cmocka_unit_test(test_an_uplink_has_options_behind_commas),
		cmocka_unit_test(test_words_of_rules_name_no_port),
		cmocka_unit_test(test_the_default_verdict_may_be_any_port),
		cmocka_unit_test(test_as_many_queues_as_are_handed_in_unless_it_is_said),
		cmocka_unit_test(test_a_mistake_is_named_with_what_is_expected),
		cmocka_unit_test(test_a_mistyped_option_is_named_with_the_one_that_was_meant),
		cmocka_unit_test(test_what_is_said_twice_is_a_mistake),
		cmocka_unit_test(test_a_file_says_the_same_and_the_command_line_overrides_it),
		cmocka_unit_test(test_a_mistake_in_a_file_is_named_with_its_line),
		cmocka_unit_test(test_offloads_are_chosen_by_words),
		cmocka_unit_test(test_a_long_value_or_path_does_not_cut_off_what_is_expected),
		cmocka_unit_test(test_a_file_that_can_not_be_read_is_not_an_empty_one),
		cmocka_unit_test(test_a_line_that_is_too_long_is_refused_and_not_split),
		cmocka_unit_test(test_a_file_names_no_other_file),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
