/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The verdict on a frame, by the same code in the XDP program and in userspace.
 *
 * The order: group frames of a shared uplink, rules, own MACs, the default verdict. The caller
 * first looks the destination up among the own MACs, since rules too may ask for it (`dmac own`),
 * and then asks the rules (image.h).
 *
 * No verdict sends a frame back to the port that it came from: a rule whose verdict is that port
 * does not apply to the frame, which is compiled into the image, and a default verdict that is that
 * port means `bridge`.
 */
#ifndef XBRIDGE_CLASSIFY_H
#define XBRIDGE_CLASSIFY_H

#include "image.h"
#include "steer.h"

/** What a frame is judged by, besides its bytes. */
struct xb_scene {
	__u32 shared; /* the uplink keeps group frames to itself. In userspace 0: a group frame that
			 arrives there from a shared uplink is xbridge's own copy */
	__u32 verdict; /* the default verdict */
	__u32 in;      /* id of the port that the frame came in by */
	__u32 uplink;  /* that port has a stack of its own to pass to; `pass` of a frame from
			  another port means `bridge` */
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

_Static_assert(sizeof(struct xb_decision) == 8 &&
		       sizeof(struct xb_explained) == 8 + sizeof(struct xb_key),
	       "a twin's map and userspace have it alike");

/** A shared uplink's group frames belong to its stack, whatever rules say. */
XB_INLINE int xb_is_kept_group(const struct xb_scene *scene)
{
	return scene->shared && scene->group;
}

/** What rules see of that: struct xb_origin, own. */
XB_INLINE enum xb_own xb_own_of(const struct xb_scene *scene)
{
	if (!scene->own)
		return XB_OWN_NO;
	return scene->shared ? XB_OWN_KEPT : XB_OWN_YES;
}

XB_INLINE struct xb_decision xb_decided(const struct xb_scene *scene, __u32 verdict,
					enum xb_stage stage)
{
	struct xb_decision decision = {.verdict = (__u16)verdict, .stage = (__u16)stage};

	if (verdict == XB_VERDICT_PASS && !scene->uplink)
		decision.verdict = XB_VERDICT_BRIDGE;
	return decision;
}

XB_INLINE struct xb_decision xb_decided_by_default(const struct xb_scene *scene)
{
	__u32 verdict = scene->verdict;

	if (verdict == XB_VERDICT_PORT(scene->in))
		verdict = XB_VERDICT_BRIDGE;
	return xb_decided(scene, verdict, XB_STAGE_DEFAULT);
}

/** @rule: the first rule that matches, or NULL; not looked for where xb_is_kept_group. */
XB_INLINE struct xb_decision xb_classify(const struct xb_scene *scene,
					 const struct xb_image_rule *rule)
{
	struct xb_decision decision;

	if (xb_is_kept_group(scene))
		return xb_decided(scene, XB_VERDICT_PASS, XB_STAGE_GROUP);
	if (rule) {
		decision = xb_decided(scene, rule->verdict, XB_STAGE_RULE);
		decision.rule = rule->id;
		return decision;
	}
	if (scene->own)
		return xb_decided(scene, XB_VERDICT_PASS, XB_STAGE_OWN_MAC);
	return xb_decided_by_default(scene);
}

#endif
