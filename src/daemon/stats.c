/* SPDX-License-Identifier: BSD-2-Clause */
#include "daemon/stats.h"

#include "core/cleanup.h"
#include "daemon/doors.h"
#include "daemon/json.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct queue_books {
	uint64_t rx_packets, tx_packets;
};

/* Where packets of a port come from, and where they end. */
struct port_books {
	uint64_t rx_packets, rx_bytes, rx_missed, rx_csum_left, rx_gso_packets;
	uint64_t tx_packets, tx_bytes, tx_csum_left, tx_gso_packets;
	uint64_t drops[XB_DROP_COUNT];
	uint64_t learn_refused;
	struct xb_xdp_stats xdp; /* of an uplink */
	struct queue_books queues[XB_QUEUES_MAX];
};

/* Counts and nothing else, so that books can be taken off each other number by number. */
struct xb_books {
	uint64_t copies, segments_added, frames_joined;
	struct port_books departed;            /* of ports that were removed */
	struct port_books ports[XB_PORTS_MAX]; /* by id */
};

static_assert(sizeof(struct xb_books) % sizeof(uint64_t) == 0, "it holds counts only");

/* ---- reading ---- */

static void read_queue(const struct xb_port_queue *queue, struct port_books *books,
		       struct queue_books *own)
{
	own->rx_packets = xb_counted(&queue->rx_packets);
	own->tx_packets = xb_counted(&queue->tx_packets);
	books->rx_packets += own->rx_packets;
	books->rx_bytes += xb_counted(&queue->rx_bytes);
	books->rx_missed += xb_counted(&queue->rx_missed);
	books->rx_csum_left += xb_counted(&queue->rx_csum_left);
	books->rx_gso_packets += xb_counted(&queue->rx_gso_packets);
	books->tx_packets += own->tx_packets;
	books->tx_bytes += xb_counted(&queue->tx_bytes);
	books->tx_csum_left += xb_counted(&queue->tx_csum_left);
	books->tx_gso_packets += xb_counted(&queue->tx_gso_packets);
	for (unsigned i = 0; i < XB_DROP_COUNT; i++)
		books->drops[i] += xb_counted(&queue->drops[i]);
}

static void read_port(const struct xb_instance *instance, const struct xb_port *port,
		      struct port_books *books)
{
	for (unsigned q = 0; q < port->queues_max && q < XB_QUEUES_MAX; q++)
		read_queue(&port->queues[q], books, &books->queues[q]);
	books->learn_refused = atomic_load(&instance->fdb->n_refused[port->id]);
}

/* What the XDP program has dropped has come in by the uplink, and ended there. */
static void add_xdp(struct port_books *books)
{
	const struct xb_xdp_stats *xdp = &books->xdp;

	books->rx_packets += xdp->drop + xdp->limit;
	books->rx_bytes += xdp->drop_bytes + xdp->limit_bytes;
	books->drops[XB_DROP_VERDICT] += xdp->drop;
	books->drops[XB_DROP_LIMIT] += xdp->limit;
}

static void read_door(struct xb_door *door, struct port_books *port)
{
	if (door->ops->refresh_stats)
		door->ops->refresh_stats(door);
	read_port(door->instance, door->port, port);
	if (!door->ops->read_xdp)
		return;
	door->ops->read_xdp(door, &port->xdp);
	add_xdp(port);
}

static void read_books(struct xb_instance *instance, struct xb_books *books)
{
	struct xb_sorter_counts counts;

	memset(books, 0, sizeof(*books));
	if (instance->departed)
		books->departed = instance->departed->departed;
	xb_for_each_door(instance, door)
	{
		read_door(door, &books->ports[door->port->id]);
	}
	counts = xb_workers_counts(&instance->workers);
	books->copies = counts.copies;
	books->segments_added = counts.segments_added;
	books->frames_joined = counts.frames_joined;
}

static void take_off(struct xb_books *books, const struct xb_books *before)
{
	uint64_t *to = (uint64_t *)books;
	const uint64_t *from = (const uint64_t *)before;

	for (size_t i = 0; i < sizeof(*books) / sizeof(*to); i++)
		to[i] -= from[i];
}

/* ---- ports that go ---- */

