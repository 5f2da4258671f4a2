/* SPDX-License-Identifier: BSD-2-Clause */
#include "gate/drop_feed.h"

#include <bpf/libbpf.h>
#include <errno.h>
#include <stdlib.h>

/* Taken at a time: all that the ring holds. While new ones come libbpf would go on for ever, and
 * the control thread with it; the descriptor stays readable for what is left. */
#define RECORDS_MAX 512u

struct xb_drop_feed {
	struct xb_gate *gate;
	struct ring_buffer *ring;
	void (*on_drop)(void *arg, const struct xb_dropped *frame); /* NULL: nobody wants it yet */
	void *arg;
	uint64_t unseen; /* of table->unseen: what was told already */
	unsigned taken;  /* at this time */
};

/* A negative answer ends it, behind this record. */
static int on_record(void *ctx, void *data, size_t bytes)
{
	struct xb_drop_feed *feed = ctx;
	const struct xb_dropped *frame = data;

	if (feed->on_drop && bytes >= sizeof(*frame) && frame->n <= XB_DROPPED_BYTES)
		feed->on_drop(feed->arg, frame);
	return ++feed->taken < RECORDS_MAX ? 0 : -EAGAIN;
}

static void take(struct xb_drop_feed *feed)
{
	feed->taken = 0;
	ring_buffer__consume(feed->ring);
}

static void watch(struct xb_gate *gate, uint64_t on)
{
	__atomic_store_n(&gate->table->watched, on, __ATOMIC_RELAXED);
}

void xb_drop_feed_reset(struct xb_gate *gate)
{
	watch(gate, 0);
}

int xb_drop_feed_open(struct xb_gate *gate,
		      void (*on_drop)(void *arg, const struct xb_dropped *frame), void *arg,
		      struct xb_drop_feed **ret_feed, struct xb_error *err)
{
	struct xb_drop_feed *feed = calloc(1, sizeof(*feed));

	if (!feed)
		return xb_fail(err, -ENOMEM, "watch what the XDP program drops");
	*feed = (struct xb_drop_feed){.gate = gate, .unseen = gate->table->unseen};
	feed->ring = ring_buffer__new(gate->dropped_fd, on_record, feed, NULL);
	if (!feed->ring) {
		int code = -errno;

		free(feed);
		return xb_fail(err, code, "watch what the XDP program drops");
	}
	take(feed); /* what an earlier feed, or an earlier run, has left */
	feed->on_drop = on_drop;
	feed->arg = arg;
	watch(gate, 1);
	*ret_feed = feed;
	return 0;
}

int xb_drop_feed_fd(const struct xb_drop_feed *feed)
{
	return ring_buffer__epoll_fd(feed->ring);
}

uint64_t xb_drop_feed_read(struct xb_drop_feed *feed)
{
	uint64_t unseen = __atomic_load_n(&feed->gate->table->unseen, __ATOMIC_RELAXED);
	uint64_t lost = unseen - feed->unseen;

	feed->unseen = unseen;
	take(feed);
	return lost;
}

uint64_t xb_drop_feed_close(struct xb_drop_feed *feed)
{
	uint64_t lost;

	watch(feed->gate, 0);
	lost = xb_drop_feed_read(feed);
	ring_buffer__free(feed->ring);
	free(feed);
	return lost;
}
