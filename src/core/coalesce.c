/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory. A batch is walked once. Each TCP packet is looked at (look), which says to which flow it
 * belongs and whether it may be joined at all. For up to XB_COALESCE_FLOWS flows a run is kept: a
 * packet and what was chained after it. A packet that continues its flow's run is appended; any
 * other packet of that flow closes the run, so that nothing overtakes it, and may open the next.
 * Where the flow of a packet can't be told (a fragment), all runs are closed.
 *
 * A flow is told by a hash alone. Two flows with the same hash close each other's runs and lose
 * nothing but speed: what joins is decided by comparing the headers.
 *
 * Until a run is closed its head keeps its own header, to compare with; only then (seal) it is
 * rewritten to that of one large packet. A run of one packet is left as it came. Checksums of
 * XB_CSUM_COMPLETE packets are verified only when a join depends on them.
 */
#include "core/coalesce.h"

#include "core/checksum.h"
#include "core/l4.h"

#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <string.h>

#define IP_BYTES_MAX 65535u
#define IPV4_DF      0x4000u
#define TCP_CHECK    offsetof(struct tcphdr, check)

/* Reserved bits and flags, without the data offset: bytes 12 and 13 of the TCP header */
#define TCP_FLAGS_AT   12u
#define TCP_FLAGS_MASK 0x0fffu
#define TCP_PSH        0x0008u
#define TCP_ACK        0x0010u

/* What was seen of a packet. */
struct look {
	uint32_t flow; /* hash of addresses and ports, never 0 */
	bool may_join; /* only its checksum may still forbid it; what follows is valid if so */
	bool verified; /* its checksum is right, or will be made */
	bool push;
	bool v4;
	bool df;
	uint16_t id;
	uint16_t l3;
	uint16_t l4;
	uint16_t hdr_bytes;
	uint32_t sequence;
	uint32_t payload;
};

struct run {
	struct xb_frame *head;
	struct xb_frame *last; /* frame of the chain, once something was joined */
	struct look look;      /* of the head */
	uint32_t segments;
	uint32_t payload; /* of all of them */
	bool push;        /* on the last one */
};

/* The runs of a batch; flow[i] is that of run[i], or 0 where it is closed. */
struct table {
	uint32_t flow[XB_COALESCE_FLOWS];
	struct run run[XB_COALESCE_FLOWS];
	unsigned n;
	unsigned victim; /* which run makes room once all are in use */
};

enum kind {
	NO_FLOW,  /* not TCP: doesn't matter here */
	ANY_FLOW, /* may belong to any flow */
	ONE_FLOW, /* look.flow */
};

static bool takes_gso(bool v4, uint32_t takes)
{
	return takes & (v4 ? XB_TAKES_TSO4 : XB_TAKES_TSO6);
}

/* The offload of a packet that may be joined: not cut yet, and nothing odd about its checksum. */
static bool offload_fits(const struct xb_offload *offload, uint32_t l4)
{
	if (offload->gso != XB_GSO_NONE)
		return false;
	return offload->csum != XB_CSUM_PARTIAL ||
	       (offload->csum_start == l4 && offload->csum_offset == TCP_CHECK);
}

/* The IPv4 header of a packet that may be joined: its fields are what a cut will write again. */
static bool look_v4(const uint8_t *ip, struct look *look)
{
	uint32_t frag = xb_get_be16(ip + offsetof(struct iphdr, frag_off));

	look->df = frag == IPV4_DF;
	look->id = xb_get_be16(ip + offsetof(struct iphdr, id));
	return (frag & ~IPV4_DF) == 0 &&
	       xb_csum_fold(xb_csum_add(0, ip, sizeof(struct iphdr))) == UINT16_MAX;
}

/* Whether a TCP packet may be joined. `len` bytes of headers stand at `data`. */
static bool look_tcp(const struct xb_frame *pkt, const uint8_t *data, uint32_t len,
		     const struct xb_headers *l4, struct look *look)
{
	const uint8_t *tcp = data + l4->l4;
	uint32_t hdr_bytes, flags;

	if (!(l4->flags & XB_HEADERS_PLAIN) || len < l4->l4 + sizeof(struct tcphdr) ||
	    !offload_fits(&pkt->offload, l4->l4))
		return false;
	flags = xb_get_be16(tcp + TCP_FLAGS_AT);
	hdr_bytes = l4->l4 + (flags >> 12) * 4;
	/* In the first frame: there the headers are compared and rewritten. */
	if (flags >> 12 < 5 || hdr_bytes > pkt->len || hdr_bytes >= l4->end ||
	    l4->end > pkt->bytes || (flags & TCP_FLAGS_MASK & ~TCP_PSH) != TCP_ACK)
		return false;
	if (xb_l4_is_v4(l4) && !look_v4(data + l4->l3, look))
		return false;
	look->v4 = xb_l4_is_v4(l4);
	look->push = flags & TCP_PSH;
	look->l3 = l4->l3;
	look->l4 = l4->l4;
	look->hdr_bytes = (uint16_t)hdr_bytes;
	look->sequence = xb_get_be32(tcp + offsetof(struct tcphdr, seq));
	look->payload = l4->end - hdr_bytes;
	return true;
}

