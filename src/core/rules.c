/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/rules.h"

#include "core/clock.h"
#include "core/l4.h"
#include "xbridge/gcra.h"

static bool find(const struct xb_image *image, struct xb_rules_cache *cache, struct xb_frame *pkt,
		 const struct xb_origin *origin, struct xb_image_rule *ret_rule)
{
	uint8_t buf[XB_HEADERS_BYTES];
	struct xb_key key;
	const uint8_t *data;
	uint32_t len, rank;

	data = xb_packet_headers(pkt, buf, &len);
	if (xb_parse_all(data, data + len, origin, &key, &pkt->headers))
		return false;
	rank = xb_flow_find(&cache->flows[xb_flow_place(&key, image)], image, &key, &cache->walk);
	if (rank >= image->head.n_rules)
		return false;
	*ret_rule = xb_image_rule(image, rank);
	return true;
}

enum xb_rules_answer xb_rules_ask(const struct xb_rules *rules, struct xb_rules_cache *cache,
				  struct xb_frame *pkt, const struct xb_origin *origin,
				  uint64_t now_ns, struct xb_image_rule *ret_rule)
{
	struct xb_rule_stats *stats;

	if (!rules->image || !rules->image->head.n_rules ||
	    !find(rules->image, cache, pkt, origin, ret_rule))
		return XB_RULES_NONE;
	if (pkt->fate.stage == XB_STAGE_UNTOLD)
		return XB_RULES_MATCH;
	stats = &rules->stats[ret_rule->slot % XB_RULES_MAX].met;
	__atomic_fetch_add(&stats->packets, 1, __ATOMIC_RELAXED);
	__atomic_fetch_add(&stats->bytes, pkt->bytes, __ATOMIC_RELAXED);
	__atomic_store_n(&stats->last_ns, now_ns, __ATOMIC_RELAXED);
	/* limits want a clock that moves between two packets */
	if (ret_rule->each_ns &&
	    !xb_gcra_allows(&rules->limits[ret_rule->slot % XB_RULES_MAX],
			    xb_clock_ns(CLOCK_MONOTONIC), ret_rule->each_ns, ret_rule->ahead_ns))
		return XB_RULES_BEYOND;
	return XB_RULES_MATCH;
}

bool xb_rules_look(const struct xb_rules *rules, struct xb_walk *walk, const uint8_t *data,
		   const uint8_t *end, const struct xb_origin *origin,
		   struct xb_image_rule *ret_rule)
{
	struct xb_key key;
	uint32_t rank;

	if (!rules->image || !rules->image->head.n_rules || xb_parse_key(data, end, origin, &key))
		return false;
	xb_walk_start(walk, &key);
	rank = xb_walk_find(walk, rules->image);
	if (rank >= rules->image->head.n_rules)
		return false;
	*ret_rule = xb_image_rule(rules->image, rank);
	return true;
}
