/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What is waited with before an image is written, where membarrier(2) is refused.
 */
#include "daemon/gate_views.h"
#include "gate/pins.h"
#include "sandbox.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* From here on membarrier(2) is refused, as on a host with nohz_full. */
static bool deny_membarrier(void)
{
	struct sock_filter rules[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_membarrier, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EINVAL),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog filter = {.len = sizeof(rules) / sizeof(rules[0]), .filter = rules};

	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
	       prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0;
}

/* What the child does: its exit status, 0 where all is well. */
static int change_rules_without_membarrier(struct xb_image *image)
{
	struct xb_image_store store;
	struct xb_steer_maps maps;
	struct xb_gate gate;
	uint32_t before;

	if (!deny_membarrier())
		return 1;
	if (xb_gate_open(&gate, "grace", NULL) < 0)
		return 2;
	if (gate.grace.outer_fd < 0)
		return 3;
	maps = xb_gate_maps(&gate);
	if (xb_image_store_init(&store, &maps) < 0)
		return 6;
	before = xb_gate_in_force(&gate).generation;
	for (unsigned i = 0; i < 3; i++)
		if (xb_image_store_flip(&store, image, XB_VERDICT_PASS, NULL) < 0)
			return 4;
	if (xb_gate_in_force(&gate).generation != before + 3)
		return 5;
	xb_image_store_fini(&store);
	xb_gate_close(&gate);
	return 0;
}

static void rules_change_where_membarrier_is_refused(void **state)
{
	struct xb_image *image = calloc(1, sizeof(*image));
	int status;
	pid_t child;

	(void)state;
	assert_non_null(image);
	image->head.bytes = sizeof(image->head);
	child = fork();
	if (child == 0)
		_exit(change_rules_without_membarrier(image));
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	free(image);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rules_change_where_membarrier_is_refused),
	};

	sandbox_enter();
	return cmocka_run_group_tests_name("grace", tests, NULL, NULL);
}
