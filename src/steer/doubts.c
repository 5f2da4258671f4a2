/* SPDX-License-Identifier: BSD-2-Clause */
#include "steer/doubts.h"

#include "steer/contradiction.h"

#include <linux/if_ether.h>
#include <netinet/in.h>

struct doubts {
	const char **list;
	unsigned n;
};

static void doubt(struct doubts *doubts, bool so, const char *what)
{
	if (so && doubts->n < XB_RULE_DOUBTS_MAX)
		doubts->list[doubts->n++] = what;
}

static bool is_multicast(const struct xb_prefix *prefix)
{
	if (prefix->family == 4)
		return prefix->bits >= 4 && prefix->addr[0] >> 4 == 0xe;
	return prefix->family == 6 && prefix->bits >= 8 && prefix->addr[0] == 0xff;
}

/* ICMP in IPv6, or ICMPv6 in IPv4. */
static bool is_icmp_of_the_other_family(const struct xb_rule *rule)
{
	bool v4 = xb_rule_family(rule) == 4 || rule->ethertype == ETH_P_IP;
	bool v6 = xb_rule_family(rule) == 6 || rule->ethertype == ETH_P_IPV6;

	if (!XB_RULE_TESTS(rule, XB_MATCH_PROTO))
		return false;
	return (rule->proto == IPPROTO_ICMPV6 && v4) || (rule->proto == IPPROTO_ICMP && v6);
}

static bool asks_for_a_vlan(const struct xb_rule *rule)
{
	return XB_RULE_TESTS(rule, XB_MATCH_VLAN) && rule->vlan != XB_VLAN_NONE;
}

unsigned xb_rule_doubts(const struct xb_ranked_rule *ranked, const struct xb_rule_names *names,
			const char *ret_doubts[XB_RULE_DOUBTS_MAX])
{
	const struct xb_rule *rule = ranked->rule;
	uint64_t ports = xb_ranked_rule_ports(ranked);
	struct doubts doubts = {.list = ret_doubts};

	doubt(&doubts, !ports,
	      "it never applies: a rule does not send frames back to the port that they came from");
	doubt(&doubts,
	      ports && XB_RULE_TESTS(rule, XB_MATCH_DMAC_OWN) &&
		      !(ports & names->uplinks(names->arg)),
	      "it never applies: only frames from an uplink can be for its own address (dmac own)");
	doubt(&doubts, asks_for_a_vlan(rule) && ports & names->untagged(names->arg),
	      "it matches no frame of an uplink that loses VLAN tags: `xbridge status` says which "
	      "one does, and `xbridge doctor IFACE` what helps");
	doubt(&doubts, asks_for_a_vlan(rule) && ports & names->of_vlan(names->arg, rule->vlan),
	      "it matches no frame of the VLAN device that is an uplink of that VLAN: the device's "
	      "own tag is gone, and the next one counts");
	doubt(&doubts, XB_RULE_TESTS(rule, XB_MATCH_SMAC) && rule->smac[0] & 1,
	      "no frame should match: a group address is never a source (smac)");
	doubt(&doubts, is_multicast(&rule->src),
	      "no packet should match: a multicast address is never a source (src)");
	doubt(&doubts, is_icmp_of_the_other_family(rule),
	      "no packet should match: icmp belongs to IPv4, icmpv6 to IPv6");
	doubt(&doubts, rule->limit_pps && ranked->verdict == XB_VERDICT_DROP,
	      "the limit does nothing: frames within it are dropped, too");
	return doubts.n;
}
