/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The TAP port by io_uring: a batch of reads, or of writes, is one system call.
 *
 * Theory. Every read and write carries RWF_NOWAIT, so that it is completed, or refused with EAGAIN,
 * within the io_uring_enter that submits it. Hence nothing refers to a frame between two calls,
 * writes can't overtake each other, and a stop has nothing to wait for but the scout.
 *
 * Reading. A queue is read in bursts: so many reads at once as the last burst lets expect. One that
 * came back full is followed by a longer one at once; after one that didn't the queue is empty, and
 * with it went a scout: a poll request for the TAP's descriptor. Until the scout is back there is
 * nothing to read, and looking whether it is back costs no system call: the kernel sets a flag in
 * the ring (IORING_SQ_TASKRUN) when there is something to be done for it. So polling an idle TAP
 * costs the worker's other ports nothing. Before it sleeps, the worker waits on the TAP's
 * descriptor itself, not on the ring.
 *
 * Many blocking reads in flight, instead of scout and burst, would all be woken by each packet; a
 * chain of them (IOSQE_IO_HARDLINK) has one waiting at a time, but each is woken and run by itself,
 * which made a packet a quarter dearer than plain readv.
 *
 * The tun driver knows RWF_NOWAIT since Linux 6.4. Before, reading is by readv, one by one, with
 * the scout; it costs about the same (natively 0.9 µs a packet either way, copy included). Writing
 * goes by io_uring all the same: the descriptor is O_NONBLOCK and the send buffer without limit, so
 * a write is completed within the call as well, a third cheaper than by writev.
 *
 * Rings. One for reading, which the queue's owner alone touches, one for sending, under tx_lock.
 * Neither is bound to a thread (IORING_SETUP_SINGLE_ISSUER): the control thread makes them, any
 * worker may be given the queue. A queue's file is registered in both, which saves a reference per
 * packet.
 *
 * Limits: Linux 5.19 for the flags. Where io_uring is refused, tap_readv.c serves.
 */
#include "vhost/tap_queue.h"

#include "core/calls.h"

#include <errno.h>
#include <poll.h>

XB_CALL(worker, io_uring_enter);
XB_CALL(control, io_uring_enter);
XB_CALL(control, io_uring_register);
XB_CALL(control, io_uring_setup);
XB_CALL(control, mmap);
XB_CALL(control, munmap);
XB_CALL(control, pwritev2);

#define SCOUT  UINT64_MAX       /* user_data of the poll request; reads have their index */
#define RECALL (UINT64_MAX - 1) /* user_data of its cancellation */

/* Completions always find room: a request less than fits, and each is reaped at once. */
#define RX_ENTRIES(depth) ((depth) + 2)

/* Shortest burst: one packet, and one read that finds the queue empty. */
#define BURST_MIN 2u

#define STOP_TIMEOUT_MS 1000

/* COOP_TASKRUN: no interrupt for what a flag can tell. SUBMIT_ALL: one bad request stops no other.
 */
static int make_ring(struct io_uring *ring, unsigned entries, int fd)
{
	struct io_uring_params params = {
		.flags = IORING_SETUP_SUBMIT_ALL | IORING_SETUP_COOP_TASKRUN |
			 IORING_SETUP_TASKRUN_FLAG,
	};
	int ret = io_uring_queue_init_params(entries, ring, &params);

	if (ret < 0)
		return ret;
	ret = io_uring_register_files(ring, &fd, 1);
	if (ret < 0)
		io_uring_queue_exit(ring);
	return ret;
}

/* The registration is taken back first: a ring ends in the background, and the TAP's file with it.
 */
static void end_ring(struct io_uring *ring)
{
	io_uring_unregister_files(ring);
	io_uring_queue_exit(ring);
}

