/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The gate on a real interface: pins, taking over, what belongs to others, and what is left behind.
 */
#include "gate/attach.h"
#include "gate/dispatcher.h"
#include "gate/drop_feed.h"
#include "gate/extension.h"
#include "gate/gate.h"
#include "gate/pins.h"
#include "netdev/own_macs.h"
#include "sandbox.h"
#include "support/skip.h"

#include <bpf/bpf.h>
#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define NAME "eth0.5" /* with a dot, which bpffs does not allow */

static const struct xb_attach_options anyhow = {.mode = XB_XDP_AUTO};
static const struct xb_attach_options alone = {.exclusive = true};
static bool has_dispatchers; /* else even `anyhow` means alone */

static uint32_t up0(void)
{
	return if_nametoindex("up0");
}

static void open_gate(struct xb_gate *gate)
{
	struct xb_error err = {0};
	char text[512];

	if (xb_gate_open(gate, NAME, &err) < 0)
		fail_msg("%s", xb_error_text(&err, text, sizeof(text)));
}

static void attach_as(struct xb_gate *gate, const struct xb_attach_options *options,
		      uint32_t *ret_slot, struct xb_attachment *ret_attachment)
{
	struct xb_error err = {0};
	char text[512];

	if (xb_gate_claim_slot(gate, up0(), "up0", ret_slot, &err) < 0 ||
	    xb_gate_attach(gate, *ret_slot, up0(), "up0", options, ret_attachment, &err) < 0)
		fail_msg("%s", xb_error_text(&err, text, sizeof(text)));
	assert_int_equal(ret_attachment->way, has_dispatchers && !options->exclusive
						      ? XB_ATTACHED_DISPATCHER
						      : XB_ATTACHED_LINK);
	assert_int_equal(xb_gate_is_attached(gate, *ret_slot, up0()), 1);
}

static void attach(struct xb_gate *gate, enum xb_xdp_mode mode, uint32_t *ret_slot,
		   struct xb_attachment *ret_attachment)
{
	const struct xb_attach_options options = {.mode = mode};

	attach_as(gate, &options, ret_slot, ret_attachment);
}

/* The program that the gate's pins name. */
static uint32_t pinned_prog(void)
{
	struct xb_gate_pin pin;

	assert_int_equal(xb_gate_list(&pin, 1), 1);
	assert_string_equal(pin.ifname, "up0");
	return pin.prog_id;
}

/* Folders of dispatchers in libxdp's. */
static unsigned count_dispatchers(void)
{
	DIR *dir = opendir("/sys/fs/bpf/xdp");
	struct dirent *entry;
	unsigned n = 0;

	while (dir && (entry = readdir(dir)))
		n += entry->d_name[0] != '.';
	if (dir)
		closedir(dir);
	return n;
}

static int make_veth(void **state)
{
	(void)state;
	sandbox_make_veth(1, 1);
	return 0;
}

static int clean_up(void **state)
{
	(void)state;
	xb_gate_remove(NAME, NULL);
	sandbox_delete_veth();
	return access(XB_PIN_ROOT, F_OK) == 0 || count_dispatchers();
}

static void bad_names_are_refused(void **state)
{
	static const char *const names[] = {"", ".", "..", ".x", "a/b", "a:b", "a b", "a\n"};
	struct xb_gate gate;

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		assert_int_equal(xb_gate_open(&gate, names[i], NULL), -EINVAL);
}

static void failed_open_leaves_pins_that_were_there(void **state)
{
	struct xb_pin_path config = xb_pin_path(NAME, "config");
	struct xb_gate gate;
	struct xb_gate failed;
	bool left;

	(void)state;
	open_gate(&gate);
	/* a folder in the place of the first pin can't be opened */
	assert_int_equal(unlink(config.text), 0);
	assert_int_equal(mkdir(config.text, 0700), 0);
	assert_true(xb_gate_open(&failed, NAME, NULL) < 0);
	left = access(xb_pin_path(NAME, "own_macs").text, F_OK) == 0;
	assert_int_equal(rmdir(config.text), 0);
	assert_true(left);
	xb_gate_close(&gate);
}

