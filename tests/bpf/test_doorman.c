/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the doorman does on the daemon's orders, and what it does not.
 */
#include "daemon/doorman.h"

#include "sandbox.h"
#include "xsk/attach.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define NAME "doorman"

static struct xb_config config;
static struct xb_doorman doorman;

static int setup(void **state)
{
	(void)state;
	sandbox_make_veth(1, 1);
	xb_config_init(&config);
	strcpy(config.name, NAME);
	strcpy(config.uplinks[0].ifname, "up0");
	config.n_uplinks = 1;
	return xb_doorman_start(&doorman, &config, NULL);
}

static int teardown(void **state)
{
	(void)state;
	xb_doorman_stop(&doorman);
	xb_config_fini(&config);
	xb_gate_remove(NAME, NULL);
	sandbox_delete_veth();
	return 0;
}

/* Orders a program onto the interface of that index, by that name. */
static int order_attach(const char *index_of, const char *name)
{
	struct xb_gate_order order = {.attach = true, .ifindex = if_nametoindex(index_of)};
	struct xb_gate_outcome outcome;

	strcpy(order.ifname, name);
	xb_doorman_carry_out(&doorman, &order, &outcome);
	return outcome.code;
}

static void only_uplinks_get_programs_whatever_they_are_called(void **state)
{
	const struct xb_gate_order detach = {.slot = 0};
	struct xb_gate_outcome outcome;

	(void)state;
	assert_int_equal(order_attach("peer0", "peer0"), -EPERM);
	assert_int_equal(order_attach("peer0", "up0"), -EPERM);
	assert_int_equal(order_attach("nothing", "up0"), -EPERM);
	assert_int_equal(xb_attached_prog(if_nametoindex("peer0")), 0);
	assert_int_equal(order_attach("up0", "up0"), 0);
	assert_int_not_equal(xb_attached_prog(if_nametoindex("up0")), 0);
	xb_doorman_carry_out(&doorman, &detach, &outcome);
	assert_int_equal(outcome.code, 0);
	assert_int_equal(xb_attached_prog(if_nametoindex("up0")), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(only_uplinks_get_programs_whatever_they_are_called,
						setup, teardown),
	};

	sandbox_enter();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