int xb_tap_uring_probe(int fd, bool *ret_nowait)
{
	char byte = 0;
	struct iovec too_short = {&byte, 1};
	struct io_uring ring;
	int ret = make_ring(&ring, 1, fd);

	if (ret < 0)
		return ret;
	end_ring(&ring);
	/* a write shorter than the header is refused, but first for its flag where that is unknown
	 */
	*ret_nowait = pwritev2(fd, &too_short, 1, -1, RWF_NOWAIT) >= 0 || errno != EOPNOTSUPP;
	return 0;
}

int xb_tap_uring_start(struct xb_tap_port *tap_port, struct xb_tap_queue *queue)
{
	int ret = make_ring(&queue->rx_ring, RX_ENTRIES(tap_port->depth), queue->fd);

	if (ret < 0)
		return ret;
	ret = make_ring(&queue->tx_ring, XB_TAP_WRITES, queue->fd);
	if (ret < 0)
		end_ring(&queue->rx_ring);
	return ret;
}

/* ---- reading ---- */

/* Has something been completed, or is something to be done to complete it: is it still to be
 * submitted, since that has failed (EAGAIN, ENOMEM)? No system call. */
static bool has_news(const struct io_uring *ring)
{
	return io_uring_cq_ready(ring) || io_uring_sq_ready(ring) ||
	       IO_URING_READ_ONCE(*ring->sq.kflags) & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW);
}

/* Posts up to `n` reads, the first that are full or can be filled. */
static void post_reads(const struct xb_tap_port *tap_port, struct xb_tap_queue *queue,
		       struct xb_cache *cache, unsigned n)
{
	for (unsigned i = 0; i < tap_port->depth && queue->n_posted < n; i++) {
		struct xb_tap_read *read = &queue->reads[i];
		struct io_uring_sqe *sqe;

		if (!xb_tap_read_fill(read, cache))
			continue;
		sqe = io_uring_get_sqe(&queue->rx_ring);
		if (tap_port->read_frames == 1)
			io_uring_prep_read(sqe, 0, read->iov[0].iov_base,
					   (unsigned)read->iov[0].iov_len, 0);
		else
			io_uring_prep_readv(sqe, 0, read->iov, tap_port->read_frames, 0);
		sqe->rw_flags = RWF_NOWAIT;
		sqe->flags |= IOSQE_FIXED_FILE;
		sqe->user_data = i;
		queue->n_posted++;
	}
}

static void post_scout(struct xb_tap_queue *queue)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&queue->rx_ring);

	io_uring_prep_poll_add(sqe, 0, POLLIN);
	sqe->flags |= IOSQE_FIXED_FILE;
	sqe->user_data = SCOUT;
	queue->scouting = true;
}

struct reaped {
	unsigned packets; /* handed over */
	unsigned found;   /* reads that found something */
};

static struct reaped reap_reads(struct xb_port *port, unsigned q, struct xb_cache *cache,
				struct xb_frame **pkts)
{
	struct xb_tap_queue *queue = &xb_tap_port_of(port)->queues[q];
	struct reaped reaped = {0};
	struct io_uring_cqe *cqe;
	unsigned head, seen = 0;

	io_uring_for_each_cqe(&queue->rx_ring, head, cqe)
	{
		seen++;
		if (cqe->user_data == SCOUT)
			queue->scouting = false;
		if (cqe->user_data >= RECALL)
			continue;
		queue->n_posted--;
		if (cqe->res == -EAGAIN)
			continue;
		reaped.found++;
		pkts[reaped.packets] = xb_tap_read_done(port, q, &queue->reads[cqe->user_data],
							cqe->res, cache);
		reaped.packets += pkts[reaped.packets] != NULL;
	}
	io_uring_cq_advance(&queue->rx_ring, seen);
	return reaped;
}

static unsigned read_burst(struct xb_port *port, unsigned q, struct xb_cache *cache,
			   struct xb_frame **pkts, unsigned max)
{
	struct xb_tap_port *tap_port = xb_tap_port_of(port);
	struct xb_tap_queue *queue = &tap_port->queues[q];
	unsigned burst = queue->burst < max ? queue->burst : max;
	struct reaped reaped;
	unsigned tried;