static void closing_leaves_program_and_pins(void **state)
{
	struct xb_attachment attachment;
	struct xb_gate_pin pin;
	struct xb_gate gate;
	uint32_t slot;

	(void)state;
	open_gate(&gate);
	assert_false(gate.taken_over);
	assert_false(gate.replaced);
	attach(&gate, XB_XDP_AUTO, &slot, &attachment);
	assert_int_equal(attachment.mode, XB_XDP_NATIVE);
	assert_false(attachment.taken_over);
	xb_gate_close(&gate);

	assert_int_not_equal(xb_attached_prog(up0()), 0);
	assert_int_equal(xb_gate_list(&pin, 1), 1);
	assert_string_equal(pin.instance, NAME);
	assert_string_equal(pin.ifname, "up0");
	assert_int_equal(pin.slot, slot);
	assert_true(xb_program_is_on(pin.prog_id, up0()));
}

static void next_start_takes_over_without_a_gap(void **state)
{
	struct xb_attachment attachment;
	struct xb_gate gate;
	uint32_t slot, again, before;

	(void)state;
	open_gate(&gate);
	attach(&gate, XB_XDP_AUTO, &slot, &attachment);
	before = pinned_prog();
	xb_gate_close(&gate);

	open_gate(&gate);
	assert_true(gate.taken_over);
	assert_false(gate.replaced);
	attach(&gate, XB_XDP_AUTO, &again, &attachment);
	assert_true(attachment.taken_over);
	assert_int_equal(attachment.mode, XB_XDP_NATIVE);
	assert_int_equal(again, slot);
	assert_int_not_equal(pinned_prog(), before);
	assert_true(xb_program_is_on(pinned_prog(), up0()));
	assert_false(xb_program_is_on(before, up0()));
	xb_gate_close(&gate);
}

static void other_way_replaces_the_program(void **state)
{
	struct xb_attachment attachment;
	struct xb_gate gate;
	uint32_t slot, before;

	(void)state;
	open_gate(&gate);
	attach_as(&gate, &alone, &slot, &attachment);
	for (unsigned i = 0; i < 2; i++) {
		before = pinned_prog();
		xb_gate_close(&gate);
		open_gate(&gate);
		attach_as(&gate, i ? &alone : &anyhow, &slot, &attachment);
		assert_false(xb_program_is_on(before, up0()));
		assert_int_equal(count_dispatchers(), attachment.way == XB_ATTACHED_DISPATCHER);
	}
	xb_gate_close(&gate);
}

static void program_of_a_start_that_was_killed_before_it_pinned_it_goes(void **state)
{
	struct xb_attachment attachment;
	struct xb_gate gate;
	uint32_t slot, before;

	(void)state;
	if (!has_dispatchers)
		skip_because("this kernel refuses extension programs");
	open_gate(&gate);
	attach(&gate, XB_XDP_AUTO, &slot, &attachment);
	before = pinned_prog();
	assert_int_equal(unlink(xb_pin_slot_path(NAME, "prog", slot).text), 0);
	xb_gate_close(&gate);
	open_gate(&gate);
	attach(&gate, XB_XDP_AUTO, &slot, &attachment);
	assert_true(attachment.taken_over);
	assert_false(xb_program_is_on(before, up0()));
	xb_gate_close(&gate);
}

static void program_whose_dispatcher_somebody_took_off_is_attached_anew(void **state)
{
	struct xb_attachment attachment;
	struct xb_gate gate;
	uint32_t slot;

	(void)state;
	if (!has_dispatchers)
		skip_because("this kernel refuses extension programs");
	open_gate(&gate);
	attach(&gate, XB_XDP_AUTO, &slot, &attachment);
	sandbox_run("ip link set up0 xdp off");
	assert_int_equal(xb_gate_is_attached(&gate, slot, up0()), 0);
	assert_int_equal(xb_gate_attach(&gate, slot, up0(), "up0", &anyhow, &attachment, NULL), 0);
	assert_int_equal(xb_gate_is_attached(&gate, slot, up0()), 1);
	assert_int_equal(count_dispatchers(), 1);
	xb_gate_close(&gate);
}

