/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The accounting equation (the design, 6) over random traffic among random ports: exact after each
 * round, with what is in flight counted from the frames' owners.
 */
#include "support/must.h"
#include "support/room.h"
#include "unit/packet_ref.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <string.h>

static uint32_t some_takes(struct rnd *rnd)
{
	uint32_t takes = rnd_below(rnd, 32);

	return takes & XB_TAKES_CSUM ? takes : 0; /* segmentation needs checksums */
}

static void set_caps(struct mem_port *mem, struct rnd *rnd)
{
	static const uint32_t longest[] = {1514, 1522, 3840, 9018, XB_PACKET_BYTES_MAX};

	mem->port.caps = (struct xb_port_caps){
		.takes = some_takes(rnd),
		.bytes_max = longest[rnd_below(rnd, 5)],
		.frames_max = (uint8_t)(1 + rnd_below(rnd, XB_PACKET_FRAMES_MAX)),
	};
}

/* Something that a packet can be, right or wrong. */
static struct mem_packet *some_packet(struct rnd *rnd, unsigned ports)
{
	static uint8_t bytes[REF_BYTES_MAX];
	static uint32_t seq[4];
	unsigned flow = rnd_below(rnd, 4);
	struct ref_spec spec = {
		.v6 = rnd_below(rnd, 4) == 0,
		.tags = (uint8_t)(rnd_below(rnd, 4) == 0),
		.vid = (uint16_t)rnd_below(rnd, 3),
		.proto = rnd_below(rnd, 5) ? IPPROTO_TCP : IPPROTO_UDP,
		.host = (uint8_t)flow,
		.df = true,
		.seq = seq[flow],
		.payload = rnd_below(rnd, 3) ? 1000 : rnd_below(rnd, 3000),
	};
	bool gso = rnd_below(rnd, 4) == 0;
	struct mem_packet *pkt;
	struct ref_place at;
	uint32_t len;

	if (gso)
		spec.payload = 1 + rnd_below(rnd, 60000);
	seq[flow] += spec.payload;
	len = ref_build(&spec, bytes, &at);
	bytes[5] = (uint8_t)(1 + rnd_below(rnd, 12)); /* addressees, more than there are ports */
	bytes[11] = (uint8_t)(1 + rnd_below(rnd, 12));
	if (rnd_below(rnd, 10) == 0)
		memset(bytes, 0xff, 6);
	if (rnd_below(rnd, 40) == 0)
		memcpy(bytes, "\x01\x80\xc2\x00\x00\x02", 6);
	if (rnd_below(rnd, 40) == 0)
		bytes[6] |= 1;
	if (gso || rnd_below(rnd, 3) == 0)
		ref_make_partial(bytes, &at);
	if (!gso && rnd_below(rnd, 40) == 0)
		len = rnd_below(rnd, 60); /* cut off */
	pkt = mem_packet_new(bytes, len);
	if (gso) {
		pkt->offload = ref_partial(&at);
		pkt->offload.gso = spec.proto == IPPROTO_UDP ? XB_GSO_UDP_L4
				   : spec.v6                 ? XB_GSO_TCP6
							     : XB_GSO_TCP4;
		pkt->offload.ecn = spec.proto == IPPROTO_TCP && rnd_below(rnd, 4) == 0;
		pkt->offload.gso_size = (uint16_t)(rnd_below(rnd, 50) ? 1 + rnd_below(rnd, 4000)
								      : 9);
		pkt->offload.hdr_bytes = (uint16_t)at.data;
	} else if (rnd_below(rnd, 3) == 0) {
		pkt->offload.csum = XB_CSUM_TRUSTED;
	}
	pkt->first = 64 + rnd_below(rnd, 3000);
	pkt->step = len / 40 + 1 + rnd_below(rnd, 2000);
	if (rnd_below(rnd, 4) == 0)
		pkt->fate.verdict =
			(uint16_t)(rnd_below(rnd, 2)
					   ? rnd_below(rnd, 4)
					   : XB_VERDICT_PORT0 + rnd_below(rnd, ports + 2));
	return pkt;
}

static void inject_some(struct room *room, struct rnd *rnd, unsigned queues)
{
	unsigned n = rnd_below(rnd, 80), port = rnd_below(rnd, room->n_mem);

	while (n--)
		mem_inject(&room->mem[port], rnd_below(rnd, queues), some_packet(rnd, room->n_mem));
}

/* Something changes under way. */
static void upset(struct room *room, struct rnd *rnd)
{
	struct mem_port *mem = &room->mem[rnd_below(rnd, room->n_mem)];

	switch (rnd_below(rnd, 6)) {
	case 0:
		atomic_store(&mem->port.up, rnd_below(rnd, 3) != 0);
		break;
	case 1:
		atomic_store(&mem->hold, rnd_below(rnd, 2));
		break;
	case 2:
		set_caps(mem, rnd);
		break;
	case 3:
		mem_port_reset(mem, &room->sorter->cache);
		break;
	default:
		room->sorter->now_ns += 300000000u;
	}
}

static void every_packet_is_accounted_for(void **state)
{
	static struct room room;
	struct rnd rnd = rnd_seed();

	(void)state;
	for (unsigned round = 0; round < 20; round++) {
		unsigned ports = 1 + rnd_below(&rnd, 6), queues = 1 + rnd_below(&rnd, 3);
		uint32_t frames = rnd_below(&rnd, 3) ? 4096 : 64 + rnd_below(&rnd, 300);

		room_init(&room, frames, ports, queues, 1 + rnd_below(&rnd, 300));
		for (unsigned i = 0; i < ports; i++) {
			atomic_store(&room.mem[i].keep, false);
			set_caps(&room.mem[i], &rnd);
		}
		for (unsigned i = 0; i < 40; i++) {
			inject_some(&room, &rnd, queues);
			if (rnd_below(&rnd, 2))
				room_round(&room);
			else
				room_run(&room);
			room_must_balance(&room);
			if (rnd_below(&rnd, 4) == 0)
				upset(&room, &rnd);
		}
		room_fini(&room);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_packet_is_accounted_for),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
