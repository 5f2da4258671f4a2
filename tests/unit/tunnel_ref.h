/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Packets in tunnels, built byte by byte from the inside out, as the kernel builds them: each outer
 * checksum is that of what the inner ones are once they are finished. It remembers where every
 * checksum stands.
 */
#ifndef XB_TESTS_TUNNEL_REF_H
#define XB_TESTS_TUNNEL_REF_H

#include "packet_ref.h"

#define REF_TUNNEL_ROOM 1024u /* for headers in front of the innermost packet */
#define REF_SUMS_MAX    8u

enum ref_tunnel {
	REF_IP_IN_IP, /* IPIP, SIT, ip6tnl */
	REF_GRE,
	REF_GRETAP,
	REF_MPLS, /* labels alone, for Ethernet */
	REF_MPLS_IN_IP,
	REF_MPLS_IN_GRE,
	REF_VXLAN,
	REF_VXLAN_GPE,
	REF_GENEVE,
	REF_GENEVE_IP,
	REF_TUNNELS
};

enum ref_holds { REF_HOLDS_IP, REF_HOLDS_ETH, REF_HOLDS_MPLS };

struct ref_sum_place {
	uint32_t ip, l4, end, check;
	unsigned proto; /* IPPROTO_GRE: no pseudo header */
};

struct ref_nest {
	uint8_t bytes[REF_TUNNEL_ROOM + 4096];
	uint32_t start, end; /* the packet lies in bytes[start..end) */
	enum ref_holds holds;
	bool v6;    /* the outermost IP header */
	unsigned n; /* innermost first */
	struct ref_sum_place sums[REF_SUMS_MAX];
};

/* How one tunnel is to look. */
struct ref_wrap {
	enum ref_tunnel kind;
	bool v6;            /* the IP header around it */
	bool no_sum;        /* UDP without checksum, GRE without */
	bool key, sequence; /* GRE */
	uint8_t words;      /* of Geneve options */
	uint8_t labels;     /* MPLS, at least 1 */
	uint16_t port;      /* UDP; 0: the usual one */
};

static inline uint8_t *ref_push(struct ref_nest *nest, uint32_t n)
{
	REF_CHECK(nest->start >= n);
	nest->start -= n;
	memset(nest->bytes + nest->start, 0, n);
	return nest->bytes + nest->start;
}

static inline void ref_push_eth(struct ref_nest *nest, unsigned tags)
{
	unsigned type = nest->holds == REF_HOLDS_MPLS ? ETH_P_MPLS_UC
			: nest->v6                    ? ETH_P_IPV6
						      : ETH_P_IP;
	uint8_t *p = ref_push(nest, 14 + 4 * tags);

	memcpy(p, "\2\0\0\0\0\7\2\0\0\0\0\x8", 12);
	for (unsigned i = 0; i < tags; i++) {
		ref_put16(p + 12 + 4 * i, i ? ETH_P_8021Q : ETH_P_8021AD);
		ref_put16(p + 14 + 4 * i, 5 + i);
	}
	ref_put16(p + 12 + 4 * tags, type);
	nest->holds = REF_HOLDS_ETH;
}

static inline void ref_push_ip(struct ref_nest *nest, bool v6, unsigned proto)
{
	uint32_t inner = nest->end - nest->start;
	uint8_t *p = ref_push(nest, v6 ? 40 : 20);

	if (v6) {
		p[0] = 0x60;
		ref_put16(p + 4, inner);
		p[6] = (uint8_t)proto;
		p[7] = 64;
		for (unsigned i = 8; i < 40; i++)
			p[i] = (uint8_t)(i * 3 + nest->start);
	} else {
		p[0] = 0x45;
		ref_put16(p + 2, inner + 20);
		p[8] = 64;
		p[9] = (uint8_t)proto;
		ref_put32(p + 12, 0x0a000001u + nest->start);
		ref_put32(p + 16, 0x0a000201u + nest->start);
		ref_put16(p + 10, 65535u - ref_sum(0, p, 20));
	}
	nest->v6 = v6;
	nest->holds = REF_HOLDS_IP;
}

static inline void ref_push_labels(struct ref_nest *nest, unsigned n)
{
	uint8_t *p = ref_push(nest, 4 * n);

	for (unsigned i = 0; i < n; i++)
		ref_put32(p + 4 * i, (100 + i) << 12 | (i + 1 == n ? 0x100u : 0) | 64);
	nest->holds = REF_HOLDS_MPLS;
}

/* Remembers a checksum; `start` is where it begins to count. The IP header comes after this. */
static inline struct ref_sum_place *ref_remember(struct ref_nest *nest, unsigned proto, uint32_t l4,
						 uint32_t check)
{
	struct ref_sum_place *place = &nest->sums[nest->n++];

	REF_CHECK(nest->n <= REF_SUMS_MAX);
	*place = (struct ref_sum_place){.proto = proto, .l4 = l4, .end = nest->end, .check = check};
	return place;
}

static inline void ref_wrap_gre(struct ref_nest *nest, const struct ref_wrap *w)
{
	unsigned type = nest->holds == REF_HOLDS_ETH    ? ETH_P_TEB
			: nest->holds == REF_HOLDS_MPLS ? ETH_P_MPLS_UC
			: nest->v6                      ? ETH_P_IPV6
							: ETH_P_IP;
	uint32_t n = 4 + (w->no_sum ? 0 : 4) + (w->key ? 4 : 0) + (w->sequence ? 4 : 0);
	uint8_t *p = ref_push(nest, n);
	uint32_t l4 = nest->start;

	ref_put16(p,
		  (w->no_sum ? 0 : 0x8000u) | (w->key ? 0x2000u : 0) | (w->sequence ? 0x1000u : 0));
	ref_put16(p + 2, type);
	if (w->key)
		ref_put32(p + (w->no_sum ? 4 : 8), 0xdeadbeef);
	if (!w->no_sum) {
		ref_put16(p + 4, 65535u - ref_sum(0, p, nest->end - nest->start));
		ref_remember(nest, IPPROTO_GRE, l4, l4 + 4);
	}
	ref_push_ip(nest, w->v6, IPPROTO_GRE);
}