static void other_mode_replaces_the_program(void **state)
{
	struct xb_attachment attachment;
	struct xb_gate gate;
	uint32_t slot;

	(void)state;
	open_gate(&gate);
	attach(&gate, XB_XDP_NATIVE, &slot, &attachment);
	xb_gate_close(&gate);
	open_gate(&gate);
	attach(&gate, XB_XDP_GENERIC, &slot, &attachment);
	assert_int_equal(attachment.mode, XB_XDP_GENERIC);
	assert_false(attachment.taken_over);
	xb_gate_close(&gate);
	open_gate(&gate);
	attach(&gate, XB_XDP_AUTO, &slot, &attachment);
	assert_int_equal(attachment.mode, XB_XDP_NATIVE);
	assert_false(attachment.taken_over);
	xb_gate_close(&gate);
}

static void auto_keeps_the_mode_that_it_has_found_in_this_run(void **state)
{
	const struct xb_attach_options again = {.mode = XB_XDP_AUTO, .keep_mode = true};
	struct xb_attachment attachment;
	struct xb_gate gate;
	uint32_t slot;

	(void)state;
	open_gate(&gate);
	attach(&gate, XB_XDP_GENERIC, &slot, &attachment);
	assert_int_equal(xb_gate_attach(&gate, slot, up0(), "up0", &again, &attachment, NULL), 0);
	assert_int_equal(attachment.mode, XB_XDP_GENERIC);
	assert_true(attachment.taken_over);
	xb_gate_close(&gate);
}

static void auto_falls_back_to_generic_and_says_why(void **state)
{
	const struct xb_attach_options native = {.mode = XB_XDP_NATIVE};
	struct xb_attachment attachment;
	struct xb_gate gate;
	uint32_t slot;

	(void)state;
	/* veth runs a program natively only where a frame fits into a page */
	sandbox_run("ip link set up0 mtu 9000 && ip link set peer0 mtu 9000");
	open_gate(&gate);
	assert_int_equal(xb_gate_claim_slot(&gate, up0(), "up0", &slot, NULL), 0);
	assert_true(xb_gate_attach(&gate, slot, up0(), "up0", &native, &attachment, NULL) < 0);
	assert_int_equal(xb_attached_prog(up0()), 0);
	assert_int_equal(xb_gate_attach(&gate, slot, up0(), "up0", &anyhow, &attachment, NULL), 0);
	assert_int_equal(attachment.mode, XB_XDP_GENERIC);
	assert_true(attachment.native_code < 0);
	xb_gate_close(&gate);
}

/* Loads a second program of ours, to play somebody else's. */
static void foreign_program_is_left_alone(void **state)
{
	struct xb_attachment attachment;
	struct xb_error err = {0};
	struct xb_gate gate;
	uint32_t slot, foreign;

	(void)state;
	open_gate(&gate);
	attach_as(&gate, &alone, &slot, &attachment);
	assert_int_equal(rename(xb_pin_slot_path(NAME, "link", slot).text, XB_PIN_ROOT "/somebody"),
			 0);
	xb_gate_release_slot(&gate, slot);
	foreign = xb_attached_prog(up0());

	assert_int_equal(xb_gate_claim_slot(&gate, up0(), "up0", &slot, NULL), 0);
	assert_int_equal(xb_gate_attach(&gate, slot, up0(), "up0", &anyhow, &attachment, &err),
			 -EBUSY);
	assert_non_null(strstr(err.what, "steer"));
	assert_true(err.hint[0]);
	assert_int_equal(xb_attached_prog(up0()), foreign);
	xb_gate_close(&gate);
	assert_int_equal(xb_detach(XB_PIN_ROOT "/somebody", NULL), 0);
	assert_int_equal(xb_attached_prog(up0()), 0);
}

