/* SPDX-License-Identifier: BSD-2-Clause */
#include "support/room.h"

#include "support/must.h"

#include <stdlib.h>
#include <string.h>

void room_init(struct room *room, uint32_t frames, unsigned ports, unsigned queues,
	       unsigned ring_size)
{
	MUST(ports <= ROOM_PORTS);
	memset(room, 0, sizeof(*room));
	MUST(xb_arena_init(&room->arena, frames, 4u << 20, NULL) == 0);
	room->sorter = malloc(sizeof(*room->sorter));
	MUST(room->sorter);
	xb_sorter_init(room->sorter, &room->arena, 0);
	room->sorter->now_ns = 1000000000u;
	room->snapshot.verdict = XB_VERDICT_BRIDGE;
	room->snapshot.n_workers = 1;
	room->snapshot.fdb = xb_fdb_new();
	MUST(room->snapshot.fdb);
	for (unsigned i = 0; i < ports; i++) {
		char name[] = {'p', (char)('0' + i), '\0'};

		mem_port_init(&room->mem[i], name, i, queues, ring_size);
		xb_snapshot_add(&room->snapshot, &room->mem[i].port);
	}
	room->n_mem = ports;
}

void room_fini(struct room *room)
{
	for (unsigned i = 0; i < room->n_mem; i++)
		mem_port_reset(&room->mem[i], &room->sorter->cache);
	room_must_balance(room);
	xb_sorter_fini(room->sorter);
	must_be_free(&room->arena);
	for (unsigned i = 0; i < room->n_mem; i++)
		mem_port_fini(&room->mem[i]);
	xb_fdb_free(room->snapshot.fdb);
	free(room->sorter);
	xb_arena_fini(&room->arena);
}

void room_add(struct room *room, struct xb_port *port)
{
	xb_snapshot_add(&room->snapshot, port);
}

unsigned room_round(struct room *room)
{
	return xb_sorter_round(room->sorter, &room->snapshot).packets;
}

void room_run(struct room *room)
{
	while (room_round(room))
		;
}

unsigned room_came_out(struct room *room)
{
	unsigned mask = 0;

	for (unsigned i = 0; i < room->n_mem; i++) {
		struct mem_packet *pkt;

		while ((pkt = mem_sent(&room->mem[i], 0))) {
			mask |= 1u << i;
			free(pkt);
		}
	}
	return mask;
}

uint64_t port_drops(const struct xb_port *port, enum xb_drop reason)
{
	uint64_t sum = 0;

	for (unsigned q = 0; q < port->queues_max; q++)
		sum += xb_counted(&port->queues[q].drops[reason]);
	return sum;
}

struct port_sums port_sums(const struct xb_port *port)
{
	struct port_sums sums = {0};

	for (unsigned q = 0; q < port->queues_max; q++) {
		sums.rx += xb_counted(&port->queues[q].rx_packets);
		sums.tx += xb_counted(&port->queues[q].tx_packets);
		sums.missed += xb_counted(&port->queues[q].rx_missed);
	}
	for (unsigned reason = 0; reason < XB_DROP_COUNT; reason++)
		sums.drops += port_drops(port, (enum xb_drop)reason);
	return sums;
}

void must_balance(const struct xb_arena *arena, struct xb_port *const *ports, unsigned n_ports,
		  struct xb_sorter_counts counts)
{
	uint32_t owners[XB_OWNER_COUNT];
	uint64_t in = 0, out = 0;

	for (unsigned i = 0; i < n_ports; i++) {
		struct port_sums sums = port_sums(ports[i]);

		in += sums.rx;
		out += sums.tx + sums.drops;
	}
	in += counts.copies + counts.segments_added;
	out += counts.frames_joined;
	xb_arena_count(arena, owners);
	out += owners[XB_OWNER_WORKER] + owners[XB_OWNER_TX];
	if (in != out)
		fprintf(stderr, "in %llu, out %llu\n", (unsigned long long)in,
			(unsigned long long)out);
	MUST(in == out);
}

void room_must_balance(struct room *room)
{
	must_balance(&room->arena, room->snapshot.port_list, room->snapshot.n_ports,
		     xb_sorter_counts(room->sorter));
}

void must_be_free(const struct xb_arena *arena)
{
	uint32_t owners[XB_OWNER_COUNT];

	xb_arena_count(arena, owners);
	MUST(owners[XB_OWNER_POOL] == arena->n_frames);
}
