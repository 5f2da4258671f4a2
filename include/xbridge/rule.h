/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A steering rule, as a person wrote it and as the pinned map `rules` shows it.
 *
 * Fields that a rule does not test are zero, so two rules are the same if their bytes are.
 */
#ifndef XBRIDGE_RULE_H
#define XBRIDGE_RULE_H

#include "field.h"

#include <linux/types.h>

/** What a static_assert says of a structure in a pinned map. */
#define XB_PINNED "a pinned layout has changed: raise XB_SCHEMA (steer.h)"

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
#define XB_MATCH_(NAME, ...) XB_MATCH_##NAME,
	XB_FIELDS(XB_MATCH_)
#undef XB_MATCH_
		XB_MATCH_COUNT
};

/** The VLAN of a frame without a tag; no tag has this identifier. */
#define XB_VLAN_NONE 4096u

/** What a rule can ask about fragments. */
enum xb_frag {
	XB_FRAG_NO,    /* IP, and whole */
	XB_FRAG_FIRST, /* of several */
	XB_FRAG_LATER, /* any other: it has no ports */
};

/** An IPv4 or IPv6 prefix. */
struct xb_prefix {
	__u8 addr[16]; /* IPv4: the first four bytes; bits beyond the prefix are zero */
	__u8 family;   /* 4 or 6; 0: none */
	__u8 bits;     /* length of the prefix, in bits */
};

/** A range, with both ends. Host order. */
struct xb_range {
	__u16 first; /* the lowest */
	__u16 last;  /* the highest; equal to the lowest: this one */
};

/** The bits that a mask names, and what each of them is to be; other bits are zero in both. */
struct xb_flags {
	__u8 set;  /* those that are to be set */
	__u8 mask; /* those that are looked at */
};

/* What a rule holds of a field, by the field's kind. */
#define XB_RULE_OWN(name)      __u16 name; /* 1 */
#define XB_RULE_PORTS(name)    char name[XB_RULE_IN_BYTES];
#define XB_RULE_NUMBER(name)   __u16 name;
#define XB_RULE_PROTOCOL(name) __u16 name;
#define XB_RULE_HEX(name)      __u16 name;
#define XB_RULE_NAME(name)     __u16 name;
#define XB_RULE_MAC(name)      __u8 name[6];
#define XB_RULE_DMAC(name)     __u8 name[6];
#define XB_RULE_PREFIX(name)   struct xb_prefix name;
#define XB_RULE_RANGE(name)    struct xb_range name;
#define XB_RULE_SERVICE(name)  struct xb_range name;
#define XB_RULE_FLAGS(name)    struct xb_flags name;

#define XB_RULE_FIELD_(NAME, name, KIND, ...) XB_RULE_##KIND(name)

/** One rule: an element of the hash map `rules`, whose key is the rule's slot (`xbridge steer list
 * --json` tells it). Numbers are in host order; what a rule does not test is zero. */
struct xb_rule {
	__u32 id;                         /* as `xbridge steer list` prints it */
	__u32 prio;                       /* the highest is asked first; of equals the lowest id */
	__u32 match;                      /* what is tested: bits 1 << enum xb_match */
	char verdict[XB_RULE_NAME_BYTES]; /* pass, bridge, drop or the name of a port */
	__u32 limit_pps;                  /* frames a second; 0: no limit */
	__u32 limit_burst; /* frames that a rule which has rested lets through at once */
	char comment[XB_RULE_COMMENT_BYTES]; /* what a person says about it */
	XB_FIELDS(XB_RULE_FIELD_)
	__u16 dmac_kernel; /* 1: the destination is the kernel port's address, whatever that is at
			      the moment; `dmac` is zero */
};

_Static_assert(sizeof(struct xb_prefix) == 18 && sizeof(struct xb_range) == 4 &&
		       sizeof(struct xb_flags) == 2,
	       XB_PINNED);

/* Rules are compared and hashed byte by byte, so there is nothing between the members. */
#define XB_SIZE_(NAME, name, KIND, ...) +sizeof(struct {XB_RULE_##KIND(name)})
_Static_assert(sizeof(struct xb_rule) == 5 * sizeof(__u32) + sizeof(__u16) + XB_RULE_NAME_BYTES +
						 XB_RULE_COMMENT_BYTES XB_FIELDS(XB_SIZE_),
	       "a hole between the members, or after them: fill it");
#undef XB_SIZE_

_Static_assert(XB_MATCH_COUNT <= 32, "xb_rule.match and xb_key.has have a bit for each field");

#define XB_RULE_TESTS(rule, what) ((rule)->match >> (what)&1)

#endif