static void add_up(struct port_books *to, const struct port_books *from)
{
	uint64_t *sum = (uint64_t *)to;
	const uint64_t *more = (const uint64_t *)from;

	for (size_t i = 0; i < sizeof(*to) / sizeof(*sum); i++)
		sum[i] += more[i];
}

int xb_stats_depart(struct xb_door *door)
{
	struct xb_books **departed = &door->instance->departed;
	struct xb_books *at_reset = door->instance->books_at_reset;
	struct port_books books = {0};

	if (!*departed)
		*departed = calloc(1, sizeof(**departed));
	if (!*departed)
		return -ENOMEM;
	read_door(door, &books);
	add_up(&(*departed)->departed, &books);
	if (!at_reset)
		return 0;
	add_up(&at_reset->departed, &at_reset->ports[door->port->id]);
	memset(&at_reset->ports[door->port->id], 0, sizeof(books));
	return 0;
}

/* ---- reset ---- */

/* What has come in by a port, less what has ended there. */
static uint64_t port_under_way(const struct port_books *port)
{
	uint64_t n = port->rx_packets - port->tx_packets;

	for (unsigned i = 0; i < XB_DROP_COUNT; i++)
		n -= port->drops[i];
	return n;
}

/* Packets that the books have seen come and not yet end. */
static uint64_t under_way(const struct xb_books *books)
{
	uint64_t n = books->copies + books->segments_added - books->frames_joined;

	n += port_under_way(&books->departed);
	for (unsigned id = 0; id < XB_PORTS_MAX; id++)
		n += port_under_way(&books->ports[id]);
	return n;
}

/* Of two readings, where packets come from as the later one says and where they end as the earlier
 * one does: so that none ends before it has come. */
static void join(struct xb_books *sources, const struct xb_books *ends)
{
	sources->frames_joined = ends->frames_joined;
	sources->departed = ends->departed; /* nothing of them moves any more */
	for (unsigned id = 0; id < XB_PORTS_MAX; id++) {
		struct port_books *to = &sources->ports[id];
		const struct port_books *from = &ends->ports[id];

		to->tx_packets = from->tx_packets;
		/* what a program drops comes and ends in one count */
		for (unsigned i = 0; i < XB_DROP_COUNT; i++)
			to->drops[i] = from->drops[i];
		to->drops[XB_DROP_VERDICT] += to->xdp.drop - from->xdp.drop;
		to->drops[XB_DROP_LIMIT] += to->xdp.limit - from->xdp.limit;
	}
}

int xb_stats_reset(struct xb_instance *instance, struct xb_error *err)
{
	xb_auto_free struct xb_books *ends = malloc(sizeof(*ends));
	struct xb_books *books = malloc(sizeof(*books));
	int ret;

	if (!ends || !books) {
		free(books);
		return xb_fail(err, -ENOMEM, "keep the counters of now");
	}
	read_books(instance, ends);
	read_books(instance, books);
	join(books, ends);
	free(instance->books_at_reset);
	instance->books_at_reset = books;
	ret = xb_steering_reset_stats(&instance->steering);
	return ret < 0 ? xb_fail(err, ret, "read the counters of rules") : 0;
}

/* ---- telling ---- */

static struct json_object *drops_json(const struct port_books *books)
{
	struct json_object *to = json_object_new_object();

#define ADD_DROP(NAME, name, side, text) xb_json_add_u64(to, #name, books->drops[XB_DROP_##NAME]);
	XB_DROP_REASONS(ADD_DROP)
#undef ADD_DROP
	return to;
}

static struct json_object *queues_json(const struct xb_port *port, const struct port_books *books)
{
	struct json_object *list = json_object_new_array();

	for (unsigned q = 0; q < port->queues_max && q < XB_QUEUES_MAX; q++) {
		const struct queue_books *queue = &books->queues[q];
		struct json_object *one;

		if (q >= port->n_queues && !queue->rx_packets && !queue->tx_packets)
			continue;
		one = json_object_new_object();
		xb_json_add_u64(one, "queue", q);
		xb_json_add_u64(one, "rx_packets", queue->rx_packets);
		xb_json_add_u64(one, "tx_packets", queue->tx_packets);
		xb_json_push(list, one);
	}
	return list;
}

