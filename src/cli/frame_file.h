/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Reading Ethernet frames from a capture file, pcap or pcapng: libpcap, whose own bpf.h can't stand
 * beside the kernel's.
 */
#ifndef XB_CLI_FRAME_FILE_H
#define XB_CLI_FRAME_FILE_H

#include "core/error.h"

#include <stdint.h>

struct xb_frame_file;

/** Opens a file; "-" is standard input. Returns 0, or -EINVAL where it is none of Ethernet frames
 * or can't be read. */
int xb_frame_file_open(const char *path, struct xb_frame_file **ret_file, struct xb_error *err);
void xb_frame_file_close(struct xb_frame_file *file);

/** A frame of `bytes` bytes, of which the file holds `n`. */
struct xb_filed_frame {
	const uint8_t *data; /* until the next one is read */
	uint32_t n, bytes;
};

/** Reads the next frame. Returns 1, 0 at the end, or -EINVAL where the file is damaged. */
int xb_frame_file_next(struct xb_frame_file *file, struct xb_filed_frame *ret_frame,
		       struct xb_error *err);

#endif
