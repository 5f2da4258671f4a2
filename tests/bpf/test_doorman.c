/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the doorman does on the daemon's orders, and what it does not.
 */
#include "daemon/doorman.h"

#include "netdev/xdp.h"
#include "sandbox.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define NAME "doorman"

static struct xb_config config;
static struct xb_loop loop;
static struct xb_doorman doorman;

static int setup(void **state)
{
	(void)state;
	sandbox_make_veth(1, 1);
	xb_config_init(&config);
	strcpy(config.name, NAME);
	strcpy(config.uplinks[0].options.ifname, "up0");
	config.n_uplinks = 1;
	return xb_loop_init(&loop, NULL) || xb_doorman_start(&doorman, &loop, &config, NULL);
}

static int teardown(void **state)
{
	(void)state;
	xb_doorman_stop(&doorman);
	xb_loop_fini(&loop);
	xb_config_fini(&config);
	xb_gate_remove(NAME, NULL);
	sandbox_delete_veth();
	return 0;
}

static void on_done(struct xb_errand *errand)
{
	(void)errand;
	loop.stop = true;
}

static int run_errand(struct xb_errand *errand)
{
	loop.stop = false;
	xb_doorman_give(&doorman, errand, on_done);
	assert_false(loop.stop); /* it is called from the loop */
	xb_loop_run(&loop);
	assert_false(errand->on_its_way);
	return errand->outcome.code;
}

/* Orders a program onto the interface of that index, by that name. */
static struct xb_errand attach_errand(const char *index_of, const char *name)
{
	struct xb_errand errand = {.order = {.attach = true, .ifindex = if_nametoindex(index_of)}};

	strcpy(errand.order.ifname, name);
	return errand;
}

static int order_attach(const char *index_of, const char *name)
{
	struct xb_errand errand = attach_errand(index_of, name);

	return run_errand(&errand);
}

static int order_detach(void)
{
	struct xb_errand errand = {.order = {.slot = 0}};

	return run_errand(&errand);
}

static void only_uplinks_get_programs_whatever_they_are_called(void **state)
{
	(void)state;
	assert_int_equal(order_attach("peer0", "peer0"), -EPERM);
	assert_int_equal(order_attach("peer0", "up0"), -EPERM);
	assert_int_equal(order_attach("nothing", "up0"), -EPERM);
	assert_int_equal(xb_attached_prog(if_nametoindex("peer0")), 0);
	assert_int_equal(order_attach("up0", "up0"), 0);
	assert_int_not_equal(xb_attached_prog(if_nametoindex("up0")), 0);
	assert_int_equal(order_detach(), 0);
	assert_int_equal(xb_attached_prog(if_nametoindex("up0")), 0);
}

/* ---- doormen that end ---- */

static pid_t ended; /* which is not to be one of them */

static bool has_two(void)
{
	return doorman.seats[0].pid != ended && doorman.seats[1].pid != ended &&
	       doorman.seats[0].here && doorman.seats[0].watch.fd >= 0 && doorman.seats[1].here &&
	       doorman.seats[1].watch.fd >= 0;
}

static struct xb_timer look;

static void stop_loop(struct xb_timer *timer)
{
	(void)timer;
	loop.stop = true;
}

static void on_look(struct xb_timer *timer)
{
	pid_t pid;

	while ((pid = waitpid(-1, NULL, WNOHANG)) > 0)
		xb_doorman_reaped(&doorman, pid);
	loop.stop = has_two();
	xb_loop_at(&loop, timer, xb_now_ns() + 1000000u, on_look);
}

/* Runs until there is one on duty and one in reserve. */
static void await_two(void)
{
	loop.stop = false;
	on_look(&look);
	xb_loop_run(&loop);
	xb_loop_forget(&loop, &look);
}

static void whichever_of_the_two_ends_is_replaced_again_and_again(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 8; i++) {
		await_two();
		ended = doorman.seats[i / 2 % 2].pid;
		assert_int_equal(kill(ended, SIGKILL), 0);
		await_two();
		assert_int_equal(order_attach("up0", "up0"), 0);
		assert_int_equal(order_detach(), 0);
	}
}

