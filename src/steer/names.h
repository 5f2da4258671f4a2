/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The names in a rule: what they mean at the moment.
 */
#ifndef XB_STEER_NAMES_H
#define XB_STEER_NAMES_H

#include "core/error.h"
#include "steer/image.h"
#include "steer/text.h"

#include <stdbool.h>

/** What an instance knows of its ports. */
struct xb_rule_names {
	/** The port's id, or -ENOENT. */
	int (*port)(const void *arg, const char *name);
	/** Bits 1 << id: the uplinks. Their frames have a stack to pass to. */
	uint64_t (*uplinks)(const void *arg);
	/** Of these, those that lose VLAN tags before rules see a frame. */
	uint64_t (*untagged)(const void *arg);
	/** Of these, the devices of a VLAN: their frames have lost the tag that says so. */
	uint64_t (*of_vlan)(const void *arg, uint16_t vlan);
	/** The address of the kernel port, at this moment; false: there is no such port. */
	bool (*kernel_mac)(const void *arg, uint8_t ret_mac[6]);
	const void *arg;
};

/** Finds what a verdict's word means. Returns 0, or -EINVAL where no port has that name. */
int xb_verdict_resolve(const struct xb_rule_names *names, const char *word, uint16_t *ret_verdict,
		       struct xb_error *err);

/**
 * Finds what the names in a rule mean: ports, and the kernel port's address.
 *
 * @places:     where its text names ports, for the error.
 * @ret_ranked: gets the rule and what it means; the slot is the caller's.
 *
 * Returns 0, or -EINVAL for a name that no port has and for a verdict that makes no sense there.
 */
int xb_rule_resolve(const struct xb_rule_names *names, const struct xb_rule *rule,
		    const struct xb_rule_places *places, struct xb_ranked_rule *ret_ranked,
		    struct xb_error *err);

/** Whether a rule names a port, by any of its names: after `in`, as `dmac kernel`, or as its
 *  verdict; with `as_uplink`, also as one of `in uplink`. A rule that asks for no port names
 *  none. */
bool xb_rule_names_port(const struct xb_rule_names *names, const struct xb_rule *rule,
			unsigned port, bool as_uplink);

/** Whether a rule says `in uplink`. */
bool xb_rule_names_uplinks(const struct xb_rule *rule);

#endif
