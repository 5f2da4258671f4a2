/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A steering rule, as a person wrote it and as the pinned map `rules` shows it.
 *
 * Fields that a rule does not test are zero, so that two rules are the same where their bytes are.
 */
#ifndef XBRIDGE_RULE_H
#define XBRIDGE_RULE_H

#include <linux/types.h>

#define XB_RULES_MAX         4096u
#define XB_RULE_PRIO_DEFAULT 32768u
#define XB_RULE_NAME_BYTES   32u

/** Highest limit: beyond it the nanoseconds between two frames are too coarse to keep the rate. */
#define XB_RULE_PPS_MAX 100000000u

/** What a rule can ask of a frame, in the order in which a rule is printed; bits of xb_rule.match.
 */
enum xb_match {
	XB_MATCH_IN,       /* it came in by that port */
	XB_MATCH_VLAN,     /* the identifier of its outermost tag */
	XB_MATCH_SMAC,     /* source MAC */
	XB_MATCH_DMAC,     /* destination MAC */
	XB_MATCH_DMAC_OWN, /* the destination is an own MAC of the uplink */
	XB_MATCH_ETHERTYPE,
	XB_MATCH_PROTO, /* IPv4 protocol; IPv6: what follows the extension headers */
	XB_MATCH_SRC,   /* IPv4 or IPv6 */
	XB_MATCH_DST,
	XB_MATCH_SPORT, /* of TCP, UDP or SCTP; never in a fragment but the first */
	XB_MATCH_DPORT,
	XB_MATCH_TCP_FLAGS,
	XB_MATCH_ICMP_TYPE, /* of ICMP or ICMPv6 */
	XB_MATCH_DSCP,
	XB_MATCH_FRAG,
	XB_MATCH_COUNT,
};

enum xb_frag {
	XB_FRAG_NO,    /* IP, and whole */
	XB_FRAG_FIRST, /* of several */
	XB_FRAG_LATER, /* any but the first: it has no ports */
};

/** An IPv4 or IPv6 prefix. */
struct xb_prefix {
	__u8 addr[16]; /* IPv4: the first four bytes; bits beyond the prefix are zero */
	__u8 family;   /* 4 or 6; 0: none */
	__u8 bits;     /* of the prefix */
};

/** Both ends belong to it. Host order. */
struct xb_range {
	__u16 first, last;
};

/** One rule: an element of the array `rules`. Numbers are in host order. */
struct xb_rule {
	__u32 id;    /* 0: no rule */
	__u32 prio;  /* the highest is asked first; of equals the lowest id */
	__u32 match; /* what is tested: bits 1 << enum xb_match */
	char in[XB_RULE_NAME_BYTES];
	char verdict[XB_RULE_NAME_BYTES]; /* pass, bridge, drop or the name of a port */
	struct xb_prefix src, dst;
	struct xb_range sport, dport, icmp_type;
	__u16 vlan, ethertype, proto, dscp;
	__u16 frag;               /* enum xb_frag */
	__u8 tcp_flags, tcp_mask; /* the byte of CWR ECE URG ACK PSH RST SYN FIN */
	__u8 smac[6], dmac[6];
	__u32 limit_pps; /* frames a second; 0: no limit */
	__u32 limit_burst;
};

#define XB_RULE_TESTS(rule, what) ((rule)->match >> (what)&1)

#endif
