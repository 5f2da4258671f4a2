/* SPDX-License-Identifier: BSD-2-Clause */
#include "support/memory_port.h"

#include "core/l4.h"
#include "support/must.h"

#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

static struct mem_port *mem_of(struct xb_port *port)
{
	struct mem_port *mem = (struct mem_port *)port;

	MUST(!atomic_load(&mem->closed));
	return mem;
}

static struct mem_packet *list_get(struct mem_list *list)
{
	struct mem_packet *pkt = STAILQ_FIRST(list);

	if (pkt)
		STAILQ_REMOVE_HEAD(list, next);
	return pkt;
}

static struct mem_packet *get_locked(struct mem_queue *queue, struct mem_list *list)
{
	struct mem_packet *pkt;

	pthread_mutex_lock(&queue->lock);
	pkt = list_get(list);
	pthread_mutex_unlock(&queue->lock);
	return pkt;
}

/* ---- the ops ---- */

/* The packet in frames of the arena, in the shape that was asked for; NULL where frames are short.
 */
static struct xb_frame *to_frames(struct xb_cache *cache, const struct mem_packet *from)
{
	struct xb_frame *pkt = xb_frame_alloc(cache), *last = pkt;
	uint32_t part = from->first ? from->first : XB_FRAME_ROOM;

	if (!pkt)
		return NULL;
	if (part > from->len)
		part = from->len;
	xb_packet_init(pkt, XB_FRAME_HEADROOM, part);
	memcpy(xb_frame_data(pkt), from->data, part);
	for (uint32_t at = part; at < from->len; at += part) {
		struct xb_frame *more = xb_frame_alloc(cache);

		if (!more) {
			xb_packet_free(cache, pkt);
			return NULL;
		}
		part = from->step ? from->step : XB_FRAME_BYTES;
		if (part > from->len - at)
			part = from->len - at;
		xb_packet_init(more, XB_FRAME_BYTES - part, part);
		memcpy(xb_frame_data(more), from->data + at, part);
		xb_packet_append(pkt, last, more);
		last = more;
	}
	pkt->offload = from->offload;
	pkt->fate = from->fate;
	return pkt;
}

static struct mem_packet *from_frames(const struct xb_frame *pkt)
{
	struct mem_packet *to = malloc(sizeof(*to) + pkt->bytes);
	uint32_t at = 0;

	MUST(to);
	*to = (struct mem_packet){.offload = pkt->offload,
				  .fate = pkt->fate,
				  .frames = pkt->count,
				  .len = pkt->bytes};
	for (const struct xb_frame *frame = pkt; frame; frame = frame->next) {
		MUST(at + frame->len <= pkt->bytes);
		memcpy(to->data + at, xb_frame_data(frame), frame->len);
		at += frame->len;
	}
	MUST(at == pkt->bytes);
	return to;
}

static unsigned rx_batch(struct xb_port *port, unsigned q, struct xb_cache *cache,
			 struct xb_frame **pkts, unsigned max)
{
	struct mem_queue *queue = &mem_of(port)->queues[q];
	struct mem_packet *from;
	unsigned n = 0;

	MUST(max <= XB_BATCH);
	while (n < max && (from = get_locked(queue, &queue->in))) {
		pkts[n] = to_frames(cache, from);
		if (pkts[n])
			n++;
		else
			xb_count(&port->queues[q].rx_missed, 1);
		free(from);
	}
	return n;
}

/* What travels with a packet about its headers is what stands there: whatever changed them has
 * cleared or changed it, too. */
static void check_headers(const struct xb_frame *pkt)
{
	uint8_t bytes[XB_HEADERS_BYTES];
	struct xb_headers found;

	if (!pkt->headers.l3)
		return;
	xb_headers_find(bytes, xb_packet_read(pkt, bytes, sizeof(bytes)), &found);
	MUST(!memcmp(&found, &pkt->headers, sizeof(found)));
}

