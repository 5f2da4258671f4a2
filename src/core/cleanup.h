/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Ownership that one function shows: a local marked with one of these gives back what it holds when
 * the scope ends, and XB_TAKE_FD / XB_TAKE_PTR hands it on at the moment of success.
 */
#ifndef XB_CORE_CLEANUP_H
#define XB_CORE_CLEANUP_H

#include <dirent.h>
#include <stdlib.h>
#include <unistd.h>

static inline void xb_cleanup_close(const int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

static inline void xb_cleanup_free(void *ptr)
{
	free(*(void **)ptr);
}

static inline void xb_cleanup_dir(DIR **dir)
{
	if (*dir)
		closedir(*dir);
}

/** A descriptor; it starts at -1. */
#define xb_auto_fd __attribute__((cleanup(xb_cleanup_close)))
/** Heap memory; it starts at NULL. */
#define xb_auto_free __attribute__((cleanup(xb_cleanup_free)))
/** An open folder, or NULL. */
#define xb_auto_dir __attribute__((cleanup(xb_cleanup_dir)))

#define XB_TAKE_FD(fd)             \
	__extension__({            \
		int taken_ = (fd); \
		(fd) = -1;         \
		taken_;            \
	})

#define XB_TAKE_PTR(ptr)                        \
	__extension__({                         \
		__typeof__(ptr) taken_ = (ptr); \
		(ptr) = NULL;                   \
		taken_;                         \
	})

#endif