static struct json_object *books_json(const struct port_books *books)
{
	struct json_object *to = json_object_new_object();

	xb_json_add_u64(to, "rx_packets", books->rx_packets);
	xb_json_add_u64(to, "rx_bytes", books->rx_bytes);
	xb_json_add_u64(to, "tx_packets", books->tx_packets);
	xb_json_add_u64(to, "tx_bytes", books->tx_bytes);
	xb_json_add_u64(to, "rx_missed", books->rx_missed);
	xb_json_add_u64(to, "rx_csum_left", books->rx_csum_left);
	xb_json_add_u64(to, "rx_gso_packets", books->rx_gso_packets);
	xb_json_add_u64(to, "tx_csum_left", books->tx_csum_left);
	xb_json_add_u64(to, "tx_gso_packets", books->tx_gso_packets);
	xb_json_add(to, "drops", drops_json(books));
	return to;
}

static struct json_object *port_json(const struct xb_instance *instance, const struct xb_port *port,
				     const struct port_books *books)
{
	struct json_object *to = books_json(books);

	xb_json_add(to, "queues", queues_json(port, books));
	xb_json_add_u64(to, "learned", atomic_load(&instance->fdb->n_learned[port->id]));
	xb_json_add_u64(to, "learn_refused", books->learn_refused);
	return to;
}

static struct json_object *xdp_json(const struct xb_xdp_stats *xdp)
{
	struct json_object *to = json_object_new_object();

	xb_json_add_u64(to, "pass_verdict", xdp->pass_verdict);
	xb_json_add_u64(to, "pass_own", xdp->pass_own);
	xb_json_add_u64(to, "pass_group", xdp->pass_group);
	xb_json_add_u64(to, "pass_noqueue", xdp->pass_noqueue);
	xb_json_add_u64(to, "pass_stall", xdp->pass_stall);
	xb_json_add_u64(to, "pass_undelivered", xdp->pass_undelivered);
	xb_json_add_u64(to, "pass_runt", xdp->pass_runt);
	xb_json_add_u64(to, "pass_long", xdp->pass_long);
	xb_json_add_u64(to, "redirect", xdp->redirect);
	xb_json_add_u64(to, "drop", xdp->drop);
	xb_json_add_u64(to, "drop_bytes", xdp->drop_bytes);
	xb_json_add_u64(to, "limit", xdp->limit);
	xb_json_add_u64(to, "limit_bytes", xdp->limit_bytes);
	return to;
}

struct json_object *xb_query_stats(struct xb_instance *instance)
{
	xb_auto_free struct xb_books *books = malloc(sizeof(*books));
	struct json_object *to = json_object_new_object();
	struct json_object *ports = json_object_new_object();
	uint32_t owners[XB_OWNER_COUNT];

	xb_json_add(to, "ports", ports);
	if (!books)
		return to;
	read_books(instance, books);
	if (instance->books_at_reset)
		take_off(books, instance->books_at_reset);
	xb_for_each_door(instance, door)
	{
		const struct port_books *port = &books->ports[door->port->id];
		struct json_object *one = port_json(instance, door->port, port);

		if (door->ops->read_xdp)
			xb_json_add(one, "xdp", xdp_json(&port->xdp));
		xb_json_add(ports, door->port->name, one);
	}
	xb_json_add(to, "departed", books_json(&books->departed));
	xb_arena_count(&instance->arena, owners);
	xb_json_add_u64(to, "copies", books->copies);
	xb_json_add_u64(to, "segments_added", books->segments_added);
	xb_json_add_u64(to, "frames_joined", books->frames_joined);
	xb_json_add_u64(to, "in_flight", owners[XB_OWNER_WORKER] + owners[XB_OWNER_TX]);
	xb_json_add_u64(to, "in_flight_at_reset",
			instance->books_at_reset ? under_way(instance->books_at_reset) : 0);
	return to;
}

void xb_stats_only(struct json_object *stats, const char *port)
{
	struct json_object *ports = xb_json_field(stats, "ports");
	struct json_object *one = json_object_get(xb_json_field(ports, port));
	struct json_object *only = json_object_new_object();

	xb_json_add(only, port, one);
	xb_json_add(stats, "ports", only);
}