static void program_of_a_deleted_interface_is_replaced(void **state)
{
	struct xb_attachment attachment;
	struct xb_gate_pin pin;
	struct xb_gate gate;
	uint32_t slot;

	(void)state;
	open_gate(&gate);
	attach(&gate, XB_XDP_AUTO, &slot, &attachment);
	xb_gate_close(&gate);
	sandbox_delete_veth();
	assert_int_equal(xb_gate_list(&pin, 1), 1);
	assert_int_equal(pin.ifindex, 0);
	sandbox_make_veth(1, 1);

	open_gate(&gate);
	attach(&gate, XB_XDP_AUTO, &slot, &attachment);
	assert_false(attachment.taken_over);
	assert_int_equal(xb_gate_list(&pin, 1), 1);
	assert_string_equal(pin.ifname, "up0");
	assert_int_equal(count_dispatchers(), has_dispatchers);
	xb_gate_close(&gate);
}

static void pins_of_another_schema_are_replaced(void **state)
{
	struct xb_steer_config config = {.schema = XB_SCHEMA + 1};
	struct xb_attachment attachment;
	struct xb_gate gate;
	uint32_t slot;

	(void)state;
	open_gate(&gate);
	attach(&gate, XB_XDP_AUTO, &slot, &attachment);
	bpf_map_update_elem(gate.config_fd, &slot, &config, 0);
	xb_gate_close(&gate);

	open_gate(&gate);
	assert_true(gate.replaced);
	assert_int_equal(xb_gate_get_config(&gate, slot, &config), 0);
	assert_int_equal(config.schema, 0);
	attach(&gate, XB_XDP_AUTO, &slot, &attachment);
	assert_true(attachment.taken_over);
	xb_gate_close(&gate);
}

static void pins_of_other_sizes_are_replaced(void **state)
{
	struct xb_pin_path path = xb_pin_path(NAME, "verdict_stats");
	struct xb_gate gate;
	int fd;

	(void)state;
	open_gate(&gate);
	xb_gate_close(&gate);
	assert_int_equal(unlink(path.text), 0);
	fd = bpf_map_create(BPF_MAP_TYPE_PERCPU_ARRAY, "verdict_stats", 4, 8, XB_UPLINKS_MAX, NULL);
	assert_true(fd >= 0);
	assert_int_equal(bpf_obj_pin(fd, path.text), 0);
	close(fd);
	open_gate(&gate);
	assert_true(gate.replaced);
	xb_gate_close(&gate);
	open_gate(&gate);
	assert_false(gate.replaced);
	xb_gate_close(&gate);
}

static bool is_own(const struct xb_gate *gate, uint8_t last, uint16_t slot)
{
	struct xb_own_mac key = {.mac = {2, 0, 0, 0, 0, last}, .slot = slot};
	uint32_t ifindex;

	return bpf_map_lookup_elem(gate->own_macs_fd, &key, &ifindex) == 0;
}

/* Writes what a daemon does before it attaches. */
static void configure(struct xb_gate *gate, uint32_t slot)
{
	const struct xb_own_mac_entry macs[] = {{{2, 0, 0, 0, 0, 1}, 1}, {{2, 0, 0, 0, 0, 2}, 1}};
	const struct xb_steer_config config = {.port = 1};

	assert_int_equal(xb_gate_set_config(gate, slot, &config, NULL), 0);
	assert_int_equal(xb_gate_set_own_macs(gate, slot, macs, 2, NULL), 0);
}

/* How much is left of it. */
static unsigned configured(const struct xb_gate *gate, uint32_t slot)
{
	struct xb_steer_config config;

	assert_int_equal(xb_gate_get_config(gate, slot, &config), 0);
	return (config.schema != 0) + is_own(gate, 1, (uint16_t)slot) +
	       is_own(gate, 2, (uint16_t)slot);
}

