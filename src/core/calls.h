/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The system calls that each kind of thread makes, named beside the code that makes them.
 *
 * What no file names is refused to that kind of thread (daemon/filter.h joins the names to a filter
 * for each). So a new call in code that a worker runs needs a line beside it:
 *
 *      XB_CALL(worker, readv);
 *
 * The kinds are worker, control (the main thread, from the moment it is ready), doorman, reader and
 * deputy. A name that the architecture doesn't have is passed over.
 */
#ifndef XB_CORE_CALLS_H
#define XB_CORE_CALLS_H

#define XB_CALL_JOIN_(name, line) name##line
#define XB_CALL_JOIN(name, line)  XB_CALL_JOIN_(name, line)

/* The linker puts the names, "worker readv", into one array. */
#define XB_CALL(kind, name)                                                         \
	static const char *const XB_CALL_JOIN(call_of_##kind##_##name##_, __LINE__) \
		__attribute__((used, section("xb_calls"))) = #kind " " #name

#endif
