/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The verdict on a frame, the same lines for the XDP program and for userspace (DESIGN.md, 5).
 *
 * The order: rules, own MACs, group frames of a shared uplink, the default verdict. Whoever calls
 * looks the destination up among the own MACs before, since rules too may ask for it (`dmac own`).
 */
#ifndef XBRIDGE_CLASSIFY_H
#define XBRIDGE_CLASSIFY_H

#include "parse.h"
#include "steer.h"

/** What a frame is judged by, besides its bytes. */
struct xb_scene {
	__u32 shared; /* the uplink keeps group frames to itself. In userspace 0: what arrives there
			 of a shared uplink's group frames is xbridge's own copy */
	__u32 verdict; /* the default verdict */
	__u32 own;     /* the destination is an own MAC of the uplink */
};

struct xb_decision {
	__u16 verdict;
	__u16 stage; /* enum xb_stage */
	__u32 rule;  /* id of the rule, 0 where none matched */
};

static inline __attribute__((always_inline)) struct xb_decision xb_decided(__u32 verdict,
									   enum xb_stage stage)
{
	struct xb_decision decision = {.verdict = (__u16)verdict, .stage = (__u16)stage};

	return decision;
}

static inline __attribute__((always_inline)) struct xb_decision
xb_classify(const struct xb_parsed *parsed, const struct xb_scene *scene)
{
	/* Rules are asked here, before everything else. */

	if (scene->own)
		return xb_decided(XB_VERDICT_PASS, XB_STAGE_OWN_MAC);
	if (scene->shared && parsed->group)
		return xb_decided(XB_VERDICT_PASS, XB_STAGE_GROUP);
	return xb_decided(scene->verdict, XB_STAGE_DEFAULT);
}

#endif