static void slot_whose_program_could_not_be_attached_is_left_as_it_was(void **state)
{
	struct xb_attachment attachment;
	struct xb_gate gate;
	uint32_t slot;

	(void)state;
	open_gate(&gate);
	assert_int_equal(xb_gate_claim_slot(&gate, up0(), "up0", &slot, NULL), 0);
	configure(&gate, slot);
	xb_gate_abandon_slot(&gate, slot);
	assert_int_equal(configured(&gate, slot), 0);
	attach(&gate, XB_XDP_AUTO, &slot, &attachment);
	configure(&gate, slot);
	xb_gate_abandon_slot(&gate, slot); /* there is a program that obeys it */
	assert_int_equal(configured(&gate, slot), 3);
	xb_gate_close(&gate);
}

static void detach_by_name_removes_everything_with_the_last_uplink(void **state)
{
	struct xb_attachment attachment;
	struct xb_gate_pin pin;
	struct xb_gate gate;
	uint32_t slot, other;

	(void)state;
	sandbox_run("ip link add up1 type veth peer name peer1");
	open_gate(&gate);
	attach(&gate, XB_XDP_AUTO, &slot, &attachment);
	assert_int_equal(xb_gate_claim_slot(&gate, if_nametoindex("up1"), "up1", &other, NULL), 0);
	assert_int_not_equal(other, slot);
	assert_int_equal(xb_gate_attach(&gate, other, if_nametoindex("up1"), "up1", &anyhow,
					&attachment, NULL),
			 0);
	configure(&gate, slot);
	configure(&gate, other);
	xb_gate_close(&gate);

	assert_int_equal(xb_gate_detach("lo", NULL), -ENOENT);
	assert_int_equal(xb_gate_detach("up1", NULL), 0);
	open_gate(&gate);
	assert_int_equal(configured(&gate, slot), 3);
	assert_int_equal(configured(&gate, other), 0);
	xb_gate_close(&gate);
	assert_int_equal(xb_attached_prog(if_nametoindex("up1")), 0);
	assert_int_equal(xb_gate_list(&pin, 1), 1);
	assert_int_equal(access(xb_pin_path(NAME, "config").text, F_OK), 0);
	assert_int_equal(xb_gate_detach("up0", NULL), 0);
	assert_int_equal(xb_attached_prog(up0()), 0);
	assert_int_not_equal(access(XB_PIN_ROOT, F_OK), 0);
	assert_int_equal(xb_gate_list(&pin, 1), 0);
	sandbox_run("ip link del up1");
}

static void interface_is_an_uplink_once(void **state)
{
	struct xb_attachment attachment;
	struct xb_gate gate;
	uint32_t slot;

	(void)state;
	open_gate(&gate);
	attach(&gate, XB_XDP_AUTO, &slot, &attachment);
	assert_int_equal(xb_gate_claim_slot(&gate, up0(), "up0", &slot, NULL), -EEXIST);
	assert_int_equal(xb_gate_detach_slot(&gate, slot, NULL), 0);
	assert_int_equal(xb_attached_prog(up0()), 0);
	assert_int_equal(xb_gate_claim_slot(&gate, up0(), "up0", &slot, NULL), 0);
	xb_gate_close(&gate);
}

static void own_macs_change_by_their_difference(void **state)
{
	const struct xb_own_mac_entry macs[] = {
		{{2, 0, 0, 0, 0, 1}, 1}, {{2, 0, 0, 0, 0, 2}, 2}, {{2, 0, 0, 0, 0, 3}, 3}};
	struct xb_gate gate;

	(void)state;
	open_gate(&gate);
	assert_int_equal(xb_gate_set_own_macs(&gate, 0, macs, 2, NULL), 0);
	assert_int_equal(xb_gate_set_own_macs(&gate, 1, macs, 3, NULL), 0);
	assert_int_equal(xb_gate_set_own_macs(&gate, 0, macs + 1, 2, NULL), 0);
	assert_false(is_own(&gate, 1, 0));
	assert_true(is_own(&gate, 2, 0));
	assert_true(is_own(&gate, 3, 0));
	assert_true(is_own(&gate, 1, 1));
	assert_int_equal(xb_gate_set_own_macs(&gate, 0, NULL, 0, NULL), 0);
	assert_false(is_own(&gate, 2, 0));
	assert_true(is_own(&gate, 2, 1));
	xb_gate_close(&gate);
}

