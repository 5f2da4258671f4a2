/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Any virtio-net header before any packet: refused with nothing changed, or what it is taken to say
 * lies within the packet, and a header that is written from it says the same.
 *
 * Input: the header, a byte, then the packet: as it is, or laid over a well-formed one.
 */
#include "virtio/net_hdr.h"

#include "core/checksum.h"

#include "../unit/packet_ref.h"

#include <errno.h>

#define FRAMES 256u

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct ref_arena ra;
static uint8_t bytes[REF_BYTES_MAX], got[REF_BYTES_MAX];

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc, (void)argv;
	ref_arena_init(&ra, FRAMES);
	return 0;
}

/* Makes a header that fits the packet, but for what the input has it say of sizes. */
static void aim(struct virtio_net_hdr_v1 *hdr, const struct ref_place *at, uint8_t kind)
{
	bool v6 = kind & 2;

	hdr->flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
	hdr->csum_start = (uint16_t)at->l4;
	hdr->csum_offset = (uint16_t)(at->check - at->l4);
	hdr->gso_type &= VIRTIO_NET_HDR_GSO_ECN;
	hdr->gso_type |= at->proto == IPPROTO_UDP ? VIRTIO_NET_HDR_GSO_UDP_L4
			 : v6                     ? VIRTIO_NET_HDR_GSO_TCPV6
						  : VIRTIO_NET_HDR_GSO_TCPV4;
}

static uint32_t make_bytes(uint8_t kind, const uint8_t *data, size_t size,
			   struct virtio_net_hdr_v1 *hdr)
{
	struct ref_spec spec = {
		.v6 = kind & 2,
		.tags = kind >> 2 & 1,
		.proto = kind & 8 ? IPPROTO_UDP : IPPROTO_TCP,
		.payload = (uint32_t)size * 16,
	};
	struct ref_place at;
	uint32_t len;

	if (kind & 1) {
		memcpy(bytes, data, size);
		return (uint32_t)size;
	}
	len = ref_build(&spec, bytes, &at);
	if (kind & 16)
		aim(hdr, &at, kind);
	for (; size >= 2; size -= 2, data += 2)
		if (data[0] < len)
			bytes[data[0]] = data[1];
	return len;
}

/* What was accepted. */
static void check(const struct xb_frame *pkt, uint32_t changed)
{
	const struct xb_offload *o = &pkt->offload;

	REF_CHECK(o->csum <= XB_CSUM_TRUSTED && o->gso <= XB_GSO_UDP_L4);
	if (o->csum == XB_CSUM_PARTIAL) {
		REF_CHECK(!changed);
		REF_CHECK((uint32_t)o->csum_start + o->csum_offset + 2 <= pkt->bytes);
	}
	REF_CHECK(changed <= 2); /* a checksum that was finished at once */
	if (o->gso == XB_GSO_NONE)
		return;
	REF_CHECK(o->csum == XB_CSUM_PARTIAL && o->gso_size);
	REF_CHECK(o->hdr_bytes > o->csum_start &&
		  pkt->bytes > (uint32_t)o->hdr_bytes + o->gso_size);
}

static void read_again(struct xb_frame *pkt)
{
	const struct xb_offload said = pkt->offload;
	struct virtio_net_hdr_v1 hdr;

	xb_net_hdr_write(pkt, &hdr);
	REF_CHECK(xb_net_hdr_read(&hdr, pkt) == 0);
	REF_CHECK(said.csum == pkt->offload.csum && said.csum_start == pkt->offload.csum_start &&
		  said.csum_offset == pkt->offload.csum_offset);
	REF_CHECK(said.gso == pkt->offload.gso && said.gso_size == pkt->offload.gso_size &&
		  said.ecn == pkt->offload.ecn && said.hdr_bytes == pkt->offload.hdr_bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct xb_offload before = {.csum = XB_CSUM_TRUSTED, .csum_start = 77};
	struct virtio_net_hdr_v1 hdr;
	struct xb_frame *pkt;
	uint32_t len, changed = 0;
	int ret;

	if (size < sizeof(hdr) + 2)
		return 0;
	memcpy(&hdr, data, sizeof(hdr));
	len = make_bytes(data[sizeof(hdr)], data + sizeof(hdr) + 1,
			 size - sizeof(hdr) - 1 < 3000 ? size - sizeof(hdr) - 1 : 3000, &hdr);
	ref_state = 1;
	pkt = ref_packet(&ra, bytes, len, data[size - 1] & 1 ? 64 : 0, len / 40 + 60);
	pkt->offload = before;
	ref_fence(pkt);
	ret = xb_net_hdr_read(&hdr, pkt);
	REF_CHECK(ref_bytes(pkt, got) == len);
	for (uint32_t i = 0; i < len; i++)
		changed += got[i] != bytes[i];
	if (ret < 0) {
		REF_CHECK(ret == -EINVAL && !changed);
		REF_CHECK(!memcmp(&before, &pkt->offload, sizeof(before)));
	} else {
		check(pkt, changed);
		read_again(pkt);
	}
	ref_unfence(&ra);
	xb_packet_free(&ra.cache, pkt);
	REF_CHECK(ref_arena_used(&ra) == 0);
	return 0;
}
