/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Any bytes as a configuration file: refused with a reason, or a configuration whose values lie in
 * their bounds.
 */
#include "daemon/config.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct xb_config config;
	struct xb_error err = {0};
	char path[64];
	char *argv[] = {"--config", path};
	int fd = memfd_create("config", MFD_CLOEXEC);

	if (fd < 0 || write(fd, data, size) != (ssize_t)size)
		abort();
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (xb_config_parse(&config, 2, argv, -1, &err) < 0) {
		if (!err.what[0])
			abort();
	} else if (config.n_uplinks > XB_UPLINKS_MAX || !config.name[0]) {
		abort();
	}
	xb_config_fini(&config);
	close(fd);
	return 0;
}