static bool stack_has(const struct xb_own_macs *stack, uint8_t last)
{
	const uint8_t mac[6] = {2, 0, 0, 0, 0, last};

	for (unsigned i = 0; i < stack->n_macs; i++) {
		if (!memcmp(stack->macs[i].mac, mac, 6))
			return true;
	}
	return false;
}

/* ---- what the program drops ---- */

struct flood {
	int prog_fd;
	unsigned n; /* drops that were told */
};

static void drop_one(const struct flood *flood)
{
	uint8_t frame[60] = {2};
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = frame, .data_size_in = sizeof(frame));

	assert_int_equal(bpf_prog_test_run_opts(flood->prog_fd, &opts), 0);
	assert_int_equal(opts.retval, XDP_DROP);
}

/* For each drop that is told there is another. */
static void drop_another(void *arg, const struct xb_dropped *frame)
{
	struct flood *flood = arg;

	(void)frame;
	if (++flood->n < 5000)
		drop_one(flood);
}

static void flood_of_drops_lets_go_of_who_reads_them(void **state)
{
	const struct xb_steer_config config = {.port = 1};
	struct xb_attachment attachment;
	struct xb_drop_feed *feed;
	struct flood flood = {0};
	struct xb_gate gate;
	struct pollfd watch = {.events = POLLIN};
	unsigned before;
	uint32_t slot;

	(void)state;
	open_gate(&gate);
	attach_as(&gate, &alone, &slot, &attachment);
	assert_int_equal(xb_gate_set_config(&gate, slot, &config, NULL), 0);
	gate.table->in_force.verdict = XB_VERDICT_DROP;
	flood.prog_fd = bpf_prog_get_fd_by_id(pinned_prog());
	assert_int_equal(xb_drop_feed_open(&gate, drop_another, &flood, &feed, NULL), 0);
	watch.fd = xb_drop_feed_fd(feed);
	drop_one(&flood);
	assert_int_equal(poll(&watch, 1, 0), 1);
	assert_int_equal(xb_drop_feed_read(feed), 0);
	before = flood.n;
	assert_in_range(before, 1, 1000);
	assert_int_equal(poll(&watch, 1, 0), 1);
	xb_drop_feed_close(feed);
	assert_int_equal(flood.n, before + 1);
	close(flood.prog_fd);
	xb_gate_close(&gate);
}

static void stack_holds_what_stands_on_the_uplink_and_no_more(void **state)
{
	static struct xb_own_macs stack;

	(void)state;
	assert_int_equal(xb_own_macs_read(up0(), &stack, NULL), 0);
	assert_int_equal(stack.n_macs, 1);
	assert_true(stack_has(&stack, 1)); /* and not its peer's */
	assert_false(stack.addressed);

	sandbox_run("ip addr add 169.254.1.1/16 dev up0");
	assert_int_equal(xb_own_macs_read(up0(), &stack, NULL), 0);
	assert_false(stack.addressed);

	sandbox_run(
		"ip link add link up0 name mv0 address 02:00:00:00:00:09 type macvlan mode bridge");
	sandbox_run("ip addr add 192.0.2.9/24 dev mv0");
	assert_int_equal(xb_own_macs_read(up0(), &stack, NULL), 0);
	assert_int_equal(stack.n_macs, 2);
	assert_true(stack_has(&stack, 9));
	assert_true(stack.addressed);
	assert_string_equal(stack.reason, "mv0 has 192.0.2.9/24");
	sandbox_run("ip link del mv0");
}

