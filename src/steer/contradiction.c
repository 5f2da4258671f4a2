/* SPDX-License-Identifier: BSD-2-Clause */
#include "steer/contradiction.h"

#include "steer/field.h"
#include "xbridge/parse.h"

#include <linux/if_ether.h>
#include <netinet/in.h>

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

uint8_t xb_rule_family(const struct xb_rule *rule)
{
	return rule->src.family ? rule->src.family : rule->dst.family;
}

static bool ip_contradicts(const struct xb_rule *rule, struct xb_rule_fault *ret)
{
	uint8_t family = xb_rule_family(rule);
	bool v4 = rule->ethertype == ETH_P_IP, v6 = rule->ethertype == ETH_P_IPV6;

	if ((family == 6 || v6) && XB_RULE_TESTS(rule, XB_MATCH_PROTO) &&
	    xb_is_ext((uint8_t)rule->proto))
		return fault(ret, XB_MATCH_PROTO,
			     "in IPv6, proto is what follows the extension headers");
	if (rule->src.family && rule->dst.family && rule->src.family != rule->dst.family)
		return fault(ret, XB_MATCH_DST, "src and dst are of different families");
	if (!XB_RULE_TESTS(rule, XB_MATCH_ETHERTYPE) || !tests_any(rule, xb_fields_of_ip()))
		return false;
	if (!v4 && !v6)
		return fault(ret, XB_MATCH_ETHERTYPE,
			     "only IPv4 and IPv6 have what is asked for, and its ethertype is "
			     "another");
	if (family && (family == 4) != v4)
		return fault(ret, XB_MATCH_ETHERTYPE,
			     "the addresses are not of the ethertype's family");
	return false;
}

static bool transport_contradicts(const struct xb_rule *rule, struct xb_rule_fault *ret)
{
	bool any = !XB_RULE_TESTS(rule, XB_MATCH_PROTO);
	enum xb_match port = XB_RULE_TESTS(rule, XB_MATCH_SPORT) ? XB_MATCH_SPORT : XB_MATCH_DPORT;

	if (tests_any(rule, xb_has_of(XB_LAYER_PORTS)) && !any && !has_ports(rule->proto))
		return fault(ret, port, "only tcp, udp and sctp have ports");
	if (XB_RULE_TESTS(rule, XB_MATCH_TCP_FLAGS)) {
		if (!any && rule->proto != IPPROTO_TCP)
			return fault(ret, XB_MATCH_TCP_FLAGS, "only tcp has tcp-flags");
		if (rule->tcp_flags.set & ~rule->tcp_flags.mask)
			return fault(ret, XB_MATCH_TCP_FLAGS,
				     "tcp-flags: SET names flags that MASK leaves out");
	}
	if (tests_any(rule, xb_fields_of_transport()) && XB_RULE_TESTS(rule, XB_MATCH_FRAG) &&
	    rule->frag == XB_FRAG_LATER)
		return fault(ret, XB_MATCH_FRAG, "a later fragment has no ports, flags or types");
	return false;
}

bool xb_rule_contradicts(const struct xb_rule *rule, struct xb_rule_fault *ret_fault)
{
	return ip_contradicts(rule, ret_fault) || transport_contradicts(rule, ret_fault);
}