static enum kind look_at(struct xb_frame *pkt, uint32_t takes, struct look *look)
{
	uint8_t buf[XB_HEADERS_BYTES];
	uint32_t len;
	const uint8_t *data = xb_packet_headers(pkt, buf, &len);
	const struct xb_headers *l4 = xb_packet_parse(pkt, data, len);

	switch (xb_l4_found(l4)) {
	case XB_L4_NOT_IP:
		return NO_FLOW;
	case XB_L4_OPAQUE:
		return l4->proto == IPPROTO_UDP ? NO_FLOW : ANY_FLOW;
	case XB_L4_FOUND:
		break;
	}
	if (l4->proto != IPPROTO_TCP || !takes_gso(xb_l4_is_v4(l4), takes))
		return NO_FLOW;
	if (len < l4->l4 + 4u)
		return ANY_FLOW;
	look->flow = xb_l4_flow_hash(data, l4);
	look->verified = pkt->offload.csum != XB_CSUM_COMPLETE;
	look->may_join = look_tcp(pkt, data, len, l4, look);
	return ONE_FLOW;
}

/* ---- joining ---- */

static bool verify(const struct xb_frame *pkt, struct look *look)
{
	uint32_t len = look->hdr_bytes - look->l4 + look->payload;
	uint64_t sum;

	if (!look->verified) {
		sum = xb_l4_pseudo(xb_frame_data(pkt), &pkt->headers, len);
		sum = xb_csum_join(sum, xb_csum_packet(pkt, look->l4, len));
		look->verified = xb_csum_fold(sum) == UINT16_MAX;
		look->may_join = look->verified;
	}
	return look->verified;
}

/* Whether two IP headers, without options, are alike except for what a cut writes again. */
static bool ip_alike(const uint8_t *a, const uint8_t *b, bool v4)
{
	if (v4) /* version to TOS, fragment to protocol, addresses */
		return !memcmp(a, b, 2) && !memcmp(a + 6, b + 6, 4) && !memcmp(a + 12, b + 12, 8);
	/* version to flow label, next header to addresses */
	return !memcmp(a, b, 4) && !memcmp(a + 6, b + 6, 34);
}

static bool tcp_alike(const uint8_t *a, const uint8_t *b, uint32_t tcp_bytes)
{
	/* ports, acknowledgement, window, urgent pointer, options; the flags were looked at */
	return !memcmp(a, b, 4) && !memcmp(a + 8, b + 8, 4) && !memcmp(a + 14, b + 14, 2) &&
	       !memcmp(a + 18, b + 18, tcp_bytes - 18);
}

static bool continues(struct run *run, const struct xb_frame *pkt, struct look *look,
		      unsigned frames_max)
{
	const struct look *head = &run->look;
	const uint8_t *a = xb_frame_data(run->head);
	const uint8_t *b = xb_frame_data(pkt);

	if (look->sequence != head->sequence + run->payload || look->payload > head->payload ||
	    look->hdr_bytes != head->hdr_bytes || pkt->in_port != run->head->in_port)
		return false;
	if (run->head->count + pkt->count > frames_max ||
	    head->hdr_bytes - head->l3 + run->payload + look->payload > IP_BYTES_MAX)
		return false;
	if (head->v4 && !head->df && look->id != (uint16_t)(head->id + run->segments))
		return false;
	/* alike in front of the IP header means the same IP version at the same place */
	if (memcmp(a, b, head->l3) != 0 || !ip_alike(a + head->l3, b + head->l3, head->v4) ||
	    !tcp_alike(a + head->l4, b + head->l4, (uint32_t)(head->hdr_bytes - head->l4)))
		return false;
	return verify(run->head, &run->look) && verify(pkt, look);
}

/* Cuts a packet off after `bytes` (more than none) and returns its last frame. */
static struct xb_frame *trim(struct xb_cache *cache, struct xb_frame *pkt, uint32_t bytes)
{
	struct xb_frame *last = pkt;

	pkt->bytes = bytes;
	pkt->count = 1;
	for (; bytes > last->len; last = last->next) {
		bytes -= last->len;
		pkt->count++;
	}
	last->len = (uint16_t)bytes;
	if (last->next) {
		/* freed as a packet of its own */
		xb_frame_give(last->next, XB_OWNER_REST, XB_OWNER_WORKER);
		xb_packet_free(cache, last->next);
		last->next = NULL;
	}
	return last;
}

/* Takes the headers off a packet; its first frame goes too where nothing else was in it. */
static struct xb_frame *strip(struct xb_cache *cache, struct xb_frame *pkt, uint32_t hdr_bytes)
{
	struct xb_frame *first = pkt;

	pkt->head = (uint16_t)(pkt->head + hdr_bytes);
	pkt->len = (uint16_t)(pkt->len - hdr_bytes);
	if (!pkt->len && pkt->next) {
		first = pkt->next;
		first->count = (uint8_t)(pkt->count - 1);
		xb_frame_give(first, XB_OWNER_REST, XB_OWNER_WORKER);
		pkt->next = NULL;
		xb_packet_free(cache, pkt);
	}
	return first;
}