/*
 *      up0 ── up0.5 ── br0 ── br0.7 (an address)
 *                      other0 ──┘
 */
static void stack_grows_over_vlans_and_bridges(void **state)
{
	static struct xb_own_macs stack;

	(void)state;
	if (system("ip link add link up0 name up0.5 address 02:00:00:00:00:05 type vlan id 5 "
		   "2>/dev/null") != 0 ||
	    system("ip link add br0 address 02:00:00:00:00:06 type bridge 2>/dev/null") != 0)
		skip_because("this kernel has no VLAN or bridge devices");
	sandbox_run("ip link set up0.5 master br0");
	sandbox_run("ip link add link br0 name br0.7 address 02:00:00:00:00:07 type vlan id 7");
	sandbox_run("ip link add other0 address 02:00:00:00:00:08 type veth peer name other1");
	sandbox_run("ip link set other0 master br0");
	sandbox_run("ip addr add 192.0.2.1/24 dev br0.7");
	assert_int_equal(xb_own_macs_read(up0(), &stack, NULL), 0);
	assert_true(stack_has(&stack, 5));
	assert_true(stack_has(&stack, 6));
	assert_true(stack_has(&stack, 7));
	assert_false(stack_has(&stack, 8)); /* another port of the bridge is not ours */
	assert_true(stack.addressed);
	assert_string_equal(stack.reason, "br0.7 has 192.0.2.1/24");
	sandbox_run("ip link del other0; ip link del br0");
}

static void stack_holds_secondary_unicast_addresses(void **state)
{
	static struct xb_own_macs stack;

	(void)state;
	sandbox_run("bridge fdb add 02:00:00:00:00:0a dev up0 self");
	assert_int_equal(xb_own_macs_read(up0(), &stack, NULL), 0);
	assert_true(stack_has(&stack, 0x0a));
}

static void stack_of_nothing_is_no_device(void **state)
{
	static struct xb_own_macs stack;

	(void)state;
	assert_int_equal(xb_own_macs_read(4711, &stack, NULL), -ENODEV);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_veth, clean_up)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(bad_names_are_refused),
		TEST(failed_open_leaves_pins_that_were_there),
		TEST(closing_leaves_program_and_pins),
		TEST(next_start_takes_over_without_a_gap),
		TEST(other_mode_replaces_the_program),
		TEST(auto_keeps_the_mode_that_it_has_found_in_this_run),
		TEST(other_way_replaces_the_program),
		TEST(program_of_a_start_that_was_killed_before_it_pinned_it_goes),
		TEST(program_whose_dispatcher_somebody_took_off_is_attached_anew),
		TEST(auto_falls_back_to_generic_and_says_why),
		TEST(foreign_program_is_left_alone),
		TEST(program_of_a_deleted_interface_is_replaced),
		TEST(pins_of_another_schema_are_replaced),
		TEST(pins_of_other_sizes_are_replaced),
		TEST(slot_whose_program_could_not_be_attached_is_left_as_it_was),
		TEST(detach_by_name_removes_everything_with_the_last_uplink),
		TEST(interface_is_an_uplink_once),
		TEST(own_macs_change_by_their_difference),
		TEST(flood_of_drops_lets_go_of_who_reads_them),
		TEST(stack_holds_what_stands_on_the_uplink_and_no_more),
		TEST(stack_grows_over_vlans_and_bridges),
		TEST(stack_holds_secondary_unicast_addresses),
		TEST(stack_of_nothing_is_no_device),
	};

	struct xb_extensions extensions;

	sandbox_enter();
	xb_extensions_try(&extensions);
	has_dispatchers = !extensions.code;
	printf("dispatchers: %s\n", has_dispatchers ? "yes" : extensions.step);
	return cmocka_run_group_tests_name("gate", tests, NULL, NULL);
}
