/* SPDX-License-Identifier: BSD-2-Clause */
#include "gate/hear.h"

#include <bpf/libbpf.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <xdp/libxdp.h>

#define WORDS_BYTES 160

/* With what libbpf begins when it passes on what the kernel says. */
#define KERNEL "libbpf: Kernel error message: "

static char libbpf[WORDS_BYTES], libxdp[WORDS_BYTES], kernel[WORDS_BYTES];

static void keep(char *words, const char *fmt, va_list args)
{
	if (words[0])
		return;
	vsnprintf(words, WORDS_BYTES, fmt, args);
	words[strcspn(words, "\n")] = '\0';
}

static int hear_libbpf(enum libbpf_print_level level, const char *fmt, va_list args)
{
	char *words = strncmp(fmt, KERNEL, strlen(KERNEL)) ? libbpf : kernel;

	if (level != LIBBPF_WARN)
		return 0;
	keep(words, fmt, args);
	return 0;
}

static int hear_libxdp(enum libxdp_print_level level, const char *fmt, va_list args)
{
	if (level == LIBXDP_WARN)
		keep(libxdp, fmt, args);
	return 0;
}

void xb_hear(void)
{
	libbpf[0] = libxdp[0] = kernel[0] = '\0';
	libbpf_set_print(hear_libbpf);
	libxdp_set_print(hear_libxdp);
}

const char *xb_heard_libbpf(void)
{
	return libbpf;
}

const char *xb_heard_libxdp(void)
{
	return libxdp;
}

const char *xb_heard_kernel(void)
{
	return kernel[0] ? kernel + strlen(KERNEL) : "";
}