/* Without a free descriptor no socket can be made for it. */
static void one_that_could_not_be_replaced_at_once_is_replaced_later(void **state)
{
	struct rlimit limit, low;
	int lowest = dup(0);

	(void)state;
	close(lowest);
	await_two();
	getrlimit(RLIMIT_NOFILE, &limit);
	low = (struct rlimit){(rlim_t)lowest, limit.rlim_max};
	ended = doorman.seats[1].pid;
	setrlimit(RLIMIT_NOFILE, &low);
	kill(ended, SIGKILL);
	while (!doorman.lacks_reserve) {
		loop.stop = false;
		xb_loop_at(&loop, &look, xb_now_ns() + 1000000u, stop_loop);
		xb_loop_run(&loop);
	}
	setrlimit(RLIMIT_NOFILE, &limit);
	await_two();
	assert_false(doorman.lacks_reserve);
}

static void an_order_outlives_the_doorman_that_was_at_it(void **state)
{
	struct xb_errand errand = attach_errand("up0", "up0");

	(void)state;
	await_two();
	kill(doorman.on_duty->pid, SIGSTOP);
	loop.stop = false;
	xb_doorman_give(&doorman, &errand, on_done);
	kill(doorman.on_duty->pid, SIGKILL);
	xb_loop_run(&loop);
	assert_int_equal(errand.outcome.code, 0);
	assert_int_not_equal(xb_attached_prog(if_nametoindex("up0")), 0);
	assert_int_equal(order_detach(), 0);
}

static void one_that_takes_too_long_costs_its_order_and_no_other(void **state)
{
	struct xb_errand late = attach_errand("up0", "up0");
	struct xb_errand next = {.order = {.slot = 0}};

	(void)state;
	await_two();
	kill(doorman.on_duty->pid, SIGSTOP);
	xb_doorman_hurry(&doorman); /* so that it is not 30 s */
	loop.stop = false;
	xb_doorman_give(&doorman, &late, on_done);
	xb_doorman_give(&doorman, &next, on_done);
	xb_loop_run(&loop);
	assert_int_equal(late.outcome.code, -ETIMEDOUT);
	while (next.on_its_way) {
		loop.stop = false;
		xb_loop_run(&loop);
	}
	assert_int_equal(next.outcome.code, 0);
}

/* Nobody runs the loop, as when the control thread is busy, until both must be done. */
static void orders_are_carried_out_however_late_their_answers_are_read(void **state)
{
	struct xb_errand first = attach_errand("up0", "up0");
	struct xb_errand second = {.order = {.slot = 0}};
	uint32_t up0 = if_nametoindex("up0");

	(void)state;
	await_two();
	xb_doorman_give(&doorman, &first, on_done);
	SANDBOX_AWAIT(xb_attached_prog(up0));
	xb_doorman_give(&doorman, &second, on_done);
	SANDBOX_AWAIT(!xb_attached_prog(up0));
	while (second.on_its_way) {
		loop.stop = false;
		xb_loop_run(&loop);
	}
	assert_int_equal(first.outcome.code, 0);
	assert_int_equal(second.outcome.code, 0);
}

/* The time is up, and the answer has been there for long. */
static void an_answer_that_has_come_in_time_counts(void **state)
{
	struct xb_errand errand = {.order = {.slot = 0}};
	pid_t pid;

	(void)state;
	await_two();
	pid = doorman.on_duty->pid;
	xb_doorman_give(&doorman, &errand, on_done);
	SANDBOX_AWAIT(xb_doorman_has_answered(&doorman));
	doorman.limit.at_ns = 1; /* long ago */
	loop.stop = false;
	xb_loop_run(&loop);
	assert_int_equal(errand.outcome.code, 0);
	assert_int_equal(doorman.on_duty->pid, pid);
}

static void without_any_doorman_orders_fail_and_say_why(void **state)
{
	(void)state;
	await_two();
	kill(doorman.seats[0].pid, SIGSTOP);
	kill(doorman.seats[1].pid, SIGKILL);
	kill(doorman.seats[0].pid, SIGKILL);
	assert_int_equal(order_attach("up0", "up0"), -EPIPE);
	assert_int_equal(order_attach("up0", "up0"), -EPIPE);
}

#define test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(only_uplinks_get_programs_whatever_they_are_called),
		test(whichever_of_the_two_ends_is_replaced_again_and_again),
		test(one_that_could_not_be_replaced_at_once_is_replaced_later),
		test(an_order_outlives_the_doorman_that_was_at_it),
		test(one_that_takes_too_long_costs_its_order_and_no_other),
		test(orders_are_carried_out_however_late_their_answers_are_read),
		test(an_answer_that_has_come_in_time_counts),
		test(without_any_doorman_orders_fail_and_say_why),
	};

	sandbox_enter();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