	if (queue->n_posted > max) /* left over from a submission that failed */
		return 0;
	if (!queue->n_posted)
		post_reads(tap_port, queue, cache, burst);
	if (!queue->more && !queue->scouting)
		post_scout(queue);
	tried = queue->n_posted;
	io_uring_submit(&queue->rx_ring); /* what fails is tried again next time */
	reaped = reap_reads(port, q, cache, pkts);
	queue->more = tried && reaped.found == tried;
	queue->burst = queue->more ? tried * 2 : reaped.found + 1;
	if (queue->burst < BURST_MIN)
		queue->burst = BURST_MIN;
	if (queue->burst > tap_port->depth)
		queue->burst = tap_port->depth;
	return reaped.packets;
}

/* Where bursts are not to be had: one by one, until the queue is empty. */
static unsigned read_each(struct xb_port *port, unsigned q, struct xb_cache *cache,
			  struct xb_frame **pkts, unsigned max)
{
	struct xb_tap_queue *queue = &xb_tap_port_of(port)->queues[q];
	unsigned n = xb_tap_read_each(port, q, cache, pkts, max, &queue->more);

	if (!queue->more && !queue->scouting)
		post_scout(queue);
	if (queue->scouting) {
		io_uring_submit(&queue->rx_ring);
		reap_reads(port, q, cache, NULL);
	}
	return n;
}

static unsigned rx_batch(struct xb_port *port, unsigned q, struct xb_cache *cache,
			 struct xb_frame **pkts, unsigned max)
{
	struct xb_tap_port *tap_port = xb_tap_port_of(port);
	struct xb_tap_queue *queue = &tap_port->queues[q];

	if (xb_tap_is_broken(tap_port) || (queue->scouting && !has_news(&queue->rx_ring)))
		return 0;
	return tap_port->nowait ? read_burst(port, q, cache, pkts, max)
				: read_each(port, q, cache, pkts, max);
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

/* ---- sending ---- */

static void reap_writes(struct xb_port *port, unsigned q, struct xb_cache *cache)
{
	struct xb_tap_queue *queue = &xb_tap_port_of(port)->queues[q];
	struct io_uring_cqe *cqe;
	unsigned head, seen = 0;

	io_uring_for_each_cqe(&queue->tx_ring, head, cqe)
	{
		seen++;
		if (cqe->user_data == RECALL)
			continue;
		xb_tap_write_done(port, q, &queue->writes[cqe->user_data], cqe->res, cache);
		queue->free[queue->n_free++] = (uint8_t)cqe->user_data;
	}
	io_uring_cq_advance(&queue->tx_ring, seen);
}

static unsigned kick(struct xb_port *port, unsigned q, struct xb_cache *cache)
{
	struct xb_tap_queue *queue = &xb_tap_port_of(port)->queues[q];

	if (queue->n_free == XB_TAP_WRITES)
		return 0;
	io_uring_submit(&queue->tx_ring); /* what fails is tried again next time */
	reap_writes(port, q, cache);
	return XB_TAP_WRITES - queue->n_free;
}

static unsigned tx_batch(struct xb_port *port, unsigned q, struct xb_cache *cache,
			 struct xb_frame **pkts, unsigned n)
{
	struct xb_tap_queue *queue = &xb_tap_port_of(port)->queues[q];
	int nowait = xb_tap_port_of(port)->nowait ? RWF_NOWAIT : 0;
	unsigned i;