/* What the sorting room promises about every packet that it sends. */
static void check_caps(const struct xb_port_caps *caps, const struct xb_frame *pkt)
{
	const struct xb_offload *offload = &pkt->offload;
	uint32_t wire = pkt->bytes;
	uint32_t needs = 0;
	unsigned frames = 0;

	MUST(xb_frame_owner(pkt) == XB_OWNER_WORKER);
	for (const struct xb_frame *frame = pkt; frame; frame = frame->next)
		frames++;
	MUST(frames == pkt->count && frames <= caps->frames_max);
	if (offload->csum != XB_CSUM_COMPLETE)
		needs |= XB_TAKES_CSUM;
	if (offload->gso != XB_GSO_NONE) {
		MUST(offload->csum == XB_CSUM_PARTIAL && offload->gso_size);
		needs |= offload->gso == XB_GSO_TCP4   ? XB_TAKES_TSO4
			 : offload->gso == XB_GSO_TCP6 ? XB_TAKES_TSO6
						       : XB_TAKES_USO;
		needs |= offload->ecn ? XB_TAKES_ECN : 0u;
		wire = (uint32_t)offload->hdr_bytes + offload->gso_size;
	}
	MUST((caps->takes & needs) == needs);
	MUST(wire <= caps->bytes_max);
	check_headers(pkt);
}

static unsigned tx_batch(struct xb_port *port, unsigned q, struct xb_cache *cache,
			 struct xb_frame **pkts, unsigned n)
{
	struct mem_port *mem = mem_of(port);
	struct mem_queue *queue = &mem->queues[q];
	unsigned sent;

	(void)cache;
	MUST(n <= XB_BATCH && q < port->queues_max);
	MUST(pthread_mutex_trylock(&port->queues[q].tx_lock)); /* it is held */
	for (sent = 0; sent < n && queue->n_posted < mem->ring_size; sent++) {
		check_caps(&port->caps, pkts[sent]);
		xb_frame_give(pkts[sent], XB_OWNER_WORKER, XB_OWNER_TX);
		queue->ring[queue->n_posted++] = pkts[sent];
	}
	return sent;
}

static unsigned kick(struct xb_port *port, unsigned q, struct xb_cache *cache)
{
	struct mem_port *mem = mem_of(port);
	struct mem_queue *queue = &mem->queues[q];

	atomic_fetch_add(&mem->kicks, 1);
	if (atomic_load(&mem->hold))
		return queue->n_posted;
	for (unsigned i = 0; i < queue->n_posted; i++) {
		if (atomic_load(&mem->keep)) {
			struct mem_packet *pkt = from_frames(queue->ring[i]);

			pthread_mutex_lock(&queue->lock);
			STAILQ_INSERT_TAIL(&queue->out, pkt, next);
			pthread_mutex_unlock(&queue->lock);
		}
		xb_port_sent(port, q, cache, queue->ring[i]);
	}
	atomic_fetch_add(&queue->sent, queue->n_posted);
	queue->n_posted = 0;
	return 0;
}

static bool arm(struct xb_port *port, unsigned q)
{
	struct mem_queue *queue = &mem_of(port)->queues[q];
	bool empty;

	pthread_mutex_lock(&queue->lock);
	queue->armed = true;
	empty = STAILQ_EMPTY(&queue->in);
	pthread_mutex_unlock(&queue->lock);
	return empty;
}

static void disarm(struct xb_port *port, unsigned q)
{
	struct mem_queue *queue = &mem_of(port)->queues[q];
	uint64_t count;
	ssize_t got;

	pthread_mutex_lock(&queue->lock);
	queue->armed = false;
	pthread_mutex_unlock(&queue->lock);
	got = read(port->queues[q].wake_fd, &count, sizeof(count));
	(void)got;
}

static void beat(struct xb_port *port, unsigned q, uint64_t now_ns)
{
	struct mem_queue *queue = &mem_of(port)->queues[q];
	uint64_t last_ns = atomic_load(&queue->last_beat_ns);
	struct timespec now;
	uint64_t at_ns;

	MUST(now_ns);
	clock_gettime(CLOCK_MONOTONIC, &now);
	at_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
	if (last_ns && at_ns - last_ns > atomic_load(&queue->longest_gap_ns))
		atomic_store(&queue->longest_gap_ns, at_ns - last_ns);
	atomic_store(&queue->last_beat_ns, at_ns);
	atomic_fetch_add(&queue->beats, 1);
}

static const struct xb_port_ops ops = {
	.rx_batch = rx_batch,
	.tx_batch = tx_batch,
	.kick = kick,
	.arm = arm,
	.disarm = disarm,
	.beat = beat,
};

