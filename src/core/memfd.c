/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/memfd.h"

#include "core/calls.h"
#include "core/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>

XB_CALL(control, ftruncate);
XB_CALL(control, memfd_create);

int xb_memfd_make(const char *name, size_t bytes, unsigned flags)
{
	xb_auto_fd int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | flags);

	if (fd < 0 || ftruncate(fd, (off_t)bytes) < 0 ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) < 0)
		return -errno;
	return XB_TAKE_FD(fd);
}

int xb_memfd_seal_writes(int fd)
{
	return fcntl(fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE | F_SEAL_SEAL) < 0 ? -errno : 0;
}
