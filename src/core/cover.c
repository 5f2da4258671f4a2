/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/cover.h"

#include "core/sum.h"

#include <endian.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/mpls.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <string.h>

#define TCP_CHECK offsetof(struct tcphdr, check)
#define UDP_CHECK offsetof(struct udphdr, check)
/* RFC 9260, 3.1: the kernel exports no SCTP header to userspace */
#define SCTP_CHECK     8u
#define SCTP_HDR_BYTES 12u

/* RFC 2784, RFC 2890 */
#define GRE_CHECK      4u
#define GRE_HDR_BYTES  4u
#define GRE_WORD_BYTES 4u /* each of: checksum, key, sequence number */
#define GRE_CSUM_BIT   0x8000u
#define GRE_KEY_BIT    0x2000u
#define GRE_SEQ_BIT    0x1000u

/* RFC 7348; GPE: draft-ietf-nvo3-vxlan-gpe */
#define VXLAN_HDR_BYTES  8u
#define VXLAN_PORT       4789u
#define VXLAN_PORT_LINUX 8472u /* the kernel's default */
#define VXLAN_GPE_PORT   4790u
#define VXLAN_HAS_VNI    0x08u
#define VXLAN_GPE_PROTO  0x04u
#define VXLAN_GPE_IPV4   1u
#define VXLAN_GPE_IPV6   2u
#define VXLAN_GPE_ETH    3u
#define VXLAN_REMOTE_CSUM                                                      \
	0x20u /* in the second byte: the receiver finishes the checksum within \
	       */

/* RFC 8926 */
#define GENEVE_PORT         6081u
#define GENEVE_HDR_BYTES    8u
#define GENEVE_VERSION      0xc0u
#define GENEVE_OPTION_WORDS 0x3fu
#define GENEVE_RESERVED     0x3fu

/* Where in the packet the next header is looked for. */
struct walk {
	const uint8_t *data;
	uint32_t len;  /* bytes of data */
	uint32_t at;   /* the next header */
	uint32_t end;  /* of the packet around it */
	uint16_t type; /* ethertype of what is there */
	bool exact; /* what is there must reach to `end`: nothing else says that it is a tunnel */
};

/* ---- the checksum of one transport header ---- */

static bool cover_udp(const uint8_t *data, uint32_t len, struct xb_cover *cover)
{
	struct udphdr udp;

	if (cover->len < sizeof(udp) || len < cover->l4.l4 + sizeof(udp))
		return false;
	memcpy(&udp, data + cover->l4.l4, sizeof(udp));
	if (!udp.check || be16toh(udp.len) < sizeof(udp) || be16toh(udp.len) > cover->len)
		return false;
	cover->check = UDP_CHECK;
	cover->len = be16toh(udp.len);
	return true;
}

/* False where there is nothing to compute, or the headers can't be believed. */
static bool cover_find(const uint8_t *data, uint32_t len, const struct xb_headers *l4,
		       struct xb_cover *cover)
{
	cover->l4 = *l4;
	cover->len = l4->end - l4->l4;
	switch (l4->proto) {
	case IPPROTO_TCP:
		cover->check = TCP_CHECK;
		return cover->len >= sizeof(struct tcphdr);
	case IPPROTO_SCTP:
		cover->check = SCTP_CHECK;
		return cover->len >= SCTP_HDR_BYTES;
	case IPPROTO_UDP:
		return cover_udp(data, len, cover);
	case IPPROTO_GRE:
		cover->check = GRE_CHECK;
		return cover->len >= GRE_HDR_BYTES + GRE_WORD_BYTES &&
		       len >= l4->l4 + GRE_HDR_BYTES + GRE_WORD_BYTES &&
		       (xb_get_be16(data + l4->l4) & ~(GRE_KEY_BIT | GRE_SEQ_BIT)) == GRE_CSUM_BIT;
	default:
		return false;
	}
}

uint64_t xb_cover_pseudo(const uint8_t *data, const struct xb_cover *cover)
{
	return cover->l4.proto == IPPROTO_GRE ? 0 : xb_l4_pseudo(data, &cover->l4, cover->len);
}

