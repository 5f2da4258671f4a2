/* SPDX-License-Identifier: BSD-2-Clause */
#include "xsk/delivery.h"

void xb_delivery_start(struct xb_delivery *delivery, const struct xb_delivery_counts *counts)
{
	*delivery = (struct xb_delivery){.counts = *counts};
}

static void trust(struct xb_delivery *delivery)
{
	delivery->state = XB_DELIVERY_TRUSTED;
	delivery->since_ns = 0;
	delivery->pause_ns = 0;
}

static uint64_t withhold(struct xb_delivery *delivery, uint64_t now_ns)
{
	uint64_t vanished = (uint64_t)delivery->owed;
	uint64_t pause_ns = delivery->pause_ns ? 2 * delivery->pause_ns : XB_DELIVERY_RETRY_NS;

	if (pause_ns > XB_DELIVERY_RETRY_MAX_NS)
		pause_ns = XB_DELIVERY_RETRY_MAX_NS;
	delivery->state = XB_DELIVERY_WITHHELD;
	delivery->pause_ns = pause_ns;
	delivery->retry_ns = now_ns + pause_ns;
	delivery->since_ns = 0;
	delivery->owed = 0;
	return vanished;
}

uint64_t xb_delivery_look(struct xb_delivery *delivery, const struct xb_delivery_counts *counts,
			  uint64_t now_ns)
{
	const struct xb_delivery_counts before = delivery->counts;
	uint64_t redirected = counts->redirected - before.redirected;
	uint64_t arrived = (uint32_t)(counts->received - before.received) +
			   (counts->missed - before.missed);

	delivery->counts = *counts;
	delivery->owed += (int64_t)redirected - (int64_t)arrived;
	if (delivery->owed < 0) /* some redirects were not counted */
		delivery->owed = 0;
	if (delivery->state == XB_DELIVERY_WITHHELD) {
		if (now_ns >= delivery->retry_ns)
			delivery->state = XB_DELIVERY_TRIED;
		return 0;
	}
	if (arrived) {
		trust(delivery);
		return 0;
	}
	/* None was redirected: a slow stream is judged by its next frame. */
	if (!redirected)
		return 0;
	if (!delivery->since_ns)
		delivery->since_ns = now_ns;
	if (now_ns - delivery->since_ns < XB_DELIVERY_DOUBT_NS)
		return 0;
	return withhold(delivery, now_ns);
}