static void append(struct xb_cache *cache, struct run *run, struct xb_frame *pkt,
		   const struct look *look)
{
	struct xb_frame *head = run->head;
	struct xb_frame *last = trim(cache, pkt, look->hdr_bytes + look->payload);
	struct xb_frame *rest = strip(cache, pkt, look->hdr_bytes);

	if (run->segments == 1)
		run->last = trim(cache, head, run->look.hdr_bytes + run->look.payload);
	xb_frame_give(rest, XB_OWNER_WORKER, XB_OWNER_REST);
	run->last->next = rest;
	run->last = last;
	head->count = (uint8_t)(head->count + rest->count);
	head->bytes += look->payload;
	run->payload += look->payload;
	run->push = look->push;
	run->segments++;
}

/* Rewrites the head's header to that of the whole. */
static void seal(struct run *run)
{
	const struct look *look = &run->look;
	struct xb_frame *head = run->head;
	uint8_t *data = xb_frame_data(head);
	uint8_t *ip = data + look->l3;
	uint8_t *tcp = data + look->l4;
	uint16_t check = 0;

	if (run->segments == 1)
		return;
	if (look->v4) {
		xb_put_be16(ip + offsetof(struct iphdr, tot_len), head->bytes - look->l3);
		memcpy(ip + offsetof(struct iphdr, check), &check, sizeof(check));
		check = (uint16_t)~xb_csum_fold(xb_csum_add(0, ip, sizeof(struct iphdr)));
		memcpy(ip + offsetof(struct iphdr, check), &check, sizeof(check));
	} else {
		xb_put_be16(ip + offsetof(struct ipv6hdr, payload_len), head->bytes - look->l4);
	}
	if (run->push)
		tcp[TCP_FLAGS_AT + 1] |= TCP_PSH;
	check = xb_csum_fold(xb_l4_pseudo(data, &head->headers, head->bytes - look->l4));
	memcpy(tcp + TCP_CHECK, &check, sizeof(check));
	head->headers.end = head->bytes;
	head->offload = (struct xb_offload){
		.csum = XB_CSUM_PARTIAL,
		.gso = look->v4 ? XB_GSO_TCP4 : XB_GSO_TCP6,
		.gso_size = (uint16_t)look->payload,
		.hdr_bytes = look->hdr_bytes,
		.csum_start = look->l4,
		.csum_offset = TCP_CHECK,
	};
}

/* ---- the table ---- */

static struct run *find(struct table *table, uint32_t flow)
{
	for (unsigned i = 0; i < table->n; i++)
		if (table->flow[i] == flow)
			return &table->run[i];
	return NULL;
}

static void close_run(struct table *table, struct run *run)
{
	seal(run);
	table->flow[run - table->run] = 0;
}

static void close_all(struct table *table)
{
	for (unsigned i = 0; i < table->n; i++)
		if (table->flow[i])
			seal(&table->run[i]);
	table->n = 0;
}

static void open_run(struct table *table, struct xb_frame *pkt, const struct look *look)
{
	struct run *run = find(table, 0);

	if (!run && table->n < XB_COALESCE_FLOWS) {
		run = &table->run[table->n++];
	} else if (!run) {
		run = &table->run[table->victim++ % XB_COALESCE_FLOWS];
		seal(run);
	}
	table->flow[run - table->run] = look->flow;
	*run = (struct run){
		.head = pkt,
		.look = *look,
		.segments = 1,
		.payload = look->payload,
	};
}

/* Handles a packet of a known flow. Returns whether it was joined to another. */
static bool add(struct table *table, struct xb_cache *cache, struct xb_frame *pkt,
		struct look *look, unsigned frames_max)
{
	struct run *run = find(table, look->flow);

	if (run && look->may_join && continues(run, pkt, look, frames_max)) {
		append(cache, run, pkt, look);
		if (run->push || look->payload < run->look.payload)
			close_run(table, run);
		return true;
	}
	if (run)
		close_run(table, run);
	if (look->may_join && !look->push)
		open_run(table, pkt, look);
	return false;
}

unsigned xb_coalesce(struct xb_cache *cache, struct xb_frame **pkts, unsigned n, uint32_t takes,
		     unsigned frames_max)
{
	struct table table;
	unsigned left = 0;

	if (n < 2 || !(takes & (XB_TAKES_TSO4 | XB_TAKES_TSO6)))
		return n;
	if (frames_max > XB_PACKET_FRAMES_MAX)
		frames_max = XB_PACKET_FRAMES_MAX;
	table.n = 0;
	table.victim = 0;
	for (unsigned i = 0; i < n; i++) {
		struct xb_frame *pkt = pkts[i];
		struct look look;
		enum kind kind = look_at(pkt, takes, &look);

		if (kind == ONE_FLOW && add(&table, cache, pkt, &look, frames_max))
			continue;
		if (kind == ANY_FLOW)
			close_all(&table);
		pkts[left++] = pkt;
	}
	close_all(&table);
	return left;
}
