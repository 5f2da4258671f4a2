/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/snapshot.h"

#include "xbridge/bytes.h"

#include <string.h>

void xb_snapshot_add(struct xb_snapshot *snapshot, struct xb_port *port)
{
	snapshot->port_list[snapshot->n_ports++] = port;
	snapshot->ports[port->id] = port;
	snapshot->queues[port->id] = port->n_queues;
}

static uint64_t own_key(const struct xb_port *port, const uint8_t mac[6])
{
	return (uint64_t)xb_get_be16(mac) << 48 | (uint64_t)xb_get_be32(mac + 2) << 16 | port->id;
}

/* The place of the first own MAC that is not below `key`. */
static unsigned own_place(const struct xb_snapshot *snapshot, uint64_t key)
{
	unsigned first = 0, end = snapshot->n_own;

	while (first < end) {
		unsigned middle = (first + end) / 2;

		if (snapshot->own[middle] < key)
			first = middle + 1;
		else
			end = middle;
	}
	return first;
}

void xb_snapshot_add_own(struct xb_snapshot *snapshot, const struct xb_port *port,
			 const uint8_t mac[6])
{
	uint64_t key = own_key(port, mac);
	unsigned place = own_place(snapshot, key);

	if (snapshot->n_own == XB_OWN_MACS_MAX)
		return;
	memmove(&snapshot->own[place + 1], &snapshot->own[place],
		(snapshot->n_own - place) * sizeof(snapshot->own[0]));
	snapshot->own[place] = key;
	snapshot->n_own++;
}

bool xb_snapshot_has_own(const struct xb_snapshot *snapshot, const struct xb_port *port,
			 const uint8_t mac[6])
{
	uint64_t key = own_key(port, mac);
	unsigned place = own_place(snapshot, key);

	return place < snapshot->n_own && snapshot->own[place] == key;
}

unsigned xb_snapshot_tx_queue(const struct xb_snapshot *snapshot, const struct xb_port *port,
			      unsigned worker, unsigned rx_queue)
{
	unsigned n = snapshot->n_workers;
	unsigned queues = snapshot->queues[port->id];
	unsigned own = queues / n + (worker < queues % n);

	if (!own)
		return worker % queues;
	return worker + n * (rx_queue / n % own);
}
