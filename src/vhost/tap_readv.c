/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The TAP port by readv and writev, where io_uring is refused: a system call for each packet.
 *
 * There is nothing to post and nothing to wait for: a packet is written in tx_batch, and has been
 * sent when that returns. There is one read.
 */
#include "vhost/tap_queue.h"

#include "core/calls.h"

#include <errno.h>

XB_CALL(worker, readv);
XB_CALL(worker, writev);
XB_CALL(control, readv);
XB_CALL(control, writev);

/* Packets of one batch: so that a worker with other ports gets around to them. */
#define READS_MAX 32u

unsigned xb_tap_read_each(struct xb_port *port, unsigned q, struct xb_cache *cache,
			  struct xb_frame **pkts, unsigned max, bool *ret_more)
{
	struct xb_tap_port *tap_port = xb_tap_port_of(port);
	struct xb_tap_queue *queue = &tap_port->queues[q];
	struct xb_tap_read *read = queue->reads;
	unsigned budget = max < READS_MAX ? max : READS_MAX;
	unsigned n = 0;

	for (; budget && !xb_tap_is_broken(tap_port); budget--) {
		ssize_t got;

		if (!xb_tap_read_fill(read, cache))
			break;
		got = readv(queue->fd, read->iov, (int)tap_port->read_frames);
		if (got < 0)
			got = -errno;
		if (got == -EAGAIN) {
			*ret_more = false;
			return n;
		}
		pkts[n] = got == -EINTR ? NULL : xb_tap_read_done(port, q, read, got, cache);
		n += pkts[n] != NULL;
	}
	*ret_more = true;
	return n;
}

static unsigned rx_batch(struct xb_port *port, unsigned q, struct xb_cache *cache,
			 struct xb_frame **pkts, unsigned max)
{
	bool more;

	return xb_tap_read_each(port, q, cache, pkts, max, &more);
}

static unsigned tx_batch(struct xb_port *port, unsigned q, struct xb_cache *cache,
			 struct xb_frame **pkts, unsigned n)
{
	struct xb_tap_queue *queue = &xb_tap_port_of(port)->queues[q];
	struct xb_tap_write *write = queue->writes;

	for (unsigned i = 0; i < n; i++) {
		ssize_t ret;

		xb_tap_write_prepare(write, pkts[i]);
		do {
			ret = writev(queue->fd, write->iov, (int)write->n);
		} while (ret < 0 && errno == EINTR);
		xb_tap_write_done(port, q, write, ret < 0 ? -errno : ret, cache);
	}
	return n;
}

static unsigned kick(struct xb_port *port, unsigned q, struct xb_cache *cache)
{
	(void)port;
	(void)q;
	(void)cache;
	return 0;
}

/* The wake-up is the TAP's own descriptor: readable as long as a packet waits. On a deleted TAP
 * poll would return at once for ever, so it is not polled any more. */
static bool arm(struct xb_port *port, unsigned q)
{
	if (xb_tap_is_broken(xb_tap_port_of(port)))
		port->queues[q].wake_fd = -1;
	return true;
}

static void disarm(struct xb_port *port, unsigned q)
{
	(void)port;
	(void)q;
}

const struct xb_port_ops xb_tap_readv_ops = {
	.rx_batch = rx_batch,
	.tx_batch = tx_batch,
	.kick = kick,
	.arm = arm,
	.disarm = disarm,
};