static inline void ref_wrap_udp(struct ref_nest *nest, const struct ref_wrap *w)
{
	bool geneve = w->kind == REF_GENEVE || w->kind == REF_GENEVE_IP;
	bool eth = nest->holds == REF_HOLDS_ETH;
	unsigned inner = eth ? ETH_P_TEB : nest->v6 ? ETH_P_IPV6 : ETH_P_IP;
	uint8_t *p = ref_push(nest, geneve ? 8 + 4u * w->words : 8);
	uint32_t len, l4;
	unsigned usual, sum;

	if (geneve) {
		p[0] = w->words;
		ref_put16(p + 2, inner);
		p[5] = 9;
		usual = 6081;
	} else if (w->kind == REF_VXLAN_GPE) {
		p[0] = 0x0c;
		p[3] = (uint8_t)(eth ? 3 : nest->v6 ? 2 : 1);
		usual = 4790;
	} else {
		p[0] = 8;
		p[6] = 77;
		usual = ref_below(2) ? 4789 : 8472;
	}
	p = ref_push(nest, 8);
	l4 = nest->start;
	len = nest->end - l4;
	ref_put16(p, 50000);
	ref_put16(p + 2, w->port ? w->port : usual);
	ref_put16(p + 4, len);
	ref_push_ip(nest, w->v6, IPPROTO_UDP);
	if (w->no_sum)
		return;
	sum = 65535u - ref_l4_sum(nest->bytes + nest->start, IPPROTO_UDP, nest->bytes + l4, len);
	ref_put16(nest->bytes + l4 + 6, sum ? sum : 65535u);
	ref_remember(nest, IPPROTO_UDP, l4, l4 + 6)->ip = nest->start;
}

/* Wraps what there is in one more tunnel, so that it is an IP packet, or labels before one. */
static inline void ref_wrap(struct ref_nest *nest, const struct ref_wrap *w)
{
	bool wants_eth = w->kind == REF_GRETAP || w->kind == REF_VXLAN || w->kind == REF_GENEVE;

	if (wants_eth)
		ref_push_eth(nest, ref_below(3));
	switch (w->kind) {
	case REF_IP_IN_IP:
		ref_push_ip(nest, w->v6, nest->v6 ? IPPROTO_IPV6 : IPPROTO_IPIP);
		break;
	case REF_GRE:
	case REF_GRETAP:
		ref_wrap_gre(nest, w);
		break;
	case REF_MPLS:
		ref_push_labels(nest, w->labels);
		break;
	case REF_MPLS_IN_IP:
		ref_push_labels(nest, w->labels);
		ref_push_ip(nest, w->v6, IPPROTO_MPLS);
		break;
	case REF_MPLS_IN_GRE:
		ref_push_labels(nest, w->labels);
		ref_wrap_gre(nest, w);
		break;
	default:
		ref_wrap_udp(nest, w);
		break;
	}
}

static inline struct ref_wrap ref_any_wrap(enum ref_tunnel kind)
{
	return (struct ref_wrap){
		.kind = kind,
		.v6 = ref_below(2),
		.no_sum = ref_below(2),
		.key = ref_below(2),
		.sequence = ref_below(2),
		.words = (uint8_t)(ref_below(2) ? ref_below(64) : 0),
		.labels = (uint8_t)(1 + ref_below(4)),
	};
}

/* MPLS labels go with Ethernet: nothing but the outermost may be such. */
static inline enum ref_tunnel ref_any_tunnel(bool outermost)
{
	enum ref_tunnel kind;

	do
		kind = (enum ref_tunnel)ref_below(REF_TUNNELS);
	while (kind == REF_MPLS && !outermost);
	return kind;
}

/* The innermost packet, without its Ethernet header. */
static inline void ref_nest_init(struct ref_nest *nest, const struct ref_spec *spec)
{
	struct ref_place at;
	uint32_t len;

	len = ref_build(spec, nest->bytes + REF_TUNNEL_ROOM, &at);
	REF_CHECK(len <= sizeof(nest->bytes) - REF_TUNNEL_ROOM && len == at.end);
	nest->start = REF_TUNNEL_ROOM + at.ip;
	nest->end = REF_TUNNEL_ROOM + at.end;
	nest->holds = REF_HOLDS_IP;
	nest->v6 = spec->v6;
	nest->n = 0;
	ref_remember(nest, at.proto, REF_TUNNEL_ROOM + at.l4, REF_TUNNEL_ROOM + at.check)->ip =
		nest->start;
}

/* Leaves one checksum as a sender does that wants it finished. */
static inline void ref_open(struct ref_nest *nest, unsigned i)
{
	const struct ref_sum_place *s = &nest->sums[i];
	uint8_t *field = nest->bytes + s->check;

	if (s->proto == IPPROTO_SCTP)
		memset(field, 0, 4);
	else if (s->proto == IPPROTO_GRE)
		ref_put16(field, 0);
	else
		ref_put16(field, ref_pseudo(nest->bytes + s->ip, s->proto, s->end - s->l4));
}

#endif