bool xb_cover_is_open(const uint8_t *data, uint32_t len, const struct xb_cover *cover)
{
	uint32_t at = cover->l4.l4 + cover->check;
	uint16_t field;

	if (cover->l4.proto == IPPROTO_SCTP)
		return len >= at + 4 && !xb_get_be32(data + at);
	if (len < at + sizeof(field))
		return false;
	memcpy(&field, data + at, sizeof(field));
	/* all ones and all zeroes are the same number */
	return field % UINT16_MAX == xb_csum_fold(xb_cover_pseudo(data, cover)) % UINT16_MAX;
}

/* ---- from a transport header to the packet within ---- */

static bool enter_gre(struct walk *walk, uint32_t at)
{
	uint16_t flags;

	if (walk->len < at + GRE_HDR_BYTES)
		return false;
	flags = xb_get_be16(walk->data + at);
	if (flags & ~(GRE_CSUM_BIT | GRE_KEY_BIT | GRE_SEQ_BIT))
		return false;
	walk->type = xb_get_be16(walk->data + at + 2);
	walk->at = at + GRE_HDR_BYTES;
	for (uint32_t bits = flags & (GRE_CSUM_BIT | GRE_KEY_BIT | GRE_SEQ_BIT); bits;
	     bits &= bits - 1)
		walk->at += GRE_WORD_BYTES;
	return true;
}

static bool enter_vxlan_gpe(struct walk *walk, uint8_t proto)
{
	switch (proto) {
	case VXLAN_GPE_IPV4:
		walk->type = ETH_P_IP;
		return true;
	case VXLAN_GPE_IPV6:
		walk->type = ETH_P_IPV6;
		return true;
	case VXLAN_GPE_ETH:
		walk->type = ETH_P_TEB;
		return true;
	default:
		return false;
	}
}

static bool enter_vxlan(struct walk *walk, uint32_t at)
{
	const uint8_t *vxlan = walk->data + at;

	if (!(vxlan[0] & VXLAN_HAS_VNI) || vxlan[1] & VXLAN_REMOTE_CSUM)
		return false;
	walk->at = at + VXLAN_HDR_BYTES;
	walk->type = ETH_P_TEB;
	return !(vxlan[0] & VXLAN_GPE_PROTO) || enter_vxlan_gpe(walk, vxlan[3]);
}

static bool enter_geneve(struct walk *walk, uint32_t at)
{
	const uint8_t *geneve = walk->data + at;

	if (geneve[0] & GENEVE_VERSION || geneve[1] & GENEVE_RESERVED || geneve[7])
		return false;
	walk->at = at + GENEVE_HDR_BYTES + (geneve[0] & GENEVE_OPTION_WORDS) * 4u;
	walk->type = xb_get_be16(geneve + 2);
	return true;
}

/* VXLAN and Geneve run on other ports too. There a header is taken for one of theirs if it has no
 * option and is followed by a packet of exactly the length that is left. */
static bool enter_udp(struct walk *walk, uint32_t at)
{
	static const uint8_t plain_vxlan[] = {VXLAN_HAS_VNI, 0, 0, 0};
	uint32_t within = at + (uint32_t)sizeof(struct udphdr);
	uint16_t bytes;

	if (walk->len < within + VXLAN_HDR_BYTES)
		return false;
	bytes = xb_get_be16(walk->data + at + offsetof(struct udphdr, len));
	if (bytes < sizeof(struct udphdr) || at + bytes > walk->end)
		return false;
	walk->end = at + bytes;
	switch (xb_get_be16(walk->data + at + offsetof(struct udphdr, dest))) {
	case VXLAN_PORT:
	case VXLAN_PORT_LINUX:
	case VXLAN_GPE_PORT:
		return enter_vxlan(walk, within);
	case GENEVE_PORT:
		return enter_geneve(walk, within);
	default:
		break;
	}
	walk->exact = true;
	if (!memcmp(walk->data + within, plain_vxlan, sizeof(plain_vxlan)) &&
	    !walk->data[within + 7])
		return enter_vxlan(walk, within);
	return enter_geneve(walk, within);
}

