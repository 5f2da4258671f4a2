/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The verdict on a frame, the same lines for the XDP program and for userspace (DESIGN.md, 5).
 *
 * The order: group frames of a shared uplink, rules, own MACs, the default verdict. Whoever calls
 * looks the destination up among the own MACs before, since rules too may ask for it (`dmac own`),
 * and asks the rules (image.h).
 */
#ifndef XBRIDGE_CLASSIFY_H
#define XBRIDGE_CLASSIFY_H

#include "image.h"
#include "steer.h"

/** What a frame is judged by, besides its bytes. */
struct xb_scene {
	__u32 shared; /* the uplink keeps group frames to itself. In userspace 0: what arrives there
			 of a shared uplink's group frames is xbridge's own copy */
	__u32 verdict; /* the default verdict */
	__u32 own;     /* the destination is an own MAC of the uplink */
	__u32 group;   /* the destination is a group address */
};

struct xb_decision {
	__u16 verdict;
	__u16 stage; /* enum xb_stage */
	__u32 rule;  /* id of the rule, 0 where none matched */
};

/** What a twin of the program tells of a frame (steer.bpf.c, `explain`). */
struct xb_explained {
	struct xb_decision decision;
	struct xb_key key; /* what was parsed; all 0 where rules were not asked */
};

/** A shared uplink's group frames belong to its stack, whatever rules say. */
XB_INLINE int xb_is_kept_group(const struct xb_scene *scene)
{
	return scene->shared && scene->group;
}

/** What rules see of it: struct xb_origin, own. */
XB_INLINE enum xb_own xb_own_of(const struct xb_scene *scene)
{
	if (!scene->own)
		return XB_OWN_NO;
	return scene->shared ? XB_OWN_KEPT : XB_OWN_YES;
}

XB_INLINE struct xb_decision xb_decided(__u32 verdict, enum xb_stage stage)
{
	struct xb_decision decision = {.verdict = (__u16)verdict, .stage = (__u16)stage};

	return decision;
}

/** @rule: the first rule that matches, or NULL; not looked for where xb_is_kept_group. */
XB_INLINE struct xb_decision xb_classify(const struct xb_scene *scene,
					 const struct xb_image_rule *rule)
{
	struct xb_decision decision;

	if (xb_is_kept_group(scene))
		return xb_decided(XB_VERDICT_PASS, XB_STAGE_GROUP);
	if (rule) {
		decision = xb_decided(rule->verdict, XB_STAGE_RULE);
		decision.rule = rule->id;
		return decision;
	}
	if (scene->own)
		return xb_decided(XB_VERDICT_PASS, XB_STAGE_OWN_MAC);
	return xb_decided(scene->verdict, XB_STAGE_DEFAULT);
}

#endif
