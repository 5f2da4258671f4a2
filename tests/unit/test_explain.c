/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What xb_bridge_explain says of a frame is what the sorter does with it: random tables, default
 * verdicts, forwarding tables and frames, on each kind of port.
 *
 * p0 and p1 are ordinary, p2 is a dedicated uplink, p3 a shared one. A shared uplink's group frames
 * come as the copies that its packet socket takes.
 */
#include "core/bridge.h"

#include "support/headers.h"
#include "support/must.h"
#include "support/room.h"
#include "support/steering.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <string.h>

#define PORTS  4u
#define TABLES 60u
#define FRAMES 400u
#define RULES  24u

static struct room room;
static struct xb_rule_user_stats stats[XB_RULES_MAX];
static __u64 limits[XB_RULES_MAX];
static struct rnd rnd;

static uint32_t below(uint32_t n)
{
	return rnd_below(&rnd, n);
}

/* Few addresses, so that they meet: stations, a group, a reserved one, none at all. */
static const uint8_t *some_mac(void)
{
	static const uint8_t macs[][6] = {
		{2, 0, 0, 0, 0, 1},       {2, 0, 0, 0, 0, 2},
		{2, 0, 0, 0, 0, 3},       {2, 0, 0, 0, 0, 4},
		{2, 0, 0, 0, 0, 5},       {1, 0, 0x5e, 0, 0, 1},
		{1, 0x80, 0xc2, 0, 0, 3}, {0},
	};

	return macs[below(sizeof(macs) / sizeof(macs[0]))];
}

static uint16_t some_vlan(void)
{
	static const uint16_t vlans[] = {0, 0, 0, 5, 7, XB_FDB_VLAN_ANY};

	return vlans[below(6)];
}

static uint16_t some_verdict(void)
{
	uint32_t n = below(3 + PORTS + 1); /* the last port is not there */

	return n < 3 ? (uint16_t)(XB_VERDICT_PASS + n) : XB_VERDICT_PORT(n - 3);
}

/* ---- the setting ---- */

static struct xb_image *some_table(uint32_t generation)
{
	struct steering_style style = steering_some_style();
	struct xb_image *image;
	unsigned n = 1 + below(RULES);

	for (unsigned rank = 0; rank < n; rank++) {
		steering_make_rule(rank, &style);
		steering_ranked[rank].verdict = some_verdict();
		if (!below(3)) {
			memcpy(steering_ranked[rank].dmac, some_mac(), 6);
			memcpy(steering_rules[rank].dmac, steering_ranked[rank].dmac, 6);
		}
	}
	assert_int_equal(xb_image_build(steering_ranked, n, generation, &image, NULL), 0);
	return image;
}

static bool goes(const struct xb_fdb_row *row, void *arg)
{
	(void)row, (void)arg;
	return false;
}

static void some_fdb(void)
{
	struct xb_fdb *fdb = room.snapshot.fdb;

	xb_fdb_sweep(fdb, goes, NULL);
	for (unsigned i = below(6); i; i--)
		xb_fdb_set(fdb, xb_fdb_key(0, some_mac(), below(3) ? some_vlan() : XB_FDB_VLAN_ANY),
			   (uint16_t)below(PORTS), below(2) ? XB_FDB_STATIC : XB_FDB_OWN);
	for (unsigned id = 0; id < PORTS; id++)
		atomic_store(&fdb->learn_max[id], below(4) ? XB_FDB_LEARN_MAX : below(3));
}

static void some_own_macs(void)
{
	room.snapshot.n_own = 0;
	for (unsigned i = below(4); i; i--)
		xb_snapshot_add_own(&room.snapshot, &room.mem[2 + below(2)].port, some_mac());
}

static uint32_t some_frame(unsigned n_rules, uint8_t *frame)
{
	uint32_t bytes;

	if (n_rules && below(2)) { /* one that lies around a rule */
		struct xb_key key;

		steering_key_near(below(n_rules), &key);
		bytes = steering_make_frame(&key, frame);
	} else {
		bytes = headers_make_frame(below, frame);
	}
	if (below(3))
		memcpy(frame, some_mac(), 6);
	if (below(3))
		memcpy(frame + 6, below(4) ? some_mac() : frame, 6);
	if (!below(3) && bytes >= 18) {
		uint16_t vlan = some_vlan();

		memcpy(frame + 12, (uint8_t[]){0x81, 0, (uint8_t)(vlan >> 8), (uint8_t)vlan}, 4);
	}
	return bytes;
}

