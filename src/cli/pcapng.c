/* SPDX-License-Identifier: BSD-2-Clause */
#include "cli/pcapng.h"

#include <string.h>

/* Blocks: type, length, body, length again; all in this machine's order, which the section tells.
 */
#define BLOCK_SECTION    0x0a0d0d0au
#define BLOCK_INTERFACE  1u
#define BLOCK_STATISTICS 5u
#define BLOCK_PACKET     6u
#define BLOCK_FRAME      12u /* bytes of type and lengths */

#define END_BYTES 4u /* of the last option */

#define BYTE_ORDER_MAGIC  0x1a2b3c4du
#define LINKTYPE_ETHERNET 1u
#define FLAG_IN           1u
#define FLAG_OUT          2u

enum option {
	OPT_END,
	OPT_COMMENT,
	OPT_EPB_FLAGS = 2,
	OPT_IF_NAME = 2,
	OPT_SHB_USERAPPL = 4,
	OPT_ISB_IFDROP = 5,
	OPT_EPB_QUEUE = 6,
	OPT_IF_TSRESOL = 9,
};

static uint32_t padded(uint32_t bytes)
{
	return (bytes + 3) & ~3u;
}

static uint32_t option_bytes(uint32_t bytes)
{
	return 4 + padded(bytes);
}

static void put(FILE *out, const void *data, uint32_t bytes)
{
	static const uint8_t zeros[4];

	fwrite(data, 1, bytes, out);
	fwrite(zeros, 1, padded(bytes) - bytes, out);
}

static void put_u32(FILE *out, uint32_t value)
{
	put(out, &value, sizeof(value));
}

static void put_option(FILE *out, enum option code, const void *data, uint32_t bytes)
{
	const uint16_t head[2] = {(uint16_t)code, (uint16_t)bytes};

	put(out, head, sizeof(head));
	put(out, data, bytes);
}

static uint32_t put_head(FILE *out, uint32_t type, uint32_t body_bytes)
{
	uint32_t bytes = BLOCK_FRAME + body_bytes;

	put_u32(out, type);
	put_u32(out, bytes);
	return bytes;
}

static void put_time(FILE *out, uint64_t time_ns)
{
	put_u32(out, (uint32_t)(time_ns >> 32));
	put_u32(out, (uint32_t)time_ns);
}

void xb_pcapng_start(FILE *out, const char *application)
{
	static const uint16_t version[2] = {1, 0};
	static const uint64_t unknown_length = UINT64_MAX;
	uint32_t name_bytes = (uint32_t)strlen(application);
	uint32_t bytes = put_head(out, BLOCK_SECTION,
				  4 + 4 + 8 + option_bytes(name_bytes) + END_BYTES);

	put_u32(out, BYTE_ORDER_MAGIC);
	put(out, version, sizeof(version));
	put(out, &unknown_length, sizeof(unknown_length));
	put_option(out, OPT_SHB_USERAPPL, application, name_bytes);
	put_u32(out, OPT_END);
	put_u32(out, bytes);
}

void xb_pcapng_interface(FILE *out, const char *name, uint32_t snap)
{
	static const uint16_t link[2] = {LINKTYPE_ETHERNET, 0};
	static const uint8_t nanoseconds = 9;
	uint32_t name_bytes = (uint32_t)strlen(name);
	uint32_t bytes = put_head(out, BLOCK_INTERFACE,
				  4 + 4 + option_bytes(name_bytes) + option_bytes(1) + END_BYTES);

	put(out, link, sizeof(link));
	put_u32(out, snap);
	put_option(out, OPT_IF_NAME, name, name_bytes);
	put_option(out, OPT_IF_TSRESOL, &nanoseconds, 1);
	put_u32(out, OPT_END);
	put_u32(out, bytes);
}

void xb_pcapng_packet(FILE *out, const struct xb_pcapng_packet *packet)
{
	uint32_t flags = packet->out ? FLAG_OUT : FLAG_IN;
	uint32_t comment_bytes = (uint32_t)strlen(packet->comment);
	uint32_t bytes = put_head(out, BLOCK_PACKET,
				  4 + 8 + 4 + 4 + padded(packet->n) + option_bytes(comment_bytes) +
					  2 * option_bytes(4) + END_BYTES);

	put_u32(out, packet->interface);
	put_time(out, packet->time_ns);
	put_u32(out, packet->n);
	put_u32(out, packet->bytes);
	put(out, packet->data, packet->n);
	put_option(out, OPT_COMMENT, packet->comment, comment_bytes);
	put_option(out, OPT_EPB_FLAGS, &flags, sizeof(flags));
	put_option(out, OPT_EPB_QUEUE, &packet->queue, sizeof(packet->queue));
	put_u32(out, OPT_END);
	put_u32(out, bytes);
}

void xb_pcapng_lost(FILE *out, uint32_t interface, uint64_t time_ns, uint64_t lost)
{
	uint32_t bytes = put_head(out, BLOCK_STATISTICS, 4 + 8 + option_bytes(8) + END_BYTES);

	put_u32(out, interface);
	put_time(out, time_ns);
	put_option(out, OPT_ISB_IFDROP, &lost, sizeof(lost));
	put_u32(out, OPT_END);
	put_u32(out, bytes);
}
