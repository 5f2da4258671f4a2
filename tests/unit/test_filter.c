/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The seccomp filters: what a kind of thread names it may do, and nothing else.
 */
#include "daemon/filter.h"

#include "support/must.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED true
#else
#define SANITIZED false
#endif

static const char *const kinds[] = {"worker", "control", "doorman", "reader", "deputy"};

/* Calls that do harm, and to whom they are left. Their arguments do nothing. */
static const struct attempt {
	const char *name;
	long number;
	bool left_to[XB_FILTER_KINDS];
	bool sanitizers; /* a sanitizer's runtime needs it */
} attempts[] = {
	{"execve", SYS_execve, {0}, false},
	{"execveat", SYS_execveat, {0}, false},
	{"mount", SYS_mount, {0}, false},
	{"pivot_root", SYS_pivot_root, {0}, false},
	{"init_module", SYS_init_module, {0}, false},
	{"setuid", SYS_setuid, {0}, false},
	{"unshare", SYS_unshare, {0}, false},
	{"process_vm_writev", SYS_process_vm_writev, {0}, true},
	{"open_by_handle_at", SYS_open_by_handle_at, {0}, false},
	{"ptrace", SYS_ptrace, {0}, true},
	{"setns", SYS_setns, {[XB_FILTER_CONTROL] = true}, false},
	{"bpf", SYS_bpf, {[XB_FILTER_CONTROL] = true, [XB_FILTER_DOORMAN] = true}, false},
	{"socket", SYS_socket, {[XB_FILTER_CONTROL] = true, [XB_FILTER_DOORMAN] = true}, false},
	{"ioctl",
	 SYS_ioctl,
	 {[XB_FILTER_CONTROL] = true, [XB_FILTER_DOORMAN] = true, [XB_FILTER_DEPUTY] = true},
	 false},
	{"openat",
	 SYS_openat,
	 {[XB_FILTER_CONTROL] = true, [XB_FILTER_DOORMAN] = true, [XB_FILTER_READER] = true},
	 true},
	{"mmap", SYS_mmap, {[XB_FILTER_CONTROL] = true, [XB_FILTER_DOORMAN] = true}, true},
	{"clone", SYS_clone, {[XB_FILTER_DOORMAN] = true}, true},
};

#define N_ATTEMPTS (sizeof(attempts) / sizeof(attempts[0]))

static bool is_forbidden(const struct attempt *attempt, enum xb_filter_kind kind)
{
	return !attempt->left_to[kind] && !(SANITIZED && attempt->sanitizers);
}

/* In a process of its own. Ends with the number of calls that did not fail as they should. */
static _Noreturn void try_all(enum xb_filter_kind kind, int told)
{
	long wrong = 0;

	MUST(dup2(told, STDERR_FILENO) == STDERR_FILENO);
	MUST(xb_filter_init(NULL) == 0);
	MUST(xb_filter_use(kind) == 0);
	for (size_t i = 0; i < 2 * N_ATTEMPTS; i++) { /* each twice */
		const struct attempt *attempt = &attempts[i % N_ATTEMPTS];

		if (!is_forbidden(attempt, kind))
			continue;
		wrong += syscall(attempt->number, -1l, 0l, 0l, 0l, 0l, 0l) != -1 || errno != ENOSYS;
	}
	for (;;)
		syscall(SYS_exit, wrong);
}

static void what_is_not_named_fails_and_is_told_once(void **state)
{
	(void)state;
	for (enum xb_filter_kind kind = 0; kind < XB_FILTER_KINDS; kind++) {
		char text[8192];
		size_t n = 0;
		ssize_t got;
		int told[2], status;
		pid_t pid;

		MUST(pipe(told) == 0);
		pid = fork();
		if (pid == 0)
			try_all(kind, told[1]);
		close(told[1]);
		while ((got = read(told[0], text + n, sizeof(text) - 1 - n)) > 0)
			n += (size_t)got;
		text[n] = '\0';
		close(told[0]);
		MUST(waitpid(pid, &status, 0) == pid);
		if (!WIFEXITED(status) || WEXITSTATUS(status))
			fail_msg("%s: status %#x: %s", kinds[kind], status, text);
		for (size_t i = 0; i < N_ATTEMPTS; i++) {
			char line[128];
			const char *found;

			if (!is_forbidden(&attempts[i], kind))
				continue;
			snprintf(line, sizeof(line), "filter: %s in a %s: it fails",
				 attempts[i].name, kinds[kind]);
			found = strstr(text, line);
			if (!found || strstr(found + 1, line))
				fail_msg("'%s' is not told, or twice, in: %s", line, text);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_not_named_fails_and_is_told_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
