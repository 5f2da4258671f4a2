/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Memory that other processes map, too. One that has its descriptor could shrink it, and the next
 * access beyond its end would be a SIGBUS here; or it could write what only we write. Seals forbid
 * both, to every holder of a descriptor and for good.
 */
#ifndef XB_CORE_MEMFD_H
#define XB_CORE_MEMFD_H

#include <stddef.h>

/**
 * Makes `bytes` of shared memory that no process can shrink or grow.
 *
 * @name:  shown in /proc/PID/maps.
 * @flags: MFD_HUGETLB or 0.
 *
 * Returns a descriptor, which is the caller's and closes on exec, or what memfd_create(2),
 * ftruncate(2) and fcntl(2) say.
 */
int xb_memfd_make(const char *name, size_t bytes, unsigned flags);

/** Forbids writing the memory, except through existing mappings, and further seals. Returns 0 or
 * what fcntl(2) says. */
int xb_memfd_seal_writes(int fd);

#endif
