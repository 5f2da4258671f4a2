/* SPDX-License-Identifier: BSD-2-Clause */
#include "daemon/rule_names.h"

#include <errno.h>
#include <string.h>

/* Says that there is no such port: where the name stands, or else behind which word. */
static int no_port(unsigned place, const char *before, const char *name, const char *hint,
		   struct xb_error *err)
{
	if (place)
		xb_refuse(err, -EINVAL, "rule, character %u, '%s': there is no such port", place,
			  name);
	else
		xb_refuse(err, -EINVAL, "%s %s: there is no such port", before, name);
	xb_hint(err, "%s", hint);
	return -EINVAL;
}

static int resolve_verdict(const struct xb_rule_names *names, const struct xb_rule *rule,
			   const struct xb_rule_places *places, uint32_t *ret_verdict,
			   struct xb_error *err)
{
	static const char *const words[] = {"pass", "bridge", "drop"};
	bool uplink;
	int port;

	for (uint32_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		if (strcmp(rule->verdict, words[i]) != 0)
			continue;
		*ret_verdict = XB_VERDICT_PASS + i;
		return 0;
	}
	port = names->port(names->arg, rule->verdict, &uplink);
	if (port < 0)
		return no_port(places->verdict, "to", rule->verdict,
			       "`xbridge port list` names them; pass, bridge and drop are verdicts",
			       err);
	*ret_verdict = XB_VERDICT_PORT(port);
	return 0;
}

/* Only an uplink's frames have a stack to pass to. */
static int refuse_pass(const struct xb_rule *rule, const struct xb_rule_places *places,
		       struct xb_error *err)
{
	static const char why[] = "only an uplink has a stack to pass to";

	if (places->verdict)
		xb_refuse(err, -EINVAL, "rule, character %u, 'pass', in %s: %s", places->verdict,
			  rule->in, why);
	else
		xb_refuse(err, -EINVAL, "in %s to pass: %s", rule->in, why);
	xb_hint(err, "`to kernel` gives frames to this host, `to bridge` forwards them");
	return -EINVAL;
}

int xb_rule_resolve(const struct xb_rule_names *names, const struct xb_rule *rule,
		    const struct xb_rule_places *places, struct xb_ranked_rule *ret_ranked,
		    struct xb_error *err)
{
	uint32_t verdict;
	int ret = resolve_verdict(names, rule, places, &verdict, err);
	bool uplink = false;
	int port = 0;

	if (ret < 0)
		return ret;
	if (XB_RULE_TESTS(rule, XB_MATCH_IN)) {
		port = names->port(names->arg, rule->in, &uplink);
		if (port < 0)
			return no_port(places->in, "in", rule->in, "`xbridge port list` names them",
				       err);
		if (verdict == XB_VERDICT_PASS && !uplink)
			return refuse_pass(rule, places, err);
	}
	ret_ranked->rule = rule;
	ret_ranked->verdict = verdict;
	ret_ranked->in = (uint32_t)port;
	return 0;
}
