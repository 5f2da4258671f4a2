/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A port in memory: a test injects packets on a queue and reads what was sent.
 *
 * It is strict: what is posted must obey its caps and belong to the worker, and an op that is
 * called after mem_port_close aborts the test.
 *
 * Threads: mem_inject, mem_sent and the switches from any, the ops as core/port.h says.
 */
#ifndef XB_TESTS_MEMORY_PORT_H
#define XB_TESTS_MEMORY_PORT_H

#include "core/port.h"

#include <sys/queue.h>

/** A packet outside of any arena. */
struct mem_packet {
	STAILQ_ENTRY(mem_packet) next;
	struct xb_offload offload;
	struct xb_fate fate;
	uint32_t first;  /* injected: bytes in the first frame at most; 0: as many as fit */
	uint32_t step;   /* injected: bytes in each further frame at most; 0: as many as fit */
	unsigned frames; /* sent: frames that it came in */
	uint32_t len;
	uint8_t data[];
};

STAILQ_HEAD(mem_list, mem_packet);

struct mem_queue {
	pthread_mutex_t lock; /* of both lists and `armed` */
	struct mem_list in, out;
	bool armed;
	struct xb_frame **ring; /* posted for sending, under the queue's tx_lock */
	unsigned n_posted;
	_Atomic uint64_t beats;
	_Atomic uint64_t last_beat_ns;   /* on the monotonic clock; 0: none yet */
	_Atomic uint64_t longest_gap_ns; /* between two beats */
	_Atomic uint64_t sent;           /* bytes of payload are not kept where `keep` is off */
};

struct mem_port {
	struct xb_port port;
	unsigned ring_size;
	_Atomic bool hold; /* posted packets are not completed */
	_Atomic bool keep; /* what was sent is kept for mem_sent */
	_Atomic bool closed;
	_Atomic uint64_t kicks;
	struct mem_queue *queues;
};

/** A port that is up, with `queues` queues started, room for `ring_size` packets in each transmit
 *  ring, and caps that take everything. Aborts without memory. */
void mem_port_init(struct mem_port *mem, const char *name, unsigned id, unsigned queues,
		   unsigned ring_size);
/** Throws away what is posted (tx_reset). No worker uses the port any more. */
void mem_port_reset(struct mem_port *mem, struct xb_cache *cache);
/** From now on an op that is called aborts. */
void mem_port_close(struct mem_port *mem);
/** The port was reset. Takes what was not read, too. */
void mem_port_fini(struct mem_port *mem);

/** A packet to be injected; the caller may set offload, fate and shape. */
struct mem_packet *mem_packet_new(const void *data, uint32_t len);

/** Lets a packet arrive on queue `q`; it is the port's from now on. */
void mem_inject(struct mem_port *mem, unsigned q, struct mem_packet *pkt);

/** Packets that were injected and not taken yet. */
unsigned mem_waiting(struct mem_port *mem, unsigned q);

/** The next packet that was sent on queue `q`, the caller's to free; NULL: none. */
struct mem_packet *mem_sent(struct mem_port *mem, unsigned q);

/** Packets sent on all queues together. */
uint64_t mem_sent_count(const struct mem_port *mem);

#endif