/* ---- the test's side ---- */

void mem_port_init(struct mem_port *mem, const char *name, unsigned id, unsigned queues,
		   unsigned ring_size)
{
	*mem = (struct mem_port){.ring_size = ring_size};
	MUST(xb_port_init(&mem->port, &ops, name, queues) == 0);
	mem->queues = calloc(queues, sizeof(*mem->queues));
	MUST(mem->queues);
	for (unsigned q = 0; q < queues; q++) {
		struct mem_queue *queue = &mem->queues[q];

		pthread_mutex_init(&queue->lock, NULL);
		STAILQ_INIT(&queue->in);
		STAILQ_INIT(&queue->out);
		queue->ring = calloc(ring_size, sizeof(struct xb_frame *));
		MUST(queue->ring || !ring_size);
		mem->port.queues[q].wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		MUST(mem->port.queues[q].wake_fd >= 0);
	}
	mem->port.id = (uint16_t)id;
	mem->port.n_queues = (uint16_t)queues;
	mem->port.caps = (struct xb_port_caps){
		.takes = XB_TAKES_CSUM | XB_TAKES_TSO4 | XB_TAKES_TSO6 | XB_TAKES_ECN |
			 XB_TAKES_USO,
		.bytes_max = XB_PACKET_BYTES_MAX,
		.frames_max = XB_PACKET_FRAMES_MAX,
	};
	atomic_store(&mem->port.up, true);
	atomic_store(&mem->keep, true);
}

void mem_port_reset(struct mem_port *mem, struct xb_cache *cache)
{
	for (unsigned q = 0; q < mem->port.queues_max; q++) {
		struct mem_queue *queue = &mem->queues[q];

		for (unsigned i = 0; i < queue->n_posted; i++)
			xb_port_unsent(&mem->port, q, cache, queue->ring[i], XB_DROP_TX_RESET);
		queue->n_posted = 0;
	}
}

void mem_port_close(struct mem_port *mem)
{
	atomic_store(&mem->closed, true);
}

void mem_port_fini(struct mem_port *mem)
{
	for (unsigned q = 0; q < mem->port.queues_max; q++) {
		struct mem_queue *queue = &mem->queues[q];
		struct mem_packet *pkt;

		MUST(!queue->n_posted);
		while ((pkt = list_get(&queue->in)) || (pkt = list_get(&queue->out)))
			free(pkt);
		free(queue->ring);
		pthread_mutex_destroy(&queue->lock);
		close(mem->port.queues[q].wake_fd);
	}
	free(mem->queues);
	xb_port_fini(&mem->port);
}

struct mem_packet *mem_packet_new(const void *data, uint32_t len)
{
	struct mem_packet *pkt = malloc(sizeof(*pkt) + len);

	MUST(pkt && len <= XB_PACKET_BYTES_MAX);
	*pkt = (struct mem_packet){.len = len};
	memcpy(pkt->data, data, len);
	return pkt;
}

void mem_inject(struct mem_port *mem, unsigned q, struct mem_packet *pkt)
{
	struct mem_queue *queue = &mem->queues[q];
	bool call;

	pthread_mutex_lock(&queue->lock);
	STAILQ_INSERT_TAIL(&queue->in, pkt, next);
	call = queue->armed;
	queue->armed = false;
	pthread_mutex_unlock(&queue->lock);
	if (call)
		MUST(eventfd_write(mem->port.queues[q].wake_fd, 1) == 0);
}

unsigned mem_waiting(struct mem_port *mem, unsigned q)
{
	struct mem_queue *queue = &mem->queues[q];
	const struct mem_packet *pkt;
	unsigned n = 0;

	pthread_mutex_lock(&queue->lock);
	STAILQ_FOREACH(pkt, &queue->in, next)
		n++;
	pthread_mutex_unlock(&queue->lock);
	return n;
}

struct mem_packet *mem_sent(struct mem_port *mem, unsigned q)
{
	return get_locked(&mem->queues[q], &mem->queues[q].out);
}

uint64_t mem_sent_count(const struct mem_port *mem)
{
	uint64_t n = 0;

	for (unsigned q = 0; q < mem->port.queues_max; q++)
		n += atomic_load(&mem->queues[q].sent);
	return n;
}
