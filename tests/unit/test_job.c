/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The control thread's loop and jobs: times come in their order, a job's states follow each other
 * while descriptors are served, and a deadline is kept.
 */
#include "daemon/job.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

#define MS 1000000ull

static struct xb_loop loop;
static char said[64];

static void say(char letter)
{
	said[strlen(said)] = letter;
}

static int setup(void **state)
{
	(void)state;
	memset(said, 0, sizeof(said));
	return xb_loop_init(&loop, NULL);
}

static int teardown(void **state)
{
	(void)state;
	assert_null(loop.timers);
	xb_loop_fini(&loop);
	return 0;
}

/* ---- times ---- */

static struct xb_timer a, b, c, stop;

static void on_a(struct xb_timer *timer)
{
	(void)timer;
	say('a');
}

static void on_b(struct xb_timer *timer)
{
	(void)timer;
	say('b');
	xb_loop_forget(&loop, &c);
}

static void on_stop(struct xb_timer *timer)
{
	(void)timer;
	loop.stop = true;
}

static void timers_come_in_their_order_and_one_may_take_another_back(void **state)
{
	uint64_t now_ns = xb_now_ns();

	(void)state;
	xb_loop_at(&loop, &c, now_ns + 4 * MS, on_a);
	xb_loop_at(&loop, &stop, now_ns + 8 * MS, on_stop);
	xb_loop_at(&loop, &b, now_ns + 2 * MS, on_b);
	xb_loop_at(&loop, &a, now_ns + 6 * MS, on_a);
	xb_loop_at(&loop, &a, now_ns + 1 * MS, on_a); /* set anew */
	assert_int_equal(xb_loop_run(&loop), 0);
	assert_string_equal(said, "ab");
	assert_true(xb_now_ns() >= now_ns + 8 * MS);
	assert_int_equal(a.at_ns, 0);
}

static void on_again(struct xb_timer *timer)
{
	say('t');
	xb_loop_at(&loop, timer, xb_now_ns(), on_again);
}

static void on_event(struct xb_watch *watch, uint32_t events)
{
	(void)events;
	say('e');
	xb_loop_drain(watch->fd);
	loop.stop = true;
}

static void a_timer_that_is_always_due_does_not_starve_descriptors(void **state)
{
	int fd = eventfd(1, EFD_NONBLOCK | EFD_CLOEXEC);
	struct xb_watch watch;

	(void)state;
	assert_int_equal(xb_loop_add(&loop, &watch, fd, EPOLLIN, on_event), 0);
	xb_loop_at(&loop, &a, xb_now_ns(), on_again);
	xb_loop_run(&loop);
	assert_string_equal(said, "te");
	xb_loop_forget(&loop, &a);
	close(fd);
}

/* ---- jobs ---- */

static struct xb_job job;
static unsigned looks;

static void state_last(struct xb_job *it)
{
	say('l');
	assert_string_equal(it->doing, "ending");
	xb_job_rest(it);
	loop.stop = true;
}

static void state_second(struct xb_job *it)
{
	say('2');
	if (++looks < 3)
		xb_job_again(it);
	else
		xb_job_enter(it, &loop, "ending", XB_JOB_NO_LIMIT, state_last);
}

static void state_first(struct xb_job *it)
{
	say('1');
	xb_job_enter(it, &loop, "looking", 10000, state_second);
}

static void a_job_goes_from_state_to_state_until_it_rests(void **state)
{
	(void)state;
	looks = 0;
	assert_false(xb_job_is_busy(&job));
	xb_job_enter(&job, &loop, "beginning", 10000, state_first);
	assert_string_equal(said, ""); /* the loop calls it */
	assert_true(xb_job_is_busy(&job));
	xb_loop_run(&loop);
	assert_string_equal(said, "1222l");
	assert_false(xb_job_is_busy(&job));
	assert_null(job.doing);
}

static void state_waits(struct xb_job *it)
{
	say(xb_job_is_late(it) ? 'L' : 'w');
	if (!xb_job_is_late(it))
		return; /* for a poke, or the deadline */
	xb_job_rest(it);
	loop.stop = true;
}

static void a_state_that_waits_is_called_at_its_deadline(void **state)
{
	uint64_t now_ns = xb_now_ns();

	(void)state;
	xb_job_enter(&job, &loop, "waiting", 20, state_waits);
	xb_loop_run(&loop);
	assert_string_equal(said, "wL");
	assert_true(xb_now_ns() >= now_ns + 20 * MS);
}

static void on_poke(struct xb_timer *timer)
{
	(void)timer;
	say('p');
	xb_job_poke(&job);
}

static void a_poke_calls_it_before(void **state)
{
	(void)state;
	xb_job_enter(&job, &loop, "waiting", 50, state_waits);
	xb_loop_at(&loop, &a, xb_now_ns() + 5 * MS, on_poke);
	xb_loop_run(&loop);
	assert_string_equal(said, "wpwL");
}

static void state_looks(struct xb_job *it)
{
	looks++;
	if (xb_job_is_late(it)) {
		xb_job_rest(it);
		loop.stop = true;
	} else {
		xb_job_again(it);
	}
}

static void one_that_looks_again_and_again_does_so_ever_less_and_once_at_its_deadline(void **state)
{
	uint64_t now_ns = xb_now_ns();

	(void)state;
	looks = 0;
	xb_job_enter(&job, &loop, "looking", 100, state_looks);
	xb_loop_run(&loop);
	assert_true(looks >= 2 && looks <= 11); /* after 0, 1, 3, 7, 15, 31, 47 … 95 and 100 ms */
	assert_true(xb_now_ns() >= now_ns + 100 * MS);
}

static void a_job_that_was_called_off_is_not_called(void **state)
{
	(void)state;
	xb_job_enter(&job, &loop, "beginning", 10000, state_first);
	xb_job_rest(&job);
	xb_job_poke(&job);
	xb_loop_at(&loop, &stop, xb_now_ns() + 3 * MS, on_stop);
	xb_loop_run(&loop);
	assert_string_equal(said, "");
}

#define test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(timers_come_in_their_order_and_one_may_take_another_back),
		test(a_timer_that_is_always_due_does_not_starve_descriptors),
		test(a_job_goes_from_state_to_state_until_it_rests),
		test(a_state_that_waits_is_called_at_its_deadline),
		test(a_poke_calls_it_before),
		test(one_that_looks_again_and_again_does_so_ever_less_and_once_at_its_deadline),
		test(a_job_that_was_called_off_is_not_called),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