/* ---- said and done ---- */

struct outcome {
	struct xb_fate fate; /* all 0 where nothing came out */
	unsigned out;        /* the ports that it came out of, a bit each */
	unsigned drop_port;  /* where it was dropped */
	enum xb_drop drop;   /* XB_DROP_COUNT: it was not */
};

static struct outcome dropped(unsigned port, enum xb_drop reason)
{
	return (struct outcome){.drop_port = port, .drop = reason};
}

static struct outcome said_of(unsigned in, const uint8_t *frame, uint32_t bytes)
{
	struct xb_explanation told;
	struct xb_decision decision;
	struct outcome said = {.drop = XB_DROP_COUNT};

	xb_bridge_explain(&room.snapshot, &room.mem[in].port, frame, bytes, &told);
	decision = told.copied ? told.copy : told.decision;
	if (told.copied) {
		assert_int_equal(told.decision.verdict, XB_VERDICT_PASS);
		assert_int_not_equal(told.copy.stage, XB_STAGE_GROUP); /* nobody keeps the copy */
		assert_true(in == 3 && frame[0] & 1);
	}
	if (!told.routed)
		return dropped(in, XB_DROP_VERDICT);
	if (told.route.kind == XB_ROUTE_DROP)
		return dropped(in, told.route.reason);
	said.fate = (struct xb_fate){decision.verdict, decision.stage, decision.rule};
	said.out = told.route.kind == XB_ROUTE_PORT ? 1u << told.route.to->id
						    : ((1u << PORTS) - 1) & ~(1u << in);
	return said;
}

static uint64_t all_drops(void)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < PORTS; i++)
		n += port_sums(&room.mem[i].port).drops;
	return n;
}

static void must_be_done(unsigned in, const uint8_t *frame, uint32_t bytes,
			 const struct outcome *said)
{
	struct mem_packet *pkt = mem_packet_new(frame, bytes);
	const struct xb_port *at = &room.mem[said->drop_port].port;
	bool drops = said->drop != XB_DROP_COUNT;
	uint64_t all = all_drops(), one = drops ? port_drops(at, said->drop) : 0;
	unsigned out = 0;

	if (!below(3))
		pkt->first = 14 + below(40), pkt->step = 20 + below(60);
	mem_inject(&room.mem[in], 0, pkt);
	room_run(&room);
	for (unsigned i = 0; i < PORTS; i++) {
		pkt = mem_sent(&room.mem[i], 0);
		if (!pkt)
			continue;
		out |= 1u << i;
		assert_int_equal(pkt->fate.verdict, said->fate.verdict);
		assert_int_equal(pkt->fate.stage, said->fate.stage);
		assert_int_equal(pkt->fate.rule, said->fate.rule);
		free(pkt);
	}
	assert_int_equal(out, said->out);
	assert_int_equal(all_drops() - all, drops);
	if (drops)
		assert_int_equal(port_drops(at, said->drop) - one, 1);
}

static void what_is_explained_is_what_the_sorter_does(void **state)
{
	(void)state;
	rnd = rnd_seed();
	room_init(&room, 1024, PORTS, 1, 256);
	room.mem[2].port.caps.uplink = true;
	room.mem[3].port.caps.uplink = room.mem[3].port.caps.shared = true;
	for (uint32_t t = 1; t <= TABLES; t++) {
		struct xb_image *image = below(6) ? some_table(t) : NULL;

		room.snapshot.rules =
			(struct xb_rules){.image = image, .stats = stats, .limits = limits};
		room.snapshot.verdict = some_verdict();
		some_fdb();
		some_own_macs();
		for (unsigned i = 0; i < FRAMES; i++) {
			uint8_t frame[HEADERS_FRAME_BYTES] = {0};
			uint32_t bytes = some_frame(image ? image->head.n_rules : 0, frame);
			unsigned in = below(PORTS);
			struct outcome said;

			room.sorter->last_key.bits = 0;
			said = said_of(in, frame, bytes);
			must_be_done(in, frame, bytes, &said);
		}
		free(image);
	}
	room_fini(&room);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_explained_is_what_the_sorter_does),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
