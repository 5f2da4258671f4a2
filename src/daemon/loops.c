/* SPDX-License-Identifier: BSD-2-Clause */
#include "daemon/loops.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>

/* Moves one way and back belong together within this time: a worker looks at a sender once a
 * second. */
#define FLAP_NS 1200000000ull

/* So many looks in a row with such moves are a loop even if no probe comes back. */
#define FLAPS 3u

int xb_loop_watch_init(struct xb_loop_watch *watch)
{
	memset(watch, 0, sizeof(*watch));
	if (getrandom(&watch->signs.secret, sizeof(watch->signs.secret), 0) !=
	    sizeof(watch->signs.secret))
		return -EIO;
	return 0;
}

static void add_probe(struct xb_probe_list *probes, const struct xb_port *port, uint16_t vlan)
{
	if (!port->caps.uplink)
		return;
	for (unsigned i = 0; i < probes->n; i++)
		if (probes->list[i].port == port->id && probes->list[i].vlan == vlan)
			return;
	if (probes->n == sizeof(probes->list) / sizeof(probes->list[0]))
		return;
	probes->list[probes->n].port = port->id;
	probes->list[probes->n++].vlan = vlan;
}

static uint32_t count(const _Atomic uint32_t *counter)
{
	return atomic_load_explicit(counter, memory_order_relaxed);
}

/* What has happened between two ports since the last look. */
struct news {
	bool moved;
	bool echoed;
};

static struct news read_signs(struct xb_loop_watch *watch, const struct xb_fdb *fdb, unsigned a,
			      unsigned b, uint64_t now_ns)
{
	struct xb_loop_pair *pair = &watch->pairs[a][b];
	const uint32_t moved[2] = {count(&fdb->n_moved[a][b]), count(&fdb->n_moved[b][a])};
	const uint32_t echoes = count(&watch->signs.echoes[a][b]) +
				count(&watch->signs.echoes[b][a]);
	struct news news = {.echoed = echoes != pair->echoes};

	for (unsigned way = 0; way < 2; way++) {
		if (moved[way] == pair->moved[way])
			continue;
		news.moved = true;
		pair->moved_ns[way] = now_ns;
		pair->moved[way] = moved[way];
	}
	pair->echoes = echoes;
	return news;
}

static bool is_recent(uint64_t then_ns, uint64_t now_ns)
{
	return then_ns && now_ns - then_ns < FLAP_NS;
}

/* Counts the looks in a row at which addresses have gone back and forth. */
static void count_flap(struct xb_loop_pair *pair, const struct news *news, uint64_t now_ns)
{
	const bool forth = is_recent(pair->moved_ns[0], now_ns);
	const bool back = is_recent(pair->moved_ns[1], now_ns);

	if (!forth && !back)
		pair->flaps = 0;
	else if (forth && back && news->moved)
		pair->flaps++;
}

static void set_cut(struct xb_loop_watch *watch, unsigned a, unsigned b, bool cut)
{
	const uint64_t bits[2] = {1ull << b, 1ull << a};

	watch->cut[a] = cut ? watch->cut[a] | bits[0] : watch->cut[a] & ~bits[0];
	watch->cut[b] = cut ? watch->cut[b] | bits[1] : watch->cut[b] & ~bits[1];
}

static void begin(struct xb_loop_watch *watch, unsigned a, unsigned b, uint64_t now_ns)
{
	struct xb_loop_pair *pair = &watch->pairs[a][b];
	const bool relapse = pair->healed_ns && now_ns - pair->healed_ns < XB_LOOP_RELAPSE_NS;

	pair->quiet_ns = relapse ? 2 * pair->quiet_ns : XB_LOOP_QUIET_NS;
	if (pair->quiet_ns > XB_LOOP_QUIET_MAX_NS)
		pair->quiet_ns = XB_LOOP_QUIET_MAX_NS;
	set_cut(watch, a, b, true);
}

/* Decides about one pair; returns whether something has changed. */
static bool decide(struct xb_loop_watch *watch, unsigned a, unsigned b, const struct news *news,
		   uint64_t now_ns)
{
	struct xb_loop_pair *pair = &watch->pairs[a][b];
	const bool was_cut = xb_loop_is_cut(watch, a, b);

	count_flap(pair, news, now_ns);
	if (news->echoed || pair->flaps >= FLAPS) {
		pair->sign_ns = now_ns;
		if (!was_cut)
			begin(watch, a, b, now_ns);
		return !was_cut;
	}
	if (!was_cut || now_ns - pair->sign_ns < pair->quiet_ns)
		return false;
	pair->healed_ns = now_ns;
	set_cut(watch, a, b, false);
	return true;
}

/* Whether a frame with an address of ours has come in somewhere, which may be one that we have
 * flooded. */
static bool read_strays(struct xb_loop_watch *watch, const struct xb_snapshot *snapshot)
{
	bool any = false;

	for (unsigned i = 0; i < snapshot->n_ports; i++) {
		unsigned id = snapshot->port_list[i]->id;
		uint32_t strays = count(&watch->signs.strays[id]);

		any |= strays != watch->strays[id];
		watch->strays[id] = strays;
	}
	return any;
}

static void probe_pair(struct xb_probe_list *probes, const struct xb_fdb *fdb,
		       const struct xb_port *low, const struct xb_port *high)
{
	const uint16_t vlans[3] = {0, atomic_load(&fdb->moved_vlan[low->id][high->id]),
				   atomic_load(&fdb->moved_vlan[high->id][low->id])};

	for (unsigned i = 0; i < 3; i++) {
		add_probe(probes, low, vlans[i]);
		add_probe(probes, high, vlans[i]);
	}
}

bool xb_loop_watch_look(struct xb_loop_watch *watch, const struct xb_fdb *fdb,
			const struct xb_snapshot *snapshot, uint64_t now_ns,
			struct xb_probe_list *ret_probes)
{
	const bool strays = read_strays(watch, snapshot);
	bool changed = false;

	ret_probes->n = 0;
	for (unsigned i = 0; i < snapshot->n_ports; i++) {
		for (unsigned j = 0; j < snapshot->n_ports; j++) {
			const struct xb_port *low = snapshot->port_list[i];
			const struct xb_port *high = snapshot->port_list[j];
			struct news news;

			if (low->id >= high->id)
				continue;
			news = read_signs(watch, fdb, low->id, high->id, now_ns);
			changed |= decide(watch, low->id, high->id, &news, now_ns);
			if (strays || news.moved || xb_loop_is_cut(watch, low->id, high->id))
				probe_pair(ret_probes, fdb, low, high);
		}
	}
	return changed;
}

void xb_loop_watch_forget(struct xb_loop_watch *watch, const struct xb_fdb *fdb, unsigned port)
{
	for (unsigned other = 0; other < XB_PORTS_MAX; other++) {
		unsigned a = port < other ? port : other, b = port < other ? other : port;

		if (a == b)
			continue;
		set_cut(watch, a, b, false);
		read_signs(watch, fdb, a, b, 0); /* what has been counted up to now is old */
		watch->pairs[a][b] = (struct xb_loop_pair){
			.moved = {watch->pairs[a][b].moved[0], watch->pairs[a][b].moved[1]},
			.echoes = watch->pairs[a][b].echoes,
		};
	}
}