/* Goes on to what the transport header carries; false where that is no packet. */
static bool enter(struct walk *walk, const struct xb_headers *l4)
{
	walk->end = l4->end;
	walk->exact = false;
	walk->at = l4->l4;
	switch (l4->proto) {
	case IPPROTO_IPIP:
		walk->type = ETH_P_IP;
		return true;
	case IPPROTO_IPV6:
		walk->type = ETH_P_IPV6;
		return true;
	case IPPROTO_MPLS:
		walk->type = ETH_P_MPLS_UC;
		return true;
	case IPPROTO_GRE:
		return enter_gre(walk, l4->l4);
	case IPPROTO_UDP:
		return enter_udp(walk, l4->l4);
	default:
		return false;
	}
}

/* ---- from there to its transport header ---- */

/* Passes over labels to the IP packet after them. */
static bool pass_labels(struct walk *walk)
{
	for (unsigned n = 0; n < XB_MPLS_LABELS_MAX; n++) {
		uint32_t label;

		if (walk->len < walk->at + sizeof(label) + 1)
			return false;
		label = xb_get_be32(walk->data + walk->at);
		walk->at += (uint32_t)sizeof(label);
		if (!(label & MPLS_LS_S_MASK))
			continue;
		walk->type = walk->data[walk->at] >> 4 == 4 ? ETH_P_IP : ETH_P_IPV6;
		return true;
	}
	return false;
}

/* Whether what is there is a packet with a transport header that fits the packet around it. */
static bool is_whole(const struct walk *walk, const struct xb_headers *l4)
{
	if (xb_l4_found(l4) != XB_L4_FOUND || l4->end > walk->end || l4->end < l4->l4)
		return false;
	return !walk->exact || l4->end == walk->end;
}

static bool find_l4(struct walk *walk, struct xb_covers *covers, struct xb_headers *ret_l4)
{
	if (walk->type == ETH_P_TEB && !xb_l2_pass(walk->data, walk->len, &walk->at, &walk->type))
		return false;
	if (walk->type == ETH_P_MPLS_UC || walk->type == ETH_P_MPLS_MC) {
		if (!pass_labels(walk))
			return false;
		covers->tunnel = true;
	}
	xb_headers_find_l3(walk->data, walk->len, walk->at, walk->type, ret_l4);
	return is_whole(walk, ret_l4);
}

/* The outermost one's is known already, unless labels come first. */
static bool outer_l4(struct walk *walk, const struct xb_headers *outer, struct xb_covers *covers,
		     struct xb_headers *ret_l4)
{
	if (!outer->l3)
		return false;
	walk->at = outer->l3;
	walk->type = xb_get_be16(walk->data + outer->l3 - sizeof(walk->type));
	if (xb_l4_found(outer) == XB_L4_NOT_IP)
		return find_l4(walk, covers, ret_l4);
	*ret_l4 = *outer;
	return is_whole(walk, ret_l4);
}

void xb_covers_find(const uint8_t *data, uint32_t len, uint32_t packet_bytes,
		    const struct xb_headers *headers, struct xb_covers *ret_covers)
{
	struct walk walk = {.data = data, .len = len, .end = packet_bytes};
	struct xb_headers l4;
	bool found;

	ret_covers->n = 0;
	ret_covers->tunnel = false;
	found = outer_l4(&walk, headers, ret_covers, &l4);
	for (unsigned depth = 0; found; found = find_l4(&walk, ret_covers, &l4)) {
		if (depth || l4.proto == IPPROTO_GRE)
			ret_covers->tunnel = true;
		if (cover_find(data, len, &l4, &ret_covers->cover[ret_covers->n]))
			ret_covers->n++;
		if (++depth == XB_COVERS_MAX || !enter(&walk, &l4))
			break;
	}
}
