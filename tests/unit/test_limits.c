/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Which limit a failure is blamed on: one that is reached, and no other.
 */
#include "daemon/limits.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define SOMEBODY 64321 /* a user who has no other process */

/* What is said of a failure where this user may have so many processes and threads. */
static void explain(struct xb_error *err, int code, rlim_t most)
{
	struct rlimit limit;

	getrlimit(RLIMIT_NPROC, &limit);
	limit.rlim_cur = most;
	assert_int_equal(setrlimit(RLIMIT_NPROC, &limit), 0);
	xb_fail(err, code, "start a thread");
	xb_limits_explain(err);
}

/* Most hosts have such a limit for each user, and most lack of memory has nothing to do with it. */
static void a_users_limit_that_is_far_is_not_blamed(void **state)
{
	struct xb_error err;

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		explain(&err, i ? -EAGAIN : -ENOMEM, 60000);
		assert_string_equal(err.hint, "");
	}
}

static void a_users_limit_that_is_reached_is_named(void **state)
{
	struct xb_error err;
	int status;
	pid_t pid;

	(void)state;
	if (geteuid() != 0)
		skip();
	pid = fork();
	if (!pid) {
		if (setgid(SOMEBODY) || setuid(SOMEBODY))
			_exit(1);
		explain(&err, -EAGAIN, 1);
		_exit(!strstr(err.hint, "1 processes and threads") ||
		      !strstr(err.hint, "ulimit -u"));
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static void a_failure_of_another_kind_is_blamed_on_no_limit(void **state)
{
	struct xb_error err;

	(void)state;
	explain(&err, -EPERM, 1);
	assert_string_equal(err.hint, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_users_limit_that_is_far_is_not_blamed),
		cmocka_unit_test(a_users_limit_that_is_reached_is_named),
		cmocka_unit_test(a_failure_of_another_kind_is_blamed_on_no_limit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
