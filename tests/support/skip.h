/* SPDX-License-Identifier: BSD-2-Clause */
/* To skip a cmocka case, with the reason, which tools/test repeats. Include behind cmocka.h. */
#ifndef XB_TESTS_SKIP_H
#define XB_TESTS_SKIP_H

#define skip_because(reason)                                      \
	do {                                                      \
		print_message("SKIP %s: %s\n", __func__, reason); \
		skip();                                           \
	} while (0)

#endif
