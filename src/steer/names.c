/* SPDX-License-Identifier: BSD-2-Clause */
#include "steer/names.h"

#include "steer/verdict.h"
#include "steer/words.h"

#include <errno.h>
#include <string.h>

static const char ports_hint[] = "`xbridge port list` names them";
static const char verdicts_hint[] = "`xbridge port list` names them; " XB_VERDICTS_NAMED
				    " are verdicts, too";

/* Says what is wrong with a name: where it stands or, of a rule without a text, after which word.
 */
static int wrong(unsigned place, const char *before, const char *name, const char *why,
		 const char *hint, struct xb_error *err)
{
	if (place)
		xb_refuse(err, -EINVAL, "rule, character %u, '%s': %s", place, name, why);
	else
		xb_refuse(err, -EINVAL, "%s %s: %s", before, name, why);
	xb_hint(err, "%s", hint);
	return -EINVAL;
}

/* ---- verdicts ---- */

static int find_verdict(const struct xb_rule_names *names, const char *word)
{
	uint16_t verdict;
	int port;

	if (xb_verdict_named(word, &verdict))
		return verdict;
	port = names->port(names->arg, word);
	return port < 0 ? port : XB_VERDICT_PORT(port);
}

int xb_verdict_resolve(const struct xb_rule_names *names, const char *word, uint16_t *ret_verdict,
		       struct xb_error *err)
{
	int verdict = find_verdict(names, word);

	if (verdict < 0)
		return wrong(0, "default", word, "there is no such port", verdicts_hint, err);
	*ret_verdict = (uint16_t)verdict;
	return 0;
}

/* ---- ports that frames come from ---- */

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

static int resolve_in(const struct xb_rule_names *names, const struct xb_rule *rule,
		      const struct xb_rule_places *places, uint64_t *ret_ports,
		      struct xb_error *err)
{
	unsigned place = places->in;
	const char *next = rule->in;
	uint64_t ports = 0;

	while (*next) {
		char name[XB_RULE_NAME_BYTES];
		const char *at = next;
		int port;

		next = xb_next_port(next, name);
		if (!strcmp(name, "uplink")) {
			ports |= names->uplinks(names->arg);
		} else {
			port = names->port(names->arg, name);
			if (port < 0)
				return wrong(place, "in", name, "there is no such port", ports_hint,
					     err);
			ports |= 1ull << port;
		}
		place += place ? (unsigned)(next - at) : 0;
	}
	*ret_ports = ports;
	return 0;
}

/* ---- the whole ---- */

static int resolve_dmac(const struct xb_rule_names *names, const struct xb_rule *rule,
			uint8_t ret_mac[6], struct xb_error *err)
{
	if (!rule->dmac_kernel) {
		memcpy(ret_mac, rule->dmac, sizeof(rule->dmac));
		return 0;
	}
	if (names->kernel_mac(names->arg, ret_mac))
		return 0;
	xb_refuse(err, -EINVAL, "dmac kernel: there is no kernel port");
	xb_hint(err, "give the address itself");
	return -EINVAL;
}

int xb_rule_resolve(const struct xb_rule_names *names, const struct xb_rule *rule,
		    const struct xb_rule_places *places, struct xb_ranked_rule *ret_ranked,
		    struct xb_error *err)
{
	struct xb_ranked_rule ranked = {.rule = rule, .in = XB_IN_ANY};
	int verdict = find_verdict(names, rule->verdict);
	int ret;

	if (verdict < 0)
		return wrong(places->verdict, "to", rule->verdict, "there is no such port",
			     verdicts_hint, err);
	ranked.verdict = (uint32_t)verdict;
	ret = resolve_dmac(names, rule, ranked.dmac, err);
	if (!ret && XB_RULE_TESTS(rule, XB_MATCH_IN)) {
		ret = resolve_in(names, rule, places, &ranked.in, err);
		if (!ret && verdict == XB_VERDICT_PASS && ranked.in & ~names->uplinks(names->arg))
			ret = refuse_pass(rule, places, err);
	}
	if (!ret)
		*ret_ranked = ranked;
	return ret;
}

/* The ports that a rule names after `in`; without `as_uplink`, those that it names each. */
static uint64_t named_in(const struct xb_rule_names *names, const struct xb_rule *rule,
			 bool as_uplink)
{
	const char *next = XB_RULE_TESTS(rule, XB_MATCH_IN) ? rule->in : "";
	uint64_t ports = 0;

	while (*next) {
		char name[XB_RULE_NAME_BYTES];
		int port;

		next = xb_next_port(next, name);
		if (!strcmp(name, "uplink")) {
			ports |= as_uplink ? names->uplinks(names->arg) : 0;
			continue;
		}
		port = names->port(names->arg, name);
		ports |= port < 0 ? 0 : 1ull << port;
	}
	return ports;
}

bool xb_rule_names_port(const struct xb_rule_names *names, const struct xb_rule *rule,
			unsigned port, bool as_uplink)
{
	if (find_verdict(names, rule->verdict) == XB_VERDICT_PORT((int)port))
		return true;
	if (rule->dmac_kernel && names->port(names->arg, "kernel") == (int)port)
		return true;
	return named_in(names, rule, as_uplink) >> port & 1;
}

bool xb_rule_names_uplinks(const struct xb_rule *rule)
{
	const char *next = XB_RULE_TESTS(rule, XB_MATCH_IN) ? rule->in : "";

	while (*next) {
		char name[XB_RULE_NAME_BYTES];

		next = xb_next_port(next, name);
		if (!strcmp(name, "uplink"))
			return true;
	}
	return false;
}
