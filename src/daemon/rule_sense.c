/* SPDX-License-Identifier: BSD-2-Clause */
#include "daemon/rule_sense.h"

#include "xbridge/parse.h"

#include <linux/if_ether.h>
#include <netinet/in.h>

#define PORTS (1u << XB_MATCH_SPORT | 1u << XB_MATCH_DPORT)
#define L4    (PORTS | 1u << XB_MATCH_TCP_FLAGS | 1u << XB_MATCH_ICMP_TYPE)
#define ADDRS (1u << XB_MATCH_SRC | 1u << XB_MATCH_DST)
#define L3    (L4 | ADDRS | 1u << XB_MATCH_PROTO | 1u << XB_MATCH_DSCP | 1u << XB_MATCH_FRAG)

static bool has_ports(unsigned proto)
{
	return proto == IPPROTO_TCP || proto == IPPROTO_UDP || proto == IPPROTO_SCTP;
}

static bool tests_any(const struct xb_rule *rule, uint32_t bits)
{
	return rule->match & bits;
}

static bool fault(struct xb_rule_fault *ret_fault, enum xb_match at, const char *why)
{
	*ret_fault = (struct xb_rule_fault){at, why};
	return true;
}

/* Which family its addresses are of; 0: it names none. */
static uint8_t family_of(const struct xb_rule *rule)
{
	return rule->src.family ? rule->src.family : rule->dst.family;
}

static bool ip_contradicts(const struct xb_rule *rule, struct xb_rule_fault *ret)
{
	uint8_t family = family_of(rule);
	bool v4 = rule->ethertype == ETH_P_IP, v6 = rule->ethertype == ETH_P_IPV6;

	if ((family == 6 || v6) && XB_RULE_TESTS(rule, XB_MATCH_PROTO) &&
	    xb_is_ext((uint8_t)rule->proto))
		return fault(ret, XB_MATCH_PROTO,
			     "in IPv6, proto is what follows the extension headers");
	if (rule->src.family && rule->dst.family && rule->src.family != rule->dst.family)
		return fault(ret, XB_MATCH_DST, "src and dst are of different families");
	if (!XB_RULE_TESTS(rule, XB_MATCH_ETHERTYPE) || !tests_any(rule, L3))
		return false;
	if (!v4 && !v6)
		return fault(ret, XB_MATCH_ETHERTYPE,
			     "what is asked for is found in IPv4 and IPv6 only, its ethertype "
			     "is another");
	if (family && (family == 4) != v4)
		return fault(ret, XB_MATCH_ETHERTYPE,
			     "the addresses are not of the ethertype's family");
	return false;
}

static bool transport_contradicts(const struct xb_rule *rule, struct xb_rule_fault *ret)
{
	bool any = !XB_RULE_TESTS(rule, XB_MATCH_PROTO);
	enum xb_match port = XB_RULE_TESTS(rule, XB_MATCH_SPORT) ? XB_MATCH_SPORT : XB_MATCH_DPORT;

	if (tests_any(rule, PORTS) && !any && !has_ports(rule->proto))
		return fault(ret, port, "only tcp, udp and sctp have ports");
	if (XB_RULE_TESTS(rule, XB_MATCH_TCP_FLAGS)) {
		if (!any && rule->proto != IPPROTO_TCP)
			return fault(ret, XB_MATCH_TCP_FLAGS, "only tcp has tcp-flags");
		if (rule->tcp_flags & ~rule->tcp_mask)
			return fault(ret, XB_MATCH_TCP_FLAGS,
				     "tcp-flags: SET names flags that MASK leaves out");
	}
	if (tests_any(rule, L4) && XB_RULE_TESTS(rule, XB_MATCH_FRAG) &&
	    rule->frag == XB_FRAG_LATER)
		return fault(ret, XB_MATCH_FRAG, "a later fragment has no ports, flags or types");
	return false;
}

bool xb_rule_contradicts(const struct xb_rule *rule, struct xb_rule_fault *ret_fault)
{
	return ip_contradicts(rule, ret_fault) || transport_contradicts(rule, ret_fault);
}

/* ---- doubts ---- */

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
	bool v4 = family_of(rule) == 4 || rule->ethertype == ETH_P_IP;
	bool v6 = family_of(rule) == 6 || rule->ethertype == ETH_P_IPV6;

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
	      "does, `xbridge doctor` of that one what helps");
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
	      "the limit does nothing: what is within it is dropped, too");
	return doubts.n;
}