	for (i = 0; i < n; i++) {
		struct io_uring_sqe *sqe;
		struct xb_tap_write *write;

		if (!queue->n_free)
			kick(port, q, cache);
		sqe = queue->n_free ? io_uring_get_sqe(&queue->tx_ring) : NULL;
		if (!sqe)
			break;
		write = &queue->writes[queue->free[--queue->n_free]];
		xb_tap_write_prepare(write, pkts[i]);
		if (write->n == 1)
			io_uring_prep_write(sqe, 0, write->iov[0].iov_base,
					    (unsigned)write->iov[0].iov_len, 0);
		else
			io_uring_prep_writev(sqe, 0, write->iov, write->n, 0);
		sqe->rw_flags = nowait;
		sqe->flags |= IOSQE_FIXED_FILE;
		sqe->user_data = (uint64_t)(write - queue->writes);
	}
	return i;
}

/* ---- stop ---- */

/* Calls the scout back. The thread that sent it out has to be run for that: it is woken, or its
 * next timer tick does. */
static void recall_scout(struct xb_tap_queue *queue)
{
	struct io_uring_sqe *sqe;

	if (queue->recalled || !(queue->scouting || queue->n_posted))
		return;
	sqe = io_uring_get_sqe(&queue->rx_ring);
	if (!sqe)
		return;
	io_uring_prep_poll_remove(sqe, SCOUT);
	sqe->user_data = RECALL;
	queue->recalled = true;
}

/* Takes what has come back. No read is out, unless it could not be submitted before. Returns
 * whether nothing is posted for reading any more. */
static bool reap_recalled(struct xb_port *port, unsigned q, struct xb_cache *cache)
{
	struct xb_tap_queue *queue = &xb_tap_port_of(port)->queues[q];
	struct xb_frame *pkts[XB_BATCH];

	io_uring_submit(&queue->rx_ring); /* also what could not be before */
	for (unsigned n = reap_reads(port, q, cache, pkts).packets; n; n--) {
		xb_count(&port->queues[q].rx_missed, 1);
		xb_packet_free(cache, pkts[n - 1]);
	}
	return !queue->scouting && !queue->n_posted;
}

bool xb_tap_uring_recall(struct xb_port *port, unsigned q, struct xb_cache *cache)
{
	recall_scout(&xb_tap_port_of(port)->queues[q]);
	return reap_recalled(port, q, cache) && !kick(port, q, cache);
}

static void await_scout(struct xb_port *port, unsigned q, struct xb_cache *cache)
{
	struct xb_tap_queue *queue = &xb_tap_port_of(port)->queues[q];
	struct __kernel_timespec wait = {.tv_sec = STOP_TIMEOUT_MS / 1000};
	struct io_uring_cqe *cqe;

	recall_scout(queue);
	while (!reap_recalled(port, q, cache))
		if (io_uring_wait_cqe_timeout(&queue->rx_ring, &cqe, &wait) < 0)
			break;
}

/* A write is out only where neither RWF_NOWAIT is known nor the send buffer without limit. */
static void recall_writes(struct xb_port *port, unsigned q, struct xb_cache *cache)
{
	struct xb_tap_queue *queue = &xb_tap_port_of(port)->queues[q];
	struct __kernel_timespec wait = {.tv_sec = STOP_TIMEOUT_MS / 1000};
	struct io_uring_sqe *sqe = io_uring_get_sqe(&queue->tx_ring);
	struct io_uring_cqe *cqe;

	if (!sqe)
		return;
	io_uring_prep_cancel64(sqe, 0, IORING_ASYNC_CANCEL_ANY);
	sqe->user_data = RECALL;
	io_uring_submit(&queue->tx_ring);
	while (queue->n_free < XB_TAP_WRITES &&
	       io_uring_wait_cqe_timeout(&queue->tx_ring, &cqe, &wait) == 0)
		reap_writes(port, q, cache);
}

void xb_tap_uring_stop(struct xb_port *port, unsigned q, struct xb_cache *cache)
{
	struct xb_tap_queue *queue = &xb_tap_port_of(port)->queues[q];

	if (kick(port, q, cache))
		recall_writes(port, q, cache);
	await_scout(port, q, cache);
	end_ring(&queue->rx_ring);
	end_ring(&queue->tx_ring);
}

const struct xb_port_ops xb_tap_uring_ops = {
	.rx_batch = rx_batch,
	.tx_batch = tx_batch,
	.kick = kick,
	.arm = arm,
	.disarm = disarm,
};
