/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A steering rule, as a person wrote it and as the pinned map `rules` shows it.
 *
 * Fields that a rule does not test are zero, so that two rules are the same where their bytes are.
 */
#ifndef XBRIDGE_RULE_H
#define XBRIDGE_RULE_H

#include <linux/types.h>

#define XB_RULES_MAX          4096u
#define XB_RULE_PRIO_DEFAULT  32768u
#define XB_RULE_NAME_BYTES    32u
#define XB_RULE_IN_BYTES      128u
#define XB_RULE_COMMENT_BYTES 64u

/** Highest limit: beyond it whole nanoseconds between two frames are too coarse to keep the rate to
 * 5 %.
 */
#define XB_RULE_PPS_MAX 100000000u

/** What a rule can ask of a frame, in the order in which a rule is printed; bits of xb_rule.match.
 */
enum xb_match {
	XB_MATCH_IN,        /* it came in by one of those ports */
	XB_MATCH_VLAN,      /* the identifier of its outermost tag, or that it has none */
	XB_MATCH_SMAC,      /* source MAC */
	XB_MATCH_DMAC,      /* destination MAC */
	XB_MATCH_DMAC_OWN,  /* the destination is an own MAC of the uplink */
	XB_MATCH_ETHERTYPE, /* behind its tags, two at most */
	XB_MATCH_PROTO,     /* IPv4 protocol; IPv6: what follows the extension headers */
	XB_MATCH_SRC,       /* source address, IPv4 or IPv6 */
	XB_MATCH_DST,       /* destination address, IPv4 or IPv6 */
	XB_MATCH_SPORT,     /* of TCP, UDP or SCTP; never in a fragment but the first */
	XB_MATCH_DPORT,     /* the same */
	XB_MATCH_TCP_FLAGS, /* those that a mask names */
	XB_MATCH_ICMP_TYPE, /* of ICMP or ICMPv6 */
	XB_MATCH_DSCP,      /* of IPv4 or IPv6 */
	XB_MATCH_FRAG,      /* whether it is a fragment, and which */
	XB_MATCH_COUNT,
};

/** The VLAN of a frame without a tag; no tag can say it. */
#define XB_VLAN_NONE 4096u

/** What a rule can ask about fragments. */
enum xb_frag {
	XB_FRAG_NO,    /* IP, and whole */
	XB_FRAG_FIRST, /* of several */
	XB_FRAG_LATER, /* any but the first: it has no ports */
};

/** An IPv4 or IPv6 prefix. */
struct xb_prefix {
	__u8 addr[16]; /* IPv4: the first four bytes; bits beyond the prefix are zero */
	__u8 family;   /* 4 or 6; 0: none */
	__u8 bits;     /* length of the prefix, in bits */
};

/** Both ends belong to it. Host order. */
struct xb_range {
	__u16 first; /* the lowest */
	__u16 last;  /* the highest; equal to the lowest: this one */
};

/** One rule: an element of the hash map `rules`, which holds those that are there, at its slot,
 * which `xbridge steer list --json` tells. Numbers are in host order; what a rule does not test is
 * zero. */
struct xb_rule {
	__u32 id;                         /* as `xbridge steer list` prints it */
	__u32 prio;                       /* the highest is asked first; of equals the lowest id */
	__u32 match;                      /* what is tested: bits 1 << enum xb_match */
	char in[XB_RULE_IN_BYTES];        /* ports by which the frame came in, joined by commas;
					     uplink: any uplink */
	char verdict[XB_RULE_NAME_BYTES]; /* pass, bridge, drop or the name of a port */
	struct xb_prefix src, dst;        /* source and destination address */
	struct xb_range sport, dport;     /* ports of TCP, UDP or SCTP */
	struct xb_range icmp_type;        /* of ICMP or ICMPv6 */
	__u16 vlan;                       /* identifier of the outermost tag; 4096: untagged */
	__u16 ethertype;                  /* behind the tags, two at most */
	__u16 proto;              /* IPv4 protocol; IPv6: what follows the extension headers */
	__u16 dscp;               /* 0 to 63 */
	__u16 frag;               /* enum xb_frag */
	__u8 tcp_flags, tcp_mask; /* the byte of CWR ECE URG ACK PSH RST SYN FIN: what it is where
				     the mask has ones */
	__u8 smac[6], dmac[6];    /* source and destination MAC address */
	__u32 dmac_kernel;        /* 1: the destination is the kernel port's address, whatever that
				     is at the moment; `dmac` is zero */
	__u32 limit_pps;          /* frames a second; 0: no limit */
	__u32 limit_burst;        /* frames that a rule which has rested lets through at once */
	char comment[XB_RULE_COMMENT_BYTES]; /* what a person says about it */
};

#define XB_RULE_TESTS(rule, what) ((rule)->match >> (what)&1)

#endif
